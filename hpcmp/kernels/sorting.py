"""Sorting and sending edges: linear passes over keys of 64 bits.

e: edge    d: digit of a key    p: rank, or place of a digit
"""

import numpy as np

from hpcmp.jit import kernel

DIGIT_BITS = 11  # 2048 places written at once stay in the first cache; 8 bits need more passes (measured)
N_DIGITS = 1 << DIGIT_BITS


def sort_keys(keys, n_bits, numbers=None):
    """Sort keys, and numbers with them, by radix from the lowest digit on. Local.

    Linear, and stable: numbers of equal keys stay in order.

    Parameters
    ----------
    keys : uint64 (m,)
        Below ``2**n_bits``. Scratch afterwards.
    numbers : (m,) array or None
        Scratch afterwards.

    Returns
    -------
    keys, numbers
        Sorted.
    """
    n_passes = max(1, -(-n_bits // DIGIT_BITS))
    counts = np.zeros((n_passes, N_DIGITS), np.uint64)
    count_digits(keys, counts)
    other_keys = other_numbers = None
    for p in range(n_passes):
        if counts[p].max(initial=0) == len(keys):  # one digit for all: nothing to move
            continue
        at = np.cumsum(counts[p]) - counts[p]
        shift = np.uint64(p * DIGIT_BITS)
        other_keys = np.empty_like(keys) if other_keys is None else other_keys
        if numbers is None:
            place_keys(keys, shift, at, other_keys)
        else:
            other_numbers = np.empty_like(numbers) if other_numbers is None else other_numbers
            place_keys_and_numbers(keys, numbers, shift, at, other_keys, other_numbers)
            numbers, other_numbers = other_numbers, numbers
        keys, other_keys = other_keys, keys
    return keys, numbers


@kernel
def count_digits(keys, counts):
    """counts[p, d] += 1 for digit d of every key at place p."""
    mask = np.uint64(N_DIGITS - 1)
    for e in range(keys.size):
        rest = keys[e]
        for p in range(counts.shape[0]):
            counts[p, rest & mask] += np.uint64(1)
            rest >>= np.uint64(DIGIT_BITS)


@kernel
def place_keys(keys, shift, at, out):
    """Copy keys to where their digit's keys begin."""
    mask = np.uint64(N_DIGITS - 1)
    for e in range(keys.size):
        d = (keys[e] >> shift) & mask
        out[at[d]] = keys[e]
        at[d] += np.uint64(1)


@kernel
def place_keys_and_numbers(keys, numbers, shift, at, out, out_numbers):
    """`place_keys`, and a number beside each key."""
    mask = np.uint64(N_DIGITS - 1)
    for e in range(keys.size):
        d = (keys[e] >> shift) & mask
        out[at[d]] = keys[e]
        out_numbers[at[d]] = numbers[e]
        at[d] += np.uint64(1)


@kernel
def pack(src, dst, relation, first, src_bits, row_shift, keys):
    """keys[e] = (dst - first, relation, src) in one word; relation may be empty."""
    for e in range(keys.size):
        key = (np.uint64(dst[e]) - first) << row_shift
        if relation.size > 0:
            key |= np.uint64(relation[e]) << src_bits
        keys[e] = key | np.uint64(src[e])


@kernel
def unpack(keys, src_bits, row_shift, in_degree, src, relation):
    """What `pack` put together; in_degree counts the edges of each row."""
    src_mask = (np.uint64(1) << src_bits) - np.uint64(1)
    relation_mask = (np.uint64(1) << (row_shift - src_bits)) - np.uint64(1)
    for e in range(keys.size):
        key = keys[e]
        src[e] = key & src_mask
        if relation.size > 0:
            relation[e] = (key >> src_bits) & relation_mask
        in_degree[key >> row_shift] += 1


@kernel
def count_repeats(keys, first, src_bits, row_shift):
    """How many sorted keys repeat the one before, and how many of them are loops."""
    src_mask = (np.uint64(1) << src_bits) - np.uint64(1)
    n, n_loops = 0, 0
    for e in range(1, keys.size):
        if keys[e] == keys[e - 1]:
            n += 1
            n_loops += (keys[e] & src_mask) == (keys[e] >> row_shift) + first
    return n, n_loops


@kernel
def drop_repeats(keys, numbers):
    """Keep the first of equal keys in place; how many. numbers may be empty."""
    n = 0
    for e in range(keys.size):
        if e == 0 or keys[e] != keys[e - 1]:
            keys[n] = keys[e]  # n <= e: what was compared is still there, or its equal
            if numbers.size > 0:
                numbers[n] = numbers[e]
            n += 1
    return n


@kernel
def count_owners(bounds, rows, counts):
    """counts[p] += 1 for every row in [bounds[p], bounds[p + 1])."""
    for e in range(rows.size):
        p, end = 0, counts.size
        while end - p > 1:
            middle = (p + end) >> 1
            if np.int64(rows[e]) >= bounds[middle]:
                p = middle
            else:
                end = middle
        counts[p] += 1


@kernel
def place_by_owner(bounds, rows, at, out):
    """out lists the numbers of the rows by owner; at[p] is where owner p begins."""
    for e in range(rows.size):
        p, end = 0, at.size
        while end - p > 1:
            middle = (p + end) >> 1
            if np.int64(rows[e]) >= bounds[middle]:
                p = middle
            else:
                end = middle
        out[at[p]] = e
        at[p] += 1
