"""Messages of a block of receivers, put in the order in which agents read them: by sender's id, then number.

i: row of a receiver within the block    k: place of a message    q: place in slots    b: block, and its list
"""

from typing import NamedTuple

import numpy as np

from hpcmp.jit import inlined, kernel
from hpcmp.kernels.chunks import CHUNK_BITS, ONE, ZERO, append, end_of, free_list

FEW = 24  # messages of a row that are sorted by insertion
DELIVERED, IN_FLIGHT, DROPPED_NEW, DROPPED_OLD, MERGED, NO_RECEIVER, RECEIVER_LEFT = range(7)
N_STATUS = 7
POLICIES = {"error": 0, "drop_new": DROPPED_NEW, "drop_old": DROPPED_OLD, "merge": MERGED}
# places of the numbers in Inbox.at
BLOCK, END, NEXT, IS_OPEN, NEED, LACK, N_DUE, N_WORDS, PAYLOAD, IS_SORTED, NOT_DONE, N_AT = range(12)


class Inbox(NamedTuple):
    """What is read by the agents of some blocks, and how far they are."""

    at: np.ndarray  # int64 (N_AT,)
    head: np.ndarray  # uint32 (n_writers, n_lists) of the lists that are read, as in chunks.Lists
    tail: np.ndarray  # uint64 (n_writers, n_lists)
    words: np.ndarray  # uint64, the bytes of all messages
    merged: tuple  # Outbox.mail, as functions see it that make messages one
    slots: np.ndarray  # uint32 (room,) places of a block's messages, receiver by receiver
    spare: np.ndarray  # uint32 (room,)
    status: np.ndarray  # uint8 (room,) what becomes of each
    ptr: np.ndarray  # uint32 (rows of a block + 2,) into slots
    counts: np.ndarray  # int64 (N_STATUS,) messages that ended otherwise than being read
    tally: np.ndarray  # int64 (3, n_kinds) of one row
    log: tuple  # recording.Log, if messages are recorded
    as_sent: tuple  # a block's messages before functions make some of them one, as words and as records


@kernel
def open_block(b, head, tail, link, to, due, step, first, n_rows, slots, ptr):
    """slots, ptr: the messages of block b that are due in a step; how many are not."""
    ptr[: n_rows + 2] = 0
    n_later = 0
    for s in range(np.uint64(head.shape[0])):
        t = tail[s, b]
        c = np.uint64(head[s, b])
        while t != ZERO:
            for k in range(c << CHUNK_BITS, end_of(c, t)):
                if due[k] == step:
                    ptr[np.uint64(to[k]) - first + np.uint64(2)] += np.uint32(1)
                else:
                    n_later += 1
            if c == (t - ONE) >> CHUNK_BITS:
                break
            c = np.uint64(link[c])
    total = np.uint32(0)
    for i in range(np.uint64(n_rows + 2)):
        total += ptr[i]
        ptr[i] = total
    for s in range(np.uint64(head.shape[0])):
        t = tail[s, b]
        c = np.uint64(head[s, b])
        while t != ZERO:
            for k in range(c << CHUNK_BITS, end_of(c, t)):
                if due[k] == step:
                    i = np.uint64(to[k]) - first + ONE
                    slots[ptr[i]] = k
                    ptr[i] += np.uint32(1)
            if c == (t - ONE) >> CHUNK_BITS:
                break
            c = np.uint64(link[c])
    return n_later


@kernel
def keep_later(b, head, tail, due, step, words, n_words, lists):
    """Append the messages of block b that are not due to the list of the next step."""
    for s in range(np.uint64(head.shape[0])):
        t = tail[s, b]
        c = np.uint64(head[s, b])
        while t != ZERO:
            for k in range(c << CHUNK_BITS, end_of(c, t)):
                if due[k] != step:
                    append(lists, b, words, n_words, words, k)
            if c == (t - ONE) >> CHUNK_BITS:
                break
            c = np.uint64(lists.link[c])


@kernel
def close_block(b, head, tail, lists):
    """Give the chunks of a block that was read back."""
    for s in range(np.uint64(head.shape[0])):
        free_list(head[s, b], tail[s, b], lists)


@kernel
def sort_rows(ptr, n_rows, slots, spare, sender, number):
    """Put the messages of each row in the order of sender's id and number."""
    for i in range(np.uint64(n_rows)):
        lo, hi = np.uint64(ptr[i]), np.uint64(ptr[i + ONE])
        for q in range(lo + ONE, hi):
            if _is_before(slots[q], slots[q - ONE], sender, number):
                if hi - lo <= np.uint64(FEW):
                    _insert(slots, lo, q, hi, sender, number)
                else:
                    _merge_runs(slots, spare, lo, hi, sender, number)
                break


@inlined
def _is_before(k, other, sender, number):
    return sender[k] < sender[other] or (sender[k] == sender[other] and number[k] < number[other])


@inlined
def _insert(slots, lo, first, hi, sender, number):
    """Sort slots[lo:hi], which are sorted up to first."""
    for q in range(first, hi):
        k, back = slots[q], q
        while back > lo and _is_before(k, slots[back - ONE], sender, number):
            slots[back] = slots[back - ONE]
            back -= ONE
        slots[back] = k


@inlined
def _merge_runs(slots, spare, lo, hi, sender, number):
    """Sort slots[lo:hi] by merging neighbouring ascending runs until one is left: a run for each writer."""
    n_runs = 2
    while n_runs > 1:
        n_runs, start = 0, lo
        while start < hi:
            middle = _run_end(slots, start, hi, sender, number)
            end = _run_end(slots, middle, hi, sender, number)
            a, c = start, middle
            for q in range(start, end):
                if c == end or (a < middle and not _is_before(slots[c], slots[a], sender, number)):
                    spare[q] = slots[a]
                    a += ONE
                else:
                    spare[q] = slots[c]
                    c += ONE
            for q in range(start, end):
                slots[q] = spare[q]
            n_runs, start = n_runs + 1, end


@inlined
def _run_end(slots, start, hi, sender, number):
    """Where the ascending run that begins at start ends."""
    q = min(start + ONE, hi)
    while q < hi and not _is_before(slots[q], slots[q - ONE], sender, number):
        q += ONE
    return q
