"""Neighbours' rows made one, and the way back along the same edges.

Forward, a row gathers from its in-neighbours; backward, from the rows it was heard by: the same kernels over the
transposed edges, so that sums keep their canonical order and one thread writes a row. Gradients of ghosts need not be
folded at their owners: it is the gradient of the result that crosses the network.
"""

import numpy as np

from hpcmp.kernels import attention, gather
from hpcmp.nn.tape import made

NONE = np.zeros(0, np.float32)


def sum_neighbours(x, weight=None):
    """Sum of x over the in-edges of every vertex. Collective.

    Parameters
    ----------
    x : Tensor (n_owned, width)
    weight : str, optional
        Edge field that each neighbour's row is multiplied by.
    """
    view = x.view

    def gathered(values, graph):
        w = NONE if weight is None else graph.edge_fields[weight]
        out = np.empty_like(values)

        def call(local, rows, lo, hi):
            gather.sum_rows(graph.in_ptr, graph.in_src, w, local, rows, out, lo, hi)

        view.aggregate(values, call, graph)
        return out

    return made(gathered(x.data, view.graph), view, (x,), lambda d: (gathered(d, view.turned),))


def mean_neighbours(x):
    """Mean of x over the in-edges of every vertex, 0 without any. Collective."""
    view = x.view
    share = (1 / np.maximum(view.graph.in_degree, 1)).astype(x.data.dtype)[:, None]
    summed = sum_neighbours(x)
    return made(summed.data * share, view, (summed,), lambda d: (d * share,))


def max_neighbours(x):
    """Largest of x over the in-edges of every vertex, channel by channel, 0 without any. Collective.

    The gradient goes to one neighbour: of those with the largest value, the first in canonical order.
    """
    view, graph = x.view, x.view.graph
    key = view.kept.setdefault("order", graph.local_order())
    out, best = np.empty_like(x.data), np.empty(x.shape, np.int64)

    def call(local, rows, lo, hi):
        gather.max_rows(graph.in_ptr, graph.in_src, key, local, rows, out, best, lo, hi)

    view.aggregate(x.data, call)

    def back(d):
        turned, dx = view.turned, np.empty_like(d)
        where = view.with_ghosts(best, turned)

        def route(local, rows, lo, hi):
            gather.route_rows(turned.in_ptr, turned.in_src, graph.order, where, local, rows, dx, lo, hi)

        view.aggregate(d, route, turned)
        return (dx,)

    return made(out, view, (x,), back)


def sum_relations(x, width, weight):
    """Sum over in-edges of ``weight`` times the block of x that belongs to the edge's relation. Collective.

    Parameters
    ----------
    x : Tensor (n_owned, relations * width)
    width : int
    weight : str
        Edge field.
    """
    view, graph = x.view, x.view.graph
    out = np.empty((len(x.data), width), x.data.dtype)

    def call(local, rows, lo, hi):
        g = graph
        gather.sum_relations(g.in_ptr, g.in_src, g.relation, g.edge_fields[weight], local, rows, out, lo, hi)

    view.aggregate(x.data, call)

    def back(d):
        g, dx = view.turned, np.empty_like(x.data)

        def spread(local, rows, lo, hi):
            gather.spread_relations(g.in_ptr, g.in_src, g.relation, g.edge_fields[weight], local, rows, dx, lo, hi)

        view.aggregate(d, spread, g)
        return (dx,)

    return made(out, view, (x,), back)


def attend(z, s, t, slope=0.2, with_self=True):
    """Sum of z over in-edges, weighed by the softmax of leaky(s of the sender + t of the receiver). Collective.

    Parameters
    ----------
    z : Tensor (n_owned, heads * width)
    s, t : Tensor (n_owned, heads)
    slope : float
        Of the leaky ReLU below 0.
    with_self : bool
        A vertex hears itself too, before its neighbours.
    """
    view, graph, turned = z.view, z.view.graph, z.view.turned
    heads = s.width
    out = np.empty_like(z.data)
    top, total = (np.empty((len(out), heads)) for _ in range(2))
    s_local = view.with_ghosts(s.data)

    def call(local, rows, lo, hi):
        edges = graph.in_ptr, graph.in_src, with_self
        attention.attend(*edges, local, s_local, t.data, slope, rows, out, top, total, lo, hi)

    z_local = view.aggregate(z.data, call)

    def back(d):
        dot = np.einsum("nhk,nhk->nh", *(a.reshape(len(a), heads, -1).astype(np.float64) for a in (d, out)))
        dz, ds, dt = np.empty_like(z.data), np.empty_like(s.data), np.empty_like(t.data)

        def rows_back(rows, lo, hi):
            edges = graph.in_ptr, graph.in_src, with_self
            attention.attend_back_rows(*edges, z_local, s_local, t.data, slope, top, total, dot, d, rows, dt, lo, hi)

        view.over_rows(rows_back)
        # of receivers elsewhere, what their rows' weights are made of
        known = [view.with_ghosts(a, turned) for a in (t.data, top, total, dot)]

        def sources_back(local, rows, lo, hi):
            edges = turned.in_ptr, turned.in_src, with_self
            attention.attend_back_sources(
                *edges, z.data, s.data, known[0], slope, *known[1:], local, rows, dz, ds, lo, hi
            )

        view.aggregate(np.ascontiguousarray(d), sources_back, turned)
        return dz, ds, dt

    return made(out, view, (z, s, t), back)
