"""Independent cascade: who becomes active has one chance to make each neighbour active.

The coin of an edge is a function of the seed and the edge alone, so the active are exactly those who can be reached from
the first along edges whose coin fell well, and more first ones or larger probabilities never make fewer active.

Kempe, Kleinberg and Tardos, Maximizing the spread of influence through a social network, KDD 2003, section 2.
"""

import numpy as np

from hpcmp import agents
from hpcmp.agents.coordination.stage import refuse, stage
from hpcmp.graph import with_edge_field
from hpcmp.random import uniform

Win = agents.MessageType("win")
COIN = 0  # in the place of the step, of which coins do not depend


def model():
    """Agents that become active in the step ``since``; -1: never. Local."""
    one = agents.Agent("follower", {"is_first": "bool", "since": "int64"})

    @one.begin
    def start(me, ctx):
        me.since = 0 if me.is_first else -1

    @one.on(Win)
    def hear(me, msg, out, ctx):
        if me.since < 0:
            me.since = ctx.step

    @one.each_step(alone=False)
    def win_others(me, out, ctx):
        if me.since == ctx.step:
            for q in range(out.degree()):
                if uniform(ctx.seed, COIN, q, me.id) < out.edge(q).probability:
                    out.send(Win, out.neighbour(q))

    return [one]


def run(graph, first, probability, *, seed=0, steps=None, **more):
    """Let activity spread along edges. Collective.

    Parameters
    ----------
    graph : Graph
    first : bool (n_owned,) or name of a vertex field
        Who is active at first.
    probability : float or name of an edge field
    seed : int
    steps : int, optional
        Default: as many as are needed.
    more
        Options of `simulate`.
    """
    is_named = isinstance(probability, str)
    refuse(graph, is_named and probability not in graph.edge_fields, f"the graph has no edge field {probability!r}")
    values = graph.edge_fields[probability] if is_named else np.full(graph.n_in, float(probability))
    refuse(graph, ((values < 0) | (values > 1)).any(), "a probability is outside [0, 1]")
    ready = with_edge_field(stage(graph, is_first=first), "probability", values)
    return agents.simulate(ready, model(), steps=steps or graph.n_vertices + 2, seed=seed, **more)
