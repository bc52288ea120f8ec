"""Triangles: how many three vertices know each other, in all and at each vertex.

Edges are taken as undirected, loops and repeats aside, and pointed from lower
to higher (degree, order); every triangle is then found once, at its lowest
corner u, by looking for members of u's list in the lists of u's members. The
pointed lists are short (at most sqrt(2 m), and far shorter in practice), so the
lists of ghosts are fetched whole, once. Counts are integers and credits go home
by a reverse exchange: the same on any ranks.
Source: S. Suri and S. Vassilvitskii, WWW 2011, for the order; R. Pearce, HPEC
2017, for the distributed form.
"""

import queue
import time

import numpy as np

from hpcmp import jit
from hpcmp.algorithms.checks import local, refuse
from hpcmp.comm import collective, raise_together
from hpcmp.dtypes import LID, PTR
from hpcmp.engine.result import make_result
from hpcmp.errors import GraphError, VerifyError
from hpcmp.graph import both_ways, local_rows_of_gids, simplified
from hpcmp.kernels import csr
from hpcmp.kernels import triangles as kernels


@collective
def run(graph, *, threads=1):
    """Triangles at every vertex, and in all as the value ``triangles``. Collective."""
    start = time.perf_counter()
    neighbours = both_ways(simplified(graph))
    n_triangles, credits = count(neighbours, threads, with_times=False)
    return make_result(
        graph,
        "triangles",
        {"triangles": credits},
        values={"triangles": n_triangles},
        seconds={"run": time.perf_counter() - start},
        threads=threads,
    )


def count(neighbours, threads=1, *, with_times):
    """Triangles in all, and what the corners are credited with. Collective.

    Parameters
    ----------
    neighbours : Graph
        ``both_ways(simplified(graph))``.
    with_times : bool
        Credit a corner with how often the opposite edge occurs (1 or 2)
        rather than with 1.

    Returns
    -------
    n_triangles : int
    credits : int64 (n_owned,)
    """
    up_ptr, up_row, up_times = _point_up(neighbours, with_times)
    rows = np.arange(neighbours.n_owned, dtype=LID)
    workers = jit.Threads(threads)
    scratch = queue.SimpleQueue()
    for _ in range(workers.n_threads):
        scratch.put((np.zeros(neighbours.n_local, np.uint32), np.zeros(neighbours.n_local, np.int64)))
    found = []

    def work(lo, hi):
        position, credits = scratch.get()
        found.append(kernels.credit(up_ptr, up_row, up_times, rows, position, credits, lo, hi))
        scratch.put((position, credits))

    workers.run(work, csr.chunks(up_ptr, rows, workers.n_threads))
    workers.close()
    credits = sum(scratch.get()[1] for _ in range(workers.n_threads))
    neighbours.halo.reverse(credits)
    return int(neighbours.comm.allreduce(int(sum(found)))), credits[: neighbours.n_owned]


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


def _point_up(neighbours, with_times):
    """Lists of higher neighbours of all local rows, as local rows."""
    degree = np.zeros(neighbours.n_owned, np.int64)
    kernels.distinct_degree(neighbours.in_ptr, neighbours.in_src, degree)
    degree, order = local(neighbours, degree), neighbours.local_order()
    up_ptr = np.zeros(neighbours.n_owned + 1, PTR)
    up_row, up_times = np.empty(neighbours.n_in, LID), np.empty(neighbours.n_in, np.uint8)
    kernels.point_up(neighbours.in_ptr, neighbours.in_src, degree, order, up_ptr, up_row, up_times)
    n_up = int(up_ptr[-1])
    up_row, up_times = up_row[:n_up], up_times[:n_up]
    gids = neighbours.local_gids()[up_row]
    ghost_ptr, ghost_gids = neighbours.halo.forward_ragged(up_ptr.astype(np.int64), gids)
    _, ghost_times = neighbours.halo.forward_ragged(up_ptr.astype(np.int64), up_times)
    # A ghost's neighbour that is not local is no neighbour of an owned row and closes no triangle here.
    ghost_row, is_local = local_rows_of_gids(neighbours, ghost_gids)
    kept_before = np.concatenate(([0], np.cumsum(is_local)))
    up_ptr = np.concatenate((up_ptr[:-1], up_ptr[-1] + kept_before[ghost_ptr].astype(PTR)))
    up_times = np.concatenate((up_times, ghost_times[is_local]))
    if not with_times:
        up_times = np.ones_like(up_times)
    return up_ptr, np.concatenate((up_row, ghost_row[is_local])), up_times
