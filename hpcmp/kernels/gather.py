"""Sums of neighbours' rows for learning, and what goes back along the same edges.

Rows are of float32 or float64. A sum is taken in double, in the canonical order of a row's edges, and rounded once;
`sum_rows` in segments of `SEGMENT` as programs do, the others from first to last. Backward kernels run over the
transposed edges: a source's row gathers from the rows it was heard by, so that here too one thread writes a row and the
order is canonical.

i: destination row    j: source row    e: edge    k: channel    r: place in rows    b: block of channels
"""

import numpy as np

from hpcmp.jit import inlined, kernel
from hpcmp.kernels.access import prefetch_row
from hpcmp.kernels.pull import SEGMENT

AHEAD = np.uint64(8)  # edges; rows of sources are asked for so far ahead
ZERO, ONE = np.uint64(0), np.uint64(1)


@inlined
def ask_ahead(x, src, e):
    """Ask for the row of a source further on. Local."""
    prefetch_row((x,), np.uint64(src[min(e + AHEAD, np.uint64(src.size) - ONE)]))


@kernel
def sum_rows(ptr, src, with_self, weight, before, after, x, rows, out, lo, hi):
    """out[i] = after[i] * sum of weight[e] * before[j] * x[j] over the edges of i.

    With ``with_self`` of itself first, with weight 1, and then not by loops.

    weight, before and after may be empty: ones.
    """
    width = np.uint64(x.shape[1])
    is_weighted, is_scaled = weight.size > 0, before.size > 0
    acc, part = np.empty(width, np.float64), np.empty(width, np.float64)
    for r in range(lo, hi):
        i = np.uint64(rows[r])
        w = np.float64(before[i]) if is_scaled else 1.0
        for k in range(width):
            acc[k] = w * x[i, k] if with_self else 0.0
        start, end = ptr[i], ptr[i + ONE]
        while start < end:
            stop = min(start + SEGMENT, end)
            is_whole = start == ptr[i]
            into = acc if is_whole else part
            if not is_whole:
                part[:] = 0.0
            for e in range(start, stop):
                ask_ahead(x, src, e)
                j = np.uint64(src[e])
                if with_self and j == i:
                    continue
                w = (np.float64(weight[e]) if is_weighted else 1.0) * (np.float64(before[j]) if is_scaled else 1.0)
                for k in range(width):
                    into[k] += w * x[j, k]
            if not is_whole:
                for k in range(width):
                    acc[k] += part[k]
            start = stop
        w = np.float64(after[i]) if after.size > 0 else 1.0
        for k in range(width):
            out[i, k] = w * acc[k]


@kernel
def max_rows(ptr, src, key, x, rows, out, best, lo, hi):
    """out[i] = largest x[j] over its edges, 0 of none; best[i] = its key, or -1.

    Of several with the largest value the first has it.

    ``key`` is a number of every local row that does not depend on the ranks.
    """
    width = np.uint64(x.shape[1])
    for r in range(lo, hi):
        i = rows[r]
        for k in range(width):
            out[i, k], best[i, k] = 0.0, -1
        for e in range(ptr[i], ptr[i + ONE]):
            j = np.uint64(src[e])
            for k in range(width):
                if best[i, k] < 0 or x[j, k] > out[i, k]:
                    out[i, k], best[i, k] = x[j, k], key[j]


@kernel
def route_rows(ptr, dst, repeats, key, best, dout, rows, dx, lo, hi):
    """dx[j] = sum of dout[i] over those i that took their largest from j.

    Of parallel edges the first counts. They are neighbours in the row, or
    ``repeats`` marks those after the first.
    """
    width = np.uint64(dout.shape[1])
    acc = np.empty(width, np.float64)
    for r in range(lo, hi):
        j = rows[r]
        acc[:] = 0.0
        for e in range(ptr[j], ptr[j + ONE]):
            i = np.uint64(dst[e])
            if repeats[e] if repeats.size > 0 else e > ptr[j] and dst[e] == dst[e - ONE]:
                continue
            for k in range(width):
                if best[i, k] == key[j]:
                    acc[k] += dout[i, k]
        for k in range(width):
            dx[j, k] = acc[k]


@kernel
def sum_runs(ptr, m, out):
    """out[r] = sum of the rows [ptr[r], ptr[r + 1]) of m, from first to last."""
    width = np.uint64(m.shape[1])
    acc = np.empty(width, np.float64)
    for r in range(np.uint64(ptr.size - 1)):
        acc[:] = 0.0
        for e in range(ptr[r], ptr[r + ONE]):
            for k in range(width):
                acc[k] += m[e, k]
        for k in range(width):
            out[r, k] = acc[k]


@kernel
def best_runs(ptr, m, is_max, out, best):
    """out[r] = largest of the rows [ptr[r], ptr[r + 1]) of m; best[r] = which.

    Or the least; of no rows 0 and -1, and of several that have it the first.
    """
    width = np.uint64(m.shape[1])
    for r in range(np.uint64(ptr.size - 1)):
        for k in range(width):
            out[r, k], best[r, k] = 0.0, -1
        for e in range(ptr[r], ptr[r + ONE]):
            for k in range(width):
                if best[r, k] < 0 or (m[e, k] > out[r, k] if is_max else m[e, k] < out[r, k]):
                    out[r, k], best[r, k] = m[e, k], np.int64(e - ptr[r])
