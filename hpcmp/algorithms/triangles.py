"""Triangles: how many three vertices know each other, in all and at each vertex.

Edges are taken as undirected, loops and repeats aside, and pointed from lower
to higher (degree, order); every triangle is then found once, at its lowest
corner u. The pointed lists are short (at most sqrt(2 m), and far shorter in
practice), so the lists of ghosts are fetched whole, once.

Rows are numbered anew by falling degree. The first of them, the core, keep whom
they know in the core as rows of bits: for u's neighbours there, triangles are
the set bits of `u's row & v's row`, counted word by word, and since a core's
few highest vertices are in most lists, few words are not 0. For other
neighbours v of u, v's list is looked up in u's marks. Counts are integers and
credits go home by a reverse exchange: the same on any ranks.
Source: S. Suri and S. Vassilvitskii, WWW 2011, for the order; R. Pearce, HPEC
2017, for the distributed form; bits for hubs as in M. Bisson and M. Fatica,
IEEE TPDS 28 (2017).
"""

import queue
import time
from dataclasses import dataclass

import numpy as np

from hpcmp import jit
from hpcmp.algorithms.checks import local, refuse
from hpcmp.comm import collective, raise_together
from hpcmp.dtypes import LID, PTR
from hpcmp.engine.result import make_result
from hpcmp.errors import GraphError, VerifyError
from hpcmp.graph import both_ways, local_rows_of_gids, simplified
from hpcmp.halo import ranges
from hpcmp.kernels import csr
from hpcmp.kernels import triangles as kernels

CORE = 8192  # rows with bits: 8 MB, most of them in the L2 cache; on Kronecker graphs 4 of 5 pairs lie in it


@collective
def run(graph, *, threads=1):
    """Triangles at every vertex, and in all as the value ``triangles``. Collective."""
    start = time.perf_counter()
    kernels.load()
    ready = time.perf_counter()
    n_triangles, credits, _ = count(graph, threads, with_times=False)
    return make_result(
        graph,
        "triangles",
        {"triangles": credits},
        values={"triangles": n_triangles},
        seconds={"compile": ready - start, "run": time.perf_counter() - ready},
        threads=threads,
    )


def count(graph, threads=1, *, with_times):
    """Triangles in all, and what the corners are credited with. Collective.

    Parameters
    ----------
    graph : Graph
    with_times : bool
        Credit a corner with how many directed edges (1 or 2) lie opposite to
        it rather than with 1. Directed graphs only.

    Returns
    -------
    n_triangles : int or None
        None with times.
    credits : int64 (n_owned,)
    degree : int64 (n_owned,)
        Distinct neighbours of every vertex but itself.
    """
    # Rows of an undirected graph hold repeats side by side, and the kernels pass over them, and over loops.
    is_ready = not graph.directed and graph.relation is None
    neighbours = graph if is_ready else both_ways(simplified(graph))
    workers = jit.Threads(threads)
    try:
        degree, lists = _point_up(neighbours, workers)
        n_triangles, credits = _credit(neighbours, lists, workers, with_times)
    finally:
        workers.close()
    neighbours.halo.reverse(credits)
    credits = credits[: neighbours.n_owned].copy()
    total = None if with_times else int(graph.comm.allreduce(n_triangles))
    if neighbours is not graph:
        neighbours.close()
    return total, credits, degree


@dataclass(frozen=True)
class Lists:
    """Neighbours of lower label of every local row, by label."""

    label: np.ndarray  # uint32 (n_local,) of each local row
    bounds: np.ndarray  # uint64 (n_local, 3) where the rest of a label's list begins, the core begins, and both end
    neighbour: np.ndarray  # uint32 labels
    times: np.ndarray  # uint8 how often each occurs, 1 or 2


