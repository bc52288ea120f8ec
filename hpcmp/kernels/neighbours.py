"""Whom an agent can write to: lists of out-neighbours.

All of them, ascending by id, then those along each relation that a kind of message is bound to. Row i of list ``near`` lies at
``ptr[near * n_owned + i]`` of an `Outbox`.
"""

import numpy as np

from hpcmp.jit import inlined
from hpcmp.kernels import access
from hpcmp.kernels.places import ANYBODY, NO_EDGE, NOT_NEAR, NOWHERE, OF_HOME, OF_SENDER, ONE, ROW, fail


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
def neighbour(out, q, near):
    """Id of the q-th out-neighbour. Local."""
    if q < 0 or q >= n_neighbours(out, near):
        raise IndexError("the agent has not so many neighbours")
    return out.id[out.heard_by[out.ptr[row_in(out, near)] + np.uint64(q)]]


@inlined
def find(out, receiver, number, near):
    """Gid of a receiver by its id: `NOWHERE` if it is not near. Local."""
    row = np.uint64(out.at[ROW])
    if near == 0 and out.at[OF_HOME] != NOWHERE and receiver == out.at[OF_SENDER]:
        return out.at[OF_HOME]
    if near == 0 and receiver == out.id[row]:
        return out.gid[row]
    q = place(out, receiver, near)
    if q >= 0:
        return out.gid[out.heard_by[out.ptr[row_in(out, near)] + np.uint64(q)]]
    if near > 0:
        fail(out, NO_EDGE, number, 0, receiver)
    elif out.at[ANYBODY] == 0:
        fail(out, NOT_NEAR, number, 0, receiver)
    return np.int64(NOWHERE)


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
