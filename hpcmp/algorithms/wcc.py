"""Weakly connected components: which vertices hang together.

A component is named by its smallest id; the global value ``components`` counts
them. Two ways lead there, and to the same bits:

* `program`, message passing: every vertex takes the smallest id it hears of,
  along edges and against them, and tells its neighbours when that changed.
  Steps: at most the largest diameter of a component. `run` takes it where
  something of a program is asked for (``steps``, ``mode``, ``check``,
  ``step_digests``, ``overlap``).
* `components`, union-find, which `run` takes otherwise. A vertex starts in the
  tree of the smallest row among itself and its first two sources, and vertices
  that are still alone or roots are linked with both: that joins nearly all of
  the largest component. The other edges of its vertices need not be looked at,
  as an edge that leaves it is also an edge of a vertex outside (in an undirected
  graph; of a directed one all edges are linked). Ranks join their components
  over the ghosts: the distinct pairs (owner's root, own root) go to all ranks,
  once after the first two edges, which makes the largest component known to
  all, and once at the end.

Source: M. Sutton, T. Ben-Nun, A. Barak, IPDPS 2018 (Afforest). There, all
vertices are linked with both sources; starting from one needs no atomic swap.
"""

import time
from dataclasses import replace

import numpy as np

from hpcmp import jit
from hpcmp.algorithms.checks import local, refuse
from hpcmp.comm import collective, gather_rows, raise_together
from hpcmp.dtypes import LID
from hpcmp.engine.program import Program
from hpcmp.engine.result import make_result
from hpcmp.engine.run import run as run_program
from hpcmp.errors import VerifyError
from hpcmp.kernels import components as kernels

N_FIRST = 2  # edges of a vertex that are looked at before the largest component is looked for
N_SAMPLES = 1024  # vertices of a rank that are asked for theirs
N_CHUNKS = 32  # of rows, for each thread
PLAIN = {"mode": "auto", "check": False, "overlap": True, "step_digests": False, "params": None}


def program():
    """Weakly connected components as a program. Local."""
    return Program(
        name="wcc",
        state={"component": "int64"},
        init=lambda vertex, ctx: vertex.id,
        send=lambda vertex, ctx: vertex.component,
        aggregate="min",
        update=lambda vertex, smallest, ctx: min(vertex.component, smallest),
        only_changed=True,
        monotone=True,
        neighbours="both",
    )


@collective
def run(graph, steps=None, **how):
    """Smallest id of every vertex's component. Collective."""
    asked = {name for name, value in how.items() if name not in PLAIN or value != PLAIN[name]}
    if steps is not None or asked - {"threads", "progress"}:
        result = run_program(program(), graph, steps, **how)
    else:
        start, threads = time.perf_counter(), how.get("threads", 1)
        kernels.load()
        ready = time.perf_counter()
        found = components(graph, threads=threads)
        seconds = {"compile": ready - start, "run": time.perf_counter() - ready}
        result = make_result(graph, "wcc", {"component": found}, seconds=seconds, threads=threads)
    return replace(result, values={"components": _count(graph, result)})


@collective
def components(graph, *, threads=1):
    """Smallest id of every vertex's component, by union-find. Collective.

    Returns
    -------
    int64 (n_owned,)
    """
    n_owned, edges = graph.n_owned, (graph.in_ptr, graph.in_src)
    root = np.empty(graph.n_local, LID)  # of each row, ghosts too: the smallest row it is known to hang with
    root[n_owned:] = np.arange(n_owned, graph.n_local)
    workers = jit.Threads(threads)
    chunks = _chunks(graph, workers.n_threads)

    def each(kernel, *args):
        """Run a kernel over all owned rows."""
        workers.run(lambda lo, hi: kernel(*args, lo, hi), chunks)

    try:
        each(kernels.hook, *edges, root, N_FIRST)
        each(kernels.link_roots, *edges, root, N_FIRST)
        _compress(graph, root, each)
        skipped = -1 if graph.directed else _largest(graph, root, *_join(graph, root, each))
        each(kernels.link_rows, *edges, root, skipped)
        _compress(graph, root, each)
        return _named(graph, root, each, *_join(graph, root, each))
    finally:
        workers.close()


def _compress(graph, root, each):
    kernels.compress(root, graph.n_owned, graph.n_local)
    each(kernels.compress, root)


def _chunks(graph, n_threads):
    """Ranges of rows with about equally many rows and edges: list of (lo, hi)."""
    n_chunks = 1 if n_threads == 1 else N_CHUNKS * n_threads
    cuts = np.searchsorted(graph.in_ptr, np.linspace(0, graph.n_in, n_chunks + 1)[1:-1].astype(np.uint64))
    even = np.linspace(0, graph.n_owned, n_chunks + 1).astype(np.int64)
    bounds = np.unique(np.minimum(np.concatenate((cuts, even)), graph.n_owned)).tolist()
    return list(zip(bounds[:-1], bounds[1:], strict=True))


