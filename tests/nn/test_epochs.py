"""A training with every dropout on: each epoch's loss and the weights after it, on any ranks and threads."""

import pytest
from building import build
from graphs import GRAPHS
from learned import N_PARTS, kinds, numbers
from mpi4py import MPI

from hpcmp import nn
from hpcmp.nn import config, models
from hpcmp.nn.data import Data
from hpcmp.nn.training import Training

N_IN, EPOCHS = 6, 4
MODELS = {
    "gcn": {"dropout": 0.5},
    "gat": {"dropout": 0.5, "attention_dropout": 0.3, "heads": 2},
    "rgcn": {"dropout": 0.5, "bases": 2},
}


def trained(comm, kind, threads=1, **more):
    """Loss of every epoch and the digest of the weights after the last, of a training on ranks of a communicator."""
    graph = build(comm, GRAPHS["zoo"], n_parts=N_PARTS, **kinds("zoo"))
    view, order = nn.View(graph, threads), graph.order
    told = config.from_tables({"model": {"kind": kind, "hidden": [5], **MODELS[kind], **more}})
    model = models.make(told.model, N_IN, 3, len(graph.relations))
    masks = {"train": order % 2 == 0, "val": order % 2 == 1}
    data = Data(view, view.tensor(numbers(view, N_IN)), order % 3, masks, 3)
    training = Training(model, data, nn.Adam(lr=0.05), seed=2)
    for _ in range(EPOCHS):
        training.epoch()
    history = training.finish()
    return list(map(float.hex, history.loss)), history.digest


@pytest.mark.parametrize("kind", MODELS)
def test_every_epoch_of_a_training_with_dropout_has_the_bits_of_one_rank(comm, kind):
    expected = trained(MPI.COMM_SELF, kind)
    assert len(set(expected[0])) == EPOCHS
    for threads in (1, 2):
        assert trained(comm, kind, threads) == expected


@pytest.mark.parametrize(
    "kind, option", [(kind, name) for kind in MODELS for name in MODELS[kind] if "dropout" in name]
)
def test_every_dropout_counts_in_those_epochs(kind, option):
    assert trained(MPI.COMM_SELF, kind)[0][0] != trained(MPI.COMM_SELF, kind, **{option: 0.0})[0][0]
