"""Optimisers and schedules: against torch, against formulas, alike on all ranks."""

import math

import numpy as np
import pytest
from building import agreed_error, everywhere, same_on_all
from graphs import GRAPHS
from learned import numbers, rows, views

from hpcmp.errors import ProgramError
from hpcmp.nn import optim
from hpcmp.nn.module import Parameter
from hpcmp.nn.optim import SGD, Adam, AdamW
from hpcmp.nn.schedules import Cosine, Plateau, StepDecay

N_STEPS = 12


def parameters(dtype=np.float64):
    out = {
        name: Parameter(shape) for name, shape in {"first.weight": (4, 3), "first.bias": (1, 3), "last": (3, 2)}.items()
    }
    for k, p in enumerate(out.values()):
        p.data = np.cos(np.arange(p.data.size, dtype=dtype) * 1.3 + k).reshape(p.shape).astype(dtype)
    return out


def gradient(name, p, t):
    """Of a made-up loss: some of the weights, some of its own."""
    return (0.3 * p.data + np.sin(np.arange(p.data.size) + 2.0 * t + len(name)).reshape(p.shape)).astype(p.data.dtype)


def trained(optimizer, dtype=np.float64, given=parameters, n_steps=N_STEPS):
    weights = given(dtype)
    state = optimizer.start(weights)
    for t in range(1, n_steps + 1):
        for name, p in weights.items():
            p.grad = gradient(name, p, t)
        optimizer.step(weights, state, t)
    return {name: p.data for name, p in weights.items()}


def trained_by_torch(kind, n_steps=N_STEPS, clip=None, decay=None, schedule=None, **options):
    torch = pytest.importorskip("torch")
    weights = {name: torch.nn.Parameter(torch.tensor(p.data)) for name, p in parameters().items()}
    groups = [
        {"params": [w], **({} if decay is None else {"weight_decay": decay[name]})} for name, w in weights.items()
    ]
    optimizer = getattr(torch.optim, kind)(groups, **options)
    schedule = schedule and schedule(torch, optimizer)
    for t in range(1, n_steps + 1):
        for name, w in weights.items():
            p = Parameter(tuple(w.shape))
            p.data = w.detach().numpy()
            w.grad = torch.tensor(gradient(name, p, t))
        if clip:
            torch.nn.utils.clip_grad_norm_(weights.values(), clip)
        optimizer.step()
        if schedule:
            schedule.step()
    return {name: w.detach().numpy() for name, w in weights.items()}


def assert_close(found, expected):
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12, atol=1e-13)


