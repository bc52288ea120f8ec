"""Messages that arrived, put in the order in which agents read them: by sender's id, then number.

The messages of one sender lie in the order of their numbers wherever they are, so a stable sort by sender is enough.

i: row of a receiver    k: place of a message    q: place in slots
"""

import numpy as np

from hpcmp.jit import kernel

ONE = np.uint64(1)
FEW = 32  # messages of a row that are sorted by insertion
DELIVERED, IN_FLIGHT, DROPPED_NEW, DROPPED_OLD, MERGED, NO_RECEIVER, RECEIVER_LEFT = range(7)
POLICIES = {"error": 0, "drop_new": DROPPED_NEW, "drop_old": DROPPED_OLD, "merge": MERGED}


@kernel
def count_by_rank(to, bounds, counts):
    """counts[p] += messages to rank p; to -1 (nowhere) counts for none."""
    for k in range(np.uint64(to.size)):
        if to[k] >= 0:
            counts[np.searchsorted(bounds, to[k], side="right") - 1] += 1


@kernel
def place_by_rank(words, n_words, to, bounds, at, out):
    """Copy messages of so many words to where those of their rank go, in order."""
    for k in range(np.uint64(to.size)):
        if to[k] >= 0:
            p = np.searchsorted(bounds, to[k], side="right") - 1
            for w in range(n_words):
                out[at[p] * n_words + w] = words[k * n_words + w]
            at[p] += 1


@kernel
def count_by_row(to, due, first_gid, step, counts):
    """counts[i] += messages to row i that are due in a step; how many are not."""
    later = 0
    for k in range(np.uint64(to.size)):
        if due[k] == step:
            counts[to[k] - first_gid] += 1
        else:
            later += 1
    return later


@kernel
def place_by_row(to, due, first_gid, step, first, at, slots, later):
    """slots: places of messages by receiver; later: of those that are not due."""
    n_later = 0
    for k in range(np.uint64(to.size)):
        if due[k] == step:
            i = to[k] - first_gid
            slots[at[i]] = first + k
            at[i] += 1
        else:
            later[n_later] = k
            n_later += 1


@kernel
def sort_rows(ptr, slots, sender, lo, hi):
    """Put the messages of rows [lo, hi) in the order of their senders' ids."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        start, end = ptr[i], ptr[i + ONE]
        if end - start > FEW:
            keys = np.empty(end - start, np.int64)
            for q in range(start, end):
                keys[q - start] = sender[slots[q]]
            order = np.argsort(keys, kind="mergesort")
            kept = slots[start:end].copy()
            for q in range(start, end):
                slots[q] = kept[order[q - start]]
            continue
        for q in range(start + 1, end):
            k = slots[q]
            key, back = sender[k], q
            while back > start and sender[slots[back - 1]] > key:
                slots[back] = slots[back - 1]
                back -= 1
            slots[back] = k
