"""Aggregates of a user's message of one channel, and what goes back, each in one loop over a row's edges.

Forward and backward are one loop: over in-edges the message, or its derivative by the receiver; over the transposed edges
its derivative by the sender. Sums are taken as in `gather`: in double, by segments, in canonical order. As in `maps`, a
``fingerprint`` of the user's functions is part of the cache's key.

i: row    j: the other end    e: edge    k: channel    o: row whose gradient an edge brings
"""

import numpy as np

from hpcmp.jit import inlined, kernel
from hpcmp.kernels.access import at
from hpcmp.kernels.dual import derivative_of, variable
from hpcmp.kernels.gather import ask_ahead
from hpcmp.kernels.pull import SEGMENT

ONE = np.uint64(1)


def derived(message):
    """Derivatives of message(src, dst, edge), by src and by dst. Local."""

    def by_src(src, dst, edge):
        return derivative_of(message(variable(src), dst, edge))

    def by_dst(src, dst, edge):
        return derivative_of(message(src, variable(dst), edge))

    return inlined(by_src), inlined(by_dst)


def given(derivative):
    """`derived`, of a function that gives both. Local."""

    def by_src(src, dst, edge):
        return derivative(src, dst, edge)[0]

    def by_dst(src, dst, edge):
        return derivative(src, dst, edge)[1]

    return inlined(by_src), inlined(by_dst)


def exchanged(function):
    """function(src, dst, edge), called with the receiver first. Local."""

    def turned(dst, src, edge):
        return function(src, dst, edge)

    return inlined(turned)


def make_sum(term, fingerprint):
    """out[i] = sum of term(x[j], y[i], edge) over the edges of i. Local."""

    def sum_terms(ptr, src, edges, x, y, rows, out, lo, hi):
        fingerprint  # noqa: B018 (part of the cache key)
        width = np.uint64(y.shape[1])
        acc, part = np.empty(width, np.float64), np.empty(width, np.float64)
        for r in range(lo, hi):
            i = np.uint64(rows[r])
            acc[:] = 0.0
            start, end = ptr[i], ptr[i + ONE]
            while start < end:
                stop = min(start + SEGMENT, end)
                part[:] = 0.0
                for e in range(start, stop):
                    ask_ahead(x, src, e)
                    j, edge = np.uint64(src[e]), at(edges, e)
                    for k in range(width):
                        part[k] += term(np.float64(x[j, k]), np.float64(y[i, k]), edge)
                for k in range(width):
                    acc[k] += part[k]
                start = stop
            for k in range(width):
                out[i, k] = acc[k]

    return kernel(sum_terms)


def make_best(message, is_max, fingerprint):
    """out[i] = largest or least message, best[i] = its place in the row. Local.

    Of no edges 0 and -1; of several the first has it.
    """

    def best_message(ptr, src, edges, x, y, rows, out, best, lo, hi):
        fingerprint  # noqa: B018
        width = np.uint64(y.shape[1])
        acc = np.empty(width, np.float64)
        for r in range(lo, hi):
            i = np.uint64(rows[r])
            acc[:] = 0.0
            for k in range(width):
                best[i, k] = -1
            for e in range(ptr[i], ptr[i + ONE]):
                ask_ahead(x, src, e)
                j, edge = np.uint64(src[e]), at(edges, e)
                for k in range(width):
                    m = message(np.float64(x[j, k]), np.float64(y[i, k]), edge)
                    if best[i, k] < 0 or (m > acc[k] if is_max else m < acc[k]):
                        acc[k], best[i, k] = m, np.int64(e - ptr[i])
            for k in range(width):
                out[i, k] = acc[k]

    return kernel(best_message)


def make_back(derivative, of_row, of_best, fingerprint):
    """dx[i] = sum of derivative(x[j], y[i], edge) * dout[o] over the edges. Local.

    Parameters
    ----------
    of_row : bool
        o is the row itself, else the other end.
    of_best : bool
        Only of edges with ``place[e] == best[o, k]``.
    """

    def sum_back(ptr, src, edges, x, y, dout, best, place, rows, dx, lo, hi):
        fingerprint  # noqa: B018
        width = np.uint64(y.shape[1])
        acc, part = np.empty(width, np.float64), np.empty(width, np.float64)
        for r in range(lo, hi):
            i = np.uint64(rows[r])
            acc[:] = 0.0
            start, end = ptr[i], ptr[i + ONE]
            while start < end:
                stop = min(start + SEGMENT, end)
                part[:] = 0.0
                for e in range(start, stop):
                    ask_ahead(x, src, e)
                    j, edge = np.uint64(src[e]), at(edges, e)
                    o = i if of_row else j
                    for k in range(width):
                        if not of_best or best[o, k] == place[e]:
                            slope = derivative(np.float64(x[j, k]), np.float64(y[i, k]), edge)
                            part[k] += slope * np.float64(dout[o, k])
                for k in range(width):
                    acc[k] += part[k]
                start = stop
            for k in range(width):
                dx[i, k] = acc[k]

    return kernel(sum_back)
