"""Messages that differ by relation: weights of relations, what they are made of, and rows for vertex and relation.

Two orders of work, which send rows of other widths to other ranks: neighbours are added up first and then pass the
weights (`sum_through`: rows as wide as the features), or pass the weights first (`sum_relations`, `sum_mixed`: a block
for each relation or basis). Either is one pass over the edges.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hpcmp import halo
from hpcmp.dtypes import LID
from hpcmp.graph import with_edge_field
from hpcmp.kernels import gather, relations
from hpcmp.nn.aggregate import NONE
from hpcmp.nn.dense import one_blas_thread
from hpcmp.nn.module import Rows
from hpcmp.nn.sums import alike
from hpcmp.nn.tape import made

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


def edges_of(graph, weight):
    """Edges as kernels of relations take them: tuple of arrays. Local."""
    return graph.in_ptr, graph.in_src, graph.relation, graph.edge_fields[weight]


def sum_through(x, w, weight, n_blocks=1):
    """Sum over relations of (sum of weight times x over in-edges) w_r. Collective.

    Parameters
    ----------
    x : Tensor (n_owned, n_in)
    w : parameter (relations, n_in, n_out / n_blocks)
        With blocks, the rows of diagonal blocks one below the other.
    weight : str
        Edge field.
    """
    view, graph = x.view, x.view.graph
    n_relations, n_in, columns = w.shape
    values, wants = x.data, x.wants_grad
    out = view.empty((len(values), columns * n_blocks), values.dtype)

    def call(local, rows, lo, hi):
        relations.sum_through(*edges_of(graph, weight), w.data, local, rows, out, lo, hi)

    view.aggregate(values, call)

    def back(d):
        blocks = w.data.reshape(n_relations, n_blocks, n_in // n_blocks, columns)
        turned_w = np.ascontiguousarray(blocks.transpose(0, 1, 3, 2)).reshape(n_relations, -1, n_in // n_blocks)
        dx, leaves = view.empty((len(values) * wants, n_in), values.dtype), np.zeros((view.n_parts, *w.shape))
        d_local, edges = view.with_ghosts(d, view.turned), edges_of(view.turned, weight)

        def part(p, lo, hi):
            relations.back_through(*edges, turned_w, values, d_local, dx, leaves[p], lo, hi)

        view.over_parts(part)
        return dx if wants else None, view.tree_sum(leaves).astype(w.data.dtype)

    return made(out, view, (x, w), back)


def sum_relations(x, width, weight):
    """Sum over in-edges of weight times the relation's block of x. Collective.

    Parameters
    ----------
    x : Tensor (n_owned, relations * width)
    width : int
    weight : str
        Edge field.
    """
    view, graph = x.view, x.view.graph
    shape, dtype = x.shape, x.data.dtype
    out = view.empty((shape[0], width), dtype)

    def call(local, rows, lo, hi):
        relations.sum_relations(*edges_of(graph, weight), local, rows, out, lo, hi)

    view.aggregate(x.data, call)

    def back(d):
        turned, dx = view.turned, view.empty(shape, dtype)

        def spread(local, rows, lo, hi):
            relations.spread_relations(*edges_of(turned, weight), local, rows, dx, lo, hi)

        view.aggregate(d, spread, turned)
        return (dx,)

    return made(out, view, (x,), back)


def sum_mixed(x, mix, weight):
    """`sum_relations` of blocks that are mixed from bases. Collective.

    The block of relation r is the sum over b of mix[r, b] times block b of x.

    Parameters
    ----------
    x : Tensor (n_owned, bases * width)
    mix : parameter (relations, bases)
    weight : str
        Edge field.
    """
    view, graph = x.view, x.view.graph
    values = x.data
    out = view.empty((len(values), x.width // mix.shape[1]), values.dtype)

    def call(local, rows, lo, hi):
        relations.sum_mixed(*edges_of(graph, weight), mix.data, local, rows, out, lo, hi)

    view.aggregate(values, call)

    def back(d):
        dx, leaves = view.empty(values.shape, values.dtype), np.zeros((view.n_parts, *mix.shape))
        d_local, edges = view.with_ghosts(d, view.turned), edges_of(view.turned, weight)

        def part(p, lo, hi):
            relations.back_mixed(*edges, mix.data, values, d_local, dx, leaves[p], lo, hi)

        view.over_parts(part)
        return dx, view.tree_sum(leaves).astype(mix.data.dtype)

    return made(out, view, (x, mix), back)


def mixed(mix, bases):
    """Weights of relations from those of bases: (relations, n_in, n_out). Local.

    Parameters
    ----------
    mix : parameter (relations, bases)
    bases : parameter (bases, n_in, n_out)
    """
    flat = bases.data.reshape(len(bases.data), -1)
    with one_blas_thread():
        data = (mix.data @ flat).reshape(-1, *bases.shape[1:])

    def back(d):
        d = d.reshape(len(d), -1)
        with one_blas_thread():
            return d @ flat.T, (mix.data.T @ d).reshape(bases.shape)

    return made(data, None, (mix, bases), back)


def side_by_side(w):
    """Weights (k, n_in, n_out) as one matrix (n_in, k * n_out). Local."""
    k, n_in, n_out = w.shape

    def back(d):
        return (np.ascontiguousarray(d.reshape(n_in, k, n_out).transpose(1, 0, 2)),)

    return made(np.ascontiguousarray(w.data.transpose(1, 0, 2)).reshape(n_in, -1), None, (w,), back)


# ---------------------------------------------------------------- a row for every vertex and relation


class RelationRows(Rows):
    """A parameter with a row for every vertex and relation in which it is heard.

    Of a matrix for each relation with a row for each vertex, the rows that
    count: the others are in no message, and no gradient moves them. They lie
    where the vertex does, by vertex, then relation.
    """

    def __init__(self, n_relations, width, fans=None):
        super().__init__(width, fans)
        self.n_relations = n_relations

    def settle(self, view):
        """Learn which rows lie here. Collective."""
        heard = heard_of(view, self.n_relations)
        graph = view.graph
        self.ids = graph.id[heard.row]
        self.firsts = heard.relation * self.data.shape[1]
        self.places = graph.order[heard.row] * self.n_relations + heard.relation
        self.view, self.n_vertices, self.n_rows = view, graph.n_vertices, view.comm.allreduce(len(self.places))

    def digested(self, values):
        """Digest of such rows by ascending id and relation: uint8 (32,). Collective."""
        text = self.all_places().tobytes() + self.whole(values).tobytes()
        return np.frombuffer(hashlib.sha256(text).digest(), np.uint8)


@dataclass(frozen=True)
class Crossings:
    """In-edges of rows from rows of another kind, as `View.aggregate` sees a graph."""

    in_ptr: np.ndarray  # uint64 (rows + 1,)
    in_src: np.ndarray  # uint32 (edges,) sources, owned ones, then ghosts
    weight: np.ndarray  # float32 (edges,)
    n_owned: int  # sources of this rank
    halo: object  # of the sources

    @property
    def n_local(self):
        return self.halo.n_local

    @cached_property
    def interior(self):
        """Rows without a ghost source: uint32."""
        return np.flatnonzero(self._ghosts == 0).astype(LID)

    @cached_property
    def boundary(self):
        """Rows with a ghost source: uint32."""
        return np.flatnonzero(self._ghosts).astype(LID)

    @property
    def _ghosts(self):
        before = np.concatenate(([0], np.cumsum(self.in_src >= self.n_owned)))
        return np.diff(before[self.in_ptr.astype(np.int64)])


@dataclass(frozen=True)
class Heard:
    """Pairs of an owned vertex and a relation in which it is heard; by vertex, then relation."""

    row: np.ndarray  # int64 (pairs,)
    relation: np.ndarray  # int64 (pairs,)
    there: Crossings  # in-edges of vertices, from pairs
    back: Crossings  # in-edges of pairs in the turned graph, from vertices


def heard_of(view, n_relations):
    """The view's pairs, made once. Collective."""
    weigh_relations(view, n_relations)
    if "heard" not in view.kept:
        view.kept["heard"] = _heard(view, n_relations)
    return view.kept["heard"]


