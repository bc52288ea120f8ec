"""Layers of graph neural networks: each is a formula over `hpcmp.nn`'s operations.

N(i) are the in-neighbours of i, d(i) their number. Weights are (width in, width out).
"""

import numpy as np

from hpcmp.errors import ProgramError
from hpcmp.graph import with_edge_field
from hpcmp.nn.aggregate import (
    Scale,
    attend,
    attend_mixed,
    dot_blocks,
    max_neighbours,
    mean_neighbours,
    sum_neighbours,
    sum_relations,
)
from hpcmp.nn.dense import linear, matvec, sum_over_rows
from hpcmp.nn.elementwise import add, relu, scale
from hpcmp.nn.module import Module, Parameter, Rows
from hpcmp.nn.propagate import propagate
from hpcmp.nn.sums import alike
from hpcmp.nn.tape import made


class Linear(Module):
    """x W + b."""

    def __init__(self, n_in, n_out, bias=True):
        self.weight = Parameter((n_in, n_out))
        self.bias = Parameter((1, n_out), "zeros") if bias else None

    def __call__(self, x):
        return linear(x, self.weight, self.bias)


class GCN(Module):
    """h_i = sum over j in N(i) and i of x_j W / sqrt((d(j) + 1) (d(i) + 1)) + b.

    Loops among the edges do not count: every vertex hears itself once. Source:
    T. Kipf and M. Welling, ICLR 2017. Transforms first where that narrows the
    rows that travel.
    """

    def __init__(self, n_in, n_out, bias=True):
        self.weight = Parameter((n_in, n_out))
        self.bias = Parameter((1, n_out), "zeros") if bias else None
        self.narrows = n_out < n_in

    def __call__(self, graph, x):
        if self.narrows:
            h = self._spread(graph, linear(x, self.weight))
            return h if self.bias is None else add(h, self.bias)
        return linear(self._spread(graph, x), self.weight, self.bias)

    def _spread(self, view, x):
        if "gcn" not in view.kept:
            view.kept["gcn"] = Scale(view, 1 / np.sqrt(1.0 + view.graph.in_degree - n_loops(view.graph)))
        root = view.kept["gcn"]
        return sum_neighbours(x, before=root, after=root, with_self=True)


def n_loops(graph):
    """Edges of every owned row from itself: int64 (n_owned,). Local."""
    rows = graph.in_rows()
    return np.bincount(rows[graph.in_src == rows], minlength=graph.n_owned)


class SAGE(Module):
    """h_i = aggregate of x_j over N(i), times W, + x_i W_self + b.

    Source: W. Hamilton, R. Ying and J. Leskovec, NeurIPS 2017. ``aggregate`` is
    "mean", "max", "sum", or "pool": max of relu(x_j P + p).
    """

    def __init__(self, n_in, n_out, aggregate="mean", bias=True):
        if aggregate not in ("mean", "max", "sum", "pool"):
            raise ProgramError(f"aggregate {aggregate!r} is not one of mean, max, sum, pool")
        self.aggregate = aggregate
        self.neighbours = Linear(n_in, n_out, bias)
        self.own = Linear(n_in, n_out, bias=False)
        self.pool = Linear(n_in, n_in) if aggregate == "pool" else None
        self.narrows = n_out < n_in and aggregate in ("mean", "sum")

    def __call__(self, graph, x):
        gather = {"mean": mean_neighbours, "sum": sum_neighbours}.get(self.aggregate, max_neighbours)
        if self.narrows:
            h = gather(linear(x, self.neighbours.weight))
            if self.neighbours.bias is not None:
                h = add(h, self.neighbours.bias)
        else:
            h = self.neighbours(gather(x if self.pool is None else relu(self.pool(x))))
        return add(h, self.own(x))


class GIN(Module):
    """h_i = f((1 + epsilon) x_i + sum of x_j over N(i)), f = Linear, ReLU, Linear.

    Source: K. Xu, W. Hu, J. Leskovec and S. Jegelka, ICLR 2019.
    """

    def __init__(self, n_in, n_out, n_hidden=None, epsilon=0.0):
        self.first = Linear(n_in, n_hidden or n_out)
        self.second = Linear(n_hidden or n_out, n_out)
        self.epsilon = epsilon

    def __call__(self, graph, x):
        return self.second(relu(self.first(add(scale(x, x.data.dtype.type(1 + self.epsilon)), sum_neighbours(x)))))


class GAT(Module):
    """h_i = sum over j in N(i) and i of alpha_ji z_j + b, z = x W, for each head.

    alpha_ji = softmax over j of leaky(a . z_j + c . z_i). Heads lie side by
    side, or are averaged with ``concat=False``. Loops among the edges do not
    count. Source: P. Velickovic et al., ICLR 2018.
    """

    def __init__(self, n_in, n_out, heads=1, concat=True, slope=0.2, bias=True):
        self.heads, self.n_out, self.concat, self.slope = heads, n_out, concat, slope
        self.weight = Parameter((n_in, heads * n_out))
        self.source = Parameter((heads, n_out), fans=(heads, n_out))
        self.target = Parameter((heads, n_out), fans=(heads, n_out))
        self.bias = Parameter((1, heads * n_out if concat else n_out), "zeros") if bias else None

    def __call__(self, graph, x):
        z = linear(x, self.weight)
        h = attend(z, dot_heads(z, self.source), dot_heads(z, self.target), self.slope)
        if not self.concat:
            h = mean_heads(h, self.heads)
        return h if self.bias is None else add(h, self.bias)


