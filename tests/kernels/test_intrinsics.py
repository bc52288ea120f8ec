"""Instructions that numba has no name for."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcmp.jit import kernel
from hpcmp.kernels.intrinsics import lower_to, popcount, prefetch, prefetch_outer, swap_if

pytestmark = pytest.mark.kernel


@kernel
def count_bits(words, out):
    """out[i] = set bits of words[i]"""
    for i in range(words.size):
        out[i] = popcount(words[i])


@kernel
def swap_first(array, expected, new):
    """swap_if at 0"""
    return swap_if(array, np.uint64(0), array.dtype.type(expected), array.dtype.type(new))


@kernel
def add_by_swaps(array, n):
    """Add 1 to array[0], n times, whoever else does so too."""
    for _ in range(n):
        seen = array[0]
        while True:
            if swap_if(array, np.uint64(0), seen, seen + array.dtype.type(1)):
                break
            seen = array[0]


@kernel
def lower_first(array, values):
    """lower_to at 0, by one value after the other; what was there before the last."""
    found = array[0]
    for k in range(values.size):
        found = lower_to(array, np.uint64(0), values[k])
    return found


@kernel
def sum_ahead(array, rows):
    """array[rows] summed, while rows further on are asked for"""
    total = 0.0
    for r in range(rows.size):
        prefetch(array, rows[min(r + 2, rows.size - 1)], 0)
        total += array[rows[r]]
    return total


@kernel
def ask_anywhere(array, i):
    """prefetch of a row that need not exist"""
    prefetch(array, i, np.uint64(0))
    prefetch_outer(array, i, np.uint64(0))


@given(st.lists(st.integers(0, 2**64 - 1), max_size=8))
def test_bits_are_counted(words):
    out = np.zeros(len(words), np.int64)
    count_bits(np.array(words, np.uint64), out)
    assert out.tolist() == [bin(w).count("1") for w in words]


@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.uint32, np.int64, np.float32, np.float64])
def test_a_swap_happens_only_where_the_value_is_the_expected_one(kind):
    array = np.array([7, 1], kind)
    assert not swap_first(array, 5, 9) and array.tolist() == [7, 1]
    assert swap_first(array, 7, 120) and array.tolist() == [120, 1]


def test_truth_values_and_nan_are_swapped_by_their_bits():
    flags, floats = np.array([False, True]), np.array([np.nan, 1.0])
    assert swap_first(flags, False, True) and flags.tolist() == [True, True]
    assert not swap_first(flags, False, True)
    assert swap_first(floats, np.nan, 2.0) and floats.tolist() == [2.0, 1.0]


@pytest.mark.parametrize("kind", [np.uint32, np.int64, np.float64])
def test_threads_lose_no_swap(kind):
    import numba

    array, n = np.zeros(1, kind), 100_000
    if numba.config.DISABLE_JIT:  # plain Python swaps in several steps; it runs in one thread
        return
    add_by_swaps(array, 0)
    threads = [threading.Thread(target=add_by_swaps, args=(array, n)) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert array[0] == 4 * n


def test_a_prefetch_changes_nothing_and_no_place_is_wrong():
    array, rows = np.arange(7.0), np.array([6, 0, 3, 3], np.uint32)
    assert sum_ahead(array, rows) == 12.0 and array.tolist() == list(range(7))
    for i in (0, 7, 2**40):
        ask_anywhere(array, np.uint64(i))
    ask_anywhere(np.zeros((0, 4), np.float32), np.uint64(0))


@pytest.mark.parametrize("ask", [prefetch, prefetch_outer])
def test_a_prefetch_is_one_instruction(ask):
    import numba

    if numba.config.DISABLE_JIT:
        return
    asked = numba.njit(lambda array, i: ask(array, i, np.uint64(0)))  # one loaded from the cache shows no code
    asked(np.zeros((2, 4), np.float32), np.uint64(1))
    assert all("prefetch" in text for text in asked.inspect_asm().values())


def test_lowering_takes_the_lesser_value_and_tells_what_was_there():
    array = np.array([3, 1])
    assert lower_first(array, np.array([5])) == 3 and array.tolist() == [3, 1]
    assert lower_first(array, np.array([-(2**63), 0])) == -(2**63) and array.tolist() == [-(2**63), 1]


def test_threads_that_lower_one_value_end_at_the_least():
    import numba

    if numba.config.DISABLE_JIT:
        return
    values = np.random.default_rng(5).permutation(100_000).reshape(4, -1)
    array = np.array([2**62])
    lower_first(array, values[0, :0])
    threads = [threading.Thread(target=lower_first, args=(array, v)) for v in values]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert array[0] == 0
