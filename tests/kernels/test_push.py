"""Pushing by several threads at once."""

import threading

import numba
import numpy as np
import pytest

from hpcmp.jit import kernel
from hpcmp.kernels.aggregates import make_fold
from hpcmp.kernels.push import make_take

pytestmark = pytest.mark.kernel
N_THREADS, N_MESSAGES = 4, 50_000


def taking(fold):
    """Kernel that gives messages, one after the other, to one accumulator."""
    take = make_take(fold)

    def give(acc, messages):
        for k in range(messages.size):
            take(acc, np.uint64(0), messages[k])

    return kernel(give)


@pytest.mark.parametrize(
    ("name", "expected"), [("count", N_THREADS * N_MESSAGES), ("sum", None), ("min", None), ("max", None)]
)
def test_threads_that_push_into_one_row_lose_no_message(name, expected):
    if numba.config.DISABLE_JIT:  # plain Python swaps in several steps; it runs in one thread
        return
    fold = make_fold(name, (np.dtype(np.int64),))
    give, acc = taking(fold), (np.full(1, fold.identity[0]),)
    messages = np.random.default_rng(3).permutation(N_THREADS * N_MESSAGES).reshape(N_THREADS, -1)
    give(acc, messages[0, :0])
    threads = [threading.Thread(target=give, args=(acc, some)) for some in messages]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert acc[0][0] == (expected if name == "count" else getattr(messages, name)())


def test_a_message_that_changes_nothing_is_no_news():
    fold = make_fold("min", (np.dtype(np.float64),))
    take = make_take(fold)
    acc = (np.array([np.inf, np.nan]),)
    assert take(acc, 0, 3.0) and not take(acc, 0, 3.0) and not take(acc, 0, 4.0) and take(acc, 0, -0.0)
    assert not take(acc, 1, 1.0) and np.isnan(acc[0][1])
    assert acc[0][0] == 0.0 and not np.signbit(acc[0][0])
