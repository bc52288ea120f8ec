"""Room in memory: what a graph takes, and what a machine has free.

A job that asks for more than there is would be killed without a word, often
after minutes of reading. What opening takes at least is known from the file's
frame. What a graph holds is told as rates: bytes for each of the ``vertices``
and ``edges`` of a rank, and of the rows it has ``sent`` and ``received``.
"""

import os

import numpy as np

from hpcmp.comm import raise_together
from hpcmp.edges import number_dtype
from hpcmp.errors import MemoryLimitError
from hpcmp.io.free import LIMIT, free_bytes, shown

ROW_BYTES = 40  # pointer, id, order, out-degree; and the list of distinct sources while they are numbered
TABLE_BYTES = 5  # of a vertex, while sources are numbered: a mark and a local row
OPEN_GHOST_BYTES = 50  # of a ghost meanwhile: id, gid, the owner's answer, buffers
HELD = {  # bytes of an opened graph's own arrays, those included that are made when first asked for
    "vertices": 45,  # id, order, out-degree, pointer, in-degree; whether it hears a ghost, and the list of these
    "received": 24,  # id, gid, buffer
    "sent": 16,  # row, buffer
}


def bytes_to_open(head, rank_parts, row_bytes=0):
    """Bytes that opening a graph takes on each rank at least: int64 (size,). Local.

    Ghost rows are not counted, since only the edges tell how many there are.

    Parameters
    ----------
    head : dict
        From `graph_head.read_head`, with the fields that will be read.
    rank_parts : int64 (size + 1,)
    row_bytes : int
        What will be needed of each owned vertex once the graph is open.
    """
    n = head["n_vertices"]
    n_rows, n_in = np.diff(head["part_start"][rank_parts]), np.diff(head["edge_start"][rank_parts])
    own_bytes = ROW_BYTES + _width(head, "vertices", [*head["vertex_fields"], *(["name"] if head["has_names"] else [])])
    edge_bytes = number_dtype(n).itemsize
    edge_bytes += _width(head, "in_edges", [*head["edge_fields"], *(["relation"] if head["has_relation"] else [])])
    table = np.where(n <= 8 * n_in, TABLE_BYTES * n, 0)
    return n_rows * own_bytes + n_in * edge_bytes + np.maximum(table, n_rows * row_bytes)


def held_rates(graph):
    """Bytes of what an opened graph holds: dict of str to int. Local."""
    by_edge = [graph.in_src, *graph.edge_fields.values(), *([] if graph.relation is None else [graph.relation])]
    by_vertex = [*graph.vertex_fields.values(), *([] if graph.name is None else [graph.name])]
    edges, vertices = (sum(row_width(a) for a in arrays) for arrays in (by_edge, by_vertex))
    return HELD | {"edges": edges, "vertices": HELD["vertices"] + vertices}


def open_rates(graph):
    """Bytes that opening a graph takes at its peak: dict of str to int. Local.

    Besides, `TABLE_BYTES` of every vertex of the whole graph.
    """
    held = held_rates(graph)
    return held | {"vertices": held["vertices"] - HELD["vertices"] + ROW_BYTES, "received": OPEN_GHOST_BYTES}


def counts_of(graph):
    """How many of each a rank has: dict of str to int. Local."""
    halo = graph.halo
    return {"vertices": graph.n_owned, "edges": graph.n_in, "received": graph.n_ghost, "sent": halo.n_send}


def bytes_of(rates, counts):
    """Bytes of so many of each; one number a rank where counts are arrays. Local."""
    return sum(rate * counts[name] for name, rate in rates.items())


def row_width(a):
    """Bytes of one row of an array. Local."""
    return a.dtype.itemsize * int(np.prod(a.shape[1:], dtype=np.int64))


def _width(head, group, names):
    plans = [head["datasets"][f"{group}/{name}"] for name in names]
    return sum(dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64)) for _, dtype, shape in plans)


def refuse_what_cannot_fit(comm, what, needed, held=0):
    """Refuse what the ranks of a machine have no room for together. Collective.

    Parameters
    ----------
    what : str
        Such as "opening g.h5 takes at least".
    needed : int
        Bytes that this rank will take.
    held : int
        Bytes that it has taken already; they count where `LIMIT` says how
        much there is, and are gone from what the system says is free.

    Raises
    ------
    MemoryLimitError
        A machine has less room than its ranks need. Raised on every rank.
    """
    from mpi4py import MPI

    own, error = None, None
    try:
        free = free_bytes()
        own = (MPI.Get_processor_name(), int(needed) + (int(held) if os.environ.get(LIMIT, "").strip() else 0), free)
    except MemoryLimitError as caught:
        error = caught
    raise_together(comm, error)
    name, _, free = own
    here = [n_bytes for other, n_bytes, _ in comm.allgather(own) if other == name]
    if free is not None and sum(here) > free:
        error = MemoryLimitError(
            f"{what} {shown(sum(here))} on {name} ({len(here)} ranks of {comm.size}), "
            f"{shown(free)} are free there; use more machines, or fewer fields "
            f"({LIMIT}=BYTES says what is free instead, 0 that all fits)"
        )
    raise_together(comm, error)
