"""Attention over in-edges: a softmax of logits and the sum it weighs in one pass, and back in one over the turned edges.

The logit of an edge is ``leaky(s[j, h] + t[i, h])`` for head h (GAT), and leaky(v) is the larger of v and slope * v. So

    exp(logit) = max(exp(s) exp(t), exp(slope s) exp(slope t)),

and an edge costs no exponential: its weight is made of four numbers of its two ends, forward and back, and never kept.
Where the first is the larger the edge is *up*. Nor does going back take a product of rows for each edge: with U the
part of row i's sum that came along up edges, and u the weight they had,

    dt[i] = (1 - slope) (dout[i] . U - dout[i] . out[i] u),

and in the same way ds[j] comes from one row that j's receivers sum. Vertices whose s or t is beyond `PLAIN` take the
way of logarithms, with the largest logit of the row taken off. A row may hear itself first, and then not by loops.

``drops`` is None, or (limit, scale, keys of receivers, ids of senders): of an edge and head, the weight is left out of
the sum or scaled up, after the softmax. Which ones is a function of both ends' ids, made again on the way back.

i: destination row    j: source row    e: edge    h: head    k: channel of all heads    p: part
"""

import math

import numpy as np

from hpcmp.jit import inlined, kernel
from hpcmp.kernels.gather import ask_ahead
from hpcmp.kernels.lanes import add_scaled
from hpcmp.kernels.learning import DRAWS, is_kept
from hpcmp.random import GOLDEN, mix

ZERO, ONE = np.uint64(0), np.uint64(1)
OTHER = np.uint64(0xD1342543DE82EF95)  # an odd number unlike GOLDEN: of words of heads
PLAIN = 250.0  # exp of sums of such numbers, and sums of all rows of those, are doubles without overflow
# what is known of a receiver going back: two factors of its edges' weights, t, dout . out. Of one that takes the
# logarithms' way the first is NaN and the second what is to be taken off its logits
N_KNOWN = 4


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


@inlined
def power(v, factor):
    """exp(factor * v), NaN where v is out of the plain range. Local."""
    return math.exp(factor * v) if abs(v) <= PLAIN else np.nan