def _heard(view, n_relations):
    graph, turned, comm = view.graph, view.turned, view.comm
    rows, relation = turned.in_rows(), turned.relation.astype(np.int64)
    key = rows * n_relations + relation  # ascending: edges of a row are sorted by relation
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    row, kind = rows[starts], relation[starts]
    ptr = np.concatenate((starts, [len(rows)])).astype(np.uint64)
    back = Crossings(ptr, turned.in_src, turned.edge_fields[SHARE], turned.n_owned, turned.halo)

    # numbers of pairs over all ranks, and of each local vertex its relations and the number of its first pair
    bounds = np.concatenate(([0], np.cumsum(comm.allgather(len(row))))).astype(np.int64)
    first = int(bounds[comm.rank])
    pair_ptr = np.searchsorted(row, np.arange(graph.n_owned + 1))
    ghost_ptr, ghost_kind = graph.halo.forward_ragged(pair_ptr, kind)
    number = np.empty(graph.n_local, np.int64)
    number[: graph.n_owned] = first + pair_ptr[:-1]
    graph.halo.forward(number)
    counts = np.concatenate((np.diff(pair_ptr), np.diff(ghost_ptr)))
    heads = np.repeat(np.arange(graph.n_local), counts)
    known = heads * n_relations + np.concatenate((kind, ghost_kind))
    numbers = halo.ranges(number, counts)

    wanted = numbers[np.searchsorted(known, graph.in_src.astype(np.int64) * n_relations + graph.relation)]
    is_ghost = (wanted < first) | (wanted >= first + len(row))
    ghosts = np.unique(wanted[is_ghost])
    src = np.where(is_ghost, len(row) + np.searchsorted(ghosts, wanted), wanted - first).astype(LID)
    plan = halo.build(comm, bounds, ghosts)
    there = Crossings(graph.in_ptr, src, graph.edge_fields[SHARE], len(row), plan)
    return Heard(row, kind, there, back)


def sum_heard(rows):
    """Sum over in-edges of `SHARE` times the sender's row for them. Collective.

    Parameters
    ----------
    rows : RelationRows
    """
    view, heard = rows.view, heard_of(rows.view, rows.n_relations)

    def gathered(values, edges):
        out = view.empty((len(edges.in_ptr) - 1, values.shape[1]), values.dtype)

        def call(local, to, lo, hi):
            gather.sum_rows(edges.in_ptr, edges.in_src, False, edges.weight, NONE, NONE, local, to, out, lo, hi)

        view.aggregate(values, call, edges)
        return out

    return made(gathered(rows.data, heard.there), view, (rows,), lambda d: (gathered(d, heard.back),))
