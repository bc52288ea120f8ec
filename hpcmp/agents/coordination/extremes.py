"""Max and min consensus: whoever hears of a better value takes it over and tells it on.

After as many steps as the graph has hops across, every agent of a connected piece knows the largest (or smallest) value
of the piece; then nothing is sent any more and the run ends.

Olfati-Saber and Murray, Consensus problems in networks of agents, IEEE TAC 49 (2004).
"""

import numpy as np

from hpcmp import agents
from hpcmp.agents.coordination.stage import refuse, stage

Better = agents.MessageType("better", x="float64")


def model():
    """Agents with a value ``x``. Local."""
    one = agents.Agent("chooser", {"x": "float64", "told": "float64"})

    @one.on(Better)
    def hear(me, msg, out, ctx):
        if ctx.sign * msg.x > ctx.sign * me.x:
            me.x = msg.x

    @one.each_step(alone=False)
    def tell(me, out, ctx):
        if ctx.step == 0 or me.x != me.told:
            me.told = me.x
            out.to_neighbours(Better, me.x)

    return [one]


def run(graph, values, which="max", *, steps=None, **more):
    """Let all agents know the largest or smallest value. Collective.

    Parameters
    ----------
    graph : Graph
        Along directed edges, the best value of those from which each is reached.
    values : array (n_owned,) or name of a vertex field
    which : "max" or "min"
    steps : int, optional
        Default: as many as are needed.
    more
        Options of `simulate`.
    """
    refuse(graph, which not in ("max", "min"), f"which = {which!r} is neither max nor min")
    ready = stage(graph, x=values)
    refuse(graph, np.isnan(ready.vertex_fields["x"]).any(), "a value is not a number")
    params = {"sign": 1 if which == "max" else -1}
    return agents.simulate(ready, model(), steps=steps or graph.n_vertices + 2, params=params, **more)