def _point_up(neighbours, workers):
    """Degrees of owned rows, and `Lists` of all local rows."""
    g = neighbours
    chunks = csr.chunks(g.in_ptr, np.arange(g.n_owned, dtype=LID), workers.n_threads)
    degree = np.empty(g.n_owned, np.int64)
    workers.run(lambda lo, hi: kernels.distinct_degree(g.in_ptr, g.in_src, degree, lo, hi), chunks)
    label = _labels(local(g, degree), g.local_order())
    bounds = np.empty((g.n_local, 3), PTR)  # by row for now
    found, times = np.empty(g.n_in, LID), np.empty(g.n_in, np.uint8)
    workers.run(lambda lo, hi: kernels.point_up(g.in_ptr, g.in_src, label, CORE, bounds, found, times, lo, hi), chunks)
    begin, end = (bounds[: g.n_owned, k].astype(np.int64) for k in (0, 2))
    if g.comm.size > 1:
        found, times = _with_ghosts(g, label, bounds, found, times, ranges(begin, end - begin))
    by_label = np.empty_like(bounds)
    by_label[label] = bounds
    return degree, Lists(label, by_label, found, times)


def _with_ghosts(g, label, bounds, found, times, used):
    """Lists of owned rows moved together, those of ghosts behind them."""
    found, times = found[used], times[used]
    length = np.concatenate(([0], (bounds[: g.n_owned, 2] - bounds[: g.n_owned, 0]).astype(np.int64)))
    ptr = np.cumsum(length)
    bounds[: g.n_owned] -= (bounds[: g.n_owned, 0] - ptr[:-1].astype(PTR))[:, None]
    gid_of_label = np.empty(g.n_local, np.int64)
    gid_of_label[label] = g.local_gids()
    gids = gid_of_label[found]
    if g.n_vertices <= kernels.NOWHERE:
        gids = gids.astype(np.uint32)
    ghost_ptr, ghost_gids = g.halo.forward_ragged(ptr, gids)
    _, ghost_times = g.halo.forward_ragged(ptr, times)
    # A ghost's neighbour that is not local is no neighbour of an owned row and closes no triangle here.
    theirs, their_times = np.empty(len(ghost_gids), LID), np.empty(len(ghost_gids), np.uint8)
    at_ghosts = bounds[g.n_owned :]
    end = kernels.take_known(
        ghost_ptr, _labels_of_gids(g, label, ghost_gids), ghost_times, CORE, at_ghosts, theirs, their_times
    )
    at_ghosts += np.uint64(len(found))
    return np.concatenate((found, theirs[: int(end)])), np.concatenate((times, their_times[: int(end)]))


def _labels(degree, order):
    """Place of each row among all, by falling degree, then falling order: uint32."""
    label = np.empty(len(degree), LID)
    label[np.lexsort((-order, -degree))] = np.arange(len(degree), dtype=LID)
    return label


def _labels_of_gids(g, label, gids):
    """Labels of gids, NOWHERE where they are not local: uint32."""
    if g.n_vertices <= 8 * max(g.n_in, 1):  # a table of all gids is no larger than the edges themselves
        table = np.full(g.n_vertices, kernels.NOWHERE, LID)
        table[g.local_gids()] = label
        return table[gids]
    row, is_local = local_rows_of_gids(g, gids.astype(np.int64))
    return np.where(is_local, label[np.where(is_local, row, 0)], kernels.NOWHERE) if g.n_local else row


def _credit(neighbours, lists, workers, with_times):
    """Triangles found at owned rows, and credits of all local rows."""
    n, owned = neighbours.n_local, lists.label[: neighbours.n_owned]
    n_core = min(CORE, n)
    n_words, n_core_words = n // 64 + 1, n_core // 64 + 1
    cores = np.zeros((2 if with_times else 1, n_core, n_core_words), np.uint64)
    for least in range(1, len(cores) + 1):
        kernels.fill_core(lists.bounds, lists.neighbour, lists.times, least, cores[least - 1])
    scratch = queue.SimpleQueue()
    for _ in range(workers.n_threads):
        marks = [np.zeros(n_words, np.uint64) for _ in cores]
        words = [np.empty(n_core_words, np.uint64) for _ in range(1 + len(cores))]
        scratch.put(((*marks, *words), np.zeros(n, np.int64)))
    found = []

    def work(lo, hi):
        mine, credits = scratch.get()
        if with_times:
            kernels.credit_times(lists.bounds, lists.neighbour, lists.times, cores, owned, mine, credits, lo, hi)
        else:
            found.append(kernels.credit(lists.bounds, lists.neighbour, cores[0], owned, mine, credits, lo, hi))
        scratch.put((mine, credits))

    length = np.zeros(neighbours.n_owned + 1, PTR)
    length[1:] = np.cumsum(lists.bounds[owned, 2] - lists.bounds[owned, 0])
    workers.run(work, csr.chunks(length, np.arange(neighbours.n_owned, dtype=LID), workers.n_threads))
    credits = sum(scratch.get()[1] for _ in range(workers.n_threads))
    return int(sum(found)), credits[lists.label]


