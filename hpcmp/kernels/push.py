"""Steps by pushing: a sender goes along its out-edges.

i: destination row    j: source row    e: edge    r: place in rows
"""

import numpy as np

from hpcmp.jit import inlined, kernel_if
from hpcmp.kernels.access import as_tuple, at, differs, put, scratch_rows, single
from hpcmp.kernels.intrinsics import same_bits, swap_if

ZERO, ONE = np.uint64(0), np.uint64(1)


def make_push(message, fold, listens, read, fingerprint, compiled=True):
    """Fold the messages of senders[lo:hi] at the rows of [first, last). Local.

    For folds that any order of messages gives the same bits. Threads share
    the senders where an accumulator is one word, which is then swapped as one
    step; else they share the rows, so that one thread writes a row, and find
    their own out-edges by search where those of a sender ascend. With
    ``remembers``, accumulators hold what was heard in earlier steps too, and a
    message that does not change one is as if it had not been sent. Gives how
    many rows heard something for the first time in this step, which are
    written to ``touched``.
    """
    take = make_take(fold)

    def push(
        out_ptr,
        out_dst,
        ascends,
        edges,
        vertices,
        sent,
        ctx,
        senders,
        acc,
        hears,
        remembers,
        touched,
        lo,
        hi,
        first,
        last,
    ):
        fingerprint  # noqa: B018
        scratch, first, last = scratch_rows(vertices), np.uint64(first), np.uint64(last)
        n = ZERO
        is_share = first > ZERO or last < np.uint64(hears.size) or not ascends  # these may name ghosts too
        for r in range(lo, hi):
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
                is_news = take(acc, i, message(told, vertex, at(edges, e), ctx))
                if (is_news or not remembers) and not hears[i] and swap_if(hears, i, False, True):
                    touched[n] = i
                    n += ONE
        return n

    return kernel_if(compiled, push)


def make_take(fold):
    """take(acc, i, message) -> whether it changed row i of the accumulators. Local."""
    absorb = fold.absorb

    def take_alone(acc, i, heard):
        new = absorb(at(acc, i), heard)
        is_news = differs(acc, i, new)
        put(acc, i, new)
        return is_news

    def take_shared(acc, i, heard):
        while True:
            old = acc[0][i]
            new = absorb((old,), heard)
            if same_bits(old, acc[0].dtype.type(new[0])):  # not asked of the array, which others write
                return False
            if swap_if(acc[0], i, old, acc[0].dtype.type(new[0])):
                return True

    return inlined(take_shared if fold.is_one_word else take_alone)


def make_settle(fold, update, read, fingerprint, compiled=True):
    """Update rows that heard something by `make_push`. Local.

    They forget it but for runs that remember. Gives what a step by pulling
    gives.
    """
    identity, result = fold.identity, fold.result

    def settle(vertices, acc, hears, remembers, ctx, rows, out, out_degree, news, lo, hi):
        fingerprint  # noqa: B018
        scratch = scratch_rows(vertices)
        n_new, out_edges = ZERO, ZERO
        for r in range(lo, hi):
            i = rows[r]
            new = as_tuple(update(read(vertices, i, scratch), result(at(acc, i)), ctx))
            if not remembers:
                put(acc, i, identity)
            hears[i] = False
            if differs(out, i, new):
                news[np.uint64(lo) + n_new] = i
                n_new += ONE
                out_edges += np.uint64(out_degree[i])
            put(out, i, new)
        return n_new, out_edges

    return kernel_if(compiled, settle)


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
