"""Link prediction: scores of pairs of vertices, pairs that are none, and what both lose.

    score(j, r, i) = sum over k of h_j[k] * R[r, k] * h_i[k]

with R a parameter (DistMult: B. Yang et al., ICLR 2015), or without it. The
pairs that are scored are the edges of graphs over the same vertices: so their
ends find each other by the graph's own halo, and gradients are summed along
in-edges of the graph and of the turned graph, each row by its owner, in
canonical order. Which vertex corrupts an edge is a function of (seed, epoch,
the receiver, the edge's place in its row), not of a rank; the graph of drawn
pairs is built anew each time.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hpcmp.comm import together
from hpcmp.dtypes import RELATION
from hpcmp.edges import number_dtype
from hpcmp.errors import ProgramError
from hpcmp.graph import Graph, Rows, from_columns, reversed_edges
from hpcmp.kernels import csr
from hpcmp.kernels import losses as kernels
from hpcmp.nn.module import Module, Parameter
from hpcmp.nn.sums import alike, exact_sum
from hpcmp.nn.tape import made

LINK_STEP = 2**61  # added to the epoch of draws, so that they are none of dropout's
PLACE, DRAW = "place", "draw"  # edge fields of drawn pairs: whose corruption each is, and which
NO_FACTORS, NO_RELATION = np.empty((0, 0), np.float32), np.empty(0, RELATION)


@dataclass
class Pairs:
    """Pairs of vertices to score, each at its receiver's owner: the in-edges of a graph."""

    graph: Graph
    n_draws: int = 0  # of drawn pairs: how many for each edge

    @cached_property
    def turned(self):
        """The same pairs at their senders' owners. Made on all ranks at once."""
        return reversed_edges(replace(self.graph, edge_fields={}, vertex_fields={}, categories={}))

    @cached_property
    def sender(self):
        """Order of each pair's sender: int64 (n_in,). Made on all ranks at once."""
        return self.graph.local_order()[self.graph.in_src]

    @property
    def relation(self):
        return NO_RELATION if self.graph.relation is None else self.graph.relation

    def close(self):
        """Free what MPI keeps for these pairs, if the graph is no one else's. Local."""
        self.graph.close()
        if "turned" in self.__dict__:
            self.turned.close()


def draw_pairs(pairs, n_draws=1, seed=0, epoch=0):
    """For each pair, some whose sender was drawn instead. Collective.

    Each vertex but the pair's own sender is as likely as the others, whether
    or not that pair exists as well.

    Parameters
    ----------
    pairs : Pairs
    n_draws : int
        For each pair.
    seed, epoch : int
        Other numbers give other draws.

    Returns
    -------
    Pairs
        Over the same vertices, with the relations of the pairs they came from.
    """
    graph = pairs.graph
    if n_draws < 1:
        raise alike(f"n_draws = {n_draws} is below 1")
    drawn = np.empty((graph.n_in, n_draws), np.int64)
    step = np.int64(LINK_STEP + epoch)
    kernels.draw_senders(np.int64(seed), step, graph.in_ptr, graph.order, pairs.sender, graph.n_vertices, drawn)
    rows, dtype = graph.in_rows(), number_dtype(graph.n_vertices)
    place = np.arange(graph.n_in) - graph.in_ptr.astype(np.int64)[rows]
    columns = {
        "src": drawn.reshape(-1).astype(dtype),
        "dst": np.repeat((graph.first_gid + rows).astype(dtype), n_draws),
        PLACE: np.repeat(place, n_draws),
        DRAW: np.tile(np.arange(n_draws), graph.n_in),
    }
    if graph.relation is not None:
        columns["relation"] = np.repeat(graph.relation, n_draws)
    bounds = {"part_start": graph.part_start, "rank_parts": graph.rank_parts}
    owned = Rows(graph.id[: graph.n_owned], graph.order)
    return Pairs(from_columns(graph.comm, owned, columns, directed=True, relations=graph.relations, **bounds), n_draws)


def by_origin(drawn, scores):
    """Scores of drawn pairs, by the pair each was drawn for: (m, n_draws). Local.

    Row e belongs to in-edge e of the graph that `draw_pairs` was given.
    """
    fields = drawn.graph.edge_fields
    order = np.lexsort((fields[DRAW], fields[PLACE], drawn.graph.in_rows()))
    return scores[order].reshape(-1, drawn.n_draws)


def link_scores(h, pairs, factors=None):
    """Score of every pair of this rank: float64 (n_in,). Collective.

    Parameters
    ----------
    h : Tensor (n_owned, width)
    pairs : Pairs
    factors : parameter (relations, width), optional
        None: dot products.

    Raises
    ------
    ProgramError
        Shapes do not fit. Raised on every rank.
    """
    _check(h, factors, pairs)
    x = h.view.with_ghosts(np.ascontiguousarray(h.data), pairs.graph)
    return _scores(h.view, pairs.graph, x, _data(factors), pairs.relation)


