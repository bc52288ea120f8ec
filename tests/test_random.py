"""Random numbers of four words: the same compiled, uncompiled and in plain Python."""

import naive
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hpcmp import random as r

SMALL = st.integers(0, 2**63 - 1)


@given(SMALL, st.integers(-5, 10**9), st.integers(0, 99), st.integers(-(2**63), 2**63 - 1))
def test_uniform_is_a_function_of_its_words(seed, step, stream, item):
    out = np.empty(3)
    with np.errstate(over="ignore"):
        r.fill_uniform(seed, step, stream, min(item, 2**63 - 3), out)
    expected = [naive.uniform(seed, step, stream, min(item, 2**63 - 3) + k) for k in range(3)]
    assert out.tolist() == expected
    assert all(0 <= x < 1 for x in expected)


def test_uniform_is_uniform():
    out = np.empty(100_000)
    with np.errstate(over="ignore"):
        r.fill_uniform(7, 0, 0, 0, out)
    counts = np.histogram(out, 10, (0, 1))[0]
    assert np.all(np.abs(counts - 10_000) < 5 * 100)  # five sigma
    assert len(np.unique(out)) == len(out)


def test_another_seed_step_or_stream_gives_other_numbers():
    def numbers(*words):
        out = np.empty(50)
        with np.errstate(over="ignore"):
            r.fill_uniform(*words, 0, out)
        return out

    base = numbers(1, 2, 3)
    for words in ((2, 2, 3), (1, 3, 3), (1, 2, 4)):
        assert not np.any(numbers(*words) == base)
    assert abs(np.corrcoef(base, numbers(1, 3, 3))[0, 1]) < 0.5
