"""Sums over neighbours through weights of relations, and back.

The in-edges of a row are sorted by relation, and those of the reversed edges too: edges of one relation in a row are
a run. What a run adds up passes the relation's weights once, whatever the number of edges.

Blocks: of a block-diagonal weight only the blocks are kept, w[r] is (n_in, width of an output block), and row k
belongs to block k // (n_in / n_blocks). A whole weight is one block.

i: destination row    j: source row    e: edge    r: relation    k, c: channels    b: basis
"""

import numpy as np

from hpcmp.jit import inlined, kernel

ONE = np.uint64(1)


@inlined
def add_run(src, relation, weight, x, start, end, acc):
    """acc = sum of weight[e] * x[j] over the run from start; its end. Local."""
    acc[:] = 0.0
    e = start
    while e < end and relation[e] == relation[start]:
        j, w = np.uint64(src[e]), np.float64(weight[e])
        for k in range(np.uint64(acc.size)):
            acc[k] += w * x[j, k]
        e += ONE
    return e


@inlined
def add_product(v, w, out):
    """out += v w, where w has the rows of diagonal blocks. Local."""
    rows, columns = np.uint64(w.shape[0]), np.uint64(w.shape[1])
    deep = rows * columns // np.uint64(out.size)  # rows of a block
    for k in range(rows):
        first = k // deep * columns
        for c in range(columns):
            out[first + c] += v[k] * w[k, c]


@kernel
def sum_through(ptr, src, relation, weight, w, x, rows, out, lo, hi):
    """out[i] = sum over relations of (sum of weight[e] * x[j] over the run) w[r]."""
    acc, total = np.empty(x.shape[1], np.float64), np.empty(out.shape[1], np.float64)
    for at in range(lo, hi):
        i = np.uint64(rows[at])
        total[:] = 0.0
        e, end = ptr[i], ptr[i + ONE]
        while e < end:
            r = np.uint64(relation[e])
            e = add_run(src, relation, weight, x, e, end, acc)
            add_product(acc, w[r], total)
        for c in range(np.uint64(total.size)):
            out[i, c] = total[c]


@kernel
def back_through(ptr, dst, relation, weight, turned_w, x, dout, dx, dw, lo, hi):
    """dx[j] = sum of g w[r]^T, dw[r] += x[j]^T g, over the runs of j.

    g = sum of weight[e] * dout[i] over the run. ``turned_w`` are the weights
    with every block transposed; dx may be empty: it is not wanted.
    """
    g, total = np.empty(dout.shape[1], np.float64), np.empty(x.shape[1], np.float64)
    rows, columns = np.uint64(dw.shape[1]), np.uint64(dw.shape[2])
    deep = rows * columns // np.uint64(g.size)
    for j in range(np.uint64(lo), np.uint64(hi)):
        total[:] = 0.0
        e, end = ptr[j], ptr[j + ONE]
        while e < end:
            r = np.uint64(relation[e])
            e = add_run(dst, relation, weight, dout, e, end, g)
            for k in range(rows):
                first = k // deep * columns
                for c in range(columns):
                    dw[r, k, c] += x[j, k] * g[first + c]
            if dx.size > 0:
                add_product(g, turned_w[r], total)
        if dx.size > 0:
            for k in range(rows):
                dx[j, k] = total[k]


@kernel
def sum_mixed(ptr, src, relation, weight, mix, x, rows, out, lo, hi):
    """out[i] = sum over the runs of i and bases b of mix[r, b] * g[b].

    g = sum of weight[e] * x[j] over the run, of blocks g[b].
    """
    width = np.uint64(out.shape[1])
    acc, total = np.empty(x.shape[1], np.float64), np.empty(width, np.float64)
    for at in range(lo, hi):
        i = np.uint64(rows[at])
        total[:] = 0.0
        e, end = ptr[i], ptr[i + ONE]
        while e < end:
            r = np.uint64(relation[e])
            e = add_run(src, relation, weight, x, e, end, acc)
            for b in range(np.uint64(mix.shape[1])):
                for c in range(width):
                    total[c] += mix[r, b] * acc[b * width + c]
        for c in range(width):
            out[i, c] = total[c]


@kernel
def back_mixed(ptr, dst, relation, weight, mix, x, dout, dx, dmix, lo, hi):
    """dx[j, b] = sum of mix[r, b] * g, dmix[r, b] += g . x[j, b], over the runs of j.

    g = sum of weight[e] * dout[i] over the run.
    """
    width = np.uint64(dout.shape[1])
    g, total = np.empty(width, np.float64), np.empty(x.shape[1], np.float64)
    for j in range(np.uint64(lo), np.uint64(hi)):
        total[:] = 0.0
        e, end = ptr[j], ptr[j + ONE]
        while e < end:
            r = np.uint64(relation[e])
            e = add_run(dst, relation, weight, dout, e, end, g)
            for b in range(np.uint64(mix.shape[1])):
                dot = 0.0
                for c in range(width):
                    total[b * width + c] += mix[r, b] * g[c]
                    dot += g[c] * x[j, b * width + c]
                dmix[r, b] += dot
        for k in range(np.uint64(total.size)):
            dx[j, k] = total[k]


@kernel
def sum_relations(ptr, src, relation, weight, x, rows, out, lo, hi):
    """out[i] = sum of weight[e] * (block relation[e] of x[j]) over the edges of i."""
    width = np.uint64(out.shape[1])
    acc = np.empty(width, np.float64)
    for r in range(lo, hi):
        i = rows[r]
        acc[:] = 0.0
        for e in range(ptr[i], ptr[i + ONE]):
            j, first, w = np.uint64(src[e]), np.uint64(relation[e]) * width, np.float64(weight[e])
            for k in range(width):
                acc[k] += w * x[j, first + k]
        for k in range(width):
            out[i, k] = acc[k]


@kernel
def spread_relations(ptr, dst, relation, weight, dout, rows, dx, lo, hi):
    """Block b of dx[j] = sum of weight[e] * dout[i] over edges of relation b."""
    width = np.uint64(dout.shape[1])
    acc = np.empty(dx.shape[1], np.float64)
    for r in range(lo, hi):
        j = rows[r]
        acc[:] = 0.0
        for e in range(ptr[j], ptr[j + ONE]):
            i, first, w = np.uint64(dst[e]), np.uint64(relation[e]) * width, np.float64(weight[e])
            for k in range(width):
                acc[first + k] += w * dout[i, k]
        for k in range(acc.size):
            dx[j, k] = acc[k]
