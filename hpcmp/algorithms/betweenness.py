"""Betweenness: how many shortest paths lead through a vertex.

bc(v) = sum over sources s and targets t, other than v and each other, of the
share of shortest paths from s to t that pass v. Two programs for each batch of
sources, a channel each (U. Brandes, J. Math. Sociol. 25, 2001; batches as in
A. Buluc and J. Gilbert, CombBLAS, 2011):

* `forward` counts shortest paths: sigma(v) = sum of sigma over the in-neighbours
  one level nearer to the source.
* `backward` goes through the levels from the farthest: delta(v) = sigma(v) x sum
  over the out-neighbours w one level farther of (1 + delta(w)) / sigma(w), which
  is what s alone gives to v.

Sums are taken in canonical order and channels are added in that of the sources,
so the result is the same bits on any ranks. Repeated edges are paths of their
own, and with ``counts`` an edge stands for as many as its field ``count`` says;
loops are on no shortest path. Path counts are doubles: exact up to 2**53.
Every (s, t) counts; ``normalized`` divides by the (n - 1)(n - 2) pairs. From
sampled sources: times n / k, an estimate without bias. networkx counts the
pairs of an undirected graph once: half of what is here, but for normalised ones,
which are the same.
"""

import math

import numpy as np

from hpcmp.algorithms import msbfs
from hpcmp.algorithms.checks import refuse
from hpcmp.algorithms.sources import Clock, batches, is_any_source, marked, pick
from hpcmp.comm import collective, raise_together, together
from hpcmp.engine.program import Program
from hpcmp.engine.result import make_result
from hpcmp.engine.run import run as run_program
from hpcmp.errors import GraphError, VerifyError
from hpcmp.graph import reversed_edges, with_vertex_field

FIELDS = ("count",)  # edge fields that are read
WIDTH = 16  # sources of a batch: rows of 128 bytes, two cache lines


def _is_open(vertex, ctx):
    """A search has not come here yet."""
    for k in range(vertex.depth.size):  # noqa: SIM110 (compiled functions have no generators)
        if vertex.depth[k] < 0:
            return True
    return False


def _is_next(vertex, ctx):
    """Of a search whose turn it is to be added up here."""
    for k in range(vertex.depth.size):  # noqa: SIM110 (compiled functions have no generators)
        if vertex.depth[k] == ctx.last - ctx.step - 1:
            return True
    return False


def as_often_as_counted(sent, receiver, edge, ctx):
    """What comes over an edge that stands for several. Local."""
    return sent * edge.count


def forward(width, counts=False):
    """Depths and path counts; sources are marked in ``is_source``. Local."""
    return Program(
        name="betweenness_forward",
        state={"depth": ("int32", width), "sigma": ("float64", width)},
        init=lambda vertex, ctx: (0, 1.0) if vertex.is_source else (-1, 0.0),
        send=lambda vertex, ctx: vertex.sigma if vertex.depth == ctx.step else 0.0,
        message=as_often_as_counted if counts else None,
        aggregate="sum",
        update=lambda vertex, paths, ctx: (
            (ctx.step + 1, paths) if vertex.depth < 0 and paths > 0 else (vertex.depth, vertex.sigma)
        ),
        only_changed=True,
        active=is_any_source,
        listens=_is_open,
    )


def backward(width, neighbours="out", counts=False):
    """Dependencies, from the fields ``depth`` and ``sigma``. Local."""
    return Program(
        name="betweenness_backward",
        state={"delta": ("float64", width)},
        init=lambda vertex, ctx: 0.0,
        send=lambda vertex, ctx: (1 + vertex.delta) / vertex.sigma if vertex.depth == ctx.last - ctx.step else 0.0,
        message=as_often_as_counted if counts else None,
        aggregate="sum",
        update=lambda vertex, share, ctx: (
            vertex.sigma * share if vertex.depth == ctx.last - ctx.step - 1 else vertex.delta
        ),
        listens=_is_next,
        neighbours=neighbours,
        params={"last": 0},
    )


