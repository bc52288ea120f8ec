"""Loops over edges while a graph is opened or built, and the hash of its edges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcmp.hashing import hash_sum
from hpcmp.kernels import building, hashing

pytestmark = pytest.mark.kernel
rows_of_sources = st.lists(st.lists(st.integers(0, 7), max_size=6), min_size=1, max_size=5)


def csr(rows):
    ptr = np.concatenate(([0], np.cumsum([len(row) for row in rows]))).astype(np.uint64)
    return ptr, np.array([j for row in rows for j in row], np.uint32)


@given(st.lists(st.integers(-2, 9), max_size=20), st.booleans())
def test_numbers_are_narrowed_up_to_the_first_that_is_out_of_range(values, marks):
    wide, out = np.array(values, np.int64), np.zeros(len(values), np.uint32)
    is_seen = np.zeros(8 if marks else 0, np.bool_)
    wrong = [k for k, v in enumerate(values) if not 0 <= v < 8]
    assert building.narrow(wide, 8, out, is_seen) == (wrong[0] if wrong else -1)
    fine = values[: wrong[0]] if wrong else values
    assert out[: len(fine)].tolist() == fine
    assert np.flatnonzero(is_seen).tolist() == (sorted(set(fine)) if marks else [])


@given(st.lists(st.integers(-5, 12), max_size=20))
def test_keys_are_looked_up_and_strangers_get_minus_one(keys):
    table, out = np.array([3, -1, 0, 7], np.int32), np.empty(len(keys), np.int64)
    building.look_up(np.array(keys, np.int64), -2, table, out)
    assert out.tolist() == [int(table[k + 2]) if -2 <= k < 2 else -1 for k in keys]


def test_a_key_far_from_the_table_is_a_stranger():
    out = np.empty(2, np.int64)
    with np.errstate(over="ignore"):
        building.look_up(np.array([-(2**63), 2**63 - 1]), 5, np.zeros(3, np.int32), out)
    assert out.tolist() == [-1, -1]


@given(rows_of_sources, st.randoms())
def test_runs_are_copied_in_another_order_of_rows(rows, random):
    ptr, column = csr(rows)
    order = list(range(len(rows)))
    random.shuffle(order)
    out_ptr, expected = csr([rows[i] for i in order])
    out = np.empty_like(column)
    building.copy_runs(ptr, np.array(order, np.uint64), column, out_ptr, out)
    assert out.tolist() == expected.tolist()


@given(rows_of_sources, st.integers(0, 8))
def test_boundary_rows_hear_a_row_that_is_not_owned(rows, n_owned):
    ptr, src = csr(rows)
    is_boundary = np.empty(len(rows), np.bool_)
    building.mark_boundary(ptr, src, n_owned, is_boundary)
    assert is_boundary.tolist() == [any(j >= n_owned for j in row) for row in rows]


@given(st.lists(st.integers(-3, 3), max_size=8))
def test_the_first_fall_is_found(values):
    falls = [k for k in range(1, len(values)) if values[k] < values[k - 1]]
    assert building.first_fall(np.array(values, np.int64)) == (falls[0] if falls else -1)


@given(rows_of_sources, st.integers(1, 3))
def test_the_hash_of_edges_is_that_of_their_columns(rows, seed):
    ptr, src = csr(rows)
    ids = np.array([-5, 3, 2**40, 7, 11, 0, 1, -(2**62)], np.int64)
    field = np.arange(len(src)) * 0.5
    ends = [np.repeat(ids[: len(rows)], np.diff(ptr.astype(np.int64))), ids[src]]
    with np.errstate(over="ignore"):
        assert int(hashing.sum_of_ends(ptr, src, ids, np.uint64(seed))) % 2**64 == int(hash_sum(ends, seed))
        h = np.empty(len(src), np.uint64)
        hashing.hash_ends(ptr, src, ids, np.uint64(seed), 0, h)
        hashing.hash_words(h, field.view(np.uint64))
    assert int(h.sum(dtype=np.uint64)) == int(hash_sum([*ends, field], seed))
