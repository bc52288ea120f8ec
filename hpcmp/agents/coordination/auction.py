"""Assignment by auction: persons bid for objects, whose prices rise until all are assigned.

Bertsekas's auction, by messages alone. A person without an object asks its objects for prices; with v = benefit - price it
bids on the best one, raising its price by

    (best v) - (second best v) + epsilon

An object goes to its highest bidder, and the person who had it asks anew. Prices only rise, and each person's object is
within epsilon of its best one: with n persons the total benefit is within n epsilon of the best, so **exact for whole
benefits and epsilon < 1/n**. Epsilon is scaled: the prices of a run with a large epsilon are the first prices of the next
with one ``FACTOR`` times smaller, so that a war of prices between few objects is short. A round of the auction is four steps
of messages: ask, tell, bid, decide. Where there are more objects than persons, prices that rose under one epsilon would
spoil the next, so the last run begins with prices 0.

Bertsekas, The auction algorithm: a distributed relaxation method for the assignment problem, Annals of OR 14 (1988). That not
all can be assigned shows as in his Auction algorithms for network flow problems, Comput. Optim. Appl. 1 (1992): a person's profit
falls below what any assignment would leave it.
"""

from dataclasses import replace

import numpy as np

from hpcmp import agents
from hpcmp.agents.coordination.stage import refuse, stage
from hpcmp.graph import both_ways, with_edge_field

Ask = agents.MessageType("ask")
Price = agents.MessageType("price", price="float64")
Bid = agents.MessageType("bid", price="float64")
Won = agents.MessageType("won")
Lost = agents.MessageType("lost")
PERSON, OBJECT = range(2)
NOBODY = np.iinfo(np.int64).min  # an id that no vertex of a problem may have
FACTOR = 5.0  # 4 to 10 by the book (Bertsekas, Network optimization, 1998, section 7.1)
LOWEST = -np.inf


def model():
    """Persons and objects. Local."""
    state = {"object": "int64", "best": "int64", "first": "float64", "second": "float64", "offer": "float64"}
    person = agents.Agent("person", {**state, "wants": "bool", "is_hopeless": "bool"})
    thing = agents.Agent("object", {"owner": "int64", "bidder": "int64", "price": "float64", "highest": "float64"})

    @person.begin
    def start(me, ctx):
        me.object = NOBODY
        me.best = NOBODY
        me.wants = True

    @person.on(Lost)
    def lose(me, msg, out, ctx):
        if msg.sender == me.object:
            me.object = NOBODY
        me.wants = True

    @person.on(Won)
    def win(me, msg, out, ctx):
        me.object = msg.sender

    @person.on(Price)
    def look(me, msg, out, ctx):
        value = out.edge(out.place(msg.sender)).benefit - msg.price
        if me.best == NOBODY or value > me.first:
            me.second = me.first if me.best != NOBODY else LOWEST
            me.first = value
            me.offer = msg.price
            me.best = msg.sender
        elif value > me.second:
            me.second = value

    @person.each_step(alone=False)
    def bid(me, out, ctx):
        if me.wants:
            me.wants = False
            out.to_neighbours(Ask)
            me.is_hopeless = out.degree() == 0
        if me.best != NOBODY:
            me.is_hopeless = me.first < ctx.least
            if not me.is_hopeless:
                margin = me.first - me.second if me.second > LOWEST else ctx.large
                out.send(Bid, me.best, me.offer + margin + ctx.epsilon)
            me.best = NOBODY

    @person.goal
    def has_one(me, ctx):
        return me.object != NOBODY or me.is_hopeless

    @thing.begin
    def open_up(me, ctx):
        me.owner = NOBODY
        me.bidder = NOBODY

    @thing.on(Ask)
    def tell(me, msg, out, ctx):
        out.send(Price, msg.sender, me.price)

    @thing.on(Bid)
    def weigh(me, msg, out, ctx):
        # another may have raised the price since it was told: a bid has to be above it by epsilon, or the war has no end
        is_better = msg.price >= me.price + ctx.epsilon if me.bidder == NOBODY else msg.price > me.highest
        if is_better and me.bidder != NOBODY:
            out.send(Lost, me.bidder)
        if is_better:
            me.bidder = msg.sender
            me.highest = msg.price
        else:
            out.send(Lost, msg.sender)

    @thing.each_step(alone=False)
    def decide(me, out, ctx):
        if me.bidder != NOBODY:
            if me.owner != NOBODY:
                out.send(Lost, me.owner)
            me.owner = me.bidder
            me.price = me.highest
            me.bidder = NOBODY
            out.send(Won, me.owner)

    return [person, thing]