def link_loss(h, positive, negative, factors=None):
    """Mean of -log logistic(score), of -score where negative. Collective.

    Parameters
    ----------
    h : Tensor (n_owned, width)
    positive, negative : Pairs
    factors : parameter (relations, width), optional
        None: dot products.

    Returns
    -------
    Tensor (1, 1)

    Raises
    ------
    ProgramError
        Shapes do not fit, or there is no pair. Raised on every rank.
    """
    view, r, kinds = h.view, _data(factors), ((positive, 1.0), (negative, 0.0))
    _check(h, factors, positive, negative)
    n = view.comm.allreduce(positive.graph.n_in + negative.graph.n_in)
    if not n:
        raise alike("there is no pair to score; the loss is a mean over pairs")
    own = np.ascontiguousarray(h.data)
    local = [view.with_ghosts(own, pairs.graph) for pairs, _ in kinds]
    scores = [_scores(view, pairs.graph, x, r, pairs.relation) for (pairs, _), x in zip(kinds, local)]
    lost = np.empty(sum(map(len, scores)))
    kernels.losses_of_scores(scores[0], 1.0, lost[: len(scores[0])])
    kernels.losses_of_scores(scores[1], 0.0, lost[len(scores[0]) :])

    def back(d):
        share = float(d[0, 0]) / n
        dh = [
            _rows_back(view, graph, x, r, relation, y, share)
            for (pairs, y), x_of_senders in zip(kinds, local)
            for graph, x, relation in _both_ends(view, pairs, own, x_of_senders)
        ]
        dh = dh[0] + dh[1] + dh[2] + dh[3]
        if factors is None:
            return (dh,)
        leaves = np.zeros((view.n_parts, *r.shape))
        for (pairs, y), x, s in zip(kinds, local, scores):
            _factors_back(view, pairs, x, s, y, share, leaves)
        return dh, view.tree_sum(leaves).astype(r.dtype)

    loss = np.array([[exact_sum(view.comm, lost) / n]], h.data.dtype)
    return made(loss, view, (h,) if factors is None else (h, factors), back)


class DistMult(Module):
    """A factor of every channel for each relation: R of `link_loss` and `link_scores`."""

    def __init__(self, n_relations, width):
        self.factors = Parameter((n_relations, width))

    def __call__(self, h, positive, negative):
        return link_loss(h, positive, negative, self.factors)

    def scores(self, h, pairs):
        """`link_scores` with these factors. Collective."""
        return link_scores(h, pairs, self.factors)


def _data(factors):
    return NO_FACTORS if factors is None else factors.data


def _over_rows(view, graph, call):
    """call(rows, lo, hi) by threads. (`View.over_rows` keeps chunks of graphs that last.)"""
    chunks = csr.chunks(graph.in_ptr, view.everyone, view.threads.n_threads)
    view.threads.run(lambda lo, hi: call(view.everyone, lo, hi), chunks)


def _scores(view, graph, x, r, relation):
    out = np.empty(graph.n_in)

    def call(rows, lo, hi):
        kernels.score_pairs(graph.in_ptr, graph.in_src, relation, r, x, rows, out, lo, hi)

    _over_rows(view, graph, call)
    return out


def _both_ends(view, pairs, x, x_of_senders):
    """(graph, x with its ghosts, relations) of the pairs by receiver, then by sender."""
    yield pairs.graph, x_of_senders, pairs.relation
    turned = pairs.turned
    relation = NO_RELATION if turned.relation is None else turned.relation
    yield turned, view.with_ghosts(x, turned), relation


def _rows_back(view, graph, x, r, relation, y, share):
    dx = np.empty((graph.n_owned, x.shape[1]), x.dtype)

    def call(rows, lo, hi):
        kernels.pairs_back(graph.in_ptr, graph.in_src, relation, r, x, y, share, rows, dx, lo, hi)

    _over_rows(view, graph, call)
    return dx


def _factors_back(view, pairs, x, scores, y, share, leaves):
    """Add to the leaves, part by part, what the factors' gradient is made of."""
    g, bounds, relation = pairs.graph, view.part_bounds, pairs.relation

    def call(lo, hi):
        kernels.factors_back(g.in_ptr, g.in_src, relation, scores, x, y, share, bounds, leaves, lo, hi)

    view.threads.run(call, [(p, p + 1) for p in range(view.n_parts)])


def _check(h, factors, *kinds):
    view = h.view
    with together(view.comm):
        if factors is not None and factors.shape[1] != h.width:
            raise ProgramError(f"factors {factors.shape} must be (relations, {h.width}), as wide as h")
        for pairs in kinds:
            graph, have = pairs.graph, 0 if factors is None else factors.shape[0]
            if not np.array_equal(graph.part_start, view.graph.part_start):
                raise ProgramError("the pairs' graph is cut into other parts than the view's; build one from the other")
            if factors is not None and int(pairs.relation.max(initial=0)) >= have:
                raise ProgramError(f"relation {pairs.relation.max()} has no factors; there are {have} rows of them")
