"""Functions of each number alone for learning, and products of rows, in double and rounded once.

Backward kernels take ``d``, the gradient of the result. Each function has one definition here, whatever the length of
a loop: numpy's own may give a number other bits in a vector lane than in the rest of the loop.

i: row    k: channel    h: block of channels
"""

import math

import numpy as np

from hpcmp.jit import kernel

ROOT_HALF = math.sqrt(0.5)
DENSITY = 1 / math.sqrt(2 * math.pi)  # of the normal distribution, at 0


@kernel
def elu(x, out, lo, hi):
    """out = x, or exp(x) - 1 where x is negative."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        for k in range(np.uint64(x.shape[1])):
            v = np.float64(x[i, k])
            out[i, k] = v if v > 0.0 else math.expm1(v)


@kernel
def elu_back(d, y, out, lo, hi):
    """out = d, or d * exp(x) where the result y of `elu` is not above 0."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        for k in range(np.uint64(y.shape[1])):
            v = np.float64(y[i, k])
            out[i, k] = d[i, k] if v > 0.0 else np.float64(d[i, k]) * (v + 1.0)


@kernel
def gelu(x, out, lo, hi):
    """out = x * P(x), P the normal distribution."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        for k in range(np.uint64(x.shape[1])):
            v = np.float64(x[i, k])
            out[i, k] = v * (0.5 + 0.5 * math.erf(v * ROOT_HALF))


@kernel
def gelu_back(d, x, out, lo, hi):
    """out = d * (P(x) + x * p(x)), p the density of P."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        for k in range(np.uint64(x.shape[1])):
            v = np.float64(x[i, k])
            slope = 0.5 + 0.5 * math.erf(v * ROOT_HALF) + v * DENSITY * math.exp(-0.5 * v * v)
            out[i, k] = np.float64(d[i, k]) * slope


@kernel
def logistic(x, out, lo, hi):
    """out = 1 / (1 + exp(-x)), without overflow."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        for k in range(np.uint64(x.shape[1])):
            v = np.float64(x[i, k])
            low = math.exp(-abs(v))
            out[i, k] = (1.0 if v >= 0.0 else low) / (1.0 + low)


@kernel
def logistic_back(d, y, out, lo, hi):
    """out = d * y * (1 - y), y the result of `logistic`."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        for k in range(np.uint64(y.shape[1])):
            v = np.float64(y[i, k])
            out[i, k] = np.float64(d[i, k]) * (v * (1.0 - v))


@kernel
def hyperbolic(x, out, lo, hi):
    """out = tanh(x)"""
    for i in range(np.uint64(lo), np.uint64(hi)):
        for k in range(np.uint64(x.shape[1])):
            out[i, k] = math.tanh(np.float64(x[i, k]))


@kernel
def hyperbolic_back(d, y, out, lo, hi):
    """out = d * (1 - y**2), y the result of `hyperbolic`."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        for k in range(np.uint64(y.shape[1])):
            v = np.float64(y[i, k])
            out[i, k] = np.float64(d[i, k]) * (1.0 - v * v)


@kernel
def product(a, b, out, lo, hi):
    """out = a * b, where b has as many rows, or one."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        j = i if b.shape[0] > 1 else np.uint64(0)
        for k in range(np.uint64(a.shape[1])):
            out[i, k] = a[i, k] * b[j, k]


@kernel
def dot_blocks(a, b, out, lo, hi):
    """out[i, h] = sum of a * b over the channels of block h.

    From first to last; b has as many rows, or one.
    """
    width = np.uint64(a.shape[1]) // np.uint64(out.shape[1])
    for i in range(np.uint64(lo), np.uint64(hi)):
        j = i if b.shape[0] > 1 else np.uint64(0)
        for h in range(np.uint64(out.shape[1])):
            acc = 0.0
            for k in range(h * width, (h + np.uint64(1)) * width):
                acc += np.float64(a[i, k]) * np.float64(b[j, k])
            out[i, h] = acc
