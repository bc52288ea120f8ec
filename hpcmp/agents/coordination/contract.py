"""Contract net: managers announce tasks, contractors bid, the cheapest bid that came in time gets the task.

A manager announces its task to all neighbours, with a deadline. A contractor without work bids on one announcement at a time,
the cheapest for it, and waits for the answer; it may be slow, so that its bid comes late. At the deadline the manager tells
all neighbours who won; without a bid it announces once more, up to ``rounds`` times. Therefore

* each task is awarded once at most, and to somebody who bid on it by its deadline: late bids are counted, not taken;
* no contractor has two tasks at once, since it bids on none while it works or waits;
* the price is the lowest of the bids that came in time (of equal ones, the smallest id).

Smith, The contract net protocol, IEEE Trans. Computers C-29 (1980).
"""

import numpy as np

from hpcmp import agents
from hpcmp.agents.coordination.stage import refuse, stage, undirected
from hpcmp.graph import simplified

Announce = agents.MessageType("announce", work="float64", deadline="int64")
Bid = agents.MessageType("bid", price="float64", deadline="int64")
Finished = agents.MessageType("finished")  # to oneself
Award = agents.MessageType("award", winner="int64")
Done = agents.MessageType("done")
MANAGER, CONTRACTOR = range(2)
NOBODY = np.iinfo(np.int64).min  # an id that no vertex of a problem may have


def model():
    """Managers with one task each, and contractors. Local."""
    task = {"work": "float64", "winner": "int64", "price": "float64", "deadline": "int64", "awarded": "int64"}
    counts = {"n_rounds": "int64", "n_bids": "int64", "n_late": "int64", "n_awards": "int64", "done": "int64"}
    manager = agents.Agent("manager", {**task, **counts})
    state = {"speed": "float64", "offer": "float64", "asker": "int64", "deadline": "int64", "busy": "bool"}
    contractor = agents.Agent("contractor", {**state, "answer_to": "int64", "n_won": "int64", "n_done": "int64"})

    @manager.begin
    def start(me, ctx):
        me.winner = NOBODY
        me.awarded = -1
        me.done = -1
        me.deadline = -1

    @manager.on(Bid)
    def weigh(me, msg, out, ctx):
        if msg.deadline != me.deadline or ctx.step > me.deadline:  # of this round or an earlier one
            me.n_late += 1
        else:
            if me.winner == NOBODY or msg.price < me.price:
                me.winner = msg.sender
                me.price = msg.price
            me.n_bids += 1

    @manager.on(Done)
    def finish(me, msg, out, ctx):
        me.done = ctx.step

    @manager.on(Announce)
    def pass_by(me, msg, out, ctx):
        pass  # of a manager that is a neighbour

    @manager.on(Award)
    def look_on(me, msg, out, ctx):
        pass

    @manager.each_step
    def lead(me, out, ctx):
        if me.n_awards == 0 and ctx.step == me.deadline:  # all bids of this step are read
            me.n_rounds += 1
            out.to_neighbours(Award, me.winner)
            if me.winner != NOBODY:
                me.n_awards += 1
                me.awarded = ctx.step
        if me.n_awards == 0 and me.n_rounds < ctx.rounds and ctx.step >= me.deadline:
            me.deadline = ctx.step + ctx.patience
            out.to_neighbours(Announce, me.work, me.deadline)

    @manager.goal
    def is_served(me, ctx):
        return me.done >= 0 or (me.n_awards == 0 and me.n_rounds >= ctx.rounds)

    @contractor.begin
    def idle(me, ctx):
        me.asker = NOBODY
        me.answer_to = NOBODY

    @contractor.on(Announce)
    def consider(me, msg, out, ctx):
        price = msg.work / me.speed
        is_free = not me.busy and me.answer_to == NOBODY
        if is_free and (me.asker == NOBODY or price < me.offer):
            me.asker = msg.sender
            me.offer = price
            me.deadline = msg.deadline

    @contractor.on(Award)
    def hear(me, msg, out, ctx):
        if msg.winner == me.id:
            me.busy = True
            me.n_won += 1
            out.send_later(1 + int(me.offer), Finished, me.id)
        elif msg.sender == me.answer_to:
            me.answer_to = NOBODY

    @contractor.on(Finished)
    def deliver(me, msg, out, ctx):
        me.busy = False
        me.n_done += 1
        out.send(Done, me.answer_to)
        me.answer_to = NOBODY

    @contractor.each_step
    def bid(me, out, ctx):
        if me.asker != NOBODY:
            me.answer_to = me.asker
            me.asker = NOBODY
            delay = 1 + int(agents.chance(me, ctx) * ctx.slowness)
            out.send_later(delay, Bid, me.answer_to, me.offer, me.deadline)

    return [manager, contractor]


def run(graph, is_contractor, *, work, speed=1.0, patience=4, slowness=1, rounds=10, steps, seed=0, **more):
    """Let managers find contractors for their tasks. Collective.

    Parameters
    ----------
    graph : Graph
        Undirected: edges between managers and the contractors they may ask.
    is_contractor : bool (n_owned,) or name of a vertex field
        The others are managers.
    work, speed : float (n_owned,), number or name of a vertex field
        Of a manager's task, of a contractor. Their ratio is the price, and how
        many steps it takes.
    patience : int
        Steps from an announcement to its deadline.
    slowness : int
        Bids take 1 to so many steps, by chance.
    rounds : int
        Announcements of a task at most.
    steps, seed : int
    more
        Options of `simulate`.

    Returns
    -------
    Simulation
        Of managers ``winner``, ``price``, ``awarded`` and ``done`` (steps, -1:
        never), ``n_bids`` and ``n_late``; of contractors ``n_won``, ``n_done``.
    """
    undirected(graph)
    refuse(
        graph, patience < 2 or slowness < 1 or rounds < 1, "patience is at least 2, slowness and rounds are at least 1"
    )
    ready = stage(simplified(graph), role=is_contractor, work=work, speed=speed)
    fields = ready.vertex_fields
    fields["role"] = fields["role"].astype(np.int64)
    refuse(
        graph, not (fields["speed"] > 0).all() or not (fields["work"] >= 0).all(), "speed is above 0, work at least 0"
    )
    params = {"patience": int(patience), "slowness": int(slowness), "rounds": int(rounds)}
    return agents.simulate(ready, model(), steps=steps, seed=seed, params=params, **more)
