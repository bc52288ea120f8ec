"""Kernels of triangle counting on one rank's lists."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcmp.kernels import triangles as t

pytestmark = pytest.mark.kernel

EDGES = st.sets(st.tuples(st.integers(0, 8), st.integers(0, 8)).filter(lambda e: e[0] != e[1]), max_size=30)


def both_ways(edges, n=9):
    """CSR of every edge in both directions, rows sorted: a reciprocal neighbour appears twice."""
    rows = [sorted([s for s, d in edges if d == v] + [d for s, d in edges if s == v]) for v in range(n)]
    ptr = np.concatenate(([0], np.cumsum([len(r) for r in rows]))).astype(np.uint64)
    return ptr, np.array([j for r in rows for j in r], np.uint32)


def pointed(edges, n=9):
    ptr, src = both_ways(edges, n)
    degree = np.zeros(n, np.int64)
    t.distinct_degree(ptr, src, degree)
    up_ptr, up_row, up_times = np.zeros(n + 1, np.uint64), np.empty(len(src), np.uint32), np.empty(len(src), np.uint8)
    t.point_up(ptr, src, degree, np.arange(n), up_ptr, up_row, up_times)
    return degree, up_ptr, up_row, up_times


@given(EDGES)
def test_lists_point_up_and_know_how_often(edges):
    degree, up_ptr, up_row, up_times = pointed(edges)
    pairs = {frozenset(e): ((e in edges) + (e[::-1] in edges)) for e in edges}
    assert degree.tolist() == [sum(v in pair for pair in pairs) for v in range(9)]
    found = {}
    for u in range(9):
        for p in range(int(up_ptr[u]), int(up_ptr[u + 1])):
            v = int(up_row[p])
            assert (degree[u], u) < (degree[v], v)
            found[frozenset((u, v))] = int(up_times[p])
    assert found == pairs


@given(EDGES, st.integers(0, 9))
def test_every_triangle_is_found_once_and_credits_its_corners(edges, cut):
    _, up_ptr, up_row, up_times = pointed(edges)
    position, credits, rows = np.zeros(9, np.uint32), np.zeros(9, np.int64), np.arange(9, dtype=np.uint32)
    n = sum(t.credit(up_ptr, up_row, up_times, rows, position, credits, lo, hi) for lo, hi in ((0, cut), (cut, 9)))
    times = {frozenset(e): ((e in edges) + (e[::-1] in edges)) for e in edges}
    corners = [c for c in combinations(range(9), 3) if all(frozenset(p) in times for p in combinations(c, 2))]
    assert n == len(corners)
    expected = [sum(times[frozenset(set(c) - {v})] for c in corners if v in c) for v in range(9)]
    assert credits.tolist() == expected
    assert not position.any()


@given(st.lists(st.sets(st.integers(0, 12)), min_size=1, max_size=6), st.data())
def test_common_counts_what_two_lists_share(sets, data):
    ptr = np.concatenate(([0], np.cumsum([len(s) for s in sets]))).astype(np.uint64)
    values = np.array([v for s in sets for v in sorted(s)], np.int64)
    index = st.integers(0, len(sets) - 1)
    pairs = data.draw(st.lists(st.tuples(index, index), max_size=8))
    out = np.empty(len(pairs), np.int64)
    first, second = (np.array([p[k] for p in pairs], np.uint32) for k in (0, 1))
    t.common(ptr, values, first, second, out)
    assert out.tolist() == [len(sets[a] & sets[b]) for a, b in pairs]
