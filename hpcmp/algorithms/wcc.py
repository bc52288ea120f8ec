"""Weakly connected components: which vertices hang together.

Every vertex takes the smallest id it hears of, along edges and against them,
and tells its neighbours when that changed. A component is named by its smallest
id. Steps: at most the largest diameter of a component. The global value
``components`` counts them.
"""

from dataclasses import replace

import numpy as np

from hpcmp.algorithms.checks import local, refuse
from hpcmp.comm import collective, gather_rows, raise_together
from hpcmp.engine.program import Program
from hpcmp.engine.run import run as run_program
from hpcmp.errors import VerifyError


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
        neighbours="both",
    )


@collective
def run(graph, steps=None, **how):
    """Smallest id of every vertex's component. Collective."""
    result = run_program(program(), graph, steps, **how)
    return replace(result, values={"components": _count(graph, result)})


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
