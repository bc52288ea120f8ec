"""Loops by lanes have the bits of the plain loop."""

import numpy as np
import pytest

from hpcmp.jit import kernel
from hpcmp.kernels.lanes import add_scaled, add_scaled_lanes


@kernel
def add_rows(acc, at, w, x, i, first, end):
    add_scaled(acc, at, w, x, i, first, end)


@kernel
def add_lanes(acc, at, w, x, i, k):
    add_scaled_lanes(acc, at, w, x, i, k)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("first", "end"), [(0, 0), (0, 7), (0, 8), (3, 30), (5, 37), (1, 17)])
def test_a_scaled_row_is_added_as_a_plain_loop_adds_it(dtype, first, end):
    rng = np.random.default_rng(first + end)
    x, acc, at, w = rng.normal(size=(5, 37)).astype(dtype), rng.normal(size=100), 11, 1 / 3
    wanted = acc.copy()
    for k in range(first, end):
        wanted[at + k] += w * np.float64(x[3, k])
    add_rows(acc, np.uint64(at), w, x, np.uint64(3), np.uint64(first), np.uint64(end))
    assert acc.tobytes() == wanted.tobytes()


def test_rows_that_do_not_lie_together_are_refused():
    if add_lanes is not getattr(add_lanes, "py_func", add_lanes):
        with pytest.raises(Exception, match="lie together"):
            add_lanes(np.zeros(8), np.uint64(0), 1.0, np.zeros((16, 2)).T, np.uint64(0), np.uint64(0))