@collective
def run(graph, *, sources=None, seed=0, normalized=False, counts=False, threads=1):
    """Betweenness of every vertex: the field ``betweenness``. Collective.

    Parameters
    ----------
    sources, seed
        As for `hpcmp.algorithms.sources.pick`: all, so many, or these. Of so
        many, the sums are scaled up to all; of given ones they are not.
    normalized : bool
        Divide by (n - 1)(n - 2).
    counts : bool
        An edge is as many as its field ``count`` says, such as the messages
        between two agents: a path then counts as often as there are choices.

    Raises
    ------
    GraphError
        With ``counts``, an edge has none, or it is not above 0. Raised on every rank.
    """
    if counts:
        _require_counts(graph)
    ids = pick(graph, sources, seed)
    clock = Clock()
    total = np.zeros(graph.n_owned)
    width = min(WIDTH, max(len(ids), 1))
    graph.work_out()  # once; the graphs with fields inherit it
    heard = reversed_edges(graph)  # in-edges are the out-edges of `graph`
    for batch in batches(ids, width):
        for delta in _dependencies(graph, heard, batch, width, counts, threads, clock).T[: len(batch)]:
            total += delta
    if heard is not graph:
        heard.close()
    total *= _scale(graph, sources, ids, normalized)
    return make_result(
        graph,
        "betweenness",
        {"betweenness": total},
        params={"normalized": bool(normalized), "counts": bool(counts)},
        values={"sources": len(ids)},
        seconds=clock.seconds(),
        threads=threads,
    )


def _dependencies(graph, heard, batch, width, counts, threads, clock):
    """What each source of a batch alone gives to every owned vertex: float64 (n_owned, width)."""
    paths = clock.program(forward(width, counts), marked(graph, batch, width), threads=threads)
    depth = paths["depth"]
    last = max(graph.comm.allgather(int(depth.max(initial=0))))
    levels = with_vertex_field(with_vertex_field(heard, "depth", depth), "sigma", paths["sigma"])
    found = clock.program(
        backward(width, "in", counts), levels, max(last - 1, 0), params={"last": last}, threads=threads
    )
    return found["delta"]


def _require_counts(graph):
    """Refuse a graph whose edges do not tell how many they are. Collective."""
    with together(graph.comm):
        count = graph.edge_fields.get("count")
        if count is None:
            have = ", ".join(graph.edge_fields) or "none"
            raise GraphError(f"counts=True needs the edge field 'count' (the graph has: {have})")
        if not (np.isfinite(count) & (count > 0)).all():
            e = int(np.flatnonzero(~(np.isfinite(count) & (count > 0)))[0])
            i = int(np.searchsorted(graph.in_ptr, e, side="right")) - 1
            raise GraphError(f"the edge {graph.id[graph.in_src[e]]} -> {graph.id[i]} has count {count[e]}, not above 0")


def _scale(graph, sources, ids, normalized):
    n, is_sampled = graph.n_vertices, isinstance(sources, int | np.integer) and len(ids) > 0
    return (n / len(ids) if is_sampled else 1.0) / ((n - 1) * (n - 2) if normalized and n > 2 else 1)


@collective
def verify(graph, result, *, sources=None, seed=0, normalized=False, **_):
    """Check the sum over all vertices against distances. Collective.

    A path of d edges has d - 1 inner vertices: betweenness, summed, is the sum
    of d(s, t) - 1 over all pairs that are connected, whatever the paths are.

    Raises
    ------
    VerifyError
        On every rank.
    """
    found, ids, comm = result["betweenness"], graph.id[: graph.n_owned], graph.comm
    refuse(graph, ~(found >= 0), lambda i: f"vertex {ids[i]} has betweenness {found[i]}, which is not 0 or more")
    is_end = (graph.in_degree == 0) | (graph.out_degree == 0)
    refuse(graph, is_end & (found != 0), lambda i: f"vertex {ids[i]} is on no path, but has betweenness {found[i]}")
    picked, inner = pick(graph, sources, seed), 0
    width = min(WIDTH, max(len(picked), 1))
    for batch in batches(picked, width):
        searches = run_program(msbfs.program(width), marked(graph, batch, width))
        depth = searches["depth"]
        inner += comm.allreduce(int((depth[(depth > 1) & (depth < msbfs.UNREACHED)] - 1).sum()))
    expected = inner * _scale(graph, sources, picked, normalized)
    total = math.fsum(np.concatenate(comm.allgather(found)).tolist())
    error = None
    if not math.isclose(total, expected, rel_tol=1e-9, abs_tol=1e-12):
        error = VerifyError(f"betweenness sums to {total!r} over all vertices, distances to {expected!r}")
    raise_together(comm, error)
