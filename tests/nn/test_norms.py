"""Normalisation, activations and rows of several layers: gradients by differences, and the same bits on any ranks."""

import numpy as np
import pytest
from building import agreed_error, build, everywhere
from graphs import GRAPHS
from learned import N_PARTS, bits, numbers, views

from hpcmp import nn
from hpcmp.errors import ProgramError

WIDTH = 5
SAMPLES = ("undirected", "zoo", "one_vertex", "fewer_vertices_than_ranks", "empty")


class Deep(nn.Module):
    """Two layers, what lies between them, and the rows of all."""

    def __init__(self, between=None, how="concat", norm=None):
        self.first, self.second = nn.GCN(WIDTH, 4), nn.SAGE(4, 4)
        self.between, self.norm, self.jump = between or (lambda h: h), norm, nn.JumpingKnowledge(how)

    def __call__(self, graph, x):
        h = self.first(graph, x)
        h = self.between(h if self.norm is None else self.norm(graph, h))
        return self.jump(graph, [h, self.second(graph, h)])


def mixed(h):
    """Rows times rows, of which one is in both places."""
    return nn.multiply(nn.sigmoid(h), nn.multiply(h, h))


MODELS = {
    "layer norm": lambda: Deep(nn.tanh, norm=nn.LayerNorm(4)),
    "batch norm": lambda: Deep(nn.tanh, norm=nn.BatchNorm(4)),
    "gelu": lambda: Deep(nn.gelu),
    "sigmoid": lambda: Deep(nn.sigmoid, "sum"),
    "tanh": lambda: Deep(nn.tanh, "max"),
    "multiply": lambda: Deep(mixed),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", SAMPLES)
def test_gradients_are_those_of_differences(comm, model, name):
    graph = build(comm, GRAPHS[name], n_parts=N_PARTS)
    x = np.sin(graph.order[:, None] * 1.7 + np.arange(WIDTH) * 2.3)
    assert nn.gradcheck(MODELS[model](), graph, x, step=1e-6) < 1e-6


@pytest.mark.parametrize("model", MODELS)
def test_ranks_and_threads_change_no_bit(comm, model):
    for name in ("undirected", "zoo"):
        many, alone = views(comm, GRAPHS[name])
        expected = bits(alone, MODELS[model](), WIDTH)
        assert bits(many, MODELS[model](), WIDTH) == expected
        assert bits(nn.View(many.graph, threads=3), MODELS[model](), WIDTH) == expected


def test_channels_are_normal_over_all_vertices_and_by_what_is_kept_afterwards(comm):
    view = nn.View(build(comm, GRAPHS["zoo"], n_parts=N_PARTS), dtype=np.float64)
    norm, data = nn.BatchNorm(3, eps=0.0, momentum=1.0), numbers(view, 3) + [[1.0, 20.0, -3.0]]
    norm.initialise(view)
    view.begin(0, True)
    inside = norm(view, view.tensor(data))
    every = np.array(list(everywhere(view.graph, inside.data).values()))
    assert np.allclose(every.mean(axis=0), 0) and np.allclose(every.std(axis=0), 1)
    given = np.array(list(everywhere(view.graph, data).values()))
    assert np.allclose(norm.running_mean.data, given.mean(axis=0))
    assert np.allclose(norm.running_var.data, given.var(axis=0, ddof=1))
    view.begin(0, False)
    outside = norm(view, view.tensor(data))
    assert np.allclose(outside.data, inside.data * np.sqrt((len(given) - 1) / len(given)))


def test_what_is_kept_lies_beside_parameters_and_begins_anew(comm):
    model, view = MODELS["batch norm"](), nn.View(build(comm, GRAPHS["undirected"], n_parts=N_PARTS))
    kept = ["norm.running_mean", "norm.running_var"]
    assert list(model.buffers()) == kept
    assert not set(kept) & set(model.parameters())
    assert set(model.state()) == {*kept, *model.parameters()}
    first = bits(view, model, WIDTH)
    assert first[3]["norm.running_mean"] != [[0.0] * 4]
    assert bits(view, model, WIDTH)[3] == first[3]
    model.initialise(view)
    assert model.norm.running_mean.data.tolist() == [[0.0] * 4] and model.norm.running_var.data.tolist() == [[1.0] * 4]


def test_a_parameter_that_two_layers_share_is_one(comm):
    model = Deep()
    model.again = model.first
    assert list(model.parameters()) == [n for n in Deep().parameters() if not n.startswith("again")]


def test_a_parameter_may_stand_on_either_side(comm):
    view = nn.View(build(comm, GRAPHS["undirected"], n_parts=N_PARTS))
    x, w = view.tensor(numbers(view, 3)), nn.Parameter((1, 3), "ones")
    w.data = np.array([[1, 2, 3]], np.float32)
    for operation, plain in ((nn.add, np.add), (nn.multiply, np.multiply)):
        assert np.array_equal(operation(w, x).data, plain(x.data, w.data))
        assert np.array_equal(operation(x, w).data, plain(x.data, w.data))


def test_what_does_not_fit_is_refused(comm):
    view = nn.View(build(comm, GRAPHS["undirected"], n_parts=N_PARTS))
    x, y = view.tensor(numbers(view, 3)), view.tensor(numbers(view, 4))
    assert "do not fit together" in agreed_error(comm, ProgramError, lambda: nn.multiply(x, y))
    assert "do not fit together" in agreed_error(comm, ProgramError, lambda: nn.add(x, y))
    assert "not one of concat" in agreed_error(comm, ProgramError, lambda: nn.JumpingKnowledge("mean"))
