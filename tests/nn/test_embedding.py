"""Rows that live with their vertices: drawn by id, trained where they lie, digested by id."""

import numpy as np
import pytest
from building import agreed_error, build, everywhere
from graphs import GRAPHS
from learned import N_PARTS, bits, views

from hpcmp import nn
from hpcmp.errors import ProgramError
from hpcmp.nn import data as data_of
from hpcmp.nn import weights
from hpcmp.nn.training import Training


class Net(nn.Module):
    """A layer over rows of vertices' own, normal over all vertices."""

    def __init__(self, n_out=3):
        self.rows, self.norm, self.layer = nn.Embedding(6), nn.BatchNorm(6), nn.GCN(6, n_out)

    def __call__(self, graph, x=None):
        return self.layer(graph, self.norm(graph, self.rows(graph)))


def features(graph):
    return np.zeros((graph.n_owned, 1))


@pytest.mark.parametrize("name", ["undirected", "zoo", "fewer_vertices_than_ranks", "empty"])
def test_gradients_are_those_of_differences(comm, name):
    graph = build(comm, GRAPHS[name], n_parts=N_PARTS)
    assert nn.gradcheck(Net(), graph, features(graph), step=1e-6) < 1e-6


def test_ranks_and_threads_change_no_bit(comm):
    for name in ("undirected", "zoo"):
        many, alone = views(comm, GRAPHS[name])
        assert bits(many, Net(), 1) == bits(alone, Net(), 1)
        assert bits(nn.View(many.graph, threads=3), Net(), 1) == bits(alone, Net(), 1)


def test_rows_are_drawn_by_id_whatever_the_parts(comm):
    found = []
    for method in ("block", "hash"):
        view, model = nn.View(build(comm, GRAPHS["sparse_ids"], method=method), seed=4), nn.Embedding(6)
        model.initialise(view)
        found.append(everywhere(view.graph, model.rows.data))
    assert found[0] == found[1]
    values = np.array(list(found[0].values()))
    assert len(np.unique(values)) == values.size  # no draw is used twice


def trained(view):
    """Training of some steps on this view, and its digest."""
    n, order = view.n_owned, view.graph.order
    data = data_of.Data(view, None, order % 3, {"train": order % 2 == 0, "val": order % 2 == 1}, 3)
    training = Training(Net(), data, nn.Adam(lr=0.05), seed=2, keep_best=True)
    for _ in range(4):
        training.epoch()
    assert training.parameters["rows.rows"].data.shape == (n, 6)
    history = training.finish()
    return history.loss, history.digest


def test_training_ends_with_the_same_digest_on_any_ranks(comm):
    many, alone = views(comm, GRAPHS["zoo"])
    expected = trained(alone)
    assert trained(many) == expected
    assert trained(nn.View(many.graph, threads=2)) == expected


def test_weights_that_do_not_fit_are_refused_on_every_rank(comm):
    view, _ = views(comm, GRAPHS["undirected"])
    model = Net()
    model.initialise(view)
    state = weights.state_of(model)
    weights.load(model, state)
    wrong = {
        "has no weight 'layer.bias'": {k: a for k, a in state.items() if k not in ("layer.bias", "layer.lin.weight")},
        "has a weight 'a'": state | {k: np.zeros(1) for k in "dcbaefg"},
        r"rows.rows is (1, 6); the model needs": state | {"rows.rows": np.zeros((1, 6))},
        "rows.rows holds what is no number": state | {"rows.rows": state["rows.rows"] * np.nan},
    }
    for text, arrays in wrong.items():
        assert text in agreed_error(comm, ProgramError, lambda: weights.load(model, arrays))
