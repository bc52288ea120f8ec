"""Attention over in-edges: a softmax of logits and the sum it weighs, in one pass, and back in two.

The logit of an edge is ``leaky(s[j, h] + t[i, h])`` for head h (GAT). A row may hear itself first, and then not by
loops. Only the largest logit and the sum of exponentials are kept of a row; backward makes the weights again from them
(rematerialisation as in H. Mostafa, SAR, MLSys 2022). The running maximum is that of M. Milakov and N. Gimelshein,
arXiv:1805.02867.

``drops`` is None, or (limit, scale, keys of receivers, ids of senders): of an edge and head, the weight is left out of
the sum or scaled up, after the softmax. Which ones is a function of both ends' ids, made again on the way back.

i: destination row    j: source row    e: edge    h: head    k: channel of a head
"""

import math

import numpy as np

from hpcmp.jit import inlined, kernel
from hpcmp.kernels.gather import ask_ahead
from hpcmp.kernels.learning import DRAWS, is_kept
from hpcmp.random import GOLDEN, mix

ZERO, ONE = np.uint64(0), np.uint64(1)
OTHER = np.uint64(0xD1342543DE82EF95)  # an odd number unlike GOLDEN: of words of heads


@inlined
def leaky(v, slope):
    """v, or slope * v where it is negative. Local."""
    return v if v > 0.0 else slope * v


@inlined
def share_kept(drops, i, j, h):
    """Factor of the weight of an edge and head: 0 or scale. Local."""
    if drops is None:
        return 1.0
    limit, scale, key, id = drops
    bits = mix(key[i] + np.uint64(id[j]) * GOLDEN + h // DRAWS * OTHER)
    return scale if is_kept(bits, h, limit) else 0.0


@kernel
def attend(ptr, src, with_self, drops, z, s, t, slope, rows, out, top, total, lo, hi):
    """out[i] = sum of alpha[e, h] * z[j, h] over its edges, alpha a softmax.

    top, total: (n, heads) largest logit of a row, and the sum of exp(logit - top); z and out: (n, heads * width).
    """
    heads = np.uint64(s.shape[1])
    width = np.uint64(z.shape[1]) // heads
    acc, highest, weight = np.empty(z.shape[1], np.float64), np.empty(heads, np.float64), np.empty(heads, np.float64)
    for r in range(lo, hi):
        i = np.uint64(rows[r])
        acc[:] = 0.0
        weight[:] = 0.0
        highest[:] = -np.inf
        if with_self:
            absorb_row(drops, z, s, t, slope, i, i, heads, width, acc, highest, weight)
        for e in range(ptr[i], ptr[i + ONE]):
            ask_ahead(z, src, e)
            j = np.uint64(src[e])
            if with_self and j == i:
                continue
            absorb_row(drops, z, s, t, slope, i, j, heads, width, acc, highest, weight)
        write_softmax(i, heads, width, acc, highest, weight, out, top, total)


@inlined
def absorb_row(drops, z, s, t, slope, i, j, heads, width, acc, highest, weight):
    """Take one edge into the running softmax. Local."""
    for h in range(heads):
        logit = leaky(np.float64(s[j, h]) + np.float64(t[i, h]), slope)
        absorb_logit(logit, share_kept(drops, i, j, h), z, j, h, width, acc, highest, weight)


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


@inlined
def logit_and_gradient(drops, z, s, t, slope, top, total, dot, dout, i, j, h, width):
    """(weight, derivative by s[j, h] + t[i, h]) of an edge and head. Local.

    ``dot[i, h]`` is dout[i, h] . out[i, h].
    """
    raw = np.float64(s[j, h]) + np.float64(t[i, h])
    alpha = math.exp(leaky(raw, slope) - top[i, h]) / total[i, h]
    along = 0.0
    for k in range(h * width, (h + ONE) * width):
        along += np.float64(dout[i, k]) * np.float64(z[j, k])
    share = share_kept(drops, i, j, h)
    d = alpha * (share * along - dot[i, h])
    return share * alpha, d if raw > 0.0 else slope * d


@kernel
def attend_back_rows(ptr, src, with_self, drops, z, s, t, slope, top, total, dot, dout, rows, dt, lo, hi):
    """dt[i, h]: what `attend` gives back to the receivers' logits."""
    heads = np.uint64(s.shape[1])
    width = np.uint64(z.shape[1]) // heads
    acc = np.empty(heads, np.float64)
    for r in range(lo, hi):
        i = np.uint64(rows[r])
        acc[:] = 0.0
        if with_self:
            for h in range(heads):
                acc[h] += logit_and_gradient(drops, z, s, t, slope, top, total, dot, dout, i, i, h, width)[1]
        for e in range(ptr[i], ptr[i + ONE]):
            ask_ahead(z, src, e)
            j = np.uint64(src[e])
            if with_self and j == i:
                continue
            for h in range(heads):
                acc[h] += logit_and_gradient(drops, z, s, t, slope, top, total, dot, dout, i, j, h, width)[1]
        for h in range(heads):
            dt[i, h] = acc[h]


@kernel
def attend_back_sources(ptr, dst, with_self, drops, z, s, t, slope, top, total, dot, dout, rows, dz, ds, lo, hi):
    """dz[j], ds[j, h]: what `attend` gives back to senders."""
    heads = np.uint64(s.shape[1])
    width = np.uint64(z.shape[1]) // heads
    acc, acc_s = np.empty(z.shape[1], np.float64), np.empty(heads, np.float64)
    for r in range(lo, hi):
        j = np.uint64(rows[r])
        acc[:] = 0.0
        acc_s[:] = 0.0
        n = ptr[j + ONE] - ptr[j] + (ONE if with_self else ZERO)
        for at in range(n):
            if with_self and at == ZERO:
                i = j
            else:
                e = ptr[j] + at - (ONE if with_self else ZERO)
                ask_ahead(dout, dst, e)
                i = np.uint64(dst[e])
                if with_self and i == j:
                    continue
            for h in range(heads):
                alpha, d = logit_and_gradient(drops, z, s, t, slope, top, total, dot, dout, i, j, h, width)
                acc_s[h] += d
                for k in range(h * width, (h + ONE) * width):
                    acc[k] += alpha * dout[i, k]
        for h in range(heads):
            ds[j, h] = acc_s[h]
        for k in range(acc.size):
            dz[j, k] = acc[k]
