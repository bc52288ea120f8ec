"""Losses, metrics and schedules of a training: against slow twins, and the same on any ranks."""

import dataclasses
import re
from itertools import pairwise

import numpy as np
import pytest
from building import agreed_error, build, everywhere
from graphs import GRAPHS
from learned import numbers, views

from hpcmp import nn
from hpcmp.errors import ProgramError
from hpcmp.nn import config, job
from hpcmp.nn import data as data_of
from hpcmp.nn.tasks import METRICS, Vertices
from hpcmp.nn.training import Training

EVEN = {
    "cross_entropy": lambda order: order % 3,
    "bce": lambda order: ((order[:, None] + np.arange(2)) % 3 == 0).astype(np.int64),
    "mse": lambda order: np.cos(order[:, None] * 1.0),
}


def data_for(view, loss):
    order = view.graph.order
    labels = EVEN[loss](order)
    masks = {"train": order % 2 == 0, "val": order % 2 == 1}
    return data_of.Data(
        view, view.tensor(numbers(view, 4)), labels, masks, {"cross_entropy": 3, "bce": 2, "mse": 1}[loss]
    )


def trained(view, task, epochs=8, **options):
    data = data_for(view, task.loss)
    optimizer = options.pop("optimizer", nn.Adam(lr=0.05))
    training = Training(nn.GCN(4, data.n_out), data, optimizer, seed=2, task=task, **options)
    nn.run_epochs(training, epochs)
    return training


@pytest.mark.parametrize("loss", METRICS)
def test_every_loss_gets_smaller_with_the_same_bits_on_any_ranks(comm, loss):
    many, alone = views(comm, GRAPHS["undirected"])
    found = [trained(view, Vertices(loss, tuple(METRICS[loss]))) for view in (many, alone)]
    first, other = (training.finish() for training in found)
    assert first.digest == other.digest and first.metrics == other.metrics and first.loss == other.loss
    assert first.loss[-1] < first.loss[0] and first.metrics[-1]["train_loss"] < first.metrics[0]["train_loss"]


def test_metrics_and_loss_are_those_of_a_slow_twin(comm):
    view, _ = views(comm, GRAPHS["undirected"], np.float64)
    data, out = data_for(view, "cross_entropy"), nn.Tensor(numbers(view, 3, 4), view)
    given = Vertices("cross_entropy", ("accuracy", "f1_macro", "roc_auc", "loss"), "balanced").evaluate(data, out)
    logits, order = (np.array([*everywhere(view.graph, a).values()]) for a in (out.data, view.graph.order[:, None]))
    label, in_train = order[:, 0] % 3, order[:, 0] % 2 == 0
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    n = np.bincount(label[in_train], minlength=3)
    weight = n.sum() / (3 * n)
    for split, mask in (("train", in_train), ("val", ~in_train)):
        y, q = label[mask], p[mask]
        lost = -(weight[y] * np.log(q[np.arange(len(y)), y])).sum() / weight[y].sum()
        pairs = [[(a > b) + (a == b) / 2 for a in q[y == c, c] for b in q[y != c, c]] for c in range(3)]
        assert given[f"{split}_loss"] == pytest.approx(lost, rel=1e-12)
        assert given[f"{split}_roc_auc"] == pytest.approx(np.mean([np.mean(of) for of in pairs]))
        assert given[f"{split}_accuracy"] == pytest.approx((q.argmax(axis=1) == y).mean())


def test_the_best_epoch_is_that_of_the_smallest_loss_where_a_loss_is_watched(comm):
    view, _ = views(comm, GRAPHS["undirected"])
    task = Vertices("cross_entropy", ("accuracy", "loss"))
    training = trained(view, task, 6, optimizer=nn.Adam(lr=0.5), keep_best=True, monitor="val_loss")
    values = [m["val_loss"] for m in training.history.metrics]
    assert training.history.best_epoch == int(np.argmin(values)) < 5
    waited = 5 - int(np.argmin(values))
    for training.patience, is_over in ((waited, True), (6, False), (0, False)):
        assert training.is_over(100) == is_over
    training.finish()
    assert nn.evaluate(training.model, training.data, task=task)["val_loss"] == min(values)


def test_a_plateau_hears_the_metric_that_is_watched(comm):
    view, _ = views(comm, GRAPHS["undirected"])
    rate = nn.Plateau(0.5, factor=0.5, patience=1, larger_is_better=False)
    training = trained(view, Vertices("cross_entropy", ("loss",)), 20, optimizer=nn.Adam(lr=rate))
    twin = nn.Plateau(0.5, factor=0.5, patience=1, larger_is_better=False)
    for metrics in training.history.metrics:
        twin.observe(metrics["val_loss"])
    assert rate(0) == twin(0) < 0.5
    same = trained(view, Vertices("cross_entropy", ("loss",)), 20, optimizer=nn.Adam(lr=0.5))
    assert same.history.loss[-1] != training.history.loss[-1]


