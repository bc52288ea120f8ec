"""Harmonic closeness: how near a vertex is to all others.

The sum of 1 / d over the vertices it reaches by d > 0 edges; unreached ones add
nothing, so the graph need not be connected (M. Marchiori and V. Latora, Physica
A 285, 2000). Distances run along edges, from the vertex; ``incoming`` takes
those towards it, as networkx does. ``normalized`` divides by n - 1.

Searches from many vertices go together (`hpcmp.algorithms.msbfs`). Vertices at
each distance are counted, and the counts over distances summed from near to
far: the same bits on any ranks. Every value asked for is exact; vertices that
are not among ``sources`` have nan. Cost: one search for each source.
"""

import numpy as np

from hpcmp.algorithms import bfs, msbfs
from hpcmp.algorithms.checks import refuse
from hpcmp.algorithms.sources import Clock, batches, marked, pick
from hpcmp.comm import collective
from hpcmp.engine.result import make_result
from hpcmp.graph import reversed_edges

WIDTH = 16  # sources of a batch: rows of 128 bytes, two cache lines
N_CHECKED = 32  # vertices whose searches the verifier runs one by one


@collective
def run(graph, *, sources=None, seed=0, normalized=False, incoming=False, threads=1):
    """Closeness of every vertex, or of some: the field ``closeness``. Collective.

    Parameters
    ----------
    sources, seed
        As for `hpcmp.algorithms.sources.pick`: all, so many, or these.
    normalized, incoming : bool
        See above.
    """
    clock, ids = Clock(), pick(graph, sources, seed)
    turned = reversed_edges(graph) if incoming else graph
    turned.work_out()  # once; the graphs with fields inherit it
    width = min(WIDTH, max(len(ids), 1))
    closeness = np.full(graph.n_owned, np.nan)
    for batch in batches(ids, width):
        searches = clock.program(msbfs.program(width), marked(turned, batch, width), threads=threads)
        values = _harmonic(graph, searches["depth"], searches.n_steps, normalized)
        is_source = searches.graph.vertex_fields["is_source"]
        rows, channel = np.nonzero(is_source)
        closeness[rows] = values[channel]
    if turned is not graph:
        turned.close()
    return make_result(
        graph,
        "closeness",
        {"closeness": closeness},
        params={"normalized": bool(normalized), "incoming": bool(incoming)},
        values={"sources": len(ids)},
        seconds=clock.seconds(),
        threads=threads,
    )


def _harmonic(graph, depth, last, normalized):
    """Closeness of the source of each column of depths: float64 (width,), alike on all ranks."""
    n_at = np.stack([np.count_nonzero(depth == d, axis=0) for d in range(1, last + 1)] or [np.zeros(depth.shape[1])])
    n_at = graph.comm.allreduce(n_at.astype(np.int64))
    total = np.zeros(depth.shape[1])
    for d, n in enumerate(n_at, 1):
        total += n / d
    return total / max(graph.n_vertices - 1, 1) if normalized else total


@collective
def verify(graph, result, *, sources=None, seed=0, normalized=False, incoming=False, **_):
    """Check some of the values by single searches. Collective.

    Raises
    ------
    VerifyError
        On every rank.
    """
    found, ids = result["closeness"], graph.id[: graph.n_owned]
    picked = pick(graph, sources, seed)
    refuse(
        graph,
        np.isnan(found) == np.isin(ids, picked),
        lambda i: f"vertex {ids[i]} has closeness {found[i]}, but a number belongs to sources, and to them only",
    )
    turned = reversed_edges(graph) if incoming else graph
    for source in picked[:: -(-len(picked) // N_CHECKED) or 1].tolist():
        depth = bfs.run(turned, source=source)["depth"]
        own = np.bincount(depth[(depth > 0) & (depth < bfs.UNREACHED)])
        counts = [0] * max(graph.comm.allgather(len(own)))
        for part in graph.comm.allgather(own.tolist()):
            for d, n in enumerate(part):
                counts[d] += n
        expected = 0.0
        for d in range(1, len(counts)):
            expected += counts[d] / d
        expected = expected / max(graph.n_vertices - 1, 1) if normalized else expected
        is_wrong = (ids == source) & (found != expected)
        refuse(
            graph, is_wrong, lambda i, e=expected: f"vertex {ids[i]} has closeness {found[i]!r}, its search gives {e!r}"
        )
    if turned is not graph:
        turned.close()