def _join(graph, root, each):
    """Join what hangs together over ghosts; (roots here, name of the whole). Collective.

    A component of a rank is named by the gid of its root, a whole one by the
    least of its parts' names. Only components that span ranks are listed.
    """
    n, halo = graph.n_owned, graph.halo
    ours = root[n:].copy()
    halo.forward(root)  # the root of an owned row is a row of the same rank
    theirs = np.repeat(graph.gid_bounds[halo.recv_ranks], np.diff(halo.recv_ptr)) + root[n:]
    root[n:] = ours
    linked = ours < n  # a ghost that was linked to nothing tells nothing
    mine = np.stack((graph.first_gid + ours[linked].astype(np.int64), theirs[linked]), axis=1)
    if len(mine):  # most ghosts are in the largest component: leave them out before sorting
        most = mine[len(mine) // 2]
        mine = np.unique(np.concatenate((most[None], mine[(mine != most).any(axis=1)])), axis=0)
    pairs = np.concatenate(graph.comm.allgather(mine))
    names, ends = np.unique(pairs, return_inverse=True)
    first, second = ends.reshape(-1, 2).T
    whole = np.arange(len(names), dtype=LID)
    kernels.link_pairs(whole, first.astype(LID), second.astype(LID))
    kernels.compress(whole, 0, len(whole))

    here = (names >= graph.first_gid) & (names < graph.first_gid + n)
    rows, whole = names[here] - graph.first_gid, names[whole[here]]
    # parts of one whole that this rank holds become one component here too
    by_whole = np.argsort(whole, kind="stable")
    follows = np.flatnonzero(whole[by_whole][1:] == whole[by_whole][:-1])
    if len(follows):
        kernels.link_pairs(root, rows[by_whole][follows].astype(LID), rows[by_whole][follows + 1].astype(LID))
        _compress(graph, root, each)
    return rows, whole


def _largest(graph, root, rows, whole):
    """Root here of what seems to be the largest component, -1: not on this rank. Collective.

    A guess, from samples of all ranks; all ranks guess alike.
    """
    picked = np.linspace(0, graph.n_owned, min(N_SAMPLES, graph.n_owned), endpoint=False).astype(np.int64)
    by_root, at = np.unique(root[rows], return_index=True)
    names = graph.first_gid + root[picked].astype(np.int64)
    if len(at):
        place = np.minimum(np.searchsorted(by_root, root[picked]), len(at) - 1)
        names = np.where(by_root[place] == root[picked], whole[at[place]], names)
    found, n_found = np.unique(np.concatenate(graph.comm.allgather(names)), return_counts=True)
    if not len(found):
        return -1
    largest = found[np.argmax(n_found)]
    is_it = names == largest
    return int(root[picked[is_it.argmax()]]) if is_it.any() else -1


def _named(graph, root, each, rows, whole):
    """Smallest id of every owned row's component: int64 (n_owned,). Collective."""
    smallest = np.empty(graph.n_owned, np.int64)
    each(kernels.copy, graph.id, smallest)
    each(kernels.lower_roots, root, graph.id, smallest)
    names, least = zip(*graph.comm.allgather((whole, smallest[root[rows]])), strict=True)
    names, at = np.unique(np.concatenate(names), return_inverse=True)
    least_of = np.full(len(names), np.iinfo(np.int64).max)
    np.minimum.at(least_of, at, np.concatenate(least))
    smallest[root[rows]] = least_of[np.searchsorted(names, whole)]
    each(kernels.follow_roots, root, smallest)
    return smallest


@collective
def verify(graph, result, **_):
    """Check labels against edges, and their number by contraction. Collective.

    Both ends of an edge have one label, a label is the id of a vertex that
    bears it, and no vertex has a smaller id than its label. Two components
    under one label would pass; so components are counted once more, by
    contracting each rank's edges and then, on rank 0, what is left of them.

    Raises
    ------
    VerifyError
        On every rank.
    """
    label = local(graph, result["component"])
    own, ids = label[: graph.n_owned], graph.id[: graph.n_owned]
    rows = graph.in_rows()
    differs = np.zeros(graph.n_owned, np.bool_)
    differs[rows[label[graph.in_src] != own[rows]]] = True
    refuse(graph, differs, lambda i: f"vertex {ids[i]} of component {own[i]} has a neighbour of another component")
    refuse(graph, own > ids, lambda i: f"vertex {ids[i]} has the label {own[i]}, larger than its own id")
    bearers = graph.rows_of(own)
    named = np.zeros(graph.n_owned, np.bool_)
    named[bearers] = True
    refuse(graph, named & (own != ids), lambda i: f"the label {ids[i]} is borne, but not by vertex {ids[i]} itself")

    found, contracted = _count(graph, result), _count_by_contraction(graph)
    error = None
    if found != contracted:
        error = VerifyError(f"the labels name {found} components, contraction finds {contracted}")
    raise_together(graph.comm, error)


def _count(graph, result):
    return int(graph.comm.allreduce(int((result["component"] == graph.id[: graph.n_owned]).sum())))


def _count_by_contraction(graph):
    gids = graph.local_gids()
    root = _roots(graph.n_local, graph.in_src.astype(np.int64), graph.in_rows())
    a, b = gather_rows(graph.comm, gids), gather_rows(graph.comm, gids[root])
    n = None
    if graph.comm.rank == 0:
        n = len(np.unique(_roots(graph.n_vertices, a, b)))
    return graph.comm.bcast(n)


def _roots(n, a, b):
    """Smallest member of each vertex's component: hook larger roots to smaller, jump, repeat."""
    root = np.arange(n)
    while True:
        low, high = np.minimum(root[a], root[b]), np.maximum(root[a], root[b])
        apart = low != high
        if not apart.any():
            return root
        a, b = a[apart], b[apart]
        np.minimum.at(root, high[apart], low[apart])
        while np.any(root[root] != root):
            root = root[root]
