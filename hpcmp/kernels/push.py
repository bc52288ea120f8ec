"""Steps by pushing: a sender goes along its out-edges; changed rows that wait in buckets.

i: destination row    j: source row    e: edge    r: place in rows
"""

import numpy as np

from hpcmp.jit import inlined, kernel_if
from hpcmp.kernels.access import as_tuple, at, differs, put, scratch_rows, single

ZERO, ONE = np.uint64(0), np.uint64(1)


def make_push(message, fold, listens, read, fingerprint, compiled=True):
    """Fold the messages of some senders at the rows of [first, last). Local.

    For folds that any order of messages gives the same bits. Several threads
    share the rows, not the senders, so that one thread writes a row; where the
    out-edges of a sender ascend, each finds its own by search. Gives how many
    rows heard something for the first time, which are written to ``touched``
    from ``first`` on.
    """
    absorb = fold.absorb

    def push(out_ptr, out_dst, ascends, edges, vertices, sent, ctx, senders, acc, hears, touched, first, last):
        fingerprint  # noqa: B018
        scratch, first, last = scratch_rows(vertices), np.uint64(first), np.uint64(last)
        is_share, n = first > ZERO or last < np.uint64(hears.size), ZERO
        for r in range(senders.size):
            j = senders[r]
            start, end = out_ptr[j], out_ptr[j + ONE]
            if is_share and ascends:
                start = first_at_least(out_dst, start, end, first)
                end = first_at_least(out_dst, start, end, last)
            told = single(at(sent, j))
            for e in range(start, end):
                i = np.uint64(out_dst[e])
                if is_share and (i < first or i >= last):
                    continue
                vertex = read(vertices, i, scratch)
                if not listens(vertex, ctx):
                    continue
                if not hears[i]:
                    hears[i] = True
                    touched[first + n] = i
                    n += ONE
                put(acc, i, absorb(at(acc, i), message(told, vertex, at(edges, e), ctx)))
        return n

    return kernel_if(compiled, push)


def make_settle(fold, update, read, fingerprint, compiled=True):
    """Update rows that heard something by `make_push`, and forget it. Local.

    Gives what a step by pulling gives.
    """
    identity, result = fold.identity, fold.result

    def settle(vertices, acc, hears, ctx, rows, out, out_degree, news, lo, hi):
        fingerprint  # noqa: B018
        scratch = scratch_rows(vertices)
        n_new, out_edges = ZERO, ZERO
        for r in range(lo, hi):
            i = rows[r]
            new = as_tuple(update(read(vertices, i, scratch), result(at(acc, i)), ctx))
            put(acc, i, identity)
            hears[i] = False
            if differs(out, i, new):
                news[np.uint64(lo) + n_new] = i
                n_new += ONE
                out_edges += np.uint64(out_degree[i])
            put(out, i, new)
        return n_new, out_edges

    return kernel_if(compiled, settle)


def make_split(bucket, read, fingerprint, compiled=True):
    """Part rows that changed into those that send now and those that wait. Local.

    A row waits while its bucket is above ``limit``. Row lists may name a row
    twice; ``waits`` tells which rows are in the list of the waiting. With
    ``only_waiting``, rows that no longer wait are passed over.
    """

    def split(vertices, ctx, rows, waits, only_waiting, limit, out_degree, near, far):
        fingerprint  # noqa: B018
        scratch = scratch_rows(vertices)
        n_near, n_far, out_edges = ZERO, ZERO, ZERO
        for r in range(rows.size):
            i = rows[r]
            if only_waiting:
                if not waits[i]:
                    continue
                waits[i] = False
            if bucket(read(vertices, i, scratch), ctx) <= limit:
                waits[i] = False
                near[n_near] = i
                n_near += ONE
                out_edges += np.uint64(out_degree[i])
            elif not waits[i]:
                far[n_far] = i
                n_far += ONE
                if not only_waiting:
                    waits[i] = True
        if only_waiting:
            for r in range(n_far):
                waits[far[r]] = True
        return n_near, n_far, out_edges

    return kernel_if(compiled, split)


def make_lowest(bucket, read, fingerprint, compiled=True):
    """Smallest bucket of the rows that wait; float64. Local."""

    def lowest(vertices, ctx, rows, waits):
        fingerprint  # noqa: B018
        scratch, least = scratch_rows(vertices), np.inf
        for r in range(rows.size):
            if waits[rows[r]]:
                least = min(least, 1.0 * bucket(read(vertices, rows[r], scratch), ctx))
        return least

    return kernel_if(compiled, lowest)


@inlined
def first_at_least(values, start, end, bound):
    """First place of [start, end), ascending, not below bound. Local."""
    while start < end:
        middle = (start + end) >> ONE
        if values[middle] < bound:
            start = middle + ONE
        else:
            end = middle
    return start