@collective
def edge_triangles(graph, src, dst):
    """Triangles on some edges, from the neighbours of their ends. Collective.

    Parameters
    ----------
    src, dst : int64 (k,)
        Ids; the same on all ranks.

    Returns
    -------
    int64 (k,)
        The same on all ranks.
    """
    neighbours = both_ways(simplified(graph))
    ends, inverse = np.unique(np.concatenate((src, dst)), return_inverse=True)
    rows = neighbours.rows_of(ends)
    gids = neighbours.local_gids()
    mine = {
        int(neighbours.id[i]): np.unique(gids[neighbours.in_src[neighbours.in_ptr[i] : neighbours.in_ptr[i + 1]]])
        for i in rows
    }
    lists = {}
    for part in neighbours.comm.allgather(mine):
        lists |= part
    missing = [int(e) for e in ends if int(e) not in lists]
    if missing:
        raise_together(graph.comm, GraphError(f"{missing[0]} is not a vertex of this graph"))
    ptr = np.concatenate(([0], np.cumsum([len(lists[int(e)]) for e in ends]))).astype(PTR)
    values = np.concatenate([lists[int(e)] for e in ends]) if len(ends) else np.empty(0, np.int64)
    out = np.empty(len(src), np.int64)
    kernels.common(ptr, values, inverse[: len(src)].astype(LID), inverse[len(src) :].astype(LID), out)
    return out


@collective
def verify(graph, result, *, n_samples=200, **_):
    """Check sums, and recount a sample of vertices edge by edge. Collective.

    Every triangle has three corners; and the triangles at a vertex are half
    the sum over its edges of the neighbours both ends share.

    Raises
    ------
    VerifyError
        On every rank.
    """
    at = result["triangles"]
    total = graph.comm.allreduce(int(at.sum()))
    error = None
    if total != 3 * result.values["triangles"]:
        error = VerifyError(f"vertices see {total} triangles in all, which is not 3 x {result.values['triangles']}")
    raise_together(graph.comm, error)
    neighbours = both_ways(simplified(graph))
    degree = neighbours.in_degree
    pick = np.flatnonzero((degree > 1) & (degree <= 64))[: max(n_samples // graph.comm.size, 1)]
    src = np.repeat(graph.id[pick], degree[pick])
    dst = np.concatenate(
        [neighbours.id[neighbours.in_src[neighbours.in_ptr[i] : neighbours.in_ptr[i + 1]]] for i in pick] or [src]
    )
    everyone = graph.comm.allgather((src, dst))
    src, dst = (np.concatenate(part) for part in zip(*everyone, strict=True))
    pairs = np.unique(np.stack((src, dst)), axis=1)  # a reciprocal neighbour appears twice among both-ways edges
    shared = edge_triangles(graph, *pairs)
    expected = np.zeros(graph.n_owned, np.int64)
    for row in neighbours.rows_of(np.unique(pairs[0])):
        expected[row] = shared[pairs[0] == graph.id[row]].sum() // 2
    picked = np.zeros(graph.n_owned, np.bool_)
    picked[neighbours.rows_of(np.unique(pairs[0]))] = True
    refuse(
        graph,
        picked & (expected != at),
        lambda i: f"vertex {graph.id[i]} has {at[i]} triangles, its edges share {expected[i]}",
    )
