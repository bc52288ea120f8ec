"""The tape: what it keeps, what it refuses, and memory that is lent."""

import gc
import weakref

import numpy as np
import pytest
from building import agreed_error, build
from graphs import GRAPHS
from learned import rows, views

from hpcmp import nn
from hpcmp.errors import ProgramError
from hpcmp.nn.tape import backward, made


class OfMade(nn.Module):
    """A message that uses what was made of parameters before."""

    def __init__(self):
        self.a, self.b = nn.Parameter((4, 4)), nn.Parameter((4, 4))


def test_rows_go_when_nothing_needs_them_without_a_collector(comm):
    view = views(comm, GRAPHS["random"])[0]
    gc.disable()
    try:
        x = rows(view, 4)
        between = nn.linear(x, nn.Parameter((4, 3)))
        gone = [weakref.ref(t) for t in (x, between)]
        out = nn.relu(between)
        del between, x
        assert gone[1]() is None and gone[0]() is not None  # x is asked for on the way back
        del out
        assert gone[0]() is None
    finally:
        gc.enable()


def test_without_learning_nothing_is_remembered(comm):
    view = views(comm, GRAPHS["random"])[0]
    view.begin(0, False, is_learning=False)
    assert not nn.relu(nn.linear(rows(view, 4), nn.Parameter((4, 3)))).wants_grad
    view.begin(0, True)
    assert nn.relu(nn.linear(rows(view, 4), nn.Parameter((4, 3)))).wants_grad


def test_a_result_gives_gradients_once(comm):
    view = views(comm, GRAPHS["random"])[0]
    middle = nn.relu(rows(view, 3))
    backward(nn.add(middle, middle))
    assert "gone back through before" in agreed_error(comm, ProgramError, lambda: backward(nn.relu(middle)))


def test_a_message_may_not_use_what_was_made_before_it(comm):
    view = views(comm, GRAPHS["random"])[0]
    layer, x = OfMade(), rows(view, 4)
    layer.initialise(view)
    mixed = nn.multiply(x, nn.Parameter((1, 4), "ones"))

    def with_rows():
        return nn.propagate(view, lambda src, dst, edge: nn.add(src, mixed), x)

    assert "different views" in agreed_error(comm, ProgramError, with_rows)

    def product(a, b):
        return made(a.data @ b.data, None, (a, b), lambda d: (d @ b.data.T, a.data.T @ d))

    w = product(layer.a, layer.b)
    text = agreed_error(comm, ProgramError, lambda: nn.propagate(view, lambda s, d, e: nn.linear(s, w), x))
    assert "within the message" in text
    out = nn.propagate(view, lambda s, d, e: nn.linear(s, product(layer.a, layer.b)), x)
    backward(out)
    assert layer.a.grad is not None and np.abs(layer.a.grad).sum() > 0


def test_sums_of_what_never_changes_are_kept_or_made_again_with_the_same_bits(comm):
    found = []
    for keeps in (True, False):
        view = nn.View(build(comm, GRAPHS["random"]), keeps_sums=keeps)
        x = view.tensor(np.cos(view.graph.id[: view.n_owned, None] * np.arange(1.0, 4.0)))
        for gather in (nn.sum_neighbours, nn.mean_neighbours, nn.max_neighbours):
            sums = [gather(x) for _ in range(2)]
            assert (sums[0] is sums[1]) == keeps
            found.append([s.data.tobytes() for s in sums])
    assert found[:3] == found[3:] and all(one == other for one, other in found)


def test_rows_of_two_graphs_do_not_fit(comm):
    one, other = (nn.View(build(comm, GRAPHS[name])) for name in ("random", "undirected"))
    for act in (nn.add, nn.multiply, nn.concat, nn.maximum):
        assert "different views" in agreed_error(comm, ProgramError, lambda act=act: act(rows(one, 3), rows(other, 3)))


def test_a_gradient_that_is_no_number_is_told(comm):
    class Broken(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter((3, 2))

        def __call__(self, graph, x):
            h = nn.linear(x, self.weight)
            return made(h.data, h.view, (h,), lambda d: (d * np.nan,))

    assert np.isnan(nn.gradcheck(Broken(), build(comm, GRAPHS["undirected"]), np.ones((len(own(comm)), 3))))


def own(comm):
    return build(comm, GRAPHS["undirected"]).order


def test_memory_is_lent_again_and_not_hoarded():
    from hpcmp.memory import FIT, LEAST, Pool

    pool, n = Pool(), LEAST // 4
    a = pool.empty((n, 2), np.float32)
    place = a.ctypes.data
    assert place % 64 == 0 and pool.lent == a.nbytes
    b = a[1:]
    del a
    assert pool.lent > 0  # a view of it is still there
    del b
    assert pool.lent == 0
    assert pool.empty((n, 2), np.float32).ctypes.data == place
    assert pool.empty((int(2 * n / FIT) + 1, 1), np.float32).ctypes.data == place  # a size that fits
    kept = [pool.empty((n * k,), np.float32) for k in range(1, 40)]
    most = pool.most
    del kept
    pool.empty((n * 100,), np.float32)
    assert sum(block.nbytes for block in pool.free) <= 1.1 * max(most, n * 400)


@pytest.mark.parametrize("size", [0, 3])
def test_small_arrays_are_the_allocators_own(size):
    from hpcmp.memory import Pool

    pool = Pool()
    assert pool.empty((size,), np.int64).base is None and pool.lent == 0
