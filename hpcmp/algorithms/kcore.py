"""Core numbers: how deep in the dense part of the graph a vertex lies.

The k-core is what is left when vertices with fewer than k neighbours are taken
away until none is left; a vertex's core number is the largest k whose core it is
in. Edges are taken as undirected, loops and repeats aside. The global value
``largest`` is the degeneracy of the graph. Two ways, the same numbers:

* `program`, message passing: every vertex starts from its degree and takes the
  h-index of what its neighbours hold, the largest h such that h of them hold h
  or more; what stays are the core numbers. Source: L. Lu et al., Nature
  Communications 7, 10168 (2016). `run` takes it where steps are asked for.
* `coreness`, which `run` takes otherwise: each rank takes its vertices away in
  rising degree, which is exact on one rank and an upper bound on several, as it
  believes the ghosts' numbers; then ranks tell each other what fell, and lower
  what follows, until nothing falls. Cost: every edge once, and a few rounds.
  Source: A. Montresor, F. De Pellegrini, D. Miorandi, IEEE TPDS 24 (2013).

Numbers only fall and the largest consistent ones are unique: the same on any
ranks.
"""

import time
from dataclasses import replace

import numpy as np

from hpcmp.algorithms.checks import local, refuse
from hpcmp.comm import collective
from hpcmp.dtypes import LID, PTR
from hpcmp.engine.program import Any, Program
from hpcmp.engine.result import make_result
from hpcmp.engine.run import run as run_program
from hpcmp.graph import both_ways, simplified
from hpcmp.kernels import cores as kernels
from hpcmp.kernels import csr, triangles
from hpcmp.kernels.aggregates import Collect

PLAIN = {"mode": "auto", "check": False, "overlap": True, "step_digests": False, "params": None}


def h_index(held):
    """Largest h such that h of the numbers are h or more. Local."""
    at_least = np.zeros(held.size + 1, np.int64)
    for k in range(held.size):
        at_least[min(held[k], held.size)] += 1
    h = held.size
    n = at_least[h]
    while n < h:
        h -= 1
        n += at_least[h]
    return h


def program():
    """Core numbers as a program for a graph without loops and repeats. Local."""
    return Program(
        name="kcore",
        state={"core": "int64"},
        init=lambda vertex, ctx: vertex.in_degree,
        send=lambda vertex, ctx: vertex.core,
        aggregate=Collect(h_index),
        update=lambda vertex, h, ctx: min(vertex.core, h),
        reduce={"fell": Any(lambda old, new, ctx: new.core < old.core)},
        until=lambda ctx: not ctx.fell,
    )


@collective
def run(graph, steps=None, **how):
    """Core number of every vertex. Collective."""
    asked = {name for name, value in how.items() if name not in PLAIN or value != PLAIN[name]}
    if steps is not None or asked - {"threads", "progress"}:
        result = run_program(program(), neighbours_once(graph), steps, **how)
    else:
        start = time.perf_counter()
        kernels.load()
        triangles.load()
        ready = time.perf_counter()
        core = coreness(graph)
        seconds = {"compile": ready - start, "run": time.perf_counter() - ready}
        result = make_result(graph, "kcore", {"core": core}, seconds=seconds)
    largest = max(graph.comm.allgather(int(result["core"].max(initial=0))))
    return replace(result, graph=graph, values={"largest": largest})


@collective
def coreness(graph):
    """Core number of every owned vertex, by peeling. Collective.

    Returns
    -------
    int64 (n_owned,)
    """
    g = neighbours_once(graph)
    core = local(g, g.in_degree.astype(LID))
    largest = int(core.max(initial=0))
    n_owned, n_local = g.n_owned, g.n_local
    heard_by = (g.out_edges.ptr, g.out_edges.dst) if g.n_ghost else (np.zeros(1, PTR), np.empty(0, LID))
    order, place = np.empty(n_local, LID), np.empty(n_local, LID)
    before = core[:n_owned].copy()
    kernels.peel(g.in_ptr, g.in_src, *heard_by, core, np.zeros(largest + 1, LID), order, place)
    changed, count = np.zeros(n_local, np.bool_), np.zeros(largest + 1, LID)
    queue, touched = np.zeros(n_owned, LID), np.zeros(n_owned, np.bool_)
    while True:
        changed[:n_owned] = core[:n_owned] != before
        if g.comm.size == 1 or not g.comm.allreduce(int(changed[:n_owned].any())):
            break
        before = core[:n_owned].copy()
        g.halo.changed_end(core, changed, g.halo.changed_begin(core, changed))
        csr.mark_listeners(*heard_by, (n_owned + np.flatnonzero(changed[n_owned:])).astype(LID), touched)
        rows = np.flatnonzero(touched)
        queue[: len(rows)] = rows
        kernels.refine(g.in_ptr, g.in_src, core, queue, touched, len(rows), count)
    if g is not graph:
        g.close()
    return core[:n_owned].astype(np.int64)


@collective
def neighbours_once(graph):
    """The undirected graph in which every neighbour is heard once. Collective.

    The graph itself where it is such a graph.
    """
    if not graph.directed and graph.relation is None:
        degree = np.empty(graph.n_owned, np.int64)
        triangles.distinct_degree(graph.in_ptr, graph.in_src, degree, 0, graph.n_owned)
        if not graph.comm.allreduce(int(np.any(degree != graph.in_degree))):
            return graph
    plain = replace(graph, edge_fields={}, vertex_fields={}, categories={})
    return replace(simplified(both_ways(plain)), directed=False)


@collective
def verify(graph, result, **_):
    """Check the numbers from below by counting, from above by h-indices. Collective.

    A vertex of core number k has k neighbours of at least k: so no number is
    too high. The message-passing program gives the same: so none is too low.

    Raises
    ------
    VerifyError
        On every rank.
    """
    g = neighbours_once(graph)
    core, ids = local(g, result["core"]), graph.id[: graph.n_owned]
    own, rows = core[: g.n_owned], g.in_rows()
    support = np.bincount(rows[core[g.in_src] >= own[rows]], minlength=g.n_owned)
    refuse(
        graph,
        support < own,
        lambda i: f"vertex {ids[i]} has core number {own[i]}, but {support[i]} neighbours of at least that",
    )
    expected = run_program(program(), g)["core"]
    refuse(
        graph,
        own != expected,
        lambda i: f"vertex {ids[i]} has core number {own[i]}, the h-indices of its neighbours end at {expected[i]}",
    )
