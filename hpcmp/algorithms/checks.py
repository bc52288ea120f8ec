"""What several algorithms ask of a graph, and how verifiers speak."""

import numpy as np

from hpcmp.comm import raise_together
from hpcmp.errors import GraphError, VerifyError


def require_source(graph, source):
    """Refuse a source that is not a vertex. Collective."""
    if not isinstance(source, int | np.integer) or abs(source) >= 2**63:
        raise_together(graph.comm, GraphError(f"source = {source!r} is no vertex id; give a whole number of 64 bits"))
    if graph.comm.allreduce(len(graph.rows_of([source]))) == 0:
        raise_together(graph.comm, GraphError(f"source {source} is not a vertex of this graph; `hpcmp info` shows ids"))


def require_weights(graph, *, allow_negative=False):
    """Refuse a graph without usable weights. Collective."""
    error = None
    weight = graph.edge_fields.get("weight")
    if weight is None:
        have = ", ".join(graph.edge_fields) or "none"
        error = GraphError(
            f"this needs the edge field 'weight' (the graph has: {have}); convert with three columns or --weight"
        )
    elif np.any(np.isnan(weight)) or (not allow_negative and np.any(weight < 0)):
        e = int(np.flatnonzero(np.isnan(weight) | (weight < 0))[0])
        i = int(np.searchsorted(graph.in_ptr, e, side="right")) - 1
        error = GraphError(
            f"the edge {graph.id[graph.in_src[e]]} -> {graph.id[i]} has weight {weight[e]}; "
            "shortest paths need weights of at least 0"
        )
    raise_together(graph.comm, error)


def local(graph, values):
    """Values of all local rows, ghosts filled: array (n_local, ...). Collective."""
    out = np.empty((graph.n_local, *values.shape[1:]), values.dtype)
    out[: graph.n_owned] = values
    graph.halo.forward(out)
    return out


def refuse_unless_nearest(graph, source, own, offers, nothing, what):
    """Refuse distances that are not the least offer of the in-edges. Collective.

    Parameters
    ----------
    own : (n_owned,)
        Distances; that of the vertex ``source`` must be 0.
    offers : (n_in,)
        What each in-edge offers.
    nothing : scalar
        The distance of a vertex without offers.
    what : str
        What a distance is called.
    """
    best = np.full(graph.n_owned, nothing, own.dtype)
    np.minimum.at(best, graph.in_rows(), offers)
    ids = graph.id[: graph.n_owned]
    is_source = ids == source
    refuse(graph, is_source & (own != 0), lambda i: f"the source {source} has {what} {own[i]}, not 0")
    refuse(
        graph,
        ~is_source & (own != best),
        lambda i: f"vertex {ids[i]} has {what} {own[i]}, its in-edges give {best[i]}",
    )


def refuse(graph, wrong, text):
    """Raise on every rank if any owned row is wrong. Collective.

    Parameters
    ----------
    wrong : bool (n_owned,)
    text : callable (row) -> str
        What law the row breaks.
    """
    rows = np.flatnonzero(wrong)
    error = VerifyError(text(int(rows[0]))) if len(rows) else None
    raise_together(graph.comm, error)
