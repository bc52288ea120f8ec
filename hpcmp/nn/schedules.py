"""Learning rates as functions of the number of the step, from 1.

A plain number is a constant one. `Plateau` also hears a metric; whatever the
metric, all ranks must give it alike.
"""

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cosine:
    """Up in a line during the warm-up, then down by half a cosine to ``lowest``, and staying there.

    Source: I. Loshchilov and F. Hutter, ICLR 2017, without restarts. Both in steps: ``n_steps`` of all, ``warm_up`` of
    them first.
    """

    lr: float
    n_steps: int
    warm_up: int = 0
    lowest: float = 0.0

    def __call__(self, t):
        if t <= self.warm_up:
            return self.lr * t / self.warm_up
        share = min((t - 1 - self.warm_up) / max(self.n_steps - self.warm_up, 1), 1.0)
        return self.lowest + (self.lr - self.lowest) * 0.5 * (1 + math.cos(math.pi * share))


@dataclass(frozen=True)
class StepDecay:
    """Times ``factor`` after every so many steps."""

    lr: float
    every: int
    factor: float = 0.1

    def __call__(self, t):
        return self.lr * self.factor ** ((t - 1) // self.every)


@dataclass
class Plateau:
    """Times ``factor`` when a metric did not get better more than ``patience`` times in a row.

    Better is by more than ``threshold`` of the best so far. A run that goes on
    from a checkpoint lets it `observe` the metrics of its history once more.
    Whether larger is better tells the training by its metric, if it is None.
    """

    lr: float
    factor: float = 0.1
    patience: int = 10
    larger_is_better: bool | None = None
    threshold: float = 1e-4
    lowest: float = 0.0
    best: float | None = field(default=None, init=False)
    n_worse: int = field(default=0, init=False)
    now: float | None = field(default=None, init=False)
    seeks_larger: bool = field(default=True, init=False)

    def __post_init__(self):
        self.listen(True)

    def __call__(self, t):
        return self.lr if self.now is None else self.now

    def listen(self, larger_is_better):
        """Learn what is better of the metric to come, unless that was said. Local."""
        self.seeks_larger = larger_is_better if self.larger_is_better is None else self.larger_is_better

    def observe(self, metric):
        """Take in the metric of one more evaluation. Local."""
        if self._is_better(metric):
            self.best, self.n_worse = metric, 0
            return
        self.n_worse += 1
        if self.n_worse > self.patience:
            self.now, self.n_worse = max(self(0) * self.factor, self.lowest), 0

    def restart(self):
        """Forget all metrics. Local."""
        self.best, self.n_worse, self.now = None, 0, None

    def _is_better(self, metric):
        if self.best is None:
            return metric == metric  # a nan is never the best
        margin = self.threshold * abs(self.best)
        return metric > self.best + margin if self.seeks_larger else metric < self.best - margin
