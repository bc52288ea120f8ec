"""Sorting and sending edges: linear passes over keys of 64 bits.

e: edge    d: digit of a key    p: rank, or place of a digit
"""

import numpy as np

from hpcmp.jit import inlined, kernel

DIGIT_BITS = 8  # five passes of 256 places are 1.4 times as fast as four of 2048 (measured)
N_DIGITS = 1 << DIGIT_BITS


def sort_with_numbers(keys, n_bits, numbers):
    """Sort keys, and numbers with them, by radix from the lowest digit on. Local.

    Linear, and stable: numbers of equal keys stay in order. (Keys alone are
    sorted as fast by numpy, which needs no room beside them.)

    Parameters
    ----------
    keys : uint64 (m,)
        Below ``2**n_bits``. Scratch afterwards.
    numbers : (m,) array
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
        other_keys = np.empty_like(keys) if other_keys is None else other_keys
        other_numbers = np.empty_like(numbers) if other_numbers is None else other_numbers
        at = np.cumsum(counts[p]) - counts[p]
        place_keys(keys, numbers, np.uint64(p * DIGIT_BITS), at, other_keys, other_numbers)
        keys, other_keys = other_keys, keys
        numbers, other_numbers = other_numbers, numbers
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
def place_keys(keys, numbers, shift, at, out, out_numbers):
    """Copy keys, and the numbers beside them, to where their digit's keys begin."""
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


def owner_table(bounds):
    """Bounds as the loops below search them: int64 (a power of two,). Local."""
    size = len(bounds) - 1
    table = np.full(1 << max(size - 1, 0).bit_length(), np.iinfo(np.int64).max)
    table[:size] = bounds[:-1]
    return table


@inlined
def _owner(table, row):
    """Last place in the table that is not above row; without a branch that depends on the row."""
    p, step = np.uint64(0), np.uint64(table.size) >> np.uint64(1)
    while step != np.uint64(0):
        p += step * np.uint64(table[p + step] <= np.int64(row))
        step >>= np.uint64(1)
    return p


@kernel
def count_owners(table, src, dst, both_ways, counts):
    """counts[p] += 1 for every edge that ends at p, and, both ways, its reverse."""
    for e in range(dst.size):
        counts[_owner(table, dst[e])] += 1
        if both_ways:
            counts[_owner(table, src[e])] += src[e] != dst[e]


@kernel
def place_by_owner(table, src, dst, both_ways, at, out):
    """List edges as 2 e, their reverses as 2 e + 1, by owner p, from at[p] on."""
    for e in range(dst.size):
        p = _owner(table, dst[e])
        out[at[p]] = 2 * e
        at[p] += 1
        if both_ways and src[e] != dst[e]:
            p = _owner(table, src[e])
            out[at[p]] = 2 * e + 1
            at[p] += 1


@kernel
def take_ends(src, dst, listed, out_src, out_dst):
    """The ends of listed edges, those of reverses exchanged."""
    for k in range(listed.size):
        e = listed[k] >> np.uint32(1)
        turned = listed[k] & np.uint32(1)
        out_src[k] = dst[e] if turned else src[e]
        out_dst[k] = src[e] if turned else dst[e]
