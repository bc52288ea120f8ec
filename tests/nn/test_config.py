"""Configurations: what is known, of which type, and what is refused."""

import pytest

from hpcmp.errors import ProgramError
from hpcmp.nn import config, models
from hpcmp.nn.config import from_tables
from hpcmp.nn.module import Rows


def test_defaults_hold_where_nothing_is_said():
    assert from_tables({}) == config.Config()
    assert from_tables({"model": {"kind": "gin"}}).train == config.Train()


def test_settings_go_before_tables():
    found = from_tables({"train": {"epochs": 5, "lr": 1}}, {"train.epochs": 7})
    assert (found.train.epochs, found.train.lr, type(found.train.lr)) == (7, 1.0, float)


def test_tables_return_what_made_them():
    found = from_tables({"model": {"hidden": [8, 4]}, "train": {"seeds": 3, "seed": 5}})
    assert from_tables(found.tables()) == found
    assert list(found.seeds) == [5, 6, 7]
    assert from_tables({"model": {"hidden": 8}}).model.hidden == (8,)
    assert from_tables({"model": {"hidden": []}}).model.hidden == ()


@pytest.mark.parametrize(
    "key, value, says",
    [
        ("train.epoch", 5, "'train.epoch' is not a key"),
        ("optimizer", "adam", "'optimizer' is not a key"),
        ("train.epochs", "5", "no whole number"),
        ("train.epochs", 5.0, "no whole number"),
        ("train.epochs", True, "no whole number"),
        ("train.epochs", -1, "at least 0"),
        ("train.seed", 2**70, "too large"),
        ("train.lr", 0, "above 0"),
        ("train.lr", "fast", "no number"),
        ("train.lr", float("nan"), "above 0"),
        ("train.optimizer", "lion", "adam, adamw, sgd"),
        ("train.select", "first", "last, best"),
        ("model.kind", 3, "no text"),
        ("model.dropout", 1.0, "below 1"),
        ("model.dropout", -0.5, "at least 0"),
        ("model.hidden", [16, 0], "at least 1"),
        ("model.hidden", ["a"], "no whole number"),
        ("data.normalize", "columns", "none, rows"),
        ("data.keep_sums", 1, "neither true nor false"),
        ("data.held_out", [0.1, 1.5], "below 1"),
    ],
)
def test_slips_are_refused(key, value, says):
    with pytest.raises(ProgramError, match=says):
        from_tables({}, {key: value})


def test_an_unknown_key_is_told_with_those_that_are_known():
    with pytest.raises(ProgramError) as caught:
        from_tables({"train": {"epoch": 5}})
    assert all(key in str(caught.value) for key in config.KNOWN)
    with pytest.raises(ProgramError, match="'train' is not a key"):
        from_tables({"train": 5})


def test_a_stock_model_has_the_layers_its_configuration_says():
    model = from_tables({"model": {"kind": "gat", "hidden": [8, 4], "heads": 3}}).model
    found = models.make(model, 10, 7)
    assert [(c.weight.shape, c.heads) for c in found.convs] == [((10, 24), 3), ((24, 12), 3), ((12, 7), 1)]
    assert found.activation is models.elu
    for kind in models.KINDS:
        stack = models.make(from_tables({"model": {"kind": kind, "hidden": []}}).model, 10, 7, 3)
        assert len(stack.convs) == 1
    with pytest.raises(ProgramError, match=r"'gnn' is neither one of gcn, sage"):
        models.make(from_tables({"model": {"kind": "gnn"}}).model, 10, 7)


def test_a_model_of_relations_has_the_weights_its_configuration_says():
    def made(n_in, **more):
        return [c.weight for c in models.make(from_tables({"model": {"kind": "rgcn", **more}}).model, n_in, 8, 3).convs]

    assert [w.shape for w in made(10)] == [(3, 10, 16), (3, 16, 8)]
    assert [w.shape for w in made(10, bases=2)] == [(2, 10, 16), (2, 16, 8)]
    assert [w.shape for w in made(10, blocks=2)] == [(3, 10, 8), (3, 16, 4)]
    first, last = made(None, bases=2)
    assert isinstance(first, Rows) and last.shape == (2, 16, 8)
    with pytest.raises(ProgramError, match="'gat' needs features; name a vertex field in data.features, or use rgcn"):
        models.make(from_tables({"model": {"kind": "gat"}}).model, None, 7)
