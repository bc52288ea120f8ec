"""Schelling's segregation: who has too few of its own kind around it asks empty cells whether it may come.

Cells of a square are agents, and so stand still; those who live in them move by messages. A round takes four steps:
whoever is unhappy asks some cells anywhere; an empty cell answers the asker of the smallest id; an asker follows the
first answer; and all cells around hear of it. So a round is what a step of others is that move one after the other: all
who were unhappy at its beginning move, but for those who found no empty cell or came too late; they ask again.

    python examples/schelling.py               (or: mpirun -n 2 python examples/schelling.py)

Source: T. Schelling, Dynamic models of segregation, J. Math. Sociology 1 (1971).
"""

import numpy as np

import hpcmp
from hpcmp import agents
from hpcmp.comm import world
from hpcmp.io.table import EdgeTable, VertexTable

Ask = agents.MessageType("ask")
Come = agents.MessageType("come")
Arrive = agents.MessageType("arrive", group="int8")
Changed = agents.MessageType("changed", was="int8", now="int8")  # groups 1 and 2; 0: nobody
ASKED = 12  # cells by one agent in a round
ARE_AROUND, ASK, ANSWER, FOLLOW = range(4)  # what is done in a step, by its number modulo 4

cell = agents.Agent("cell", state={"group": "int8", "ones": "int32", "twos": "int32", "promised": "bool"})


def is_happy(me, ctx):
    """Whether enough of those around are of one's own kind; alone, nobody is."""
    same = me.ones if me.group == 1 else me.twos
    return me.ones + me.twos > 0 and same >= ctx.wanted * (me.ones + me.twos)


@cell.on(Changed)
def look(me, msg, out, ctx):
    me.ones += int(msg.now == 1) - int(msg.was == 1)
    me.twos += int(msg.now == 2) - int(msg.was == 2)


@cell.on(Ask)
def answer(me, msg, out, ctx):
    if me.group == 0 and not me.promised:
        me.promised = True
        out.send(Come, msg.sender)


@cell.on(Come)
def follow(me, msg, out, ctx):
    if me.group > 0:
        out.send(Arrive, msg.sender, me.group)
        out.to_neighbours(Changed, me.group, 0)
        me.group = 0


@cell.on(Arrive)
def settle(me, msg, out, ctx):
    me.group = msg.group
    out.to_neighbours(Changed, 0, msg.group)


@cell.each_step
def act(me, out, ctx):
    if ctx.step == 0:
        out.to_neighbours(Changed, 0, me.group)
    if ctx.step % 4 == ASK:
        me.promised = False
        if me.group > 0 and not is_happy(me, ctx):
            for q in range(ASKED):
                out.send(Ask, int(agents.chance(me, ctx, q) * ctx.n_vertices))


@cell.measure(hpcmp.Sum)
def happy(me, ctx):
    return int(me.group > 0 and is_happy(me, ctx))


def town(comm, side, n_agents, radius, seed):
    """A square of cells, each beside those that are no further than the radius up, down and across. Collective.

    Cells are numbered at random, so that the smallest id favours no place.
    """
    rng = np.random.default_rng(seed)
    number = rng.permutation(side * side)
    own = np.arange(comm.rank, side * side, comm.size)
    src, dst = [], []
    for down in range(radius + 1):
        for across in range(-radius if down else 1, radius + 1):
            inside = (own // side + down < side) & (own % side + across >= 0) & (own % side + across < side)
            src.append(number[own[inside]])
            dst.append(number[own[inside] + down * side + across])
    group = np.zeros(side * side, np.int8)
    group[rng.permutation(side * side)[:n_agents]] = 1 + np.arange(n_agents) % 2
    edges = EdgeTable(np.concatenate(src), np.concatenate(dst), vertices=own, directed=False)
    return hpcmp.build_graph(comm, edges, vertices=VertexTable(own, {"group": group[own]}))[0]


def run(graph, rounds, wanted=0.4, seed=1, **more):
    """Let agents move for so many rounds. Collective."""
    params = {"wanted": wanted}
    return agents.simulate(graph, [cell], steps=4 * rounds + 2, seed=seed, params=params, any_receiver=True, **more)


if __name__ == "__main__":
    comm = world()
    found = run(town(comm, 100, 8000, 2, seed=1), rounds=20)
    if comm.rank == 0:
        for number, n in enumerate(found.measures["happy"][ASK::4]):
            print(f"after {number:2} rounds {n:.0f} of 8000 are happy")
        print(f"digest {found.digest}")