class GATv2(Module):
    """h_i = sum over j in N(i) and i of alpha_ji z_j + b, z = x W + w, for each head.

    alpha_ji = softmax over j of a . leaky(z_j + x_i V + v). Loops among the
    edges do not count. Source: S. Brody, U. Alon and E. Yahav, ICLR 2022.
    """

    def __init__(self, n_in, n_out, heads=1, concat=True, slope=0.2, bias=True):
        self.heads, self.n_out, self.concat, self.slope = heads, n_out, concat, slope
        self.source = Linear(n_in, heads * n_out, bias)
        self.target = Linear(n_in, heads * n_out, bias)
        self.attention = Parameter((heads, n_out))
        self.bias = Parameter((1, heads * n_out if concat else n_out), "zeros") if bias else None

    def __call__(self, graph, x):
        h = attend_mixed(self.source(x), self.target(x), self.attention, self.slope)
        if not self.concat:
            h = mean_heads(h, self.heads)
        return h if self.bias is None else add(h, self.bias)


class MessageLayer(Module):
    """h_i = U(x_i, aggregate over j in N(i) of M(x_j, x_i, e_ji)): the general layer.

    Parameters
    ----------
    message : Module, called with (src, dst, edge), or `by_channel`
    update : Module, called with (x, aggregate)
    edge : tuple of str
        Edge fields; a function by channel reads those it names.
    aggregate : "sum", "mean", "max" or "min"
    """

    def __init__(self, message, update, edge=(), aggregate="mean"):
        self.message, self.update, self.edge, self.aggregate = message, update, edge, aggregate

    def __call__(self, graph, x):
        return self.update(x, propagate(graph, self.message, x, self.edge, self.aggregate))


class NNConv(Module):
    """h_i = x_i W + b + aggregate over j in N(i) of x_j F(e_ji), F a network that gives a matrix.

    Source: J. Gilmer et al., ICML 2017.

    Parameters
    ----------
    network : Module, called with the fields of edges
        Gives ``n_in * n_out`` numbers, row by row of the matrix.
    aggregate : "sum", "mean", "max" or "min"
    """

    def __init__(self, n_in, n_out, network, edge, aggregate="sum", bias=True):
        self.network, self.edge, self.aggregate = network, edge, aggregate
        self.own = Linear(n_in, n_out, bias)

    def __call__(self, graph, x):
        def message(src, dst, edge):
            return matvec(src, self.network(edge))

        return add(propagate(graph, message, x, self.edge, self.aggregate), self.own(x))


class Embedding(Module):
    """A learned row for every vertex."""

    def __init__(self, width):
        self.rows = Rows(width)

    def __call__(self, graph, x=None):
        return self.rows


class RGCN(Module):
    """h_i = x_i W_0 + b + sum over relations r of the mean over j in N_r(i) of x_j W_r.

    With ``n_in`` None there are no features: x_j W_r is a row of vertex j's
    own, which lives and is trained where j lives. Source: M. Schlichtkrull et
    al., ESWC 2018.
    """

    def __init__(self, n_in, n_out, n_relations, bias=True):
        self.n_out, self.n_relations = n_out, n_relations
        if n_in is None:
            self.rows, self.own_rows = Rows(n_relations * n_out), Rows(n_out)
            self.bias = Parameter((1, n_out), "zeros") if bias else None
        else:
            self.weight = Parameter((n_in, n_relations * n_out), fans=(n_in, n_out))
            self.own = Linear(n_in, n_out, bias)

    def __call__(self, graph, x):
        weigh_relations(graph, self.n_relations)
        if x is not None:
            return add(sum_relations(linear(x, self.weight), self.n_out, SHARE), self.own(x))
        h = add(sum_relations(self.rows, self.n_out, SHARE), self.own_rows)
        return h if self.bias is None else add(h, self.bias)


SHARE = "1/c"  # edge field: one over how many in-edges of its relation the receiver has


def weigh_relations(view, n_relations):
    """Give the view's graph the edge field `SHARE`. Collective.

    Raises
    ------
    ProgramError
        The graph has another number of relations. Raised on every rank.
    """
    graph = view.graph
    if graph.relation is None or len(graph.relations) != n_relations:
        have = ", ".join(graph.relations) or "one relation without a name"
        raise alike(f"the layer is of {n_relations} relations, the graph has {len(graph.relations)}: {have}")
    if SHARE in graph.edge_fields:
        return
    key = graph.in_rows() * n_relations + graph.relation
    _, at, count = np.unique(key, return_inverse=True, return_counts=True)
    view.use(with_edge_field(graph, SHARE, (1 / count[at]).astype(np.float32)))


def dot_heads(z, a):
    """z_i . a for each head: (n_owned, heads). Collective."""
    heads, width = a.shape
    blocks, flat = z.data.reshape(len(z.data), heads, width), a.data.reshape(1, -1)
    out = dot_blocks(z.view, z.data, flat, np.empty((len(z.data), heads), z.data.dtype))

    def back(d):
        dz = (d[:, :, None] * a.data).reshape(z.shape) if z.wants_grad else None
        da = sum_over_rows(z.view, (d[:, :, None] * blocks).reshape(z.shape)).reshape(heads, width)
        return dz, da

    return made(out, z.view, (z, a), back)


def mean_heads(x, heads):
    """Mean of the blocks of x. Local."""
    width, share = x.width // heads, x.data.dtype.type(1 / heads)
    out = np.zeros((len(x.data), width), x.data.dtype)
    for h in range(heads):
        out += x.data[:, h * width : (h + 1) * width]
    return made(out * share, x.view, (x,), lambda d: (np.tile(d * share, (1, heads)),))
