"""Agents on the vertices of a graph: typed messages, handlers in plain Python, an audit trail.

from hpcmp import agents

    Ping = agents.MessageType("ping", hops="int64")
    walker = agents.Agent("walker", state={"heard": "int64"})

    @walker.on(Ping)
    def take(me, msg, out, ctx):
        me.heard += 1
        out.to_neighbours(Ping, msg.hops + 1)

    run = agents.simulate(graph, [walker], steps=10, seed=7)

What is sent in step t can be read in step t + 1, in the order of (id of the sender, number of its message). States and
messages have the same bits on any number of ranks and threads and for any partition.
"""

from hpcmp.agents.draws import chance
from hpcmp.agents.kinds import Agent, MessageType
from hpcmp.agents.run import Simulation
from hpcmp.agents.simulate import simulate

__all__ = ["Agent", "MessageType", "Simulation", "chance", "simulate"]
