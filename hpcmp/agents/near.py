"""Whom each agent can write to: its out-neighbours, and those along a relation, as lists that compiled functions read."""

import numpy as np

from hpcmp.dtypes import PTR, RELATION
from hpcmp.errors import ProgramError
from hpcmp.graph import reversed_edges
from hpcmp.kernels.access import record


def number_relations(graph, kinds):
    """Number lists of neighbours by relation, from 1 on; 0 is all. Local.

    Each kind of message gets the number of its list.

    Raises
    ------
    ProgramError
        The graph has not the relation of a kind.
    """
    relations = sorted({kind.relation for kind in kinds} - {None})
    for kind in kinds:
        if kind.relation is not None and kind.relation not in graph.relations:
            has = f"it has {', '.join(graph.relations)}" if graph.relations else "it has none"
            raise ProgramError(
                f"message {kind.name!r} goes along the relation {kind.relation!r}, which the graph has not ({has})"
            )
        kind.near = 0 if kind.relation is None else 1 + relations.index(kind.relation)
    return relations


def neighbour_lists(graph, relations):
    """Out-neighbours of own rows, all and along some relations. Collective.

    Returns
    -------
    turned : Graph
        With an in-edge for every out-edge; its local rows are those of the
        neighbours.
    ptr : uint64 (lists * n_owned + 1,)
        Row i of the list k begins at ``ptr[k * n_owned + i]``.
    rows : uint32
        Of neighbours, ascending by id in each row of a list.
    fields : named tuple
        Scalar fields of edges, as ``rows`` lie.
    """
    turned = reversed_edges(graph) if graph.directed else graph
    scalars = {name: values for name, values in turned.edge_fields.items() if values.ndim == 1}
    fields = record("Edge", tuple(scalars))
    if turned.relation is None and not relations:
        return turned, turned.in_ptr, turned.in_src, fields(*scalars.values())
    row = turned.in_rows()
    number = np.zeros(turned.n_in, RELATION) if turned.relation is None else turned.relation
    lists = [np.lexsort((turned.id[turned.in_src], row))]  # stable: of equal ends the order of the graph
    lists += [np.flatnonzero(number == graph.relations.index(name)) for name in relations]
    degree = np.concatenate([np.bincount(row[edges], minlength=graph.n_owned) for edges in lists])
    ptr = np.zeros(len(degree) + 1, PTR)
    np.cumsum(degree, out=ptr[1:].view(np.int64))
    edges = np.concatenate(lists)
    return turned, ptr, turned.in_src[edges], fields(*(values[edges] for values in scalars.values()))
