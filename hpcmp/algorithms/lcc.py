"""Local clustering coefficient: how many of a vertex's neighbours know each other.

Neighbours are taken along and against edges, each once; of their k (k - 1)
possible directed edges, the share that exists (LDBC Graphalytics 2.3.5). Every
triangle is found once (see `hpcmp.algorithms.triangles`) and credits each corner
with the directed edges between the other two; one division at the end, so the
result is the same bits on any ranks. 0 for fewer than two neighbours.
"""

import time

import numpy as np

from hpcmp.algorithms.checks import refuse
from hpcmp.algorithms.triangles import count
from hpcmp.comm import collective
from hpcmp.engine.result import make_result
from hpcmp.graph import both_ways, simplified
from hpcmp.kernels import triangles as kernels

SAMPLES = 100  # vertices recounted by the verifier
MAX_DEGREE = 64  # of a recounted vertex


@collective
def run(graph, *, threads=1):
    """Clustering coefficient of every vertex: the field ``lcc``. Collective."""
    start = time.perf_counter()
    kernels.load()
    ready = time.perf_counter()
    _, edges_among, k = count(graph, threads, with_times=graph.directed)
    if not graph.directed:  # each undirected edge is one in either direction
        edges_among = 2 * edges_among
    lcc = np.where(k > 1, edges_among / np.maximum(k * (k - 1), 1), 0.0)
    return make_result(
        graph,
        "lcc",
        {"lcc": lcc},
        seconds={"compile": ready - start, "run": time.perf_counter() - ready},
        threads=threads,
    )


@collective
def verify(graph, result, **_):
    """Recount a sample of vertices from the sets of their neighbours. Collective.

    Raises
    ------
    VerifyError
        On every rank.
    """
    lcc, comm = result["lcc"], graph.comm
    refuse(
        graph,
        ~((lcc >= 0) & (lcc <= 1)),
        lambda i: f"vertex {graph.id[i]} has the coefficient {lcc[i]}, outside [0, 1]",
    )
    plain = simplified(graph)
    neighbours = both_ways(plain)
    gids = neighbours.local_gids()
    small = np.flatnonzero(neighbours.in_degree <= MAX_DEGREE)[: max(SAMPLES // comm.size, 1)]
    sets = [np.unique(gids[neighbours.in_src[neighbours.in_ptr[i] : neighbours.in_ptr[i + 1]]]) for i in small]
    expected = np.zeros(graph.n_owned)
    # every rank counts, among its own directed edges, those inside each sampled set
    src, dst = plain.local_gids()[plain.in_src], plain.first_gid + plain.in_rows()
    for rank, theirs in enumerate(comm.allgather(sets)):
        inside = np.array([np.count_nonzero(np.isin(src, s) & np.isin(dst, s)) for s in theirs], np.int64)
        total = comm.allreduce(inside)
        if rank == comm.rank:
            k = np.array([len(s) for s in theirs], np.int64)
            expected[small] = np.where(k > 1, total / np.maximum(k * (k - 1), 1), 0.0)
    is_sampled = np.zeros(graph.n_owned, np.bool_)
    is_sampled[small] = True
    refuse(
        graph,
        is_sampled & (lcc != expected),
        lambda i: f"vertex {graph.id[i]} has the coefficient {lcc[i]!r}, its neighbours give {expected[i]!r}",
    )
