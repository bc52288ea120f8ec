"""Linear threshold: who hears enough of its neighbours becomes active too.

Each neighbour weighs 1 / (number of in-neighbours); an agent is active once its active in-neighbours weigh at least its
threshold. The active are the least set that contains the first and all whose threshold it meets, so it does not depend on the
order in which they become active, and more first ones never make fewer active.

Granovetter, Threshold models of collective behavior, Am. J. Sociology 83 (1978); Kempe, Kleinberg and Tardos, KDD 2003.
"""

from hpcmp import agents
from hpcmp.agents.coordination.stage import stage

Active = agents.MessageType("active")


def model():
    """Agents that become active in the step ``since``; -1: never. Local."""
    state = {"is_first": "bool", "threshold": "float64", "n_in": "int64", "since": "int64", "n_active": "int64"}
    one = agents.Agent("follower", state)

    @one.begin
    def start(me, ctx):
        me.since = 0 if me.is_first else -1
        if me.threshold < 0:
            me.threshold = 1.0 - agents.chance(me, ctx)

    @one.on(Active)
    def hear(me, msg, out, ctx):
        me.n_active += 1

    @one.each_step(alone=False)
    def decide(me, out, ctx):
        if me.since < 0 and me.n_active > 0 and me.n_active >= me.threshold * me.n_in:
            me.since = ctx.step
        if me.since == ctx.step:
            out.to_neighbours(Active)

    return [one]


def run(graph, first, threshold=-1.0, *, seed=0, steps=None, **more):
    """Let activity spread to those whose threshold it meets. Collective.

    Parameters
    ----------
    graph : Graph
    first : bool (n_owned,) or name of a vertex field
        Who is active at first.
    threshold : float (n_owned,), number or name of a vertex field
        Below 0: drawn from (0, 1].
    seed : int
    steps : int, optional
        Default: as many as are needed.
    more
        Options of `simulate`.
    """
    ready = stage(graph, is_first=first, threshold=threshold, n_in=graph.in_degree)
    return agents.simulate(ready, model(), steps=steps or graph.n_vertices + 2, seed=seed, **more)
