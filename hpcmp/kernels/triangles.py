"""Triangles of a graph whose edges point from lower to higher degree.

u < v < w in that order: each triangle is found once, at u. Lists hold local
rows; position marks those of u, so that each list of a v is read once and in
any order.

u, v, w: corners    p, q: places in the lists
"""

import numpy as np

from hpcmp.jit import kernel


@kernel
def point_up(in_ptr, in_src, degree, order, up_ptr, up_row, up_times):
    """Keep of every row the distinct higher neighbours, and how often each occurs."""
    one = np.uint64(1)
    end = np.uint64(0)
    for i in range(in_ptr.size - 1):
        up_ptr[i] = end
        last = np.int64(-1)
        for e in range(in_ptr[i], in_ptr[np.uint64(i) + one]):
            j = in_src[e]
            if np.int64(j) == last:  # rows are sorted by source: repeats are neighbours
                up_times[end - one] += np.uint8(1)
                continue
            if degree[j] > degree[i] or (degree[j] == degree[i] and order[j] > order[i]):
                last = np.int64(j)
                up_row[end] = j
                up_times[end] = np.uint8(1)
                end += one
    up_ptr[in_ptr.size - 1] = end


@kernel
def distinct_degree(in_ptr, in_src, out):
    """out[i] = number of distinct sources of row i"""
    one = np.uint64(1)
    for i in range(in_ptr.size - 1):
        last, n = np.int64(-1), 0
        for e in range(in_ptr[i], in_ptr[np.uint64(i) + one]):
            if np.int64(in_src[e]) != last:
                last = np.int64(in_src[e])
                n += 1
        out[i] = n


@kernel
def credit(up_ptr, up_row, up_times, rows, position, credits, lo, hi):
    """Count triangles whose lowest corner is in rows[lo:hi]; credit each corner.

    A corner is credited with the multiplicity of the opposite edge: 1 gives
    triangles, 1 or 2 directed edges among neighbours. ``position`` is all 0
    before and after.
    """
    one = np.uint64(1)
    n_triangles = 0
    for r in range(lo, hi):
        u = rows[r]
        first, end = up_ptr[u], up_ptr[np.uint64(u) + one]
        if end - first < np.uint64(2):
            continue
        for p in range(first, end):
            position[up_row[p]] = p - first + one
        for p in range(first, end):
            v = up_row[p]
            for q in range(up_ptr[v], up_ptr[np.uint64(v) + one]):
                w = up_row[q]
                at = position[w]
                if at != 0:
                    n_triangles += 1
                    credits[u] += up_times[q]
                    credits[v] += up_times[first + np.uint64(at) - one]
                    credits[w] += up_times[p]
        for p in range(first, end):
            position[up_row[p]] = 0
    return n_triangles


@kernel
def common(ptr, values, first, second, out):
    """out[k] = how many values the ascending lists first[k] and second[k] share."""
    one = np.uint64(1)
    for k in range(first.size):
        a, a_end = ptr[first[k]], ptr[np.uint64(first[k]) + one]
        b, b_end = ptr[second[k]], ptr[np.uint64(second[k]) + one]
        n = 0
        while a < a_end and b < b_end:
            if values[a] == values[b]:
                n += 1
                a += one
                b += one
            elif values[a] < values[b]:
                a += one
            else:
                b += one
        out[k] = n
