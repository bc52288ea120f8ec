"""Peeling and lowering of core numbers on one rank's rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcmp.kernels import cores, csr

pytestmark = pytest.mark.kernel

N = 9
PAIRS = st.sets(st.tuples(st.integers(0, N - 1), st.integers(0, N - 1)).filter(lambda p: p[0] < p[1]), max_size=24)


def rows_of(pairs, n_owned):
    """In-edges of the first rows; the others are ghosts, whose edges are not known here."""
    rows = [sorted([b for a, b in pairs if a == i] + [a for a, b in pairs if b == i]) for i in range(n_owned)]
    return np.cumsum([0, *map(len, rows)]).astype(np.uint64), np.array([j for r in rows for j in r], np.uint32)


def lowered(ptr, src, core):
    """Lower numbers that have too few neighbours, one at a time."""
    core, n_owned = list(core), len(ptr) - 1
    around = [src[int(ptr[i]) : int(ptr[i + 1])] for i in range(n_owned)]
    while True:
        short = [i for i in range(n_owned) if sum(core[j] >= core[i] for j in around[i]) < core[i]]
        if not short:
            return core
        core[short[0]] -= 1


@given(PAIRS, st.integers(0, N), st.lists(st.integers(0, 5), min_size=N, max_size=N))
def test_peeling_and_lowering_give_the_largest_consistent_numbers(pairs, n_owned, ghosts):
    ptr, src = rows_of(pairs, n_owned)
    degree = np.array([*np.diff(ptr.astype(np.int64)), *ghosts[n_owned:]], np.uint32)
    expected, largest = lowered(ptr, src, degree.tolist()), int(degree.max(initial=0))
    core = degree.copy()
    order, place = np.empty(N, np.uint32), np.empty(N, np.uint32)
    cores.peel(ptr, src, *csr.transpose(ptr, src, N)[:2], core, np.zeros(largest + 1, np.uint32), order, place)
    assert core.tolist() == expected
    core, count = degree.copy(), np.zeros(largest + 1, np.uint32)
    queue, is_queued = np.arange(n_owned, dtype=np.uint32), np.ones(n_owned, np.bool_)
    cores.refine(ptr, src, core, queue, is_queued, n_owned, count)
    assert core.tolist() == expected
    assert not count.any() and not is_queued.any()