@kernel
def powers(s, slope, out, lo, hi):
    """out[i, h] = exp(s), exp(slope * s), NaN out of the plain range."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        for h in range(np.uint64(s.shape[1])):
            out[i, h, 0], out[i, h, 1] = power(np.float64(s[i, h]), 1.0), power(np.float64(s[i, h]), slope)


@kernel
def attend(ptr, src, with_self, drops, z, s, t, known, slope, rows, out, up, up_weight, top, total, lo, hi):
    """out[i] = sum of alpha[e, h] * z[j, h] over its edges, alpha a softmax.

    z and out: (n, heads * width); known: `powers` of s; up, up_weight: of `out` and of alpha the part of up edges, or
    empty; top, total: (n, heads) what was taken off a row's logits, and then the sum of their exponentials.
    """
    heads, channels = np.uint64(s.shape[1]), np.uint64(z.shape[1])
    acc, factors = np.empty(channels + channels, np.float64), np.empty((heads, 2), np.float64)
    weight, highest = np.empty((2, heads), np.float64), np.empty(heads, np.float64)
    for r in range(lo, hi):
        i = np.uint64(rows[r])
        for h in range(heads):
            highest[h] = 0.0
            factors[h, 0], factors[h, 1] = power(np.float64(t[i, h]), 1.0), power(np.float64(t[i, h]), slope)
        gather(ptr, src, with_self, drops, z, s, t, known, slope, i, factors, True, highest, acc, weight, up.size > 0)
        is_plain = True
        for h in range(heads):
            is_plain = is_plain and weight[0, h] + weight[1, h] >= 0.0
        if not is_plain:
            find_highest(ptr, src, with_self, s, t, slope, i, highest)
            gather(
                ptr, src, with_self, drops, z, s, t, known, slope, i, factors, False, highest, acc, weight, up.size > 0
            )
        width = channels // heads
        for h in range(heads):
            all_weight = weight[0, h] + weight[1, h]
            scale = 1.0 / all_weight if all_weight > 0.0 else 0.0
            top[i, h], total[i, h] = highest[h], all_weight
            for k in range(h * width, (h + ONE) * width):
                out[i, k] = (acc[k] + acc[channels + k]) * scale
            if up.size > 0:
                up_weight[i, h] = weight[1, h] * scale
                for k in range(h * width, (h + ONE) * width):
                    up[i, k] = acc[channels + k] * scale


@inlined
def gather(ptr, src, with_self, drops, z, s, t, known, slope, i, factors, is_plain, highest, acc, weight, splits):
    """Sums of row i: of weights and of what they weigh; up edges apart if asked. Local."""
    heads, channels = np.uint64(s.shape[1]), np.uint64(z.shape[1])
    width = channels // heads
    acc[:] = 0.0
    weight[:] = 0.0
    more = ONE if with_self else ZERO
    for at in range(ptr[i + ONE] - ptr[i] + more):
        j = i
        if at >= more:
            ask_ahead(z, src, ptr[i] + at - more)
            ask_ahead(known, src, ptr[i] + at - more)
            j = np.uint64(src[ptr[i] + at - more])
            if with_self and j == i:
                continue
        for h in range(heads):
            if is_plain:
                high, low = known[j, h, 0] * factors[h, 0], known[j, h, 1] * factors[h, 1]
                is_up = high > low
                w = high if is_up else low
            else:
                raw = np.float64(s[j, h]) + np.float64(t[i, h])
                is_up = raw > 0.0
                w = math.exp(leaky(raw, slope) - highest[h])
            weight[1 if is_up else 0, h] += w
            to = channels if is_up and splits else ZERO
            add_scaled(acc, to, w * share_kept(drops, i, j, h), z, j, h * width, (h + ONE) * width)


@inlined
def find_highest(ptr, src, with_self, s, t, slope, i, highest):
    """The largest logit of row i for each head. Local."""
    for h in range(np.uint64(s.shape[1])):
        highest[h] = leaky(np.float64(s[i, h]) + np.float64(t[i, h]), slope) if with_self else -np.inf
        for e in range(ptr[i], ptr[i + ONE]):
            j = np.uint64(src[e])
            if not (with_self and j == i):
                highest[h] = max(highest[h], leaky(np.float64(s[j, h]) + np.float64(t[i, h]), slope))


@kernel
def back_receivers(dout, out, up, up_weight, t, slope, top, total, dt, known, lo, hi):
    """dt[i, h], and what senders need to know of row i."""
    heads = np.uint64(t.shape[1])
    width = np.uint64(dout.shape[1]) // heads
    for i in range(np.uint64(lo), np.uint64(hi)):
        for h in range(heads):
            along, along_up = 0.0, 0.0
            for k in range(h * width, (h + ONE) * width):
                along += np.float64(dout[i, k]) * np.float64(out[i, k])
                along_up += np.float64(dout[i, k]) * np.float64(up[i, k])
            dt[i, h] = (1.0 - slope) * (along_up - along * up_weight[i, h])
            v = np.float64(t[i, h])
            known[i, h, 2], known[i, h, 3] = v, along
            if abs(v) <= PLAIN and top[i, h] == 0.0:
                known[i, h, 0] = math.exp(v) / total[i, h] if total[i, h] > 0.0 else 0.0
                known[i, h, 1] = math.exp(slope * v) / total[i, h] if total[i, h] > 0.0 else 0.0
            else:
                known[i, h, 0], known[i, h, 1] = np.nan, top[i, h] + math.log(total[i, h])


@inlined
def by_logarithms(s, known, i, h, slope):
    """(alpha, is_up) by logarithms of an edge whose sender or receiver is out of the plain range. Local."""
    raw = np.float64(s) + known[i, h, 2]
    is_off = known[i, h, 0] != known[i, h, 0]
    off = known[i, h, 1] if is_off else known[i, h, 2] - math.log(known[i, h, 0])
    return math.exp(leaky(raw, slope) - off), raw > 0.0


@kernel
def back_senders(ptr, dst, with_self, drops, z, s, own, source, target, dt, slope, known, dout, rows, dz, ds, lo, hi):
    """dz[j], that by way of s = z . source and t = z . target too, and ds[j, h].

    own: `powers` of s; source, target: one row of all channels; known: of receivers, ghosts too.
    """
    heads, channels = np.uint64(s.shape[1]), np.uint64(z.shape[1])
    width = channels // heads
    acc, off = np.empty(channels + channels, np.float64), np.empty(heads, np.float64)
    for r in range(lo, hi):
        j = np.uint64(rows[r])
        acc[:] = 0.0
        off[:] = 0.0
        more = ONE if with_self else ZERO
        for at in range(ptr[j + ONE] - ptr[j] + more):
            i = j
            if at >= more:
                ask_ahead(dout, dst, ptr[j] + at - more)
                ask_ahead(known, dst, ptr[j] + at - more)
                i = np.uint64(dst[ptr[j] + at - more])
                if with_self and i == j:
                    continue
            for h in range(heads):
                high, low = own[j, h, 0] * known[i, h, 0], own[j, h, 1] * known[i, h, 1]
                is_up = high > low
                alpha = high if is_up else low
                if alpha != alpha or known[i, h, 0] != known[i, h, 0]:
                    alpha, is_up = by_logarithms(s[j, h], known, i, h, slope)
                off[h] += (alpha if is_up else slope * alpha) * known[i, h, 3]
                to = channels if is_up else ZERO
                add_scaled(acc, to, alpha * share_kept(drops, i, j, h), dout, i, h * width, (h + ONE) * width)
        for h in range(heads):
            along = 0.0
            for k in range(h * width, (h + ONE) * width):
                along += np.float64(z[j, k]) * (acc[channels + k] + slope * acc[k])
            d, d_target = along - off[h], np.float64(dt[j, h])
            ds[j, h] = d
            for k in range(h * width, (h + ONE) * width):
                dz[j, k] = acc[k] + acc[channels + k] + d * source[ZERO, k] + d_target * target[ZERO, k]


@kernel
def back_vectors(z, ds, dt, out, p, lo, hi):
    """out[p] = sum over the rows [lo, hi) of ds * z, and of dt * z: (2, channels)."""
    heads, channels = np.uint64(ds.shape[1]), np.uint64(z.shape[1])
    width = channels // heads
    acc = np.zeros((2, channels), np.float64)
    for i in range(np.uint64(lo), np.uint64(hi)):
        for h in range(heads):
            a, b = np.float64(ds[i, h]), np.float64(dt[i, h])
            for k in range(h * width, (h + ONE) * width):
                acc[ZERO, k] += a * z[i, k]
                acc[ONE, k] += b * z[i, k]
    for k in range(channels):
        out[p, ZERO, k], out[p, ONE, k] = acc[ZERO, k], acc[ONE, k]
