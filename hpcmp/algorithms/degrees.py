"""Degree statistics: in- and out-degree of every vertex, and how they are spread.

Values: largest and mean degrees, numbers of sources, sinks and isolated
vertices, and ``in_histogram``, ``out_histogram``: how many vertices have degree
0, 1, 2 to 3, 4 to 7, ... (the last bin is not empty).
"""

import time

import numpy as np

from hpcmp.algorithms.checks import refuse
from hpcmp.comm import collective
from hpcmp.engine.result import make_result

N_BINS = 64


@collective
def run(graph):
    """Fields ``in_degree`` and ``out_degree``, and their statistics. Collective."""
    start = time.perf_counter()
    into, out = graph.in_degree.astype(np.int64), graph.out_degree
    comm = graph.comm
    largest = comm.allgather((int(into.max(initial=0)), int(out.max(initial=0))))
    counts = np.array([(into == 0).sum(), (out == 0).sum(), ((into == 0) & (out == 0)).sum()], np.int64)
    n_sources, n_sinks, n_isolated = (int(c) for c in comm.allreduce(counts))
    values = {
        "max_in_degree": max(a for a, _ in largest),
        "max_out_degree": max(b for _, b in largest),
        "mean_degree": graph.n_edges / max(graph.n_vertices, 1),
        "sources": n_sources,
        "sinks": n_sinks,
        "isolated": n_isolated,
        "in_histogram": _histogram(comm, into),
        "out_histogram": _histogram(comm, out),
    }
    seconds = {"run": time.perf_counter() - start}
    return make_result(graph, "degrees", {"in_degree": into, "out_degree": out}, values=values, seconds=seconds)


@collective
def verify(graph, result, **_):
    """Check sums of degrees, and recount in-degrees. Collective.

    Raises
    ------
    VerifyError
        On every rank.
    """
    into, out = result["in_degree"], result["out_degree"]
    recounted = np.bincount(graph.in_rows(), minlength=graph.n_owned)
    refuse(
        graph,
        into != recounted,
        lambda i: f"vertex {graph.id[i]} has in-degree {into[i]}, its edges are {recounted[i]}",
    )
    totals = graph.comm.allreduce(np.array([into.sum(), out.sum()]))
    refuse(
        graph,
        np.full(graph.n_owned, np.any(totals != graph.n_edges)),
        lambda i: f"in- and out-degrees sum to {totals.tolist()}, the graph has {graph.n_edges} edges",
    )


def _histogram(comm, degree):
    """Vertices by floor(log2(degree)) + 1, degree 0 first: list of int."""
    exponent = np.frexp(degree.astype(np.float64))[1]
    counts = comm.allreduce(np.bincount(exponent, minlength=N_BINS))
    return counts[: int(np.flatnonzero(counts).max(initial=0)) + 1].tolist()
