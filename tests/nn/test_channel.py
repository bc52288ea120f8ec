"""Messages of a user's own, by channel: derivatives against differences, results against a plain loop, the same bits."""

import math
import sys

import launch as launching
import numba
import numpy as np
import pytest
from building import agreed_error, build, everywhere, listed_edges
from graphs import GRAPHS
from learned import N_PARTS, bits, numbers, rows, views
from thorough import IS_LONG

from hpcmp import nn
from hpcmp.errors import ProgramError
from hpcmp.nn.tape import backward

WIDTH = 5
SAMPLES = ("zoo", "fewer_vertices_than_ranks")
pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="derivatives are derived by the compiler")


def swish(v):
    return v / (1 + math.exp(-v))


def gated(src, dst, edge):
    return edge.weight * src * swish(dst - src)


def pieces(src, dst, edge):
    if src > dst:
        return max(src, 0.3) ** 2 - abs(dst)
    total = 0.0
    for power in range(1, 3):
        total += math.tanh(src * power) / (2.5 + min(dst, 1, src))
    return total


def of_sender(src, dst, edge):
    return math.sin(src) * edge.weight


def of_receiver(src, dst, edge):
    return math.erf(dst) + 3


def slopes_of_product(src, dst, edge):
    return edge.weight * dst, edge.weight * src


MESSAGES = {
    "gated": nn.by_channel(gated),
    "pieces": nn.by_channel(pieces),
    "of the sender": nn.by_channel(of_sender),
    "of the receiver": nn.by_channel(of_receiver),
    "given": nn.by_channel(lambda src, dst, edge: edge.weight * src * dst, slopes_of_product),
}
AGGREGATES = ("sum", "mean", "max", "min")
PAIRS = [(m, a) for m in MESSAGES for a in ("sum", "max")] + [("gated", "mean"), ("gated", "min")]


class Update(nn.Module):
    def __init__(self):
        self.all = nn.Linear(2 * WIDTH, 4)

    def __call__(self, x, heard):
        return self.all(nn.concat(x, heard))


@pytest.mark.parametrize(("message", "aggregate"), PAIRS)
def test_gradients_are_those_of_differences(comm, message, aggregate):
    layer = nn.MessageLayer(MESSAGES[message], Update(), aggregate=aggregate)
    for name in SAMPLES:
        graph = build(comm, GRAPHS[name], n_parts=N_PARTS)
        x = np.sin(graph.order[:, None] * 1.7 + np.arange(WIDTH) * 2.3 + 0.2)  # no 0: there messages are equal
        assert nn.gradcheck(layer, graph, x, step=1e-6) < 1e-6, name


@pytest.mark.parametrize(("message", "aggregate"), PAIRS if IS_LONG else [*PAIRS[::4], *PAIRS[3::4]])
def test_ranks_and_threads_change_no_bit(comm, message, aggregate):
    def found(view):
        return bits(view, nn.MessageLayer(MESSAGES[message], Update(), aggregate=aggregate), WIDTH)

    for name in ("undirected", "zoo"):
        many, alone = views(comm, GRAPHS[name])
        assert found(many) == found(nn.View(many.graph, threads=3)) == found(alone)


