"""Losses: against naive twins, the same bits on any ranks, gradients by differences."""

import math

import numpy as np
import pytest
from building import agreed_error, everywhere, same_on_all
from graphs import GRAPHS
from learned import error_of_gradient, numbers, rows, views

from hpcmp.errors import ProgramError
from hpcmp.nn import losses
from hpcmp.nn.tape import backward

SAMPLE = GRAPHS["random"]
CLASSES = 4


def labels_of(view):
    """Class numbers, and which vertices count; the others have a label that is none."""
    mask = view.graph.order % 3 != 2
    return np.where(mask, view.graph.order * 7 % CLASSES, -1), mask


def yes_no_of(view, width):
    return (numbers(view, width, 5) > 0).astype(np.float32)


def cross_entropy(view, x):
    return losses.cross_entropy(x, *labels_of(view))


def weighed(view, x):
    return losses.cross_entropy(x, *labels_of(view), weight=[0.5, 1.0, 2.5, 0.0])


def bce(view, x):
    return losses.bce_with_logits(x, yes_no_of(view, CLASSES), labels_of(view)[1])


def bce_of_some(view, x):
    return losses.bce_with_logits(x, yes_no_of(view, CLASSES), numbers(view, CLASSES, 9) > 0.5)


def mse(view, x):
    return losses.mse(x, numbers(view, CLASSES, 3), labels_of(view)[1])


# ---------------------------------------------------------------- twins: over all rows in one place, in Python


def naive_cross_entropy(view, x, weight=(1, 1, 1, 1)):
    total = share = 0.0
    for row, label, counts in zip(x, *labels_of(view)):
        if counts:
            total += weight[label] * (math.log(sum(math.exp(v) for v in row)) - row[label])
            share += weight[label]
    return total / share


def naive_bce(x, y, counts):
    lost = [
        -math.log(f if says else 1 - f)
        for f, says, kept in zip(1 / (1 + np.exp(-x.ravel())), y.ravel(), counts)
        if kept
    ]
    return sum(lost) / len(lost)


def naive_mse(view, x):
    mask = labels_of(view)[1]
    return ((x - numbers(view, CLASSES, 3))[mask] ** 2).mean()


TWINS = {
    cross_entropy: naive_cross_entropy,
    weighed: lambda view, x: naive_cross_entropy(view, x, (0.5, 1.0, 2.5, 0.0)),
    bce: lambda view, x: naive_bce(x, yes_no_of(view, CLASSES), np.repeat(labels_of(view)[1], CLASSES)),
    bce_of_some: lambda view, x: naive_bce(x, yes_no_of(view, CLASSES), (numbers(view, CLASSES, 9) > 0.5).ravel()),
    mse: naive_mse,
}
EACH = pytest.mark.parametrize("loss", TWINS, ids=lambda f: f.__name__)


@EACH
def test_a_loss_is_what_its_twin_says(comm, loss):
    view, alone = views(comm, SAMPLE, np.float64)
    found = loss(view, rows(view, CLASSES)).data[0, 0]
    assert found == pytest.approx(TWINS[loss](alone, numbers(alone, CLASSES)), rel=1e-13)


@EACH
@pytest.mark.parametrize("name", ["random", "fewer_vertices_than_ranks"])
def test_a_loss_and_its_gradient_have_the_same_bits_on_any_ranks(comm, loss, name):
    found = []
    for view in views(comm, GRAPHS[name], threads=2):
        x = rows(view, CLASSES)
        result = loss(view, x)
        backward(result)
        found.append((repr(result.data), everywhere(view.graph, x.grad)))
    assert found[0] == found[1]
    assert same_on_all(comm, found[0])


@EACH
def test_the_gradient_is_that_of_finite_differences(comm, loss):
    view, _ = views(comm, SAMPLE, np.float64)
    x = rows(view, CLASSES)
    backward(loss(view, x))
    assert error_of_gradient(comm, x, lambda: loss(view, x).data[0, 0]) < 1e-8


