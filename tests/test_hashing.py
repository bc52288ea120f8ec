"""Hashes and digests against plain Python."""

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcmp import hashing

WORDS = st.integers(0, 2**64 - 1)


@given(WORDS)
def test_mix64_is_splitmix64s_finaliser(x):
    assert int(hashing.mix64(np.uint64(x))) == naive.mix64(x)


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False)), max_size=30), st.randoms())
def test_a_hash_sum_depends_on_rows_and_not_on_their_order(rows, random):
    def summed(rows):
        columns = [np.array([r[0] for r in rows], np.int64), np.array([r[1] for r in rows], np.float64)]
        return int(hashing.hash_sum(columns, 1))

    shuffled = rows.copy()
    random.shuffle(shuffled)
    assert summed(shuffled) == summed(rows)
    if rows:
        changed = [(rows[0][0] ^ 1, rows[0][1]), *rows[1:]]
        assert summed(changed) != summed(rows)
        assert summed([*rows, rows[0]]) != summed(rows)


def test_a_hash_sum_sees_every_byte_of_a_row():
    names = np.array([b"a", b"abcdefgh", b"abcdefghi", b""], "S12")
    wide = np.arange(12, dtype=np.float32).reshape(4, 3)
    base = int(hashing.hash_sum([names, wide], 1))
    for k in range(4):
        other = names.copy()
        other[k] = other[k] + b"!"
        assert int(hashing.hash_sum([other, wide], 1)) != base
        for channel in range(3):
            other = wide.copy()
            other[k, channel] += 1
            assert int(hashing.hash_sum([names, other], 1)) != base
    assert int(hashing.hash_sum([names, wide], 2)) != base


@pytest.mark.parametrize("n", [0, 1, 5, hashing.DIGEST_ROWS, 2 * hashing.DIGEST_ROWS + 3])
def test_digests_are_those_of_the_naive_twin(n):
    ids = np.arange(n, dtype=np.int64) * 3 - 7
    fields = {"b": np.arange(2 * n, dtype=np.float32).reshape(n, 2), "a": np.arange(n) % 2 == 0}
    blocks = hashing.digest_blocks(ids, fields)
    assert hashing.combine_blocks(n, fields, blocks) == naive.digest(ids, fields)
