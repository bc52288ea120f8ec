"""Edges as a function of their number: counter-based generators.

e: edge    b: bit of a vertex number
"""

import numpy as np

from hpcmp.jit import inlined, kernel
from hpcmp.random import mix, uniform


@kernel
def kronecker_edges(scale, a, b, c, seed, first, src, dst):
    """Edges first, first + 1, ... of a stochastic Kronecker graph, vertices shuffled."""
    for e in range(src.size):
        u, v = np.uint64(0), np.uint64(0)
        for bit in range(scale):
            r = uniform(seed, bit, 1, first + e)
            u = (u << np.uint64(1)) | np.uint64(r >= a + b)
            v = (v << np.uint64(1)) | np.uint64((r >= a and r < a + b) or r >= a + b + c)
        src[e] = shuffled(u, scale, seed)
        dst[e] = shuffled(v, scale, seed)


@inlined
def shuffled(x, scale, seed):
    """A permutation of 0 .. 2**scale - 1: odd multiples and shifts undo bit by bit."""
    mask = (np.uint64(1) << np.uint64(scale)) - np.uint64(1)
    half = np.uint64((scale + 1) // 2)
    for turn in range(4):
        key = mix(np.uint64(seed) * np.uint64(4) + np.uint64(turn))
        x = (x * (key | np.uint64(1)) + (key >> np.uint64(32))) & mask
        x ^= x >> half
    return x


@kernel
def uniform_pairs(n, seed, first, src, dst):
    """Edges between vertices drawn uniformly, with replacement."""
    for e in range(src.size):
        src[e] = np.int64(uniform(seed, 0, 2, first + e) * n)
        dst[e] = np.int64(uniform(seed, 1, 2, first + e) * n)


@kernel
def uniform_weights(seed, first, low, high, whole, out):
    """Weights in [low, high), or whole numbers in [low, high]."""
    for e in range(out.size):
        r = uniform(seed, 0, 3, first + e)
        out[e] = np.floor(low + r * (high - low + 1.0)) if whole else low + r * (high - low)