@pytest.mark.parametrize("name", ["gated", "pieces"])
@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_results_are_those_of_a_plain_loop(comm, name, aggregate):
    message = MESSAGES[name]
    function = message.function

    class Edge:
        def __init__(self, weight):
            self.weight = weight

    reduce = {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min}[aggregate]
    for graph in ("undirected", "zoo", "double_edge"):
        view, _ = views(comm, GRAPHS[graph], np.float64)
        x = rows(view, 3)
        found = everywhere(view.graph, nn.propagate(view, message, x, aggregate=aggregate).data)
        by_id, heard = everywhere(view.graph, x.data), {}
        for src, dst, _, weight in listed_edges(view.graph):
            heard.setdefault(dst, []).append(
                [function(a, b, Edge(weight)) for a, b in zip(by_id[src], by_id[dst], strict=True)]
            )
        for v, got in found.items():
            assert np.allclose(got, reduce(heard[v], axis=0) if v in heard else 0, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("aggregate", ["max", "min"])
def test_of_equal_messages_the_first_has_the_gradient(comm, aggregate):
    star = GRAPHS["double_edge"]  # 0 -> 1 three times, 1 -> 2 twice
    relation = np.arange(len(star.src)) % 2
    graph = build(comm, star, n_parts=N_PARTS, relation=relation, relations=("a", "b"))
    view = nn.View(graph, dtype=np.float64)
    x = nn.Tensor(np.ones((view.n_owned, 2)), view, True)
    message = nn.by_channel(lambda src, dst, edge: 2.0 * src)
    backward(nn.propagate(view, message, x, aggregate=aggregate), numbers(view, 2))
    by_id, found = everywhere(graph, numbers(view, 2)), everywhere(graph, x.grad)
    assert np.array_equal(found[0], 2 * np.array(by_id[1])) and np.array_equal(found[1], 2 * np.array(by_id[2]))
    assert found[2] == [0.0, 0.0]


def test_a_message_may_ask_for_the_relation(comm):
    star = GRAPHS["double_edge"]
    relation = np.arange(len(star.src)) % 2
    graph = build(comm, star, n_parts=N_PARTS, relation=relation, relations=("a", "b"))
    message = nn.by_channel(lambda src, dst, edge: src if edge.relation == 1 else 10 * src)
    out = nn.propagate(nn.View(graph), message, nn.Tensor(np.ones((graph.n_owned, 1), np.float32), nn.View(graph)))
    expected = {}
    for _, dst, r in [(s, d, r) for s, d, r, *_ in listed_edges(graph)]:
        expected[dst] = expected.get(dst, 0.0) + (1.0 if r == 1 else 10.0)
    assert {v: row[0] for v, row in everywhere(graph, out.data).items() if row[0]} == expected


def test_what_has_no_rule_is_refused_and_a_given_derivative_serves(comm):
    view, _ = views(comm, GRAPHS["undirected"], np.float64)

    def stairs(src, dst, edge):
        return math.floor(src) + 0.5 * dst

    out = nn.propagate(view, nn.by_channel(stairs), rows(view, 2))
    text = agreed_error(comm, ProgramError, lambda: backward(out, np.ones(out.shape)))
    assert "cannot be derived" in text and "floor" in text and "derivative=" in text
    x = rows(view, 2)
    backward(nn.propagate(view, nn.by_channel(stairs, lambda src, dst, edge: (0.0, 0.5)), x), np.ones(out.shape))
    assert np.array_equal(x.grad, np.repeat(0.5 * view.graph.in_degree[:, None], 2, axis=1))


def test_functions_that_do_not_fit_are_refused(comm):
    view, _ = views(comm, GRAPHS["undirected"])

    def ask(function, derivative=None):
        out = nn.propagate(view, nn.by_channel(function, derivative), rows(view, 2))
        backward(out, np.ones(out.shape, np.float32))

    unknown = agreed_error(comm, ProgramError, lambda: ask(lambda src, dst, edge: edge.length * src))
    assert "length" in unknown and "An edge has weight" in unknown
    assert "does not compile" in agreed_error(comm, ProgramError, lambda: ask(lambda src, dst, edge: (src, dst)))
    one = lambda src, dst, edge: src  # noqa: E731
    assert "two numbers" in agreed_error(comm, ProgramError, lambda: ask(lambda src, dst, edge: src * dst, one))
    with pytest.raises(ProgramError, match="Python function of"):
        nn.by_channel(lambda src, dst: src)
    with pytest.raises(ProgramError, match="Python function of"):
        nn.by_channel(nn.Linear(2, 2))
    with pytest.raises(ProgramError, match="Python function of"):
        nn.by_channel(None)


CASES = {
    "difference": lambda x, y: y - x * 3 + (-x) - (+x),
    "quotient": lambda x, y: (x + 1) / (y + x),
    "of a constant": lambda x, y: 2 / x - x / 4,
    "power": lambda x, y: x**3 + x**-1.5 + y**x + x**x + math.pow(x, y),
    "least": lambda x, y: min(x, y) * max(x, 1) + max(0, x, y) + min(x, 2.0, y),
    "sizes": lambda x, y: abs(x - y) + math.fabs(y - 2 * x),
    "exponentials": lambda x, y: math.exp(x) * math.log(x) + math.expm1(x) / math.log1p(x),
    "roots": lambda x, y: math.sqrt(x) * math.atan(x) + math.erf(x),
    "circular": lambda x, y: math.sin(x) * math.cos(x * y),
    "hyperbolic": lambda x, y: math.tanh(x) * math.sinh(x) - math.cosh(x),
    "branches": lambda x, y: x * y if x > 0.9 and y != 0 else 0.0 if x == y else x / (1 + y),
    "whole numbers": lambda x, y: x * 3 + x * True + (x >= 1) + (x < 1) * x,
}


def with_slope(f):
    """f of duals, compiled: (x, y, x', y') -> (value, derivative)."""
    from hpcmp.jit import inlined
    from hpcmp.kernels.dual import dual, slope_of, value_of

    inside = inlined(f)

    @numba.njit(error_model="numpy")
    def both(x, y, dx, dy):
        out = inside(dual(x, dx), dual(y, dy))
        return value_of(out), slope_of(out)

    return both


@pytest.mark.parametrize("case", CASES)
def test_rules_of_derivatives_are_those_of_differences(case):
    f = CASES[case]
    both = with_slope(f)
    for x, y in ((0.3, 0.7), (1.9, 0.4), (0.95, 2.5)):
        for dx, dy in ((1.0, 0.0), (0.0, 1.0)):
            step = 1e-6
            value, slope = both(x, y, dx, dy)
            expected = (f(x + step * dx, y + step * dy) - f(x - step * dx, y - step * dy)) / (2 * step)
            assert abs(value - f(x, y)) <= 1e-14 * abs(value)
            assert abs(slope - expected) < 1e-7 * max(1, abs(expected)), (x, y, dx, dy)


# (x, y, x', y') -> derivative of x**y; rows after relu are full of zeros
AT_ZERO = {
    (0.0, 0.0, 1.0, 0.0): 0.0,
    (0.0, 1.0, 1.0, 0.0): 1.0,
    (0.0, 2.0, 1.0, 0.0): 0.0,
    (0.0, 0.0, 0.0, 1.0): 0.0,
    (0.0, 2.0, 0.0, 1.0): 0.0,
    (0.0, 1.0, 3.0, 1.0): 3.0,
    (2.0, 0.0, 1.0, 0.0): 0.0,
    (2.0, 0.0, 0.0, 1.0): math.log(2.0),
}


@pytest.mark.parametrize("f", [lambda x, y: x**y, lambda x, y: math.pow(x, y)], ids=["operator", "math"])
def test_powers_of_zero_have_derivatives(f):
    both = with_slope(f)
    for at, expected in AT_ZERO.items():
        assert both(*at)[1] == expected, at


def test_what_does_not_change_has_no_slope_even_at_zero():
    both = with_slope(lambda x, y: math.sqrt(max(x, 0.0)) + math.sqrt(x * x) + y)
    assert both(-1.0, 2.0, 1.0, 0.0)[1] == -1.0  # 0, of the constant, and the slope of -x
    assert both(0.0, 2.0, 0.0, 1.0)[1] == 1.0


TWICE = """
import numpy as np
from mpi4py import MPI
import hpcmp
from hpcmp import jit, nn

def gate(src, dst, edge):
    return edge.weight * src * dst

graph, _ = hpcmp.build_graph(MPI.COMM_SELF, hpcmp.generate.kronecker(MPI.COMM_SELF, scale=4, weights=(0.5, 1.5)))
view = nn.View(graph)
given = lambda src, dst, edge: (edge.weight * dst, edge.weight * src)
for derivative, aggregate in ((None, "sum"), (given, "max")):
    message = nn.by_channel(gate, derivative)
    x = nn.Tensor(np.ones((graph.n_owned, 2), np.float32), view, True)
    out = nn.propagate(view, message, x, aggregate=aggregate)
    nn.backward(out, out.data)
    print(*sorted({jit.is_cached(loop) for loop in message.loops.values()}))
"""


def test_another_run_compiles_nothing(tmp_path):
    (tmp_path / "twice.py").write_text(TWICE)
    said = []
    for _ in range(2):
        done = launching.run(
            [sys.executable, tmp_path / "twice.py"], env=launching.environment({"HPCMP_CACHE_DIR": tmp_path / "cache"})
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said == ["(0, 1)\n(0, 1)\n", "(1, 0)\n(1, 0)\n"]