def run(graph, is_object, benefit="weight", *, epsilon=None, steps=10**7, **more):
    """Assign every person an object, with the largest total benefit. Collective.

    Parameters
    ----------
    graph : Graph
        Edges between persons and the objects that they may have.
    is_object : bool (n_owned,) or name of a vertex field
        The others are persons.
    benefit : name of an edge field
    epsilon : float, optional
        Total benefit lost per person at most. Default: 1 / (persons + 1),
        which loses nothing if benefits are whole.
    steps : int
        At most so many for each epsilon.
    more
        Options of `simulate`, but for ``checkpoints``.

    Returns
    -------
    Simulation
        Of the last epsilon: ``object`` of persons, ``owner`` and ``price`` of
        objects, `NOBODY` where there is none.

    Raises
    ------
    ProgramError
        Not all persons can have an object. Raised on every rank.
    """
    refuse(graph, benefit not in graph.edge_fields, f"the graph has no edge field {benefit!r}")
    several = "an auction is a run for each epsilon, and does not go on from a checkpoint; leave checkpoints out"
    refuse(graph, more.get("checkpoints") is not None, several)
    graph = both_ways(graph)
    benefits = graph.edge_fields[benefit].astype(np.float64)
    refuse(graph, not np.isfinite(benefits).all(), "a benefit is not a finite number")
    ready = with_edge_field(stage(graph, role=is_object), "benefit", benefits)
    role = ready.vertex_fields["role"].astype(np.int64)
    n_objects = graph.comm.allreduce(int(role.sum()))
    n_persons = graph.n_vertices - n_objects
    largest = max(graph.comm.allgather(float(np.abs(benefits).max(initial=0))))
    epsilon = 1 / (n_persons + 1) if epsilon is None else float(epsilon)
    refuse(graph, not epsilon > 0, f"epsilon = {epsilon} is not above 0")
    epsilons, price = [max(largest / 2, epsilon)], np.zeros(graph.n_owned)
    while epsilons[-1] > epsilon:
        epsilons.append(max(epsilons[-1] / FACTOR, epsilon) if n_persons == n_objects else epsilon)
    for step in epsilons:
        highest = max(graph.comm.allgather(float(price.max(initial=0))))
        least = -((2 * n_persons - 1) * largest + (n_persons - 1) * step + highest)
        now = replace(ready, vertex_fields={"role": role, "price": price}, digest=None)
        params = {"epsilon": step, "large": 2 * largest + step, "least": least}
        found = agents.simulate(now, model(), steps=steps, params=params, **more)
        is_person = role == PERSON
        hopeless = is_person & found["is_hopeless"]
        refuse(graph, hopeless.any(), f"{_some(graph, hopeless)} cannot have an object: too many want the same few")
        missing = is_person & (found["object"] == NOBODY)
        refuse(graph, missing.any(), f"{_some(graph, missing)} has no object after {steps} steps")
        price = found["price"] if n_persons == n_objects else np.zeros(graph.n_owned)
    return found


def _some(graph, is_one):
    return f"person {graph.id[np.flatnonzero(is_one)[0]]}" if is_one.any() else ""
