"""Neighbours' rows made one, and the way back along the same edges.

Forward, a row gathers from its in-neighbours; backward, from the rows it was heard by: the same kernels over the
transposed edges, so that sums keep their canonical order and one thread writes a row. Gradients of ghosts need not be
folded at their owners: it is the gradient of the result that crosses the network.
"""

import numpy as np

from hpcmp.kernels import activations, attention, attention_mixed, gather, learning
from hpcmp.nn.elementwise import drawing
from hpcmp.nn.sums import alike
from hpcmp.nn.tape import made

NONE = np.zeros(0, np.float32)


class Scale:
    """A number of every vertex, and of the ghosts either way. Collective to make.

    Parameters
    ----------
    own : (n_owned,) array
    """

    def __init__(self, view, own):
        self.own = np.ascontiguousarray(own, view.dtype)
        self.graph, self.here = view.graph, view.with_ghosts(self.own)
        self.there = self.here if view.turned is view.graph else view.with_ghosts(self.own, view.turned)

    def local(self, graph):
        """With the ghosts of the graph, or of the turned one. Local."""
        return self.here if graph is self.graph else self.there


def sum_neighbours(x, weight=None, *, before=None, after=None, with_self=False):
    """after_i * sum of weight * before_j * x_j over the in-edges of i. Collective.

    Parameters
    ----------
    x : Tensor (n_owned, width)
    weight : str, optional
        Edge field.
    before, after : Scale, optional
    with_self : bool
        Every vertex hears itself too, before its neighbours, with weight 1, and then not by loops.

    Of features that never change the sum is made once and kept.
    """
    return _once(x, ("sum", x, weight, before, after, with_self), _summed)


def _once(x, key, make):
    """make(*what follows in the key), of features that never change once."""
    view = x.view
    if not (x.is_lasting and view.keeps_sums):
        return make(*key[1:])
    if key not in view.kept:
        view.kept[key] = make(*key[1:])
        view.kept[key].is_lasting = True
    return view.kept[key]


def _summed(x, weight, before, after, with_self):
    view = x.view

    def gathered(values, graph, first, last):
        w = NONE if weight is None else graph.edge_fields[weight]
        scales = NONE if first is None else first.local(graph), NONE if last is None else last.own
        out = view.empty(values.shape, values.dtype)

        def call(local, rows, lo, hi):
            gather.sum_rows(graph.in_ptr, graph.in_src, with_self, w, *scales, local, rows, out, lo, hi)

        view.aggregate(values, call, graph)
        return out

    def back(d):
        return (gathered(np.ascontiguousarray(d), view.turned, after, before),)

    return made(gathered(x.data, view.graph, before, after), view, (x,), back)


def mean_neighbours(x):
    """Mean of x over the in-edges of every vertex, 0 without any. Collective."""
    view = x.view
    if "mean" not in view.kept:
        view.kept["mean"] = Scale(view, 1 / np.maximum(view.graph.in_degree, 1))
    return sum_neighbours(x, after=view.kept["mean"])


def max_neighbours(x):
    """Largest of x over in-edges, channel by channel, 0 without any. Collective.

    The gradient goes to one neighbour: of those with the largest value, the first in canonical order. Of features that
    never change the largest is found once and kept.
    """
    return _once(x, ("max", x), _largest)


def _largest(x):
    view, graph = x.view, x.view.graph
    if "order" not in view.kept:
        view.kept["order"] = graph.local_order()
    key = view.kept["order"]
    out, best = view.empty(x.shape, x.data.dtype), view.empty(x.shape, np.int64)

    def call(local, rows, lo, hi):
        gather.max_rows(graph.in_ptr, graph.in_src, key, local, rows, out, best, lo, hi)

    view.aggregate(x.data, call)

    def back(d):
        turned, dx = view.turned, view.empty(d.shape, d.dtype)
        if "repeats" not in view.kept:
            view.kept["repeats"] = _repeats(turned)
        repeats = view.kept["repeats"]
        where = view.with_ghosts(best, turned)

        def route(local, rows, lo, hi):
            gather.route_rows(turned.in_ptr, turned.in_src, repeats, graph.order, where, local, rows, dx, lo, hi)

        view.aggregate(d, route, turned)
        return (dx,)

    return made(out, view, (x,), back)


def _repeats(graph):
    """Whether an earlier edge of the row has the same source: bool (n_in,); empty where such edges are neighbours."""
    if graph.relation is None:
        return np.zeros(0, np.bool_)
    repeats = np.ones(graph.n_in, np.bool_)
    repeats[np.unique(graph.in_rows() * graph.n_local + graph.in_src, return_index=True)[1]] = False
    return repeats


