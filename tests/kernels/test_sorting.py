"""Radix sorts and packed keys, against numpy's sorts."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hpcmp.kernels import sorting

pytestmark = pytest.mark.kernel


@given(st.integers(1, 64), st.lists(st.integers(0, 2**64 - 1), max_size=60))
@example(64, [2**64 - 1, 0, 2**63])
@example(1, [1, 1, 1])
def test_keys_are_sorted_and_numbers_of_equal_keys_stay_in_order(n_bits, drawn):
    keys = np.array([key % 2**n_bits for key in drawn], np.uint64)
    by_key = np.argsort(keys, kind="stable")
    found, places = sorting.sort_with_numbers(keys.copy(), n_bits, np.arange(len(keys), dtype=np.uint32))
    assert found.tolist() == keys[by_key].tolist()
    assert places.tolist() == by_key.tolist()


edges = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 6)), max_size=40)


def packed(drawn, first, with_relation):
    row, relation, src = (np.array(column, np.uint32) for column in (zip(*drawn) if drawn else ([], [], [])))
    relation = (relation if with_relation else relation[:0]).astype(np.uint16)
    keys = np.empty(len(src), np.uint64)
    shifts = np.uint64(3), np.uint64(5)
    sorting.pack(src, row + np.uint32(first), relation, np.uint64(first), *shifts, keys)
    return keys, row, relation, src, shifts


@given(edges, st.integers(0, 9), st.booleans())
def test_what_was_packed_is_unpacked_and_counted_by_row(drawn, first, with_relation):
    keys, row, relation, src, shifts = packed(drawn, first, with_relation)
    in_degree, src_back = np.zeros(6, np.int64), np.empty_like(src)
    relation_back = np.empty_like(relation)
    sorting.unpack(keys, *shifts, in_degree, src_back, relation_back)
    assert src_back.tolist() == src.tolist() and relation_back.tolist() == relation.tolist()
    assert in_degree.tolist() == np.bincount(row, minlength=6).tolist()


@given(edges, st.integers(0, 3), st.booleans())
def test_repeats_are_counted_and_the_first_is_kept(drawn, first, with_relation):
    keys, _, _, _, shifts = packed(sorted(drawn), first, with_relation)
    keys.sort()
    listed = [(r, q if with_relation else 0, s) for r, q, s in sorted(drawn)]
    loops = [edge for edge in listed if edge[0] + first == edge[2]]
    expected = len(listed) - len(set(listed)), len(loops) - len(set(loops))
    assert sorting.count_repeats(keys, np.uint64(first), *shifts) == expected
    numbers, before = np.arange(len(keys), dtype=np.uint32), keys.copy()
    n = sorting.drop_repeats(keys, numbers)
    assert keys[:n].tolist() == sorted(set(before.tolist()))
    assert numbers[:n].tolist() == np.unique(before, return_index=True)[1].tolist()


ends = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30)


@given(ends, st.lists(st.integers(0, 10), max_size=6), st.booleans())
def test_edges_are_listed_by_the_owner_of_their_end(drawn, cuts, both_ways):
    bounds = np.array([0, *sorted(cuts), 10])
    src, dst = (np.array(column, np.uint32) for column in (zip(*drawn) if drawn else ([], [])))
    owner = (np.searchsorted(bounds, np.arange(10), side="right") - 1).tolist()
    expected = [(owner[d], 2 * e) for e, (s, d) in enumerate(drawn)]
    expected += [(owner[s], 2 * e + 1) for e, (s, d) in enumerate(drawn) if both_ways and s != d]
    table, counts = sorting.owner_table(bounds), np.zeros(len(bounds) - 1, np.int64)
    sorting.count_owners(table, src, dst, both_ways, counts)
    assert counts.tolist() == np.bincount([p for p, _ in expected], minlength=len(counts)).tolist()
    listed = np.empty(len(expected), np.uint32)
    sorting.place_by_owner(table, src, dst, both_ways, np.cumsum(counts) - counts, listed)
    assert listed.tolist() == [e for _, e in sorted(expected)]
    out_src, out_dst = np.empty(len(listed), np.uint32), np.empty(len(listed), np.uint32)
    sorting.take_ends(src, dst, listed, out_src, out_dst)
    turned = [drawn[e >> 1][:: -1 if e & 1 else 1] for e in listed.tolist()]
    assert list(zip(out_src.tolist(), out_dst.tolist())) == turned
