"""A graph of tasks, done by workers that fail: every task once, and after all that it needs.

A task with nothing left to wait for offers itself to its workers, again every few steps until one has it; a free worker
claims one offer at a time; the task gives itself to the first who claims it. A worker fails with the probability
``failure`` while at a task: then it tells nobody, and is of use again only after ``repair`` steps. The task notices at its
timeout and offers itself anew. Therefore

* a task is done once, after all the tasks that it needs, and its number of attempts is 1 + the failures it met;
* all is done at last if each task has a worker and failure < 1, and not before the longest path of work allows.

The timeout is later than a worker that does not fail can answer, so no task is ever done twice: in steps of equal length
failures are known for certain (Chandra and Toueg, Unreliable failure detectors, J. ACM 43, 1996: a perfect detector).
"""

import numpy as np

from hpcmp import agents
from hpcmp.agents.coordination.stage import refuse, stage

Offer = agents.MessageType("offer")
Claim = agents.MessageType("claim")
Assign = agents.MessageType("assign", work="int64")
Decline = agents.MessageType("decline")
Finished = agents.MessageType("finished")
Done = agents.MessageType("done")  # to the tasks that wait for it
Timeout = agents.MessageType("timeout", attempt="int64")  # to oneself
Free = agents.MessageType("free")  # to oneself
TASK, WORKER = range(2)
NOBODY = np.iinfo(np.int64).min  # an id that no vertex of a problem may have
PATIENCE = 4  # steps between offers: an offer, a claim and an answer take 3


def model():
    """Tasks and workers. Local."""
    state = {"work": "int64", "n_before": "int64", "worker": "int64", "offered": "int64", "ready": "int64"}
    task = agents.Agent("task", {**state, "done": "int64", "n_attempts": "int64", "n_failures": "int64"})
    state = {"is_busy": "bool", "chosen": "int64", "n_done": "int64", "n_failed": "int64"}
    worker = agents.Agent("worker", state)

    @task.begin
    def start(me, ctx):
        me.worker = NOBODY
        me.ready = -1
        me.done = -1

    @task.on(Done)
    def need_less(me, msg, out, ctx):
        me.n_before -= 1

    @task.on(Claim)
    def answer(me, msg, out, ctx):
        if me.worker == NOBODY and me.done < 0:
            me.worker = msg.sender
            me.n_attempts += 1
            out.send(Assign, msg.sender, me.work)
            out.send_later(me.work + 3, Timeout, me.id, me.n_attempts)  # an answer would be here a step before
        else:
            out.send(Decline, msg.sender)

    @task.on(Finished)
    def finish(me, msg, out, ctx):
        me.done = ctx.step
        out.to_neighbours(Done)

    @task.on(Timeout)
    def give_up(me, msg, out, ctx):
        if me.done < 0 and msg.attempt == me.n_attempts:
            me.n_failures += 1
            me.worker = NOBODY
            me.offered = ctx.step - PATIENCE

    @task.on(Offer)
    def pass_by(me, msg, out, ctx):
        pass  # of a task that this one waits for

    @task.each_step
    def offer(me, out, ctx):
        if me.n_before == 0 and me.ready < 0:
            me.ready = ctx.step
            me.offered = ctx.step - PATIENCE
        if me.ready >= 0 and me.done < 0 and me.worker == NOBODY and ctx.step - me.offered >= PATIENCE:
            me.offered = ctx.step
            out.to_neighbours(Offer)

    @task.goal
    def is_done(me, ctx):
        return me.done >= 0

    @worker.begin
    def idle(me, ctx):
        me.chosen = NOBODY

    @worker.on(Offer)
    def choose(me, msg, out, ctx):
        if not me.is_busy and me.chosen == NOBODY:
            me.chosen = msg.sender
            out.send(Claim, msg.sender)

    @worker.on(Decline)
    def look_on(me, msg, out, ctx):
        me.chosen = NOBODY

    @worker.on(Assign)
    def work(me, msg, out, ctx):
        me.is_busy = True
        me.chosen = NOBODY
        if agents.chance(me, ctx) < ctx.failure:
            me.n_failed += 1
            out.send_later(msg.work + ctx.repair, Free, me.id)
        else:
            me.n_done += 1
            out.send_later(msg.work, Finished, msg.sender)
            out.send_later(msg.work, Free, me.id)

    @worker.on(Free)
    def rest(me, msg, out, ctx):
        me.is_busy = False

    @worker.on(Done)
    def hear(me, msg, out, ctx):
        pass  # told to all neighbours of a task

    return [task, worker]


def run(graph, is_worker, *, work=1, failure=0.0, repair=5, steps, seed=0, **more):
    """Let workers do all tasks of a graph. Collective.

    Parameters
    ----------
    graph : Graph
        Directed: edges from a task to those that need it, and to the workers
        that may do it. A task in a circle is never done.
    is_worker : bool (n_owned,) or name of a vertex field
        The others are tasks.
    work : int (n_owned,), number or name of a vertex field
        Steps that a task takes, at least 1.
    failure : float
        Probability that a worker fails at a task.
    repair : int
        Steps before it is of use again, at least 1.
    steps, seed : int
    more
        Options of `simulate`.

    Returns
    -------
    Simulation
        Of tasks ``ready`` and ``done`` (steps, -1: never), ``n_attempts`` and
        ``n_failures``; of workers ``n_done`` and ``n_failed``. It ended as
        "goal" if all is done.
    """
    refuse(graph, not graph.directed, "tasks lead to those that need them: the graph has to be directed")
    refuse(graph, not 0 <= failure <= 1 or repair < 1, "failure is a probability, and repair at least 1")
    ready = stage(graph, role=is_worker, work=work, n_before=graph.in_degree.astype(np.int64))
    fields = ready.vertex_fields
    fields["role"] = fields["role"].astype(np.int64)
    refuse(graph, (fields["work"] < 1).any(), "work is at least 1")
    params = {"failure": float(failure), "repair": int(repair)}
    return agents.simulate(ready, model(), steps=steps, seed=seed, params=params, **more)