CASES = {
    "sgd": (SGD(lr=0.1), "SGD", {"lr": 0.1}),
    "momentum": (
        SGD(lr=0.1, momentum=0.9, weight_decay=0.01),
        "SGD",
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
    ),
    "adam": (Adam(lr=0.05), "Adam", {"lr": 0.05}),
    "adam_decay": (
        Adam(lr=0.05, weight_decay=0.1, betas=(0.8, 0.95), eps=1e-4),
        "Adam",
        {"lr": 0.05, "weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-4},
    ),
    "adamw": (AdamW(lr=0.05), "AdamW", {"lr": 0.05}),
    "adamw_decay": (AdamW(lr=0.05, weight_decay=0.3), "AdamW", {"lr": 0.05, "weight_decay": 0.3}),
    "clipped": (Adam(lr=0.05, clip=1.5), "Adam", {"lr": 0.05, "clip": 1.5}),
    "hardly_clipped": (SGD(lr=0.05, clip=1e6), "SGD", {"lr": 0.05, "clip": 1e6}),
    "grouped": (
        AdamW(lr=0.05, weight_decay=0.1, groups={"*.bias": {"weight_decay": 0.0}, "first.*": {"weight_decay": 0.5}}),
        "AdamW",
        {"lr": 0.05, "decay": {"first.weight": 0.5, "first.bias": 0.0, "last": 0.1}},
    ),
    "cosine": (
        SGD(lr=Cosine(0.1, 10, lowest=0.01)),
        "SGD",
        {"lr": 0.1, "n_steps": 10, "schedule": lambda t, o: t.optim.lr_scheduler.CosineAnnealingLR(o, 10, 0.01)},
    ),
    "step_decay": (
        SGD(lr=StepDecay(0.1, 3, 0.5)),
        "SGD",
        {"lr": 0.1, "schedule": lambda t, o: t.optim.lr_scheduler.StepLR(o, 3, 0.5)},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_steps_are_those_of_torch(name):
    optimizer, kind, options = CASES[name]
    assert_close(trained(optimizer, n_steps=options.get("n_steps", N_STEPS)), trained_by_torch(kind, **options))


@pytest.mark.parametrize("larger_is_better", [True, False])
def test_a_plateau_is_that_of_torch(larger_is_better):
    torch = pytest.importorskip("torch")
    mode = "max" if larger_is_better else "min"
    theirs = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, mode, 0.5, 2, threshold=0.01, min_lr=0.2)
    ours = SGD(lr=Plateau(1.0, 0.5, 2, larger_is_better, threshold=0.01, lowest=0.2))
    ours.start(parameters())
    seen = []
    for t in range(1, 40):
        metric = 1 + 0.3 * math.sin(t * 0.7) + 0.002 * t
        schedule.step(metric)
        ours.observe(metric)
        seen.append(ours.lr(t))
        assert seen[-1] == theirs.param_groups[0]["lr"]
    assert len(set(seen)) > 3
    ours.start(parameters())
    assert ours.lr(1) == 1.0


def test_a_warm_up_rises_in_a_line():
    lr = Cosine(0.8, 20, warm_up=4)
    assert [lr(t) for t in range(1, 6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8])
    rates = [lr(t) for t in range(5, 22)]
    assert rates == sorted(rates, reverse=True)
    assert lr(13) == pytest.approx(0.4)
    assert lr(21) == lr(1000) == 0.0


def test_a_group_may_have_a_learning_rate_of_its_own():
    found = trained(SGD(lr=0.1, groups={"last": {"lr": lambda t: 0.0}}))
    assert np.array_equal(found["last"], parameters()["last"].data)
    assert np.array_equal(found["first.bias"], trained(SGD(lr=0.1))["first.bias"])


@pytest.mark.parametrize("optimizer", [Adam(lr=0.01, clip=0.5), SGD(lr=0.1, momentum=0.9, weight_decay=0.1)])
def test_weights_keep_their_type_and_are_alike_on_all_ranks(comm, optimizer):
    found = trained(optimizer, np.float32)
    assert {a.dtype for a in found.values()} == {np.dtype(np.float32)}
    assert same_on_all(comm, {name: a.tobytes() for name, a in found.items()})


def with_rows(view):
    """Parameters of all ranks, and one whose rows live with vertices."""
    table = rows(view, 3)
    table.grad = numbers(view, 3, 8).astype(view.dtype)
    out = {**parameters(view.dtype), "table": table}
    for name, p in out.items():
        p.grad = gradient(name, p, 1) if p.view is None else p.grad
    return out


def test_the_norm_counts_every_row_once(comm):
    view, alone = views(comm, GRAPHS["random"], np.float64)
    expected = math.sqrt(sum(float((p.grad**2).sum()) for p in with_rows(alone).values()))
    assert optim.gradient_norm(with_rows(view)) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("name", ["random", "fewer_vertices_than_ranks"])
def test_clipped_steps_have_the_same_bits_on_any_ranks(comm, name):
    found = []
    for view in views(comm, GRAPHS[name]):
        weights, optimizer = with_rows(view), AdamW(lr=0.1, clip=0.7, groups={"table": {"weight_decay": 0.2}})
        norm = optim.gradient_norm(weights)
        optimizer.step(weights, optimizer.start(weights), 1)
        table = weights.pop("table")
        found.append((norm, {k: p.data.tobytes() for k, p in weights.items()}, everywhere(view.graph, table.data)))
    assert found[0] == found[1]
    assert same_on_all(comm, found[0])


def test_gradients_themselves_are_left_as_they_are():
    weights = parameters()
    for p in weights.values():
        p.grad = np.full(p.shape, 3.0)
    SGD(clip=0.1).step(weights, {}, 1)
    assert all((p.grad == 3).all() for p in weights.values())


def test_parameters_without_a_gradient_stay():
    weights, optimizer = parameters(), Adam(clip=1.0, weight_decay=0.1)
    optimizer.step(weights, optimizer.start(weights), 1)
    assert np.array_equal(weights["last"].data, parameters()["last"].data)


@pytest.mark.parametrize(
    "optimizer, text",
    [
        (
            Adam(groups={"frist.*": {"lr": 0.1}}),
            "group 'frist.*' fits no parameter; there are first.weight, first.bias",
        ),
        (SGD(groups={"last": {"momentum": 0.9}}), "group 'last' has 'momentum'; groups may have lr, weight_decay"),
        (AdamW(clip=0.0), "clip = 0.0 is not above 0"),
    ],
)
def test_options_that_cannot_be_are_refused(comm, optimizer, text):
    assert text in agreed_error(comm, ProgramError, lambda: optimizer.start(parameters()))


def test_a_norm_that_is_no_number_is_refused(comm):
    view, _ = views(comm, GRAPHS["random"])
    weights, optimizer = with_rows(view), SGD(clip=1.0)
    weights["table"].grad[view.graph.order == 7] = np.inf
    text = agreed_error(comm, ProgramError, lambda: optimizer.step(weights, optimizer.start(weights), 1))
    assert "the gradients' norm is inf" in text
