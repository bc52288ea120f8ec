"""Folds of messages against the naive twins, and segments against whole rows."""

import math
from collections import Counter

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcmp.errors import ProgramError
from hpcmp.jit import kernel
from hpcmp.kernels import aggregates as g

pytestmark = pytest.mark.kernel

KINDS = {
    "float": (np.float64, st.floats(-1e6, 1e6)),
    "int": (np.int64, st.integers(-(2**40), 2**40)),
    "bool": (np.bool_, st.booleans()),
}
SINGLE = [(name, kind) for name in ("sum", "min", "max", "mean", "std", "count", "any", "all") for kind in KINDS]
COMPILED_MODE = kernel(g.most_frequent)
PAIRS = ("argmin", "argmax", "softmax_sum")


def folded(fold, messages, cuts=()):
    """Result of messages cut in segments, as the loops fold them."""
    acc, bounds = fold.identity, [0, *sorted(cuts), len(messages)]
    for lo, hi in zip(bounds[:-1], bounds[1:]):
        part = fold.identity
        for message in messages[lo:hi]:
            part = fold.absorb(part, message)
        acc = fold.merge(acc, part)
    return fold.result(acc)


def lists(values):
    return st.lists(values, max_size=20)


@pytest.mark.parametrize("name, kind", SINGLE)
def test_a_fold_is_its_naive_twin(name, kind):
    dtype, values = KINDS[kind]
    fold = g.make_fold(name, (dtype,))
    none = {"min": g.INT_MAX, "max": g.INT_MIN} if kind != "float" else {"min": math.inf, "max": -math.inf}

    @given(lists(values))
    def check(messages):
        expected = naive.AGGREGATES[name](messages, *([none[name]] if name in none else []))
        found = folded(fold, messages)
        if name == "std":
            assert math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9 * max(map(abs, messages), default=0))
        else:
            assert found == expected

    check()


@pytest.mark.parametrize("name, kind", [c for c in SINGLE if c[0] not in ("mean", "std", "sum") or c[1] == "int"])
def test_segments_of_an_exact_fold_join_to_the_whole_wherever_they_are_cut(name, kind):
    dtype, values = KINDS[kind]
    fold = g.make_fold(name, (dtype,))

    @given(lists(values), st.data())
    def check(messages, data):
        cuts = data.draw(st.lists(st.integers(0, len(messages)), max_size=4))
        whole, joined = folded(fold, messages), folded(fold, messages, cuts)
        assert joined == whole if name != "std" else math.isclose(joined, whole, rel_tol=1e-9, abs_tol=1e-3)

    check()


@given(lists(st.floats(-1e6, 1e6)), st.data())
def test_segments_of_float_folds_join_within_rounding(messages, data):
    cuts = data.draw(st.lists(st.integers(0, len(messages)), max_size=4))
    for name in ("sum", "mean", "std"):
        fold = g.make_fold(name, (np.float64,))
        assert math.isclose(folded(fold, messages), folded(fold, messages, cuts), rel_tol=1e-9, abs_tol=1e-8)


@pytest.mark.parametrize("name", PAIRS)
def test_a_fold_of_pairs_is_its_naive_twin_wherever_it_is_cut(name):
    fold = g.make_fold(name, (np.float64, np.int64))
    keys = st.integers(-3, 3).map(float) if name != "softmax_sum" else st.floats(-50, 50) | st.just(-math.inf)

    @given(lists(st.tuples(keys, st.integers(-5, 5))), st.data())
    def check(messages, data):
        cuts = data.draw(st.lists(st.integers(0, len(messages)), max_size=4))
        expected = naive.AGGREGATES[name](messages)
        for found in (folded(fold, messages), folded(fold, messages, cuts)):
            assert (
                found == expected
                if name != "softmax_sum"
                else math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9)
            )

    check()


