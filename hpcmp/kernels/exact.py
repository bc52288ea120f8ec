"""Sums of doubles that do not depend on any order: exact, then rounded once.

A double is an integer times a power of two. `add_all` spreads that integer over
32-bit limbs of a fixed-point number wide enough for every double; limbs are
added as int64, which commutes, over rows, threads and ranks alike. Cost: one
pass, about 3 ns a value, and one all-reduce of N_LIMBS integers.
Source: R. Neal, Fast exact summation using small and large superaccumulators
(arXiv 1505.05571), here with all limbs alike.
"""

import math

import numpy as np

from hpcmp.jit import inlined, kernel

LIMB_BITS = 32
N_LIMBS = 68  # (2046 + 52) / 32 bits of position, and room for carries
N_FLAGS = 3  # how many +inf, -inf, nan
N_WORDS = N_LIMBS + N_FLAGS
MAX_ADDS = 2**30  # each adds less than 2**32 to an int64 limb
ADDED_AT_ONCE = 1 << 16  # values that are turned into doubles, where they are none: they stay in the second cache


def zero():
    """The sum of nothing: int64 (N_WORDS,). Local."""
    return np.zeros(N_WORDS, np.int64)


def add(total, values):
    """Add float64 values (any number) to a sum of words, in place. Local."""
    for lo in range(0, max(len(values), 1), ADDED_AT_ONCE):
        add_all(np.ascontiguousarray(values[lo : lo + ADDED_AT_ONCE], np.float64).view(np.int64), total)
        carry(total)


@kernel
def add_all(bits, total):
    """Add the doubles with these bit patterns to the limbs of total."""
    for i in range(bits.size):
        add_bits(total, bits[i])


@inlined
def add_value(total, value):
    """Add one number to the limbs of total; `carry` after MAX_ADDS at most. Local."""
    add_bits(total, np.float64(value).view(np.int64))


@inlined
def add_bits(total, b):
    """Add the double with this bit pattern to the limbs of total. Local."""
    mask = np.int64(0xFFFFFFFF)
    magnitude = b & np.int64(0x7FFFFFFFFFFFFFFF)
    if magnitude == 0:
        return
    exponent = magnitude >> np.int64(52)
    fraction = magnitude & np.int64(0xFFFFFFFFFFFFF)
    if exponent == 2047:
        total[N_LIMBS + (2 if fraction else 1 if b < 0 else 0)] += 1
        return
    if exponent == 0:
        exponent = np.int64(1)  # subnormal: no hidden bit
    else:
        fraction |= np.int64(1) << np.int64(52)
    place = exponent - np.int64(1)  # fraction * 2**place, in units of the smallest double
    k, shift = np.uint64(place >> np.int64(5)), place & np.int64(31)
    low = fraction & mask
    high = fraction >> np.int64(32)  # 21 bits
    low <<= shift  # up to 63 bits
    high <<= shift  # up to 52 bits
    middle = (low >> np.int64(32)) + (high & mask)
    if b < 0:
        total[k] -= low & mask
        total[k + np.uint64(1)] -= middle
        total[k + np.uint64(2)] -= high >> np.int64(32)
    else:
        total[k] += low & mask
        total[k + np.uint64(1)] += middle
        total[k + np.uint64(2)] += high >> np.int64(32)


@kernel
def carry(total):
    """Bring every limb but the last into [0, 2**32)."""
    carry_over(total)


@inlined
def carry_over(total):
    """`carry`, for kernels. Local."""
    over = np.int64(0)
    for k in range(N_LIMBS - 1):
        limb = total[k] + over
        over = limb >> np.int64(32)
        total[k] = limb & np.int64(0xFFFFFFFF)
    total[N_LIMBS - 1] += over


def value(total):
    """The sum, rounded once to the nearest double. Local."""
    return float(rounded(total))


@kernel
def rounded(total):
    """A sum of words as the nearest double; of two as near, the even one."""
    limbs, n_plus, n_minus, n_nan = total[:N_LIMBS].copy(), total[N_LIMBS], total[N_LIMBS + 1], total[N_LIMBS + 2]
    if n_nan or (n_plus and n_minus):
        return np.nan
    if n_plus or n_minus:
        return np.inf if n_plus else -np.inf
    carry_over(limbs)
    sign = -1.0 if limbs[N_LIMBS - 1] < 0 else 1.0
    if sign < 0:
        for k in range(N_LIMBS):
            limbs[k] = -limbs[k]
        carry_over(limbs)
    top = N_LIMBS - 1
    while top > 0 and limbs[top] == 0:
        top -= 1
    high = np.uint64(limbs[top])
    if high >> np.uint64(32):
        return sign * np.inf  # the last limb alone may be longer, far beyond any double
    if high == np.uint64(0):
        return 0.0
    zeros = np.uint64(0)  # before the first bit of the top limb
    while not (high << zeros) & np.uint64(1 << 31):
        zeros += np.uint64(1)
    middle = np.uint64(limbs[top - 1]) if top > 0 else np.uint64(0)
    low = np.uint64(limbs[top - 2]) if top > 1 else np.uint64(0)
    mask = np.uint64(0xFFFFFFFF)
    first_64 = (((high << np.uint64(32)) | middle) << zeros) | (low >> (np.uint64(32) - zeros))
    has_more = (low << zeros) & mask != np.uint64(0)
    for k in range(max(top - 2, 0)):
        has_more |= limbs[k] != 0
    place = 32 * top + 31 - np.int64(zeros)  # of the first bit, in units of the smallest double
    if place <= 52:  # these bits are all there are
        return sign * math.ldexp(np.float64(np.int64(first_64 >> np.uint64(63 - place))), -1074)
    fraction, rest, half = np.int64(first_64 >> np.uint64(11)), first_64 & np.uint64(2047), np.uint64(1024)
    if rest > half or (rest == half and (has_more or fraction & 1)):
        fraction += 1
    if place - 1074 > 1023 or (place - 1074 == 1023 and fraction >> 53):
        return sign * np.inf
    return sign * math.ldexp(np.float64(fraction), int(place - 52 - 1074))
