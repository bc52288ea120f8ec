"""Push-sum gossip: each step every agent keeps half of its sum and weight and sends half to one random neighbour.

The sums of all ``s`` and of all ``w`` never change: halves of dyadic numbers are exact, until a number needs more than 53
bits. So s / w tends to (sum of values) / (number of agents) at every agent, on any connected undirected graph; on a complete
one the error falls below e in O(log n + log 1/e) steps, with one message an agent and step.

Kempe, Dobra and Gehrke, Gossip-based computation of aggregate information, FOCS 2003.
"""

import numpy as np

from hpcmp import agents
from hpcmp.agents.coordination.stage import stage

Half = agents.MessageType("half", s="float64", w="float64")


def model():
    """Agents with a sum ``s``, a weight ``w`` and their ``mean``. Local."""
    one = agents.Agent("gossip", {"s": "float64", "w": "float64", "mean": "float64"})

    @one.on(Half)
    def take(me, msg, out, ctx):
        me.s += msg.s
        me.w += msg.w

    @one.each_step
    def give(me, out, ctx):
        me.mean = me.s / me.w
        if ctx.step < ctx.last and out.degree() > 0:
            q = int(agents.chance(me, ctx) * out.degree())
            me.s *= 0.5
            me.w *= 0.5
            out.send(Half, out.neighbour(q), me.s, me.w)

    return [one]


def run(graph, values, *, steps, seed=0, **more):
    """Let all agents estimate the mean of their values. Collective.

    Nothing is sent in the last step, so that all of both sums is with agents.

    Parameters
    ----------
    graph : Graph
    values : array (n_owned,) or name of a vertex field
    steps, seed : int
    more
        Options of `simulate`.
    """
    ready = stage(graph, s=values, w=1.0)
    ready.vertex_fields["s"] = ready.vertex_fields["s"].astype(np.float64)
    return agents.simulate(ready, model(), steps=steps, seed=seed, params={"last": steps - 1}, **more)
