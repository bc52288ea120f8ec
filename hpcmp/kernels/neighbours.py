"""Whom an agent can write to: lists of out-neighbours.

All of them, ascending by id, then those along each relation that a kind of message is bound to. Row i of list ``near`` lies at
``ptr[near * n_owned + i]`` of an `Outbox`. An agent that is written to is known by its *address*: its rank, and its row
among the agents there, which ascend by id. Rows of the graph are another numbering.

j: row of the graph
"""

import numpy as np

from hpcmp.jit import inlined
from hpcmp.kernels import access
from hpcmp.kernels.chunks import ROW_BITS
from hpcmp.kernels.places import (
    AGENT,
    ANYBODY,
    ID,
    NO_EDGE,
    NOT_NEAR,
    NOWHERE,
    OF_HOME,
    OF_SENDER,
    ONE,
    RANK,
    ROW,
    SEEN,
    SEEN_ID,
    SEEN_IN,
    fail,
)


@inlined
def row_in(out, near):
    """Place in `Outbox.ptr` of the row at hand in a list. Local."""
    return np.uint64(near) * np.uint64(out.numbers.size) + np.uint64(out.at[ROW])


@inlined
def n_neighbours(out, near):
    """Number of out-neighbours of the row at hand. Local."""
    row = row_in(out, near)
    return np.int64(out.ptr[row + ONE] - out.ptr[row])


@inlined
def neighbour_row(out, q, near):
    """The q-th out-neighbour, as a row of the graph. Local."""
    if q < 0 or q >= n_neighbours(out, near):
        raise IndexError("the agent has not so many neighbours")
    return np.uint64(out.heard_by[out.ptr[row_in(out, near)] + np.uint64(q)])


@inlined
def neighbour(out, q, near):
    """Id of the q-th out-neighbour. Local."""
    at, j = out.at, neighbour_row(out, q, near)
    at[SEEN], at[SEEN_ID], at[SEEN_IN] = j, out.id[j], near
    return out.id[j]


@inlined
def address(rank, row):
    """An agent, by its rank and its row among the agents there. Local."""
    return np.int64((np.uint64(rank) << ROW_BITS) | np.uint64(row))


@inlined
def address_of(out, j):
    """Address of the agent on row j of the graph. Local."""
    n = np.uint64(out.numbers.size)
    return address(out.ghost_rank[j - n] if j >= n else out.at[RANK], out.agent[j])


@inlined
def find(out, receiver, number, near):
    """Address of a receiver by its id: `NOWHERE` if it is not near. Local."""
    at = out.at
    if receiver == at[SEEN_ID] and at[SEEN] != NOWHERE and at[SEEN_IN] == near:  # most often it was just asked for
        return address_of(out, np.uint64(at[SEEN]))
    if near == 0 and at[OF_HOME] != NOWHERE and receiver == at[OF_SENDER]:
        return at[OF_HOME]
    if near == 0 and receiver == at[ID]:
        return address(at[RANK], at[AGENT])
    q = place(out, receiver, near)
    if q >= 0:
        return address_of(out, neighbour_row(out, q, near))
    if near > 0:
        fail(out, NO_EDGE, number, 0, receiver)
    elif at[ANYBODY]:
        return find_here(out, receiver)
    else:
        fail(out, NOT_NEAR, number, 0, receiver)
    return np.int64(NOWHERE)


@inlined
def find_here(out, id):
    """Address of an agent of this rank by its id, or `NOWHERE`. Local."""
    q = np.searchsorted(out.ids, id)
    return address(out.at[RANK], q) if q < out.ids.size and out.ids[q] == id else np.int64(NOWHERE)


@inlined
def place(out, id, near):
    """Which out-neighbour, the first of several edges, has an id; else -1. Local."""
    row = row_in(out, near)
    lo, end = out.ptr[row], out.ptr[row + ONE]
    hi = end
    while lo < hi:
        middle = (lo + hi) >> ONE
        if out.id[out.heard_by[middle]] < id:
            lo = middle + ONE
        else:
            hi = middle
    if lo < end and out.id[out.heard_by[lo]] == id:
        return np.int64(lo - out.ptr[row])
    return np.int64(-1)


@inlined
def edge(out, q, near):
    """Fields of the edge to the q-th out-neighbour. Local."""
    if q < 0 or q >= n_neighbours(out, near):
        raise IndexError("the agent has not so many neighbours")
    return access.at(out.edges, out.ptr[row_in(out, near)] + np.uint64(q))
