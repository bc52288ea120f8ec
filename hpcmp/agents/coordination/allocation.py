"""Sharing resources by prices: dual decomposition of a network utility problem.

Users want the amounts x >= 0 that make sum_i w_i log(x_i) largest, while no resource gives more than its capacity, that is
sum x_i <= c over the users i of each resource: proportionally fair shares. A resource tells its price l, a user takes

    x = w / (sum of the prices of its resources), at most ``most``

and tells it, and each resource moves its price up or down by ``rate`` * (what is taken - c), not below 0. At rest the
amounts are the only optimum: no resource is overdrawn, and one with a price is used up (Karush, Kuhn and Tucker). Of a
single resource user i gets c w_i / sum(w).

Kelly, Maulloo and Tan, Rate control for communication networks, J. Oper. Res. Soc. 49 (1998); Low and Lapsley, Optimization
flow control, IEEE/ACM Trans. Networking 7 (1999), with a condition on ``rate``.
"""

import numpy as np

from hpcmp import agents
from hpcmp.agents.coordination.stage import refuse, stage, undirected
from hpcmp.graph import simplified

Price = agents.MessageType("price", price="float64")
Want = agents.MessageType("want", amount="float64")
USER, RESOURCE = range(2)


def model():
    """Users with an ``amount``, resources with a ``price``. Local."""
    user = agents.Agent("user", {"weight": "float64", "amount": "float64", "total": "float64", "change": "float64"})
    state = {"capacity": "float64", "price": "float64", "taken": "float64", "change": "float64"}
    resource = agents.Agent("resource", state)

    @user.on(Price)
    def hear(me, msg, out, ctx):
        me.total += msg.price

    @user.each_step
    def take(me, out, ctx):
        if ctx.step % 2 == 1:
            amount = min(ctx.most, me.weight / me.total) if me.total > 0 else ctx.most
            me.change = abs(amount - me.amount)
            me.amount = amount
            me.total = 0.0
            out.to_neighbours(Want, amount)

    @user.goal
    def rests(me, ctx):
        return ctx.step > 2 and me.change <= ctx.tolerance

    @resource.begin
    def start(me, ctx):
        me.price = 1.0

    @resource.on(Want)
    def count(me, msg, out, ctx):
        me.taken += msg.amount

    @resource.each_step
    def tell(me, out, ctx):
        if ctx.step % 2 == 0:
            if ctx.step > 0:
                price = max(0.0, me.price + ctx.rate * (me.taken - me.capacity))
                me.change = abs(price - me.price)
                me.price = price
            me.taken = 0.0
            out.to_neighbours(Price, me.price)

    @resource.goal
    def stands(me, ctx):
        return ctx.step > 2 and me.change <= ctx.rate * ctx.tolerance

    return [user, resource]


def run(graph, is_resource, *, capacity, weight=1.0, rate, steps, most=1e6, tolerance=1e-9, **more):
    """Share resources among users. Collective.

    Parameters
    ----------
    graph : Graph
        Undirected: each edge joins a user and a resource that it needs.
    is_resource : bool (n_owned,) or name of a vertex field
    capacity, weight : float (n_owned,), number or name of a vertex field
        Of a resource, above 0; of a user, above 0.
    rate : float
        Too large a one never comes to rest.
    steps : int
        At most so many.
    most : float
        Largest amount.
    tolerance : float
        The run ends when no amount changes by more, and each resource with a
        price is used up to so much.
    more
        Options of `simulate`.

    Returns
    -------
    Simulation
        ``amount`` of users, ``price`` of resources.
    """
    undirected(graph)
    ready = stage(simplified(graph), role=is_resource, capacity=capacity, weight=weight)
    fields = ready.vertex_fields
    fields["role"] = fields["role"].astype(np.int64)
    is_wrong = not (fields["capacity"] > 0).all() or not (fields["weight"] > 0).all() or not rate > 0
    refuse(graph, is_wrong, "capacity, weight and rate are above 0")
    params = {"rate": float(rate), "most": float(most), "tolerance": float(tolerance)}
    return agents.simulate(ready, model(), steps=steps, params=params, **more)
