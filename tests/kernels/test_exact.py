"""Exact sums: correctly rounded, whatever the order and the split."""

import math

import naive
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hpcmp.kernels import exact

pytestmark = pytest.mark.kernel

TINY, HUGE = 5e-324, 1.7976931348623157e308
FLOATS = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from(
    [0.0, -0.0, TINY, -TINY, HUGE, -HUGE, 2.0**-1022]
)


def summed(*parts):
    total = exact.zero()
    for part in parts:
        exact.add(total, np.array(part, np.float64))
    return exact.value(total)


def same(a, b):
    return a == b or (math.isnan(a) and math.isnan(b))


@given(st.lists(FLOATS, max_size=40))
@example([HUGE, HUGE, -HUGE])
@example([HUGE, HUGE])
@example([-HUGE, -HUGE, TINY])
@example([HUGE, HUGE * 2.0**-54])
@example([1.0, 2.0**-53])
@example([1.0, 2.0**-53, TINY])
@example([math.inf, -math.inf])
@example([math.inf, math.nan])
@example([TINY] * 3)
def test_a_sum_is_the_exact_one_rounded_once(values):
    assert same(summed(values), naive.exact_sum(values))


@given(st.lists(st.floats(-1e300, 1e300), max_size=40))
def test_a_sum_is_math_fsum(values):
    assert summed(values) == math.fsum(values)


@given(st.lists(FLOATS, max_size=30), st.randoms(), st.data())
def test_neither_order_nor_split_matters(values, random, data):
    cut = data.draw(st.integers(0, len(values)))
    whole = summed(values)
    shuffled = values.copy()
    random.shuffle(shuffled)
    assert same(summed(shuffled[:cut], shuffled[cut:]), whole)


@given(st.lists(st.lists(FLOATS, max_size=10), min_size=1, max_size=6))
def test_sums_of_ranks_add_as_integers(parts):
    words = []
    for part in parts:
        words.append(exact.zero())
        exact.add(words[-1], np.array(part, np.float64))
    assert same(exact.value(sum(words)), naive.exact_sum([v for part in parts for v in part]))


def test_carries_keep_limbs_small_through_many_adds(monkeypatch):
    monkeypatch.setattr(exact, "MAX_ADDS", 7)
    values = np.random.default_rng(0).standard_normal(1000) * 1e200
    total = exact.zero()
    for _ in range(20):
        exact.add(total, values)
    assert exact.value(total) == math.fsum(values.tolist() * 20)
    limbs = total[: exact.N_LIMBS - 1]
    assert np.all((limbs >= 0) & (limbs < 2**32))


def test_whole_numbers_are_summed_as_they_are():
    assert summed(np.arange(1000)) == 499_500.0
    assert summed([]) == 0.0
