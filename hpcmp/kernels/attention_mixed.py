"""Attention whose logits mix sender and receiver before the slope (GATv2), forward and back.

The logit of an edge for head h is ``a[h] . leaky(z[j, h] + y[i, h])`` (S. Brody, U. Alon and E. Yahav, ICLR 2022). Only
the largest logit and the sum of exponentials are kept of a row; backward makes the weights again from them
(rematerialisation as in H. Mostafa, SAR, MLSys 2022). The running maximum is that of M. Milakov and N. Gimelshein,
arXiv:1805.02867. ``drops`` as in `attention`.

i: destination row    j: source row    e: edge    h: head    k: channel of all heads
"""

import math

import numpy as np

from hpcmp.jit import inlined, kernel
from hpcmp.kernels.attention import leaky, share_kept
from hpcmp.kernels.gather import ask_ahead

ZERO, ONE = np.uint64(0), np.uint64(1)


@inlined
def logit_of(z, y, a, slope, i, j, first, end):
    """Logit of one edge and head, whose channels are [first, end). Local."""
    logit = 0.0
    for k in range(first, end):
        logit += np.float64(a[k]) * leaky(np.float64(z[j, k]) + np.float64(y[i, k]), slope)
    return logit


@inlined
def absorb_logit(logit, share, z, j, h, width, acc, highest, weight):
    """Take the logit of one edge and head into the running softmax. Local."""
    if logit > highest[h]:
        scale = math.exp(highest[h] - logit)  # 0 at first
        weight[h] *= scale
        for k in range(h * width, (h + ONE) * width):
            acc[k] *= scale
        highest[h] = logit
    w = math.exp(logit - highest[h])
    weight[h] += w
    w *= share
    for k in range(h * width, (h + ONE) * width):
        acc[k] += w * z[j, k]


@inlined
def write_softmax(i, heads, width, acc, highest, weight, out, top, total):
    """Row i of what `attend` gives, from the running softmax. Local."""
    for h in range(heads):
        top[i, h], total[i, h] = highest[h], weight[h]
        scale = 1.0 / weight[h] if weight[h] > 0.0 else 0.0
        for k in range(h * width, (h + ONE) * width):
            out[i, k] = acc[k] * scale


@kernel
def attend(ptr, src, with_self, drops, z, y, a, heads, slope, rows, out, top, total, lo, hi):
    """out[i] = sum of alpha[e, h] * z[j, h]; top, total as in `attention`."""
    heads = np.uint64(heads)
    width = np.uint64(z.shape[1]) // heads
    acc, highest, weight = np.empty(z.shape[1], np.float64), np.empty(heads, np.float64), np.empty(heads, np.float64)
    for r in range(lo, hi):
        i = np.uint64(rows[r])
        acc[:] = 0.0
        weight[:] = 0.0
        highest[:] = -np.inf
        more = ONE if with_self else ZERO
        for at in range(ptr[i + ONE] - ptr[i] + more):
            j = i
            if at >= more:
                ask_ahead(z, src, ptr[i] + at - more)
                j = np.uint64(src[ptr[i] + at - more])
                if with_self and j == i:
                    continue
            for h in range(heads):
                logit = logit_of(z, y, a, slope, i, j, h * width, (h + ONE) * width)
                absorb_logit(logit, share_kept(drops, i, j, h), z, j, h, width, acc, highest, weight)
        write_softmax(i, heads, width, acc, highest, weight, out, top, total)


@inlined
def weight_and_gradient(drops, z, y, a, slope, top, total, dot, dout, i, j, h, width):
    """(weight, derivative of the loss by the logit) of one edge and head. Local."""
    first, end = h * width, (h + ONE) * width
    alpha = math.exp(logit_of(z, y, a, slope, i, j, first, end) - top[i, h]) / total[i, h]
    along = 0.0
    for k in range(first, end):
        along += np.float64(dout[i, k]) * np.float64(z[j, k])
    share = share_kept(drops, i, j, h)
    return share * alpha, alpha * (share * along - dot[i, h])


@kernel
def back_rows(ptr, src, with_self, drops, z, y, a, heads, slope, top, total, dot, dout, dy, da, lo, hi):
    """dy[i] for rows [lo, hi), and what they add to da, from the first to the last."""
    heads = np.uint64(heads)
    width = np.uint64(z.shape[1]) // heads
    acc = np.empty(z.shape[1], np.float64)
    for i in range(np.uint64(lo), np.uint64(hi)):
        acc[:] = 0.0
        more = ONE if with_self else ZERO
        for at in range(ptr[i + ONE] - ptr[i] + more):
            j = i
            if at >= more:
                ask_ahead(z, src, ptr[i] + at - more)
                j = np.uint64(src[ptr[i] + at - more])
                if with_self and j == i:
                    continue
            for h in range(heads):
                d = weight_and_gradient(drops, z, y, a, slope, top, total, dot, dout, i, j, h, width)[1]
                for k in range(h * width, (h + ONE) * width):
                    raw = np.float64(z[j, k]) + np.float64(y[i, k])
                    da[k] += d * leaky(raw, slope)
                    acc[k] += d * a[k] * (1.0 if raw > 0.0 else slope)
        for k in range(acc.size):
            dy[i, k] = acc[k]


@kernel
def back_sources(ptr, dst, with_self, drops, z, y, a, heads, slope, top, total, dot, dout, rows, dz, lo, hi):
    """dz[j], over the transposed edges."""
    heads = np.uint64(heads)
    width = np.uint64(z.shape[1]) // heads
    acc = np.empty(z.shape[1], np.float64)
    for r in range(lo, hi):
        j = np.uint64(rows[r])
        acc[:] = 0.0
        more = ONE if with_self else ZERO
        for at in range(ptr[j + ONE] - ptr[j] + more):
            i = j
            if at >= more:
                ask_ahead(dout, dst, ptr[j] + at - more)
                i = np.uint64(dst[ptr[j] + at - more])
                if with_self and i == j:
                    continue
            for h in range(heads):
                alpha, d = weight_and_gradient(drops, z, y, a, slope, top, total, dot, dout, i, j, h, width)
                for k in range(h * width, (h + ONE) * width):
                    raw = np.float64(z[j, k]) + np.float64(y[i, k])
                    acc[k] += alpha * dout[i, k] + d * a[k] * (1.0 if raw > 0.0 else slope)
        for k in range(acc.size):
            dz[j, k] = acc[k]
