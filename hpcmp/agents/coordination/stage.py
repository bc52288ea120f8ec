"""What models of this folder share: graphs with what agents begin with, and answers that all ranks know."""

from dataclasses import replace

import numpy as np

from hpcmp.comm import collective, together
from hpcmp.errors import ProgramError
from hpcmp.graph import with_vertex_field


@collective
def stage(graph, **fields):
    """The graph with these vertex fields and no others. Collective.

    Parameters
    ----------
    graph : Graph
    fields
        Of each an array (n_owned,), a number for all, or the name of a vertex
        field.

    Raises
    ------
    ProgramError
        There is no such field, or the array has another shape. Raised on every
        rank.
    """
    with together(graph.comm):
        columns = {name: _column(graph, name, values) for name, values in fields.items()}
    bare = replace(graph, vertex_fields={}, categories={}, digest=None)
    for name, column in columns.items():
        bare = with_vertex_field(bare, name, column)
    return bare


def _column(graph, name, values):
    if isinstance(values, str):
        if values not in graph.vertex_fields:
            raise ProgramError(f"{name}: the graph has no vertex field {values!r}")
        values = graph.vertex_fields[values]
    values = np.asarray(values)
    if values.shape not in ((), (graph.n_owned,)):
        raise ProgramError(f"{name} has the shape {values.shape}; this rank has {graph.n_owned} vertices")
    return np.broadcast_to(values, graph.n_owned).copy()


def by_id(graph, *columns):
    """Ids and columns of all ranks, ascending by id. Collective."""
    parts = graph.comm.allgather((graph.id[: graph.n_owned], *columns))
    joined = [np.concatenate(some) for some in zip(*parts, strict=True)]
    order = np.argsort(joined[0])
    return [column[order] for column in joined]


def refuse(graph, is_wrong, text):
    """Raise on every rank what is wrong on any. Collective."""
    with together(graph.comm):
        if is_wrong:
            raise ProgramError(text)


def undirected(graph):
    """Refuse a directed graph on every rank. Collective."""
    refuse(graph, graph.directed, "agents of this model answer their neighbours: the graph has to be undirected")
