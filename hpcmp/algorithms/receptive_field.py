"""Receptive field: which vertices can influence some others within a number of steps.

What a vertex holds after k steps depends on every vertex from which k edges or
fewer lead to it, and on nothing else. So the field of a set of vertices is
found by a search against the edges: each vertex hears its out-neighbours. The
field ``hops`` is the number of edges to the nearest of the set, -1 outside.
"""

from dataclasses import replace

import numpy as np

from hpcmp.algorithms.checks import local, refuse, require_source
from hpcmp.comm import collective, raise_together
from hpcmp.engine.program import Program
from hpcmp.engine.run import run as run_program
from hpcmp.errors import GraphError
from hpcmp.graph import with_vertex_field

OUTSIDE = -1


def program():
    """The search as a program; vertices carry the field ``is_target``. Local."""
    return Program(
        name="receptive_field",
        state={"hops": "int64"},
        init=lambda vertex, ctx: 0 if vertex.is_target else OUTSIDE,
        send=lambda vertex, ctx: vertex.hops + 1,
        aggregate="min",
        update=lambda vertex, nearest, ctx: nearest if vertex.hops == OUTSIDE else vertex.hops,
        only_changed=True,
        active=lambda vertex, ctx: vertex.is_target,
        neighbours="out",
    )


@collective
def receptive_field(graph, ids, steps, **how):
    """Which vertices can influence the given ones within some steps. Collective.

    Parameters
    ----------
    ids : sequence of int
        The influenced vertices; the same on all ranks.
    steps : int

    Returns
    -------
    Result
        Field ``hops``; the value ``reached`` counts vertices at 0, 1, ... hops.

    Raises
    ------
    GraphError
        An id is not a vertex of the graph. Raised on every rank.
    """
    ids = np.unique(np.asarray(ids, np.int64))
    is_target = np.zeros(graph.n_owned, np.bool_)
    rows = graph.rows_of(ids)
    is_target[rows] = True
    known = np.concatenate(graph.comm.allgather(graph.id[rows]))
    unknown = np.setdiff1d(ids, known)
    error = GraphError(f"{unknown[0]} is not a vertex of this graph; `hpcmp info` shows ids") if len(unknown) else None
    raise_together(graph.comm, error)
    result = run_program(program(), with_vertex_field(graph, "is_target", is_target), steps, **how)
    hops = result["hops"]
    reached = graph.comm.allreduce(np.bincount(hops[hops >= 0], minlength=result.n_steps + 1))
    return replace(result, graph=graph, values={"reached": reached.tolist()})


@collective
def run(graph, steps=2, *, source=0, **how):
    """The receptive field of one vertex, by default two steps. Collective."""
    require_source(graph, source)
    return receptive_field(graph, [source], 2 if steps is None else steps, **how)


@collective
def verify(graph, result, *, source=0, **_):
    """Check hops against a search by whole-array marking. Collective.

    Parameters
    ----------
    source : int or sequence of int
        The influenced vertices.

    Raises
    ------
    VerifyError
        On every rank.
    """
    hops, rows = result["hops"], graph.in_rows()
    expected = np.where(np.isin(graph.id[: graph.n_owned], source), 0, OUTSIDE)
    for step in range(1, result.n_steps + 1):
        is_in = local(graph, expected >= 0)
        # an edge j -> i lets j influence i: mark the sources of marked rows, at home
        heard = np.zeros(graph.n_local, np.int64)
        heard[graph.in_src[is_in[rows]]] = 1
        graph.halo.reverse(heard)
        fresh = (heard[: graph.n_owned] > 0) & (expected == OUTSIDE)
        expected[fresh] = step
    refuse(
        graph, hops != expected, lambda i: f"vertex {graph.id[i]} is {hops[i]} hops away, marking gives {expected[i]}"
    )
