"""Checkpoints keep what is not trained too: a training that goes on ends as one that never stopped, on any ranks."""

import numpy as np
import pytest
from graphs import GRAPHS
from learned import numbers, views

from hpcmp import nn
from hpcmp.nn import checkpoint, config
from hpcmp.nn import data as data_of
from hpcmp.nn.training import Training


class Net(nn.Module):
    """Layers with both norms between them."""

    def __init__(self):
        self.first, self.second = nn.GCN(4, 6), nn.GCN(6, 3)
        self.batch, self.layer = nn.BatchNorm(4), nn.LayerNorm(6)

    def __call__(self, graph, x):
        h = nn.gelu(self.layer(graph, self.first(graph, self.batch(graph, x))))
        return self.second(graph, nn.dropout(h, 0.25))


class OfRows(nn.Module):
    """Rows of vertices' own, of both kinds."""

    def __init__(self, **more):
        self.first, self.second = nn.RGCN(None, 6, 2, **more), nn.RGCN(6, 3, 2)

    def __call__(self, graph, x):
        return self.second(graph, nn.dropout(nn.relu(self.first(graph, None)), 0.25))


NETS = {"norms": Net, "rows": OfRows, "rows, bases": lambda: OfRows(n_bases=2)}


def begun(view, make=Net):
    order = view.graph.order
    masks = {"train": order % 2 == 0, "val": order % 2 == 1}
    data = data_of.Data(view, view.tensor(numbers(view, 4)), order % 3, masks, 3)
    return Training(make(), data, nn.Adam(lr=0.05), seed=2, keep_best=True)


def ended(training, n_epochs):
    while training.n_epochs < n_epochs:
        training.epoch()
    kept = {name: b.data.tolist() for name, b in training.model.buffers().items()}
    return kept, training.finish().digest


@pytest.mark.parametrize("net", NETS)
def test_a_training_goes_on_with_the_same_bits(comm, shared_tmp, net):
    relations = {"relation": np.arange(len(GRAPHS["zoo"].src)) % 2, "relations": ("a", "b")}
    many, alone = views(comm, GRAPHS["zoo"], **relations)
    settings, rows, path = config.from_tables({}), checkpoint.digest_of_rows(many.graph), shared_tmp / "run.h5"
    whole, stopped = begun(many, NETS[net]), begun(many, NETS[net])
    for _ in range(3):
        stopped.epoch()
    checkpoint.save(stopped, path, settings, rows)
    expected = ended(whole, 6)
    assert net != "norms" or expected[0]["batch.running_mean"] != np.zeros((1, 4)).tolist()
    for view in (many, alone):
        resumed = begun(view, NETS[net])
        checkpoint.restore(resumed, path, settings, rows)
        assert resumed.weights.keys() == stopped.kept.keys()
        assert resumed.digest() == stopped.digest()
        assert ended(resumed, 6) == expected
