"""Loops of learning over rows: dropout, softmax, activations, sums over the rows of a part.

i: row    k: channel    p: part
"""

import math

import numpy as np

from hpcmp.jit import inlined, kernel
from hpcmp.random import uniform, word

ZERO, ONE = np.uint64(0), np.uint64(1)
DRAWS = np.uint64(4)  # numbers of 16 bits that one random word gives
HALF = np.uint64(32)  # bits of a word's stream that tell the words of a row apart


@inlined
def is_kept(bits, k, limit):
    """Whether channel k of four is kept: 16 bits of its reach the limit. Local."""
    return ((bits >> (np.uint64(16) * (k & np.uint64(3)))) & np.uint64(0xFFFF)) >= limit


@kernel
def drop(seed, step, stream, id, x, limit, scale, out, lo, hi):
    """out = x * scale where the draw of (id, channel) reaches the limit, else 0."""
    width = np.uint64(x.shape[1])
    words = (width + DRAWS - ONE) // DRAWS
    for i in range(np.uint64(lo), np.uint64(hi)):
        for q in range(words):
            bits = word(seed, step, (np.uint64(stream) << HALF) + q, id[i])
            for k in range(q * DRAWS, min((q + ONE) * DRAWS, width)):
                out[i, k] = x[i, k] * scale if is_kept(bits, k, limit) else 0.0


@kernel
def draw_keys(seed, step, stream, id, out):
    """out[i]: a word of (seed, step, stream, id), to draw more from."""
    for i in range(np.uint64(out.size)):
        out[i] = word(seed, step, stream, id[i])


@kernel
def draw_rows(seed, step, stream, id, first, bound, out):
    """out[i, k] uniform in [-bound, bound), a function of id and first + k."""
    width = np.uint64(out.shape[1])
    for i in range(np.uint64(out.shape[0])):
        for k in range(width):
            # not of id * width + k, which is the same for ids that are 2**64 / width apart
            out[i, k] = (2.0 * uniform(seed, step, np.uint64(stream) + np.uint64(first[i]) + k, id[i]) - 1.0) * bound


@kernel
def leaky(x, slope, out, lo, hi):
    """out = x, or slope * x where x is negative."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        for k in range(np.uint64(x.shape[1])):
            v = x[i, k]
            out[i, k] = v if v > 0 else v * slope


@kernel
def leaky_back(d, result, slope, out, lo, hi):
    """out = d, or slope * d where the result of `leaky` is not above 0."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        for k in range(np.uint64(d.shape[1])):
            out[i, k] = d[i, k] if result[i, k] > 0 else d[i, k] * slope


@kernel
def plus(a, b, out, lo, hi):
    """out = a + b, where b has as many rows, or one."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        j = i if b.shape[0] > 1 else np.uint64(0)
        for k in range(np.uint64(a.shape[1])):
            out[i, k] = a[i, k] + b[j, k]


@kernel
def log_softmax(x, out, lo, hi):
    """out[i] = x[i] - log(sum of exp(x[i])), without overflow."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        top, total = -np.inf, 0.0
        for k in range(np.uint64(x.shape[1])):
            top = max(top, np.float64(x[i, k]))
        for k in range(np.uint64(x.shape[1])):
            total += math.exp(x[i, k] - top)
        shift = top + math.log(total)
        for k in range(np.uint64(x.shape[1])):
            out[i, k] = x[i, k] - shift


@kernel
def log_softmax_back(d, y, out, lo, hi):
    """out[i] = d[i] - exp(y[i]) * sum of d[i], y the result of `log_softmax`."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        total = 0.0
        for k in range(np.uint64(d.shape[1])):
            total += d[i, k]
        for k in range(np.uint64(d.shape[1])):
            out[i, k] = d[i, k] - math.exp(y[i, k]) * total


@kernel
def sum_columns(x, out, bounds, lo, hi):
    """out[p] = sum of the rows [bounds[p], bounds[p + 1]) of x, p in [lo, hi)."""
    width = np.uint64(x.shape[1])
    acc = np.empty(width, np.float64)
    for p in range(np.uint64(lo), np.uint64(hi)):
        acc[:] = 0.0
        for i in range(np.uint64(bounds[p]), np.uint64(bounds[p + ONE])):
            for k in range(width):
                acc[k] += x[i, k]
        for k in range(width):
            out[p, k] = acc[k]
