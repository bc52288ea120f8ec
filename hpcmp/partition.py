"""Cutting a graph into parts, dealing parts to ranks, and judging the cut.

Parts are made once and stay in the file; a rank owns a run of whole parts, so
any number of ranks may open the graph. A method gives every vertex a part
number; `hpcmp.parts.repartition` then moves the rows.
"""

import numpy as np

from hpcmp import pulse
from hpcmp.comm import Route, block_bounds, collective, gather_rows, owner_of, raise_together
from hpcmp.errors import PartitionError, require
from hpcmp.hashing import mix64

ALPHA = 1.0  # cost of one in-edge in units of the cost of one vertex
ROWS_PER_PART = 1024  # default size aimed at
MIN_PARTS, MAX_PARTS = 16, 4096


def default_parts(n_vertices):
    """A number of parts that suits a graph of this size: a power of 2. Local."""
    parts = 1 << max(0, int(n_vertices) // ROWS_PER_PART).bit_length()
    return min(max(parts, MIN_PARTS), MAX_PARTS)


def check_parts(n_parts):
    """Refuse a number of parts that cannot be. Local."""
    if not 1 <= n_parts <= 2**20:
        raise PartitionError(f"parts = {n_parts} is outside [1, {2**20}]")


def block(order, n_vertices, n_parts):
    """Part of each vertex: even blocks in id order. Local."""
    return owner_of(block_bounds(n_vertices, n_parts), order)


def hashed(ids, n_parts):
    """Part of each vertex by a hash of its id. Local."""
    return (mix64(ids.astype(np.uint64)) % np.uint64(n_parts)).astype(np.int64)


def degree_balanced(comm, order, in_degree, n_parts):
    """Part of each vertex: runs in id order of equal work. Collective.

    Work of a vertex is ``1 + ALPHA * in_degree``.

    Parameters
    ----------
    order, in_degree : int64 (n_owned,)
    """
    n = comm.allreduce(len(order))
    block_of = np.minimum((order * comm.size) // max(n, 1), comm.size - 1)
    route = Route(comm, block_of)
    there, work = route.there(order), 1 + ALPHA * route.there(np.asarray(in_degree, np.int64))
    by_order = np.argsort(there)
    total_here = float(work.sum())
    totals = np.array(comm.allgather(total_here))
    # ALPHA is whole and work below 2**53, so these float sums are exact and the same on any ranks.
    before = totals[: comm.rank].sum() + np.cumsum(work[by_order]) - work[by_order]
    part = np.empty(len(there), np.int64)
    part[by_order] = np.minimum(before * n_parts // max(totals.sum(), 1.0), n_parts - 1).astype(np.int64)
    return route.back(part)


def hot_first(part, degree, order):
    """Rows by part, in a part by falling degree, then by order: intp (n,). Local.

    The order in which rows are numbered. Vertices that are read often then
    share cache lines: PageRank of a Kronecker graph runs 1.3 to 1.6 times as
    fast as with rows in the order of their ids. No result depends on it.

    Parameters
    ----------
    part, degree, order : int64 (n,)
        ``degree`` counts the edges of both directions.
    """
    return np.lexsort((order, -degree, part))


def metis(comm, graph, n_parts, seed=0):
    """Part of each owned vertex by METIS, on rank 0. Collective.

    Recursive bisection numbers the parts so that a run of parts is itself a
    good partition. Needs the whole graph in rank 0's memory.

    Raises
    ------
    MissingExtraError
        pymetis is not installed. Raised on every rank.
    """
    error, pymetis = None, None
    try:
        pymetis = require("pymetis", "metis", "partition method metis")
    except ImportError as caught:
        error = caught
    raise_together(comm, error)
    gid = graph.first_gid + np.arange(graph.n_owned, dtype=np.int64)
    dst = gather_rows(comm, np.repeat(gid, graph.in_degree))
    src = gather_rows(comm, graph.local_gids()[graph.in_src])
    part = None
    if comm.rank == 0:
        n = graph.n_vertices
        both = np.unique(np.concatenate((dst * n + src, src * n + dst))[np.concatenate((dst != src, dst != src))])
        xadj = np.searchsorted(both // max(n, 1), np.arange(n + 1))
        options = pymetis.Options(seed=seed)
        membership = np.zeros(n, np.int64)
        n_cut = min(n_parts, n)  # METIS cannot cut fewer vertices than parts; the other parts stay empty
        if n_cut > 1:
            adjacency = pymetis.CSRAdjacency(adj_starts=xadj, adjacent=both % n)
            # weighed as the ranks are: vertices and their in-edges
            weights = 1 + np.bincount(dst, minlength=n)
            with pulse.silent():
                found = pymetis.part_graph(n_cut, adjacency, vweights=weights.tolist(), recursive=True, options=options)
            membership = np.asarray(found[1])
        part = membership.astype(np.int64)
    out = np.empty(graph.n_owned, np.int64)
    counts = np.diff(graph.gid_bounds)
    from mpi4py import MPI

    comm.Scatterv([part, (counts, graph.gid_bounds[:-1]), MPI.INT64_T] if comm.rank == 0 else None, out, root=0)
    return out


def deal(part_weight, size):
    """Bounds of the runs of parts that ranks own: int64 (size + 1,). Local.

    Cuts where the running weight is nearest to an even share.
    """
    before = np.concatenate(([0.0], np.cumsum(part_weight)))
    targets = before[-1] * np.arange(1, size) / size
    right = np.searchsorted(before, targets)
    left = np.maximum(right - 1, 0)
    right = np.minimum(right, len(part_weight))
    nearest = np.where(targets - before[left] < before[right] - targets, left, right)
    return np.concatenate(([0], np.maximum.accumulate(nearest), [len(part_weight)])).astype(np.int64)


def part_weights(comm, graph):
    """Work of every part, the same on all ranks: float64 (n_parts,). Collective."""
    part = graph.part_of_rows()
    # of no rows bincount counts in integers, whatever the weights
    work = np.bincount(part, 1 + ALPHA * graph.in_degree, minlength=graph.n_parts).astype(np.float64)
    total = np.empty_like(work)
    comm.Allreduce(work, total)
    return total


@collective
def report(comm, graph):
    """Edge cut, halo rows and imbalance for P = 2, 4, ... parts. Collective.

    Returns
    -------
    list of dict
        ``ranks``, ``edge_cut`` (edges between ranks), ``cut_share`` (of all
        edges), ``halo_rows`` (distinct pairs of a vertex and another rank
        that hears it), ``halo_max`` (most rows one rank receives),
        ``imbalance`` (max / mean of the work of a rank).
    """
    weights = part_weights(comm, graph)
    src, part, n_edges = heard_by_part(comm, graph)
    src_part = owner_of(graph.part_start, src)
    rows = []
    for size in _powers_of_two(graph.n_parts):
        bounds = deal(weights, size)
        rank_of_part = owner_of(bounds, np.arange(graph.n_parts))
        home, away = rank_of_part[src_part], rank_of_part[part]
        is_cut = home != away
        pairs = np.unique(src[is_cut] * size + away[is_cut])
        received = np.bincount(pairs % size, minlength=size).astype(np.int64)
        totals = np.concatenate(([n_edges[is_cut].sum()], received)).astype(np.int64)
        summed = np.empty_like(totals)
        comm.Allreduce(totals, summed)
        work = np.add.reduceat(np.append(weights, 0.0), bounds[:-1]) * (np.diff(bounds) > 0)
        mean = work.sum() / size
        rows.append(
            {
                "ranks": size,
                "edge_cut": int(summed[0]),
                "cut_share": float(summed[0] / max(graph.n_edges, 1)),
                "halo_rows": int(summed[1:].sum()),
                "halo_max": int(summed[1:].max()),
                "imbalance": float(work.max() / mean) if mean else 1.0,
            }
        )
    return rows


def heard_by_part(comm, graph):
    """Distinct (vertex, part that hears it), edges between: at its owner. Collective."""
    part = np.repeat(graph.part_of_rows(), graph.in_degree)
    pairs, n_edges = np.unique(graph.in_src.astype(np.int64) * graph.n_parts + part, return_counts=True)
    src = graph.local_gids()[pairs // graph.n_parts]
    route = Route(comm, owner_of(graph.gid_bounds, src))
    return route.there(src), route.there(pairs % graph.n_parts), route.there(n_edges)


def _powers_of_two(n_parts):
    size = 2
    while size <= n_parts:
        yield size
        size *= 2