def attend(z, source, target, slope=0.2, with_self=True, dropout=0.0, again=None):
    """Sum of z over in-edges, weighed by a softmax of each head. Collective.

    The logit is leaky(source . z_j + target . z_i), j the sender.

    Parameters
    ----------
    z : Tensor (n_owned, heads * width)
    source, target : parameter (heads, width)
    slope : float
        Of the leaky ReLU below 0; below 1.
    with_self : bool
        A vertex hears itself too, before its neighbours, and then not by loops.
    dropout : float
        Probability that a weight is left out, after the softmax and in training only; the others are scaled up. Which
        ones is a function of (seed, epoch, number of this call, ids of both ends, head).
    again : callable () -> (n_owned, heads * width) array, optional
        Makes z's numbers again on the way back, so that they need not be kept.
    """
    view, graph, heads = z.view, z.view.graph, source.shape[0]
    n, dtype, slope = len(z.data), z.data.dtype, float(slope)
    if not slope < 1:
        raise alike(f"slope = {slope} is not below 1")
    flat = source.data.reshape(1, -1), target.data.reshape(1, -1)
    s, t = (dot_blocks(view, z.data, a, view.empty((n, heads), dtype)) for a in flat)
    s_local = view.with_ghosts(s)
    known = view.empty((len(s_local), heads, 2), np.float64)
    attention.powers(s_local, slope, known, 0, len(s_local))
    wants = view.is_learning and any(a.wants_grad for a in (z, source, target))
    out, up = view.empty(z.shape, dtype), view.empty(z.shape if wants else (0, z.width), dtype)
    up_weight, top, total = (view.empty((n, heads), np.float64) for _ in range(3))

    drops = _drops(view, dropout)
    edges = graph.in_ptr, graph.in_src, with_self, drops(graph)

    def call(local, rows, lo, hi):
        attention.attend(*edges, local, s_local, t, known, slope, rows, out, up, up_weight, top, total, lo, hi)

    view.aggregate(z.data, call)
    own, shape, kept = known[:n], z.shape, None if again else z.data

    def back(d):
        turned, d = view.turned, np.ascontiguousarray(d)
        rows_z = kept if again is None else again()
        dz, ds, dt = view.empty(shape, dtype), view.empty((n, heads), np.float64), view.empty((n, heads), np.float64)
        mine = view.empty((n, heads, attention.N_KNOWN), np.float64)

        def receivers(p, lo, hi):
            attention.back_receivers(d, out, up, up_weight, t, slope, top, total, dt, mine, lo, hi)

        view.over_parts(receivers)
        theirs = view.with_ghosts(mine, turned)

        back_edges = turned.in_ptr, turned.in_src, with_self, drops(turned)

        def senders(local, rows, lo, hi):
            attention.back_senders(*back_edges, rows_z, s, own, *flat, dt, slope, theirs, local, rows, dz, ds, lo, hi)

        view.aggregate(d, senders, turned)
        leaves = np.zeros((view.n_parts, 2, shape[1]))
        view.over_parts(lambda p, lo, hi: attention.back_vectors(rows_z, ds, dt, leaves, p, lo, hi))
        vectors = view.tree_sum(leaves).astype(dtype)
        return dz, vectors[0].reshape(source.shape), vectors[1].reshape(target.shape)

    return made(out, view, (z, source, target), back)


def attend_mixed(z, y, a, slope=0.2, with_self=True, dropout=0.0):
    """`attend` with logits a . leaky(z_j + y_i), head by head (GATv2). Collective.

    Parameters
    ----------
    z, y : Tensor (n_owned, heads * width)
    a : parameter (heads, width)
    """
    view, graph, heads = z.view, z.view.graph, a.shape[0]
    flat, out, drops = a.data.reshape(-1), np.empty_like(z.data), _drops(view, dropout)
    top, total = (np.empty((len(out), heads)) for _ in range(2))
    edges = graph.in_ptr, graph.in_src, with_self, drops(graph)

    def call(local, rows, lo, hi):
        attention_mixed.attend(*edges, local, y.data, flat, heads, slope, rows, out, top, total, lo, hi)

    z_local = view.aggregate(z.data, call)

    def back(d):
        turned, d = view.turned, np.ascontiguousarray(d)
        dot = dot_blocks(view, d, out, np.empty((len(d), heads)))
        dz, dy, leaves = np.empty_like(z.data), np.empty_like(y.data), np.zeros((view.n_parts, a.data.size))

        def rows_back(p, lo, hi):
            known = z_local, y.data, flat, heads, slope, top, total, dot, d
            attention_mixed.back_rows(*edges, *known, dy, leaves[p], lo, hi)

        view.over_parts(rows_back)
        elsewhere = [view.with_ghosts(v, turned) for v in (y.data, top, total, dot)]
        back_edges = turned.in_ptr, turned.in_src, with_self, drops(turned)

        def sources_back(local, rows, lo, hi):
            known = z.data, elsewhere[0], flat, heads, slope, *elsewhere[1:], local
            attention_mixed.back_sources(*back_edges, *known, rows, dz, lo, hi)

        view.aggregate(d, sources_back, turned)
        return dz, dy, view.tree_sum(leaves).reshape(a.shape).astype(a.data.dtype)

    return made(out, view, (z, y, a), back)


def _drops(view, p):
    """Of a graph, what kernels of attention need to leave out weights; see there: callable (graph)."""
    limit, scale = drawing(p)
    if not view.is_training or p == 0:
        return lambda graph: None
    draws = view.next_draws()

    def of(graph):
        key = np.empty(graph.n_local, np.uint64)
        learning.draw_keys(*draws, graph.id, key)
        return limit, scale, key, graph.id

    return of


def dot_blocks(view, a, b, out):
    """out[i, h] = a[i] . b[i] over block h, b of as many rows or one. Local."""
    view.over_parts(lambda p, lo, hi: activations.dot_blocks(a, b, out, lo, hi))
    return out
