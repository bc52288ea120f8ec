"""Transposes, listeners and chunks of work."""

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcmp.kernels import csr

pytestmark = pytest.mark.kernel


@st.composite
def matrices(draw):
    """(in_ptr, in_src, n_local) of few rows and columns."""
    n_rows, more = draw(st.integers(0, 8)), draw(st.integers(0, 4))
    n_local = n_rows + more
    rows = [draw(st.lists(st.integers(0, n_local - 1), max_size=6)) if n_local else [] for _ in range(n_rows)]
    ptr = np.concatenate(([0], np.cumsum([len(r) for r in rows]))).astype(np.uint64)
    return ptr, np.array([j for r in rows for j in r], np.uint32), n_local


@given(matrices())
def test_the_transpose_is_the_naive_one(drawn):
    in_ptr, in_src, n_local = drawn
    out_ptr, out_dst, out_edge = csr.transpose(in_ptr, in_src, n_local)
    assert in_src[out_edge].tolist() == np.repeat(np.arange(n_local), np.diff(out_ptr.astype(np.int64))).tolist()
    assert out_ptr.tolist() == np.cumsum([0, *map(len, naive.transpose(in_ptr, in_src, n_local))]).tolist()
    assert out_dst.tolist() == [i for row in naive.transpose(in_ptr, in_src, n_local) for i in row]


@given(matrices(), st.data())
def test_listeners_are_the_rows_that_hear_a_source(drawn, data):
    in_ptr, in_src, n_local = drawn
    sources = sorted(data.draw(st.sets(st.integers(0, max(n_local - 1, 0))))) if n_local else []
    touched = np.zeros(len(in_ptr) - 1, bool)
    csr.mark_listeners(*csr.transpose(in_ptr, in_src, n_local)[:2], np.array(sources, np.uint32), touched)
    rows = naive.transpose(in_ptr, in_src, n_local)
    assert set(np.flatnonzero(touched)) == {i for j in sources for i in rows[j]}


@given(
    st.lists(st.integers(0, 5) | st.sampled_from([1000, csr.CHUNK_WORK, 5 * csr.CHUNK_WORK]), max_size=30),
    st.integers(1, 5),
    st.data(),
)
def test_chunks_cover_all_rows_exactly_once(degrees, n_threads, data):
    in_ptr = np.concatenate(([0], np.cumsum(degrees))).astype(np.uint64)
    rows = np.array([i for i in range(len(degrees)) if data.draw(st.booleans())], np.uint32)
    found = csr.chunks(in_ptr, rows, n_threads)
    assert [r for lo, hi in found for r in range(lo, hi)] == list(range(len(rows)))
    if len(rows):
        assert all(lo < hi for lo, hi in found)
    assert n_threads > 1 or len(found) == 1


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(1, 9), st.data())
def test_rows_that_follow_each_other_are_cut_as_any_rows_are(degrees, n_chunks, data):
    in_ptr = np.concatenate(([0], np.cumsum(degrees))).astype(np.uint64)
    first = data.draw(st.integers(0, len(degrees) - 1))
    rows = np.arange(first, data.draw(st.integers(first + 1, len(degrees))), dtype=np.uint32)
    work, found = csr.work_of(in_ptr, rows), np.full((2, n_chunks + 1), len(rows))
    csr.cut(in_ptr, rows, int(work), found[0])
    csr.cut_range(in_ptr, rows, int(work), found[1])
    assert np.array_equal(*found)


def test_chunks_of_much_work_are_about_even():
    in_ptr = (np.arange(20_001, dtype=np.uint64)) * np.uint64(50)
    found = csr.chunks(in_ptr, np.arange(20_000, dtype=np.uint32), 2)
    work = [51 * (hi - lo) for lo, hi in found]
    assert len(found) > 4
    assert max(work) < 1.5 * min(work)
