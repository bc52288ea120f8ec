"""Random numbers that are a function of what they are for, not of a generator's past.

`uniform(seed, step, stream, id)` may be called anywhere: in a program's
functions, on any rank, in any order, and gives the same number for the same
arguments. Four rounds of splitmix64's finaliser over the four words.
"""

import numpy as np

from hpcmp import hashing
from hpcmp.jit import inlined, kernel

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


mix = inlined(hashing.mix)


@inlined
def word(seed, step, stream, item):
    """64 random bits for four integers: uint64. Local."""
    x = mix(np.uint64(seed) + GOLDEN)
    x = mix(x + np.uint64(step) * GOLDEN + np.uint64(1))
    x = mix(x + np.uint64(stream) * GOLDEN + np.uint64(2))
    return mix(x + np.uint64(item) * GOLDEN + np.uint64(3))


@inlined
def uniform(seed, step, stream, item):
    """A float in [0, 1) for four integers, a multiple of 2**-53. Local."""
    return np.float64(word(seed, step, stream, item) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@kernel
def fill_uniform(seed, step, stream, first, out):
    """out[i] = uniform(seed, step, stream, first + i)"""
    for i in range(out.size):
        out[i] = uniform(seed, step, stream, first + i)
