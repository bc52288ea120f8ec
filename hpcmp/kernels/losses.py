"""Loops of losses: yes or no, of numbers in rows and of pairs of vertices.

Pairs are the edges of a graph. Going back along the turned graph, a vertex works out once more what the pairs it sends
to lost: the score is a sum of products that are the same from both ends, so no number of a pair ever travels.

i: row    j: the other end of a pair    e: pair    k: channel    b: relation    p: part
"""

import math

import numpy as np

from hpcmp.jit import inlined, kernel
from hpcmp.random import uniform

ONE = np.uint64(1)


@inlined
def yes_no_loss(x, y):
    """-y log(f) - (1 - y) log(1 - f) of f = logistic(x), without overflow. Local."""
    return max(x, 0.0) - x * y + math.log1p(math.exp(-abs(x)))


@inlined
def logistic(x):
    """1 / (1 + exp(-x)), without overflow. Local."""
    small = math.exp(-abs(x))
    return (1.0 if x >= 0.0 else small) / (1.0 + small)


@kernel
def yes_no(x, y, counts, out, lo, hi):
    """out = `yes_no_loss` of x and y where they count, else 0."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        for k in range(np.uint64(x.shape[1])):
            out[i, k] = yes_no_loss(np.float64(x[i, k]), np.float64(y[i, k])) if counts[i, k] else 0.0


@kernel
def yes_no_back(x, y, counts, share, dx, lo, hi):
    """dx = share * (logistic(x) - y) where they count, else 0."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        for k in range(np.uint64(x.shape[1])):
            dx[i, k] = share * (logistic(np.float64(x[i, k])) - np.float64(y[i, k])) if counts[i, k] else 0.0


@inlined
def score(x, i, j, factor, b):
    """Sum of x[i] * x[j] * factor[b], without factors of x[i] * x[j]. Local."""
    total = 0.0
    if factor.size > 0:
        for k in range(np.uint64(x.shape[1])):
            total += np.float64(x[i, k]) * np.float64(x[j, k]) * np.float64(factor[b, k])
    else:
        for k in range(np.uint64(x.shape[1])):
            total += np.float64(x[i, k]) * np.float64(x[j, k])
    return total


@inlined
def relation_of(relation, e):
    """Relation of a pair, 0 where there is but one. Local."""
    return np.uint64(relation[e]) if relation.size > 0 else np.uint64(0)


@kernel
def score_pairs(ptr, src, relation, factor, x, rows, out, lo, hi):
    """out[e] = score of pair e of the rows."""
    for r in range(lo, hi):
        i = np.uint64(rows[r])
        for e in range(ptr[i], ptr[i + ONE]):
            out[e] = score(x, i, np.uint64(src[e]), factor, relation_of(relation, e))


@kernel
def losses_of_scores(scores, y, out):
    """out = `yes_no_loss` of scores that should be y."""
    for e in range(scores.size):
        out[e] = yes_no_loss(scores[e], y)


@kernel
def pairs_back(ptr, src, relation, factor, x, y, share, rows, dx, lo, hi):
    """dx[i] = sum over the pairs of i of share * (f - y) * factor[b] * x[j].

    f = logistic(score)
    """
    width, is_weighed = np.uint64(x.shape[1]), factor.size > 0
    acc = np.empty(width, np.float64)
    for r in range(lo, hi):
        i = np.uint64(rows[r])
        acc[:] = 0.0
        for e in range(ptr[i], ptr[i + ONE]):
            j, b = np.uint64(src[e]), relation_of(relation, e)
            d = share * (logistic(score(x, i, j, factor, b)) - y)
            if is_weighed:
                for k in range(width):
                    acc[k] += d * (np.float64(factor[b, k]) * np.float64(x[j, k]))
            else:
                for k in range(width):
                    acc[k] += d * np.float64(x[j, k])
        for k in range(width):
            dx[i, k] = acc[k]


@kernel
def factors_back(ptr, src, relation, scores, x, y, share, bounds, dfactor, lo, hi):
    """dfactor[p, b] += sum over the pairs of part p of share * (f - y) * x[i] * x[j].

    f = logistic(score); for the parts [lo, hi).
    """
    for p in range(np.uint64(lo), np.uint64(hi)):
        for i in range(np.uint64(bounds[p]), np.uint64(bounds[p + ONE])):
            for e in range(ptr[i], ptr[i + ONE]):
                j, b = np.uint64(src[e]), relation_of(relation, e)
                d = share * (logistic(scores[e]) - y)
                for k in range(np.uint64(x.shape[1])):
                    dfactor[p, b, k] += d * (np.float64(x[i, k]) * np.float64(x[j, k]))


@kernel
def draw_senders(seed, step, ptr, order, sender, n_vertices, out):
    """out[e, q] = order of a vertex drawn for pair e, not its own sender."""
    n_draws = out.shape[1]
    for i in range(np.uint64(order.size)):
        for e in range(ptr[i], ptr[i + ONE]):
            for q in range(n_draws):
                item = np.int64(e - ptr[i]) * n_draws + q
                drawn = np.int64(uniform(seed, step, order[i], item) * (n_vertices - 1))
                out[e, q] = drawn + 1 if drawn >= sender[e] and n_vertices > 1 else drawn
