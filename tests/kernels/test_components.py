"""Union-find on one rank's rows, by one thread and by several."""

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcmp import jit
from hpcmp.kernels import components as c

pytestmark = pytest.mark.kernel

PAIRS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=16)


def smallest(n, pairs):
    """Least row of each row's component, by taking the lesser end until nothing changes."""
    root, before = list(range(n)), None
    while root != before:
        before = list(root)
        for a, b in pairs:
            root[a] = root[b] = min(root[a], root[b])
    return root


def rows_of(n, pairs):
    rows = [[b for a, b in pairs if a == i] for i in range(n)]
    return np.cumsum([0, *map(len, rows)]).astype(np.uint64), np.array([j for row in rows for j in row], np.uint32)


@given(PAIRS, st.integers(0, 3), st.integers(0, 12))
def test_first_and_all_sources_link_every_edge(pairs, n_first, cut):
    ptr, src = rows_of(12, pairs)
    root = np.full(12, 99, np.uint32)
    c.hook(ptr, src, root, n_first, cut, 12)
    c.hook(ptr, src, root, n_first, 0, cut)
    c.link_roots(ptr, src, root, n_first, 0, 12)
    c.link_rows(ptr, src, root, -1, 0, cut)
    c.compress(root, 0, 12)
    c.link_rows(ptr, src, root, -1, cut, 12)
    c.compress(root, 0, 12)
    assert root.tolist() == smallest(12, pairs)


@given(PAIRS, st.integers(0, 3))
def test_looking_at_first_sources_joins_only_what_hangs_together(pairs, n_first):
    n_owned = 8  # the others are ghosts, which hear nobody
    ptr, src = rows_of(n_owned, pairs)
    root = np.arange(12, dtype=np.uint32)
    c.hook(ptr, src, root, n_first, 0, n_owned)
    c.link_roots(ptr, src, root, n_first, 0, n_owned)
    assert np.all(root <= np.arange(12))
    c.compress(root, 0, 12)
    pairs = [(a, b) for a, b in pairs if a < n_owned]
    component = smallest(12, pairs)
    assert [component[r] for r in root] == component
    by_row = [[b for a, b in pairs if a == i][:n_first] for i in range(n_owned)]
    ghosts = {b for heard in by_row for b in heard if b >= n_owned}
    assert all(root[j] < n_owned for j in ghosts)


@given(PAIRS)
def test_a_skipped_component_loses_no_edge_that_runs_both_ways(pairs):
    pairs += [p[::-1] for p in pairs]
    ptr, src = rows_of(12, pairs)
    root = np.empty(12, np.uint32)
    c.hook(ptr, src, root, 1, 0, 12)
    c.link_roots(ptr, src, root, 1, 0, 12)
    c.compress(root, 0, 12)
    c.link_rows(ptr, src, root, int(root[5]), 0, 12)
    c.compress(root, 0, 12)
    assert root.tolist() == smallest(12, pairs)


@given(PAIRS, st.integers(0, 12))
def test_pairs_are_linked_and_the_least_value_is_found(pairs, cut):
    root = np.arange(12, dtype=np.uint32)
    ends = np.array(pairs, np.uint32).reshape(-1, 2)
    c.link_pairs(root, ends[:, 0].copy(), ends[:, 1].copy())
    c.compress(root, 0, 12)
    assert root.tolist() == smallest(12, pairs)
    values, least = (np.arange(12) * 7) % 12 - 3, np.empty(12, np.int64)
    c.copy(values, least, 0, 12)
    c.lower_roots(root, values, least, cut, 12)
    c.lower_roots(root, values, least, 0, cut)
    c.follow_roots(root, least, cut, 12)
    c.follow_roots(root, least, 0, cut)
    assert least.tolist() == [values[root == r].min() for r in root]


def test_threads_that_link_the_same_chains_find_the_same_roots():
    n = 64 if numba.config.DISABLE_JIT else 300_000
    order = np.random.default_rng(2).permutation(n)
    pairs = np.concatenate((np.stack((order[:-1], order[1:])), np.stack((order[1:], order[:-1]))), axis=1)
    pairs = pairs[:, order[pairs].sum(axis=0) % 50 > 0]  # about 50 chains
    src, dst = pairs[:, np.argsort(pairs[1], kind="stable")]
    ptr = np.concatenate(([0], np.cumsum(np.bincount(dst, minlength=n)))).astype(np.uint64)
    expected = None
    for n_threads in (1, 1 if numba.config.DISABLE_JIT else 4):
        root, workers = np.arange(n, dtype=np.uint32), jit.Threads(n_threads)
        chunks = [(lo, min(lo + 500, n)) for lo in range(0, n, 500)]
        workers.run(lambda lo, hi: c.link_rows(ptr, src.astype(np.uint32), root, -1, lo, hi), chunks)
        workers.run(lambda lo, hi: c.compress(root, lo, hi), chunks)
        workers.close()
        expected = root if expected is None else expected
        assert np.array_equal(root, expected)
    assert np.all(expected[src] == expected[dst]) and np.all(expected <= np.arange(n))
