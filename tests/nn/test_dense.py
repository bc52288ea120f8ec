"""Products of rows with weights, in shapes where BLAS gives a row other bits within more rows or on more threads."""

import numpy as np
import pytest
from graphs import random
from learned import N_PARTS, numbers, rows, views
from threadpoolctl import threadpool_limits

from hpcmp import nn
from hpcmp.nn.tape import backward

LARGE = random(600 * N_PARTS, 2400 * N_PARTS)
# Width in and out. OpenBLAS 0.3: of 131 x 7 one product of all rows has other bits than one of a part's rows; of 700 x 64
# and of every transposed product, two threads have other bits than one.
SHAPES = [(131, 7), (700, 64)]
CUTS = [{}, {"method": "hash"}]


def tree(leaves):
    """Sum of neighbours, then of neighbours' sums: what the sum over all parts is, to the bit."""
    while len(leaves) > 1:
        pairs = [leaves[k : k + 2] for k in range(0, len(leaves), 2)]
        leaves = [pair[0] + pair[1] if len(pair) == 2 else pair[0] for pair in pairs]
    return leaves[0]


@pytest.mark.parametrize("cut", CUTS, ids=["balanced", "hashed"])
@pytest.mark.parametrize(("n_in", "n_out"), SHAPES)
def test_products_are_those_of_each_part_alone_on_one_blas_thread(comm, n_in, n_out, cut):
    view = nn.View(views(comm, LARGE, **cut)[0].graph, threads=2)
    bounds = [slice(lo, hi) for lo, hi in zip(view.part_bounds[:-1], view.part_bounds[1:], strict=True)]
    assert all(part.stop - part.start >= 500 for part in bounds) and view.graph.n_parts == N_PARTS
    draw = np.random.default_rng(8)
    w, b = nn.Parameter((n_in, n_out)), nn.Parameter((1, n_out))
    w.data, b.data = (draw.normal(size=p.shape).astype(np.float32) for p in (w, b))
    x, d = rows(view, n_in), numbers(view, n_out, 1).astype(np.float32)
    with threadpool_limits(2, user_api="blas"):
        out = nn.linear(x, w, b)
        backward(out, d)
    with threadpool_limits(1, user_api="blas"):
        products = [x.data[part] @ w.data for part in bounds]
        turned = [d[part] @ w.data.T for part in bounds]
        leaves = [x.data[part].T @ d[part] for part in bounds]
    for part, product, back in zip(bounds, products, turned, strict=True):
        assert np.array_equal(out.data[part], product + b.data)
        assert np.array_equal(x.grad[part], back)
    assert np.array_equal(w.grad, tree([leaf for of_rank in comm.allgather(leaves) for leaf in of_rank]))
