"""Graph colouring: who has the highest random number among its uncoloured neighbours takes the smallest free colour.

Two neighbours never choose in one step, so the colouring is proper; an agent's colour is at most its number of
neighbours, so there are at most (largest degree + 1) colours. O(log n / log log n) steps are expected for bounded degree.
Free colours are looked for in windows of 63 at a time; most agents need but the first.

Jones and Plassmann, A parallel graph coloring heuristic, SIAM J. Sci. Comput. 14 (1993).
"""

from hpcmp import agents
from hpcmp.agents.coordination.stage import stage, undirected
from hpcmp.graph import simplified

Mine = agents.MessageType("mine", colour="int64", draw="float64")
WINDOW = 63  # colours, the bits of a number above 0


def model():
    """Agents that find their ``colour``, from 0. Local."""
    state = {"colour": "int64", "draw": "float64", "rivals": "int64", "used": "int64", "window": "int64"}
    one = agents.Agent("painter", state)

    @one.begin
    def start(me, ctx):
        me.colour = -1
        me.draw = agents.chance(me, ctx)

    @one.on(Mine)
    def hear(me, msg, out, ctx):
        if msg.colour >= me.window and msg.colour < me.window + WINDOW:
            me.used |= 1 << (msg.colour - me.window)
        elif msg.colour < 0 and (msg.draw > me.draw or (msg.draw == me.draw and msg.sender > me.id)):
            me.rivals += 1

    @one.each_step
    def choose(me, out, ctx):
        if me.colour < 0 and me.rivals == 0 and ctx.step > 0:
            k = 0
            while k < WINDOW and (me.used >> k) & 1:
                k += 1
            if k < WINDOW:
                me.colour = me.window + k
            else:
                me.window += WINDOW
        me.rivals = 0
        me.used = 0
        out.to_neighbours(Mine, me.colour, me.draw)

    @one.goal
    def is_coloured(me, ctx):
        return me.colour >= 0

    return [one]


def run(graph, *, seed=0, steps=None, **more):
    """Colour an undirected graph. Collective.

    Loops and repeated edges count for nothing.

    Parameters
    ----------
    graph : Graph
    seed : int
    steps : int, optional
        Default: as many as are needed.
    more
        Options of `simulate`.
    """
    undirected(graph)
    most = graph.n_vertices * (2 + graph.n_vertices // WINDOW) + 2
    return agents.simulate(stage(simplified(graph)), model(), steps=steps or most, seed=seed, **more)
