"""Layers of graph neural networks: each is a formula over `hpcmp.nn`'s operations.

N(i) are the in-neighbours of i, d(i) their number. Weights are (width in, width out).
"""

import numpy as np

from hpcmp.errors import ProgramError
from hpcmp.nn.aggregate import (
    Scale,
    attend,
    attend_mixed,
    max_neighbours,
    mean_neighbours,
    sum_neighbours,
)
from hpcmp.nn.dense import linear, linear_sum, matvec, times
from hpcmp.nn.elementwise import add, relu, scale
from hpcmp.nn.module import Module, Parameter, Rows
from hpcmp.nn.propagate import propagate
from hpcmp.nn.relations import (
    SHARE,
    RelationRows,
    mixed,
    side_by_side,
    sum_heard,
    sum_mixed,
    sum_relations,
    sum_through,
    weigh_relations,
)
from hpcmp.nn.sums import alike
from hpcmp.nn.tape import made

MANY_BYTES = 1 << 25  # of rows that are made again on the way back rather than kept, where that is cheap


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
            return add(h, self.own(x))
        heard = gather(x if self.pool is None else relu(self.pool(x)))
        return linear_sum(((heard, self.neighbours.weight), (x, self.own.weight)), self.neighbours.bias)


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
    count. ``dropout`` leaves out weights alpha in training. Source: P. Velickovic et al., ICLR 2018.
    """

    def __init__(self, n_in, n_out, heads=1, concat=True, slope=0.2, bias=True, dropout=0.0):
        self.heads, self.n_out, self.concat, self.slope, self.dropout = heads, n_out, concat, slope, dropout
        self.weight = Parameter((n_in, heads * n_out))
        self.source = Parameter((heads, n_out), fans=(heads, n_out))
        self.target = Parameter((heads, n_out), fans=(heads, n_out))
        self.bias = Parameter((1, heads * n_out if concat else n_out), "zeros") if bias else None

    def __call__(self, graph, x):
        z = linear(x, self.weight)
        data, weight, is_cheap = x.data, self.weight.data, z.data.nbytes > MANY_BYTES and x.width <= 2 * z.width
        again = (lambda: times(graph, (data, weight))) if is_cheap else None
        h = attend(z, self.source, self.target, self.slope, dropout=self.dropout, again=again)
        del z
        if not self.concat:
            h = mean_heads(h, self.heads)
        return h if self.bias is None else add(h, self.bias)


class GATv2(Module):
    """h_i = sum over j in N(i) and i of alpha_ji z_j + b, z = x W + w, for each head.

    alpha_ji = softmax over j of a . leaky(z_j + x_i V + v). Loops among the
    edges do not count; ``dropout`` as of `GAT`. Source: S. Brody, U. Alon and E. Yahav, ICLR 2022.
    """

    def __init__(self, n_in, n_out, heads=1, concat=True, slope=0.2, bias=True, dropout=0.0):
        self.heads, self.n_out, self.concat, self.slope, self.dropout = heads, n_out, concat, slope, dropout
        self.source = Linear(n_in, heads * n_out, bias)
        self.target = Linear(n_in, heads * n_out, bias)
        self.attention = Parameter((heads, n_out))
        self.bias = Parameter((1, heads * n_out if concat else n_out), "zeros") if bias else None

    def __call__(self, graph, x):
        h = attend_mixed(self.source(x), self.target(x), self.attention, self.slope, dropout=self.dropout)
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

    Parameters
    ----------
    n_bases : int
        Not 0: W_r = sum over b of comp[r, b] weight[b].
    n_blocks : int
        Not 0: W_r is block-diagonal, of so many blocks.
    """

    def __init__(self, n_in, n_out, n_relations, bias=True, n_bases=0, n_blocks=0):
        self.n_in, self.n_out, self.n_relations, self.n_bases, self.n_blocks = (
            n_in,
            n_out,
            n_relations,
            n_bases,
            n_blocks,
        )
        self._check()
        wide = n_bases or n_relations
        if n_in is None:
            fans = (None, n_out)
            self.weight = Rows(n_bases * n_out, fans) if n_bases else RelationRows(n_relations, n_out, fans)
            self.root = Rows(n_out)
        else:
            blocks = n_blocks or 1
            self.weight = Parameter((wide, n_in, n_out // blocks), fans=(n_in // blocks, n_out // blocks))
            self.root = Parameter((n_in, n_out))
        self.comp = Parameter((n_relations, n_bases)) if n_bases else None
        self.bias = Parameter((1, n_out), "zeros") if bias else None
        self.narrows = n_in is not None and wide * n_out < n_in and not n_blocks

    def _check(self):
        if self.n_relations < 1:
            raise ProgramError("RGCN needs a graph with relations, this one has none; use another layer")
        if self.n_bases and self.n_blocks:
            raise ProgramError(f"RGCN has either {self.n_bases} bases or {self.n_blocks} blocks, not both")
        if self.n_blocks and self.n_in is None:
            raise ProgramError("RGCN without features has no blocks; use bases")
        if self.n_blocks and (self.n_in % self.n_blocks or self.n_out % self.n_blocks):
            raise ProgramError(f"{self.n_blocks} blocks do not divide a weight of {self.n_in} x {self.n_out}")

    def __call__(self, graph, x):
        if (x is None) != (self.n_in is None):
            raise alike("RGCN has features where n_in is a width, and none (x = None) where n_in is None")
        weigh_relations(graph, self.n_relations)
        if x is not None:
            return add(self._heard(x), linear(x, self.root, self.bias))
        h = sum_mixed(self.weight, self.comp, SHARE) if self.n_bases else sum_heard(self.weight)
        h = add(h, self.root)
        return h if self.bias is None else add(h, self.bias)

    def _heard(self, x):
        """What relations bring, in the order of work that sends narrower rows."""
        if not self.narrows:
            w = mixed(self.comp, self.weight) if self.n_bases else self.weight
            return sum_through(x, w, SHARE, self.n_blocks or 1)
        z = linear(x, side_by_side(self.weight))
        return sum_mixed(z, self.comp, SHARE) if self.n_bases else sum_relations(z, self.n_out, SHARE)


def mean_heads(x, heads):
    """Mean of the blocks of x. Local."""
    width, share = x.width // heads, x.data.dtype.type(1 / heads)
    out = np.zeros((len(x.data), width), x.data.dtype)
    for h in range(heads):
        out += x.data[:, h * width : (h + 1) * width]
    return made(out * share, x.view, (x,), lambda d: (np.tile(d * share, (1, heads)),))
