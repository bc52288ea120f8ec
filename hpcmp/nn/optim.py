"""Optimisers: gradients into steps, alike on all ranks since parameters are.

Options of both: ``lr``, a number or a function of the step's number (see
`hpcmp.nn.schedules`); ``groups``, patterns of parameter names (as of `fnmatch`)
to a dict of their own ``lr`` and ``weight_decay``, of which the first that fits
counts; ``clip``, the largest norm of all gradients together.

    Adam(lr=Cosine(0.01, 200), groups={"first.*": {"weight_decay": 5e-4}}, clip=1.0)
"""

import math
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from hpcmp.kernels import exact
from hpcmp.nn.config import OF_GROUPS
from hpcmp.nn.sums import alike

EPS = 1e-6  # added to the norm that gradients are divided by, as torch.nn.utils.clip_grad_norm_ does


@dataclass
class SGD:
    """w -= lr * (dw + weight_decay * w), with momentum."""

    lr: Any = 0.01
    weight_decay: float = 0.0
    momentum: float = 0.0
    groups: dict | None = None
    clip: float | None = None

    def start(self, parameters):
        """State before the first step: dict of str to dict of arrays. Local."""
        begin(self, parameters)
        return {name: {"v": np.zeros_like(p.data)} for name, p in parameters.items()} if self.momentum else {}

    def step(self, parameters, state, t):
        """Change parameters by their gradients; t counts steps, from 1. Collective."""
        for name, p, g in clipped(parameters, self.clip):
            lr, decay = options(self, name, t)
            g = g + p.data.dtype.type(decay) * p.data if decay else g
            if self.momentum:
                v = state[name]["v"]
                v *= v.dtype.type(self.momentum)
                v += g
                g = v
            p.data -= g.dtype.type(lr) * g

    def observe(self, metric):
        """Tell the learning rate how well the model does. Local."""
        tell(self, metric)


@dataclass
class Adam:
    """Adam (D. Kingma and J. Ba, ICLR 2015); ``decoupled`` is AdamW (I. Loshchilov and F. Hutter, ICLR 2019)."""

    lr: Any = 0.001
    weight_decay: float = 0.0
    betas: tuple = (0.9, 0.999)
    eps: float = 1e-8
    decoupled: bool = False
    groups: dict | None = None
    clip: float | None = None

    def start(self, parameters):
        """State before the first step: dict of str to dict of arrays. Local."""
        begin(self, parameters)
        return {name: {"m": np.zeros_like(p.data), "v": np.zeros_like(p.data)} for name, p in parameters.items()}

    def step(self, parameters, state, t):
        """Change parameters by their gradients; t counts steps, from 1. Collective."""
        b1, b2 = self.betas
        for name, p, g in clipped(parameters, self.clip):
            lr, decay = options(self, name, t)
            kind = p.data.dtype.type
            if decay and self.decoupled:
                p.data *= kind(1 - lr * decay)
            elif decay:
                g = g + kind(decay) * p.data
            m, v = state[name]["m"], state[name]["v"]
            m += kind(1 - b1) * (g - m)
            v *= kind(b2)
            v += kind(1 - b2) * g * g
            p.data -= kind(lr / (1 - b1**t)) * m / (np.sqrt(v / kind(1 - b2**t)) + kind(self.eps))

    def observe(self, metric):
        """Tell the learning rate how well the model does. Local."""
        tell(self, metric)


def AdamW(lr=0.001, weight_decay=0.01, **more):
    """Adam whose decay shrinks weights beside the gradient's step. Local."""
    return Adam(lr=lr, weight_decay=weight_decay, decoupled=True, **more)


def options(optimizer, name, t):
    """Learning rate and weight decay of a parameter in a step: (float, float). Local."""
    own = (optimizer.groups or {}).get(group_of(optimizer, name), {})
    lr, decay = own.get("lr", optimizer.lr), own.get("weight_decay", optimizer.weight_decay)
    return (lr(t) if callable(lr) else lr), decay


def group_of(optimizer, name):
    """Pattern of the group that a parameter is in, or None. Local."""
    return next((pattern for pattern in optimizer.groups or {} if fnmatchcase(name, pattern)), None)


def begin(optimizer, parameters):
    """Check an optimiser's groups, and let its schedules forget metrics. Local.

    Raises
    ------
    ProgramError
        A group fits no parameter or has an option that groups do not have, or
        ``clip`` is not above 0. On every rank, since all are given the same.
    """
    for pattern, own in (optimizer.groups or {}).items():
        if not any(fnmatchcase(name, pattern) for name in parameters):
            raise alike(f"group {pattern!r} fits no parameter; there are {', '.join(parameters) or 'none'}")
        for option in own:
            if option not in OF_GROUPS:
                raise alike(f"group {pattern!r} has {option!r}; groups may have {', '.join(OF_GROUPS)}")
    if optimizer.clip is not None and not optimizer.clip > 0:
        raise alike(f"clip = {optimizer.clip} is not above 0; None clips nothing")
    for schedule in _schedules(optimizer):
        if hasattr(schedule, "restart"):
            schedule.restart()


def listen(optimizer, larger_is_better):
    """Say to all schedules that ask what is better of the metric. Local."""
    for schedule in _schedules(optimizer):
        if hasattr(schedule, "listen"):
            schedule.listen(larger_is_better)


def tell(optimizer, metric):
    """Give a metric to all schedules that hear one. Local."""
    for schedule in _schedules(optimizer):
        if hasattr(schedule, "observe"):
            schedule.observe(metric)


def hears(optimizer):
    """Whether a schedule of the optimiser hears a metric. Local."""
    return any(hasattr(schedule, "observe") for schedule in _schedules(optimizer))


def _schedules(optimizer):
    """The learning rates of an optimiser and its groups, each once."""
    every = [optimizer.lr, *(own["lr"] for own in (optimizer.groups or {}).values() if "lr" in own)]
    return {id(lr): lr for lr in every}.values()


def clipped(parameters, largest=None):
    """(name, parameter, gradient) of those that have one. Collective.

    With ``largest``, gradients are scaled so that their norm is at most that.

    Raises
    ------
    ProgramError
        The norm is not finite. Raised on every rank.
    """
    found = [(name, p, p.grad) for name, p in parameters.items() if p.grad is not None]
    if largest is None:
        return found
    norm = gradient_norm(parameters)
    if not math.isfinite(norm):
        raise alike(f"the gradients' norm is {norm}; a smaller learning rate may help")
    factor = min(largest / (norm + EPS), 1.0)
    return [(name, p, g * g.dtype.type(factor)) for name, p, g in found] if factor < 1 else found


def gradient_norm(parameters):
    """Root of the sum of squares of all gradients, an exact sum: float. Collective.

    A parameter is the same on all ranks and counts once, unless its rows live
    with vertices (it has a view): then each rank has rows of its own.
    """
    words, own, comm = exact.zero(), exact.zero(), None
    for p in parameters.values():
        if p.grad is None:
            continue
        if p.view is not None:
            comm = p.view.comm
        exact.add(words if p.view is None else own, np.ravel(p.grad).astype(np.float64) ** 2)
    return math.sqrt(exact.value(words + (own if comm is None else comm.allreduce(own))))
