"""Models of agents for tests: one that uses all there is, and small ones."""

import functools

import numpy as np
from building import build
from graphs import random, sample

import hpcmp
from hpcmp import agents
from hpcmp.graph import with_vertex_field

MEETING = random(60, 240, stride=3, first=-50)
RING = sample(range(12), [(k, (k + 1) % 12) for k in range(12)])
MARKET = sample(
    range(60),
    [(i, 20 + (i * 7 + k * k) % 38) for i in range(19) for k in range(4)] + [(0, 1), (5, 9)],  # 19, 58, 59 have nobody
    directed=False,
)
Note = agents.MessageType("note", x="int64")

Job = agents.MessageType("job", id="int64", work="float64")
Done = agents.MessageType("done", id="int64", value="float64")
Tick = agents.MessageType("tick")
Sum = agents.MessageType("sum", x="float64", n="int64")


@functools.cache  # functions made anew are loaded anew
def everything():
    """Two types, random decisions, timers, arrivals, departures, replies, all policies."""
    # `due` is a field that messages have, hidden from functions
    boss = agents.Agent("boss", {"due": "int64", "got": "int64", "value": "float64", "last": "int64"})
    worker = agents.Agent(
        "worker", {"busy": "int64", "done": "int64", "heard": "float64", "n": "int64", "order": "int64"}
    )

    @boss.on(Done, limit=1, policy="drop_new")
    def collect(me, msg, out, ctx):
        me.got += 1
        me.value += msg.value
        me.last = me.last * 31 + msg.sender * 7 + msg.number  # tells of the order of reading

    @boss.on(Sum, limit=1, policy="drop_old")
    def note(me, msg, out, ctx):
        me.last = me.last * 17 + msg.n

    @boss.on(Tick)
    def give(me, msg, out, ctx):
        if out.degree() > 0:
            q = int(agents.chance(me, ctx, 2) * out.degree())
            out.send(Job, out.neighbour(q), me.due, agents.chance(me, ctx, 3))
        me.due += 1

    @boss.on(Job, limit=1, policy="drop_new")
    def pass_on(me, msg, out, ctx):
        if msg.work > 0.4:
            out.send(Job, msg.sender, msg.id, msg.work * ctx.fade)

    @boss.each_step
    def tick(me, out, ctx):
        if ctx.step % 3 == 0:
            out.send_later(1 + int(3 * agents.chance(me, ctx, 1)), Tick, me.id)
            out.to_neighbours(Sum, 0.5, 1)

    @worker.on(Job)
    def take(me, msg, out, ctx):
        me.done += 1
        me.order = me.order * 31 + msg.sender * 7 + msg.number
        out.send(Done, msg.sender, msg.id, msg.work * 2)

    @worker.on(Done, limit=1, policy="drop_old")
    def hear(me, msg, out, ctx):
        me.busy += msg.id

    def join(into, msg):
        into.x += msg.x
        into.n += msg.n

    @worker.on(Sum, limit=1, policy=join)
    def add(me, msg, out, ctx):
        me.heard += msg.x
        me.n += msg.n

    @worker.each_step
    def act(me, out, ctx):
        if agents.chance(me, ctx) < 0.3:
            out.to_neighbours(Sum, agents.chance(me, ctx, 4), 1)
        if me.done > 6:
            out.leave()

    @boss.measure(hpcmp.Sum, "worth")
    def worth_of_boss(me, ctx):
        return me.value / 3

    @worker.measure(hpcmp.Sum, "worth")
    def worth_of_worker(me, ctx):
        return me.heard / 7

    @worker.measure(hpcmp.Max)
    def busiest(me, ctx):
        return me.done

    return [boss, worker]


@functools.cache
def flood():
    """A value that spreads from vertex 0, step by step."""
    Wave = agents.MessageType("wave", hops="int64")
    cell = agents.Agent("cell", {"hops": "int64"})

    @cell.begin
    def start(me, ctx):
        me.hops = -1

    @cell.on(Wave)
    def hear(me, msg, out, ctx):
        if me.hops < 0:
            me.hops = msg.hops
            out.to_neighbours(Wave, msg.hops + 1)

    @cell.each_step
    def begin(me, out, ctx):
        if ctx.step == 0 and me.id == 0:
            me.hops = 0
            out.to_neighbours(Wave, 1)

    @cell.measure(hpcmp.Sum)
    def n_know(me, ctx):
        return me.hops >= 0

    @cell.goal
    def knows(me, ctx):
        return me.hops >= 0

    return cell


def stage(comm, of=MEETING, **options):
    """A graph with roles and times of arrival that depend on ids alone."""
    graph = build(comm, of, **options)
    id = graph.id[: graph.n_owned]
    graph = with_vertex_field(graph, "role", (id // 3 % 3 != 0).astype(np.int64))
    return with_vertex_field(graph, "arrives", np.where(id % 5 == 1, 4, 0))
