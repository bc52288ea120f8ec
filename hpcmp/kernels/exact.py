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
UNIT = 1 << 1074  # the smallest double is 1 / UNIT


def zero():
    """The sum of nothing: int64 (N_WORDS,). Local."""
    return np.zeros(N_WORDS, np.int64)


def add(total, values):
    """Add float64 values (any number) to a sum of words, in place. Local."""
    bits = np.ascontiguousarray(values, np.float64).view(np.int64)
    for lo in range(0, max(len(bits), 1), MAX_ADDS):
        add_all(bits[lo : lo + MAX_ADDS], total)
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
    over = np.int64(0)
    for k in range(N_LIMBS - 1):
        limb = total[k] + over
        over = limb >> np.int64(32)
        total[k] = limb & np.int64(0xFFFFFFFF)
    total[N_LIMBS - 1] += over


def value(total):
    """The sum, rounded once to the nearest double. Local."""
    plus, minus, nan = (int(n) for n in total[N_LIMBS:])
    if nan or (plus and minus):
        return math.nan
    if plus or minus:
        return math.inf if plus else -math.inf
    whole = sum(int(limb) << (LIMB_BITS * k) for k, limb in enumerate(total[:N_LIMBS]) if limb)
    try:
        return whole / UNIT  # division of integers is correctly rounded
    except OverflowError:
        return math.inf if whole > 0 else -math.inf
