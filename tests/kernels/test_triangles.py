"""Kernels of triangle counting on one rank's lists."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcmp.kernels import triangles as t

pytestmark = pytest.mark.kernel

EDGES = st.sets(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=30)


def both_ways(edges, n=9):
    """CSR of every edge in both directions, rows sorted: a reciprocal neighbour appears twice, as does a loop."""
    rows = [sorted([s for s, d in edges if d == v] + [d for s, d in edges if s == v]) for v in range(n)]
    ptr = np.concatenate(([0], np.cumsum([len(r) for r in rows]))).astype(np.uint64)
    return ptr, np.array([j for r in rows for j in r], np.uint32)


def pointed(edges, n_core, n=9):
    """(degree, label, bounds by label, lists, times) of a graph on one rank."""
    ptr, src = both_ways(edges, n)
    degree = np.zeros(n, np.int64)
    label = np.empty(n, np.uint32)
    bounds, lists, times = np.empty((n, 3), np.uint64), np.empty(len(src), np.uint32), np.empty(len(src), np.uint8)
    for lo, hi in ((0, 4), (4, n)):
        t.distinct_degree(ptr, src, degree, lo, hi)
    label[np.lexsort((np.arange(n), -degree))] = np.arange(n)
    for lo, hi in ((0, 4), (4, n)):
        t.point_up(ptr, src, label, n_core, bounds, lists, times, lo, hi)
    by_label = np.empty_like(bounds)
    by_label[label] = bounds
    return degree, label, by_label, lists, times


def bits(bounds, lists, times, least, n_core):
    out = np.zeros((n_core, n_core // 64 + 1), np.uint64)
    t.fill_core(bounds, lists, times, least, out)
    return out


@given(EDGES, st.integers(0, 9))
def test_lists_point_up_and_know_how_often(edges, n_core):
    degree, label, bounds, lists, times = pointed(edges, n_core)
    pairs = {frozenset(e): ((e in edges) + (e[::-1] in edges)) for e in edges if e[0] != e[1]}
    assert degree.tolist() == [sum(v in pair for pair in pairs) for v in range(9)]
    row_of, found = np.argsort(label).tolist(), {}
    for u in range(9):
        begin, core, end = bounds[u].tolist()
        for p in range(begin, end):
            v = int(lists[p])
            assert v < u and degree[row_of[v]] >= degree[row_of[u]]
            assert (v < n_core) == (p >= core)
            found[frozenset((row_of[u], row_of[v]))] = int(times[p])
    assert found == pairs
    known = bits(bounds, lists, times, 2, n_core)
    for a in range(n_core):
        for b in range(n_core):
            assert (int(known[a, 0]) >> b & 1) == (pairs.get(frozenset((row_of[a], row_of[b]))) == 2)


@given(st.lists(st.lists(st.integers(0, 10), max_size=6), max_size=5), st.integers(0, 10))
def test_ghosts_keep_what_is_local_with_the_core_last(rows, n_core):
    ptr = np.cumsum([0, *map(len, rows)])
    flat = [int(t.NOWHERE) if v == 10 else v for row in rows for v in row]
    found, often = np.array(flat, np.uint32), np.arange(len(flat), dtype=np.uint8)
    bounds, lists, times = np.zeros((len(rows), 3), np.uint64), np.empty_like(found), np.empty_like(often)
    end = t.take_known(ptr, found, often, n_core, bounds, lists, times)
    assert int(end) == sum(v != 10 for row in rows for v in row)
    for row, (begin, core, stop) in zip(rows, bounds.tolist(), strict=True):
        kept = [v for v in row if v != 10]
        assert lists[begin:core].tolist() == [v for v in kept if v >= n_core]
        assert lists[core:stop].tolist() == [v for v in kept if v < n_core]
    assert sorted(times[: int(end)].tolist()) == [k for k, v in enumerate(flat) if v != t.NOWHERE]


@given(EDGES, st.integers(0, 9), st.integers(0, 9))
def test_every_triangle_is_found_once_and_credits_its_corners(edges, n_core, cut):
    _, label, bounds, lists, times = pointed(edges, n_core)
    cores = np.stack([bits(bounds, lists, times, least, n_core) for least in (1, 2)])
    marks, words = np.zeros((2, 1), np.uint64), np.empty((3, n_core // 64 + 1), np.uint64)
    credits, weighted = np.zeros((2, 9), np.int64)
    n, parts = 0, ((0, cut), (cut, 9))
    for part in parts:
        n += t.credit(bounds, lists, cores[0], label, (marks[0], words[0], words[1]), credits, *part)
        scratch = (marks[0], marks[1], words[0], words[1], words[2])
        t.credit_times(bounds, lists, times, cores, label, scratch, weighted, *part)
    often = {frozenset(e): ((e in edges) + (e[::-1] in edges)) for e in edges if e[0] != e[1]}
    corners = [c for c in combinations(range(9), 3) if all(frozenset(p) in often for p in combinations(c, 2))]
    assert n == len(corners)
    assert credits[label].tolist() == [sum(v in c for c in corners) for v in range(9)]
    expected = [sum(often[frozenset(set(c) - {v})] for c in corners if v in c) for v in range(9)]
    assert weighted[label].tolist() == expected
    assert not marks.any()


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