@pytest.mark.parametrize("loss, metric", [(loss, metric) for loss in METRICS for metric in METRICS[loss]])
def test_a_plateau_learns_from_the_training_what_is_better(comm, loss, metric):
    view, _ = views(comm, GRAPHS["undirected"])
    rate, twin = (nn.Plateau(0.05, 0.5, 0, larger, threshold=0) for larger in (None, metric != "loss"))
    training = trained(view, Vertices(loss, (metric,)), 12, optimizer=nn.Adam(lr=rate))
    for metrics in training.history.metrics:
        twin.observe(metrics[f"val_{metric}"])
    assert rate(0) == twin(0)
    if metric == "loss":
        assert any(later["val_loss"] < first["val_loss"] for first, later in pairwise(training.history.metrics))


def test_a_plateau_without_what_it_hears_is_refused(comm):
    view, _ = views(comm, GRAPHS["undirected"])
    data = data_for(view, "cross_entropy")
    del data.masks["val"]
    plateau = nn.SGD(lr=nn.Plateau(0.1))
    assert "hears val_accuracy needs vertices in the split 'val'" in agreed_error(
        comm, ProgramError, lambda: Training(nn.GCN(4, 3), data, plateau)
    )
    for what, told in (("the best epoch", {"keep_best": True}), ("patience", {"patience": 3})):
        assert f"{what} by val_accuracy needs vertices in the split 'val'" in agreed_error(
            comm, ProgramError, lambda: Training(nn.GCN(4, 3), data, nn.Adam(), **told)
        )
    wrong = {"monitor": "val_f1_macro"}
    assert "none of the metrics accuracy" in agreed_error(
        comm, ProgramError, lambda: Training(nn.GCN(4, 3), data, nn.Adam(), **wrong)
    )


def test_a_configuration_names_schedule_clip_and_groups():
    def of(**train):
        return job.optimizer_of(config.from_tables({"train": train}).train)

    assert of().lr == 0.01 and of().clip is None
    assert of(schedule="cosine", epochs=70, warm_up=5, lowest=0.001).lr == nn.Cosine(0.01, 70, 5, 0.001)
    assert of(schedule="step", decay=0.5, decay_every=7, optimizer="sgd").lr == nn.StepDecay(0.01, 7, 0.5)
    plateau = of(schedule="plateau", decay=0.5, decay_patience=3).lr
    assert (plateau.factor, plateau.patience, plateau.larger_is_better) == (0.5, 3, None)
    found = of(clip=2, groups={"convs.0.*": {"weight_decay": 0, "lr": 0.5}})
    assert found.clip == 2.0 and found.groups == {"convs.0.*": {"weight_decay": 0.0, "lr": 0.5}}
    for groups, text in (({"a": 3}, "no table of tables"), ({"a": {"b": 1}}, "groups may have lr, weight_decay")):
        with pytest.raises(ProgramError, match=text):
            of(groups=groups)


def test_class_weights_are_of_the_data_not_of_its_view(comm):
    def losses(*of_labels):
        view, _ = views(comm, GRAPHS["undirected"])
        data, out = data_for(view, "cross_entropy"), view.tensor(numbers(view, 3))
        data = [dataclasses.replace(data, labels=change(data.labels)) for change in of_labels]
        return [float(Vertices(class_weights="balanced").loss_of(d, out, "train").data[0, 0]) for d in data]

    def as_they_are(labels):
        return labels

    def two_classes(labels):
        return np.minimum(labels, 1)

    assert losses(as_they_are, two_classes) == losses(as_they_are) + losses(two_classes)


LABELS = {
    "cross_entropy": (np.array([0.5] * 20), "one class number a vertex"),
    "bce": (np.array([[0, 1]] * 7 + [[0, 3]] * 13), r"has the label 3 in 'label'; the loss bce needs 0 or 1"),
    "mse": (np.array([0.5] * 7 + [np.inf] * 13), "has an infinite label in 'label'"),
}


@pytest.mark.parametrize("loss", METRICS)
def test_labels_that_do_not_fit_the_loss_are_refused(comm, loss):
    graph = build(comm, GRAPHS["undirected"], n_parts=5)
    values, text = LABELS[loss]
    fields = {"x": numbers(nn.View(graph), 2), "label": values[graph.order % 20], "split": graph.order % 3}
    graph = dataclasses.replace(graph, vertex_fields=fields)
    assert re.search(text, agreed_error(comm, ProgramError, lambda: nn.fit(nn.GCN(2, 3), graph, loss=loss, epochs=1)))
    assert "not one of" in agreed_error(comm, ProgramError, lambda: nn.fit(nn.GCN(2, 3), graph, loss="hinge"))