@pytest.mark.parametrize("name", ["argmin", "argmax"])
def test_of_equal_keys_the_smallest_label_wins_also_for_whole_numbers(name):
    fold = g.make_fold(name, (np.int64, np.int64))
    assert folded(fold, [(4, 9), (4, 3), (4, 7)]) == (4, 3)
    assert folded(fold, [(g.INT_MAX, 9), (g.INT_MAX, 3)]) == (g.INT_MAX, 3)
    assert folded(fold, [(g.INT_MIN, 9), (g.INT_MIN, 3)], (1,)) == (g.INT_MIN, 3)
    assert folded(fold, [])[1] == -1


@pytest.mark.parametrize("name", ["min", "max"])
def test_nan_is_contagious_wherever_it_stands(name):
    fold = g.make_fold(name, (np.float64,))
    for messages in ([math.nan, 1.0], [1.0, math.nan], [1.0, math.nan, 0.0, 2.0]):
        for cuts in ((), (1,), (len(messages) - 1,)):
            assert math.isnan(folded(fold, messages, cuts))


def test_a_logit_that_is_no_number_is_not_lost():
    fold = g.make_fold("softmax_sum", (np.float64, np.float64))
    for messages in ([(math.nan, 1.0)], [(math.nan, 1.0), (2.0, 1.0)], [(2.0, 1.0), (math.nan, 1.0)]):
        assert math.isnan(folded(fold, messages))
        assert math.isnan(folded(fold, messages, (1,)))


@given(lists(st.integers(-3, 3)))
def test_the_mode_is_its_naive_twin(messages):
    assert g.most_frequent(np.array(messages, np.int64)) == naive.mode(messages)


def test_a_monoid_combines_in_order():
    scalar = g.make_fold(g.Monoid(0, lambda a, b: 10 * a + b), (np.int64,))
    assert folded(scalar, [1, 2, 3]) == naive_digits([1, 2, 3])
    first = g.make_fold(g.Monoid((0, 0), lambda a, b: a if a[0] else b), (np.int64, np.int64))
    assert folded(first, [(0, 5), (2, 7), (3, 9)], (1,)) == (2, 7)


def naive_digits(messages):
    out = 0
    for m in messages:
        out = 10 * out + m
    return 0 * 10 + out


@pytest.mark.parametrize("name", ["sum", "min", "std", "mean"])
def test_a_compiled_fold_has_the_bits_of_the_plain_one(name):
    fold = g.make_fold(name, (np.float64,))
    identity, absorb, merge, result = fold.identity, fold.absorb, fold.merge, fold.result

    @kernel
    def fold_all(messages, cut):
        acc = identity
        part = identity
        for e in range(messages.size):
            if e == cut:
                acc, part = merge(acc, part), identity
            part = absorb(part, messages[e])
        return result(merge(acc, part))

    rng = np.random.default_rng(1)
    for n in (0, 1, 2, 100):
        messages = rng.standard_normal(n) * 10.0 ** rng.integers(-8, 8, n)
        assert float(fold_all(messages, n // 3)) == float(folded(fold, messages.tolist(), (n // 3,)))


@pytest.mark.parametrize(
    "name, kinds, text",
    [
        ("sum", ("float64", "float64"), "aggregate 'sum' takes messages of one value, not 2; give a Monoid"),
        ("argmin", ("float64",), "aggregate 'argmin' takes messages of two values (key, label), not 1"),
        ("softmax_sum", ("float64",) * 3, "aggregate 'softmax_sum' takes messages of two values (logit, value), not 3"),
    ],
)
def test_messages_an_aggregate_does_not_take_are_refused(name, kinds, text):
    with pytest.raises(ProgramError) as caught:
        g.make_fold(name, kinds)
    assert text in str(caught.value)


@given(st.lists(st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1), max_size=90), st.integers(0, 3))
def test_mode_is_the_smallest_of_the_most_frequent_however_it_is_counted(few, times):
    messages = np.array((few + few[:3]) * (1 + times), np.int64)  # shorter and longer than what is sorted
    counts = Counter(messages.tolist())
    best = max(counts.values(), default=0)
    expected = min((m for m, n in counts.items() if n == best), default=g.INT_MIN)
    assert COMPILED_MODE(messages.copy()) == expected