@EACH
def test_a_loss_of_part_of_the_mask_is_no_mean_of_means(comm, loss):
    """A loss is that of one copy of each row, however many ranks have none that count."""
    view, alone = views(comm, GRAPHS["star"], np.float64)
    assert loss(view, rows(view, CLASSES)).data[0, 0] == loss(alone, rows(alone, CLASSES)).data[0, 0]


def test_large_logits_do_not_overflow(comm):
    view, _ = views(comm, SAMPLE, np.float64)
    x = rows(view, 2)
    x.data[:] = 1000.0, -1000.0
    right = np.tile([1.0, 0.0], (view.n_owned, 1))
    assert losses.bce_with_logits(x, right).data[0, 0] == 0.0
    found = losses.bce_with_logits(x, 1 - right)
    backward(found)
    assert found.data[0, 0] == 1000.0
    assert np.all(np.abs(x.grad) == 1 / (2 * view.graph.n_vertices))


def test_one_column_of_targets_may_be_flat(comm):
    view, _ = views(comm, SAMPLE)
    y = numbers(view, 1)[:, 0]
    assert losses.mse(rows(view, 1), y).data[0, 0] == losses.mse(rows(view, 1), y[:, None]).data[0, 0]


def test_nan_targets_that_do_not_count_are_not_looked_at(comm):
    view, _ = views(comm, SAMPLE)
    mask = labels_of(view)[1]
    for loss in (losses.mse, losses.bce_with_logits):
        y = np.where(mask[:, None], yes_no_of(view, 2), np.nan)
        x = rows(view, 2)
        result = loss(x, y, mask)
        backward(result)
        assert np.isfinite(result.data).all()
        assert np.isfinite(x.grad).all()
        assert not x.grad[~mask].any()


def error_of(view, loss, change):
    """What a loss says where the first vertex of all is changed."""
    is_first = view.graph.order == 0
    return agreed_error(view.comm, ProgramError, lambda: loss(rows(view, CLASSES), *change(view, is_first)))


@pytest.mark.parametrize("label", [-1, CLASSES, 2**40])
def test_a_label_that_is_no_class_is_refused(comm, label):
    view, _ = views(comm, SAMPLE)

    def change(view, is_first):
        return np.where(is_first, label, 0), np.ones(view.n_owned, np.bool_)

    text = error_of(view, losses.cross_entropy, change)
    assert f"vertex -50 has label {label}, outside [0, 4)" in text


@pytest.mark.parametrize(
    "loss, target, text", [("bce_with_logits", 1.5, "outside [0, 1]"), ("mse", np.nan, "not finite")]
)
def test_a_target_that_cannot_be_is_refused(comm, loss, target, text):
    view, _ = views(comm, SAMPLE)

    def change(view, is_first):
        y = yes_no_of(view, CLASSES)
        y[is_first, 2] = target
        return (y,)

    assert f"vertex -50 has target {target} in column 2, which is {text}" in error_of(
        view, getattr(losses, loss), change
    )


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.bce_with_logits, losses.mse], ids=lambda f: f.__name__)
def test_a_mask_that_selects_nobody_is_refused(comm, loss):
    view, _ = views(comm, SAMPLE)
    y = np.zeros(view.n_owned, np.int64) if loss is losses.cross_entropy else yes_no_of(view, CLASSES)
    text = agreed_error(comm, ProgramError, lambda: loss(rows(view, CLASSES), y, np.zeros(view.n_owned, np.bool_)))
    assert "the mask selects no" in text


def test_shapes_that_do_not_fit_are_refused(comm):
    view, _ = views(comm, SAMPLE)
    x, ones = rows(view, CLASSES), np.ones(view.n_owned + 1, np.int64)
    assert "one of each owned vertex" in agreed_error(comm, ProgramError, lambda: losses.cross_entropy(x, ones))
    assert "as the model's output" in agreed_error(comm, ProgramError, lambda: losses.mse(x, yes_no_of(view, 2)))
    text = agreed_error(comm, ProgramError, lambda: losses.cross_entropy(x, *labels_of(view), weight=[1.0, -1.0]))
    assert "must be 4 finite numbers, none below 0" in text
