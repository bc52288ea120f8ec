"""Rows and columns with mean 0 and variance 1, and back. Sums are in double, from first to last.

i: row    k: channel    p: part
"""

import math

import numpy as np

from hpcmp.jit import kernel

ONE = np.uint64(1)


@kernel
def standard_rows(x, eps, out, root, lo, hi):
    """out[i] = (x[i] - mean) * root[i], root[i] = 1 / sqrt(variance + eps).

    Mean and variance are of the row's numbers.
    """
    width = np.uint64(x.shape[1])
    for i in range(np.uint64(lo), np.uint64(hi)):
        total, spread = 0.0, 0.0
        for k in range(width):
            total += x[i, k]
        mean = total / x.shape[1]
        for k in range(width):
            spread += (x[i, k] - mean) * (x[i, k] - mean)
        root[i] = 1.0 / math.sqrt(spread / x.shape[1] + eps)
        for k in range(width):
            out[i, k] = (x[i, k] - mean) * root[i]


@kernel
def standard_rows_back(d, y, root, out, lo, hi):
    """out[i] = root[i] * (d[i] - mean of d[i] - y[i] * mean of d[i] * y[i]).

    y: the result of `standard_rows`.
    """
    width = np.uint64(d.shape[1])
    for i in range(np.uint64(lo), np.uint64(hi)):
        total, along = 0.0, 0.0
        for k in range(width):
            total += d[i, k]
            along += np.float64(d[i, k]) * y[i, k]
        total /= d.shape[1]
        along /= d.shape[1]
        for k in range(width):
            out[i, k] = root[i] * (d[i, k] - total - y[i, k] * along)


@kernel
def sum_spreads(x, mean, out, bounds, lo, hi):
    """out[p] = sum of (x - mean)**2 over a part's rows, for parts [lo, hi).

    These are the rows [bounds[p], bounds[p + 1]).
    """
    for p in range(np.uint64(lo), np.uint64(hi)):
        out[p, :] = 0.0
        for i in range(np.uint64(bounds[p]), np.uint64(bounds[p + ONE])):
            for k in range(np.uint64(x.shape[1])):
                out[p, k] += (x[i, k] - mean[k]) * (x[i, k] - mean[k])


@kernel
def sum_slopes(d, y, out, bounds, lo, hi):
    """out[p] = sums of d and of d * y over a part's rows, for parts [lo, hi)."""
    for p in range(np.uint64(lo), np.uint64(hi)):
        out[p, :, :] = 0.0
        for i in range(np.uint64(bounds[p]), np.uint64(bounds[p + ONE])):
            for k in range(np.uint64(d.shape[1])):
                out[p, 0, k] += d[i, k]
                out[p, 1, k] += np.float64(d[i, k]) * y[i, k]


@kernel
def shift_columns(x, mean, root, out, lo, hi):
    """out = (x - mean) * root, mean and root of each channel."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        for k in range(np.uint64(x.shape[1])):
            out[i, k] = (x[i, k] - mean[k]) * root[k]


@kernel
def standard_columns_back(d, y, means, root, out, lo, hi):
    """out = root * (d - means[0] - y * means[1]): of d, and of d * y, over all rows."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        for k in range(np.uint64(d.shape[1])):
            out[i, k] = root[k] * (d[i, k] - means[0, k] - y[i, k] * means[1, k])
