"""Leader election: the largest id of each connected piece, and a tree of shortest paths to it.

An agent that hears of a larger id than it knows follows it and tells it on; who first told it becomes its parent. Since
all walk at one pace, the leader's id comes to each along a shortest path, so ``hops`` are distances of breadth-first
search. Ends, with no message on its way, two steps after the leader's farthest follower heard of it.

FloodMax: Lynch, Distributed Algorithms (1996), sections 4.1 and 4.2.
"""

from hpcmp import agents
from hpcmp.agents.coordination.stage import undirected

Follow = agents.MessageType("follow", leader="int64", hops="int64")


def model():
    """Agents with a ``leader``, a ``parent`` on the way to it, and ``hops``. Local."""
    one = agents.Agent("voter", {"leader": "int64", "parent": "int64", "hops": "int64", "is_news": "bool"})

    @one.begin
    def start(me, ctx):
        me.leader = me.id
        me.parent = me.id
        me.hops = 0
        me.is_news = True

    @one.on(Follow)
    def hear(me, msg, out, ctx):
        if msg.leader > me.leader:
            me.leader = msg.leader
            me.parent = msg.sender
            me.hops = msg.hops + 1
            me.is_news = True

    @one.each_step(alone=False)
    def tell(me, out, ctx):
        if me.is_news:
            me.is_news = False
            out.to_neighbours(Follow, me.leader, me.hops)

    return [one]


def run(graph, *, steps=None, **more):
    """Elect a leader in each connected piece of an undirected graph. Collective.

    Parameters
    ----------
    graph : Graph
    steps : int, optional
        Default: as many as are needed.
    more
        Options of `simulate`.
    """
    undirected(graph)
    return agents.simulate(graph, model(), steps=steps or graph.n_vertices + 2, **more)
