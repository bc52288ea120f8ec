"""Core numbers of a rank's rows, the ghosts' given.

i, j: rows    e: edge    d: core number, as far as it is known
"""

import numpy as np

from hpcmp.dtypes import LID, PTR
from hpcmp.jit import kernel

ONE = np.uint64(1)


def load():
    """Compile the kernels of this file, or load them from the cache. Local."""
    ptr, rows = np.zeros(1, PTR), np.empty(0, LID)
    peel(ptr, rows, ptr, rows, rows, np.zeros(1, LID), rows, rows)
    refine(ptr, rows, rows, rows, np.empty(0, np.bool_), 0, rows)


@kernel
def peel(in_ptr, in_src, out_ptr, out_dst, core, start, order, place):
    """Turn degrees of owned rows into core numbers, by taking the least row away.

    ``core`` holds the degrees of owned rows and what is known of ghosts; a
    ghost goes when rows of its number do. Buckets of rows of equal number lie
    one after the other in ``order``; a row that loses a neighbour moves to the
    bucket below by one swap.
    Source: V. Batagelj, M. Zaversnik (arXiv cs/0310049).

    Parameters
    ----------
    out_ptr, out_dst :
        Who hears a row; looked at for ghosts only.
    start : uint32 (largest number + 1,)
        Scratch, all 0.
    order, place : uint32 (n_local,)
        Scratch.
    """
    n_owned = np.uint64(in_ptr.size - 1)
    for i in range(core.size):
        start[core[i]] += np.uint32(1)
    total = np.uint32(0)
    for d in range(start.size):
        n, start[d] = start[d], total
        total += n
    for i in range(core.size):
        place[i] = start[core[i]]
        order[place[i]] = np.uint32(i)
        start[core[i]] += np.uint32(1)
    for d in range(start.size - 1, 0, -1):
        start[d] = start[d - 1]
    start[0] = np.uint32(0)
    for r in range(core.size):
        i = np.uint64(order[r])
        d = core[i]
        is_owned = i < n_owned
        ptr, ends = (in_ptr, in_src) if is_owned else (out_ptr, out_dst)
        for e in range(ptr[i], ptr[i + ONE]):
            j = ends[e]
            if j < n_owned and core[j] > d:
                first = start[core[j]]
                other, at = order[first], place[j]
                order[at], order[first] = other, j
                place[other], place[j] = at, first
                start[core[j]] += np.uint32(1)
                core[j] -= np.uint32(1)


@kernel
def refine(in_ptr, in_src, core, queue, is_queued, n_queued, count):
    """Lower core numbers until every row has as many neighbours of at least its own.

    Parameters
    ----------
    queue : uint32 (n_owned,)
        The first n_queued rows may be too high; ``is_queued`` marks them.
    count : uint32 (largest number + 1,)
        Scratch, all 0 before and after.
    """
    n_owned = np.uint64(in_ptr.size - 1)
    head = np.uint64(0)
    n = np.uint64(n_queued)
    while n > np.uint64(0):
        i = np.uint64(queue[head])
        head = head + ONE if head + ONE < n_owned else np.uint64(0)
        n -= ONE
        is_queued[i] = False
        old = core[i]
        for e in range(in_ptr[i], in_ptr[i + ONE]):
            count[min(core[in_src[e]], old)] += np.uint32(1)
        new, above = old, count[old]
        while above < new:
            new -= np.uint32(1)
            above += count[new]
        for e in range(in_ptr[i], in_ptr[i + ONE]):
            count[min(core[in_src[e]], old)] = np.uint32(0)
        if new == old:
            continue
        core[i] = new
        for e in range(in_ptr[i], in_ptr[i + ONE]):
            j = in_src[e]
            if j < n_owned and not is_queued[j] and new < core[j] <= old:
                tail = head + n
                queue[tail if tail < n_owned else tail - n_owned] = j
                is_queued[j] = True
                n += ONE
