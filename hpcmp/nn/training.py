"""Training of one model from one seed, epoch by epoch.

An epoch: a forward pass of all vertices, the loss of those of the split "train",
back, a step of the optimiser; then a pass without dropout for the metrics.

What an epoch does is a function of the weights, the optimiser's state, the seed
and the epoch's number. So these are all that a restart needs, and a training
that goes on ends with the bits of one that never stopped.
"""

import hashlib
import time
from dataclasses import dataclass, field

import numpy as np

from hpcmp import pulse
from hpcmp.comm import collective, raise_together, together
from hpcmp.errors import ProgramError
from hpcmp.nn.data import SPLITS, load_features
from hpcmp.nn.optim import group_of, hears, listen
from hpcmp.nn.sums import alike
from hpcmp.nn.tape import backward
from hpcmp.nn.tasks import Vertices

COUNTS = ("halo_rows", "halo_bytes")


@dataclass
class History:
    """What training was like, epoch by epoch; the same on all ranks."""

    loss: list = field(default_factory=list)
    metrics: list = field(default_factory=list)  # dict of SPLIT_METRIC to value
    seconds: list = field(default_factory=list)
    halo_rows: list = field(default_factory=list)  # sent by all ranks
    halo_bytes: list = field(default_factory=list)
    wait_s: list = field(default_factory=list)  # of the slowest rank
    digest: str = ""  # of the final weights
    monitor: str = "val_accuracy"  # which metric tells what is best; of a loss the smallest
    _best: tuple = (-float("inf"), -1)  # metric and number of the best epoch of the first _n_seen
    _n_seen: int = 0

    @property
    def n_epochs(self):
        return len(self.loss)

    @property
    def larger_is_better(self):
        """Of the metric that is monitored."""
        return not self.monitor.endswith("_loss")

    @property
    def best_epoch(self):
        """The first with the best of the metric that is monitored; without one the last; -1 of none."""
        sign = 1 if self.larger_is_better else -1
        for t in range(self._n_seen, self.n_epochs):
            value = self.metrics[t].get(self.monitor)
            if value is None or sign * value > self._best[0]:
                self._best = self._best[0] if value is None else sign * value, t
        self._n_seen = self.n_epochs
        return self._best[1]

    def columns(self):
        """As arrays by name, one element an epoch: dict. Local."""
        columns = {"epoch": np.arange(self.n_epochs), "loss": np.array(self.loss, np.float64)}
        for name in self.metrics[0] if self.metrics else ():
            columns[name] = np.array([m[name] for m in self.metrics])
        columns |= {name: np.array(getattr(self, name), np.int64) for name in COUNTS}
        return columns | {"wait_s": np.array(self.wait_s, float), "total_s": np.array(self.seconds, float)}

    @classmethod
    def from_columns(cls, columns):
        """What `columns` gave. Local."""
        names = [name for name in columns if name.partition("_")[0] in SPLITS]
        rows = [columns[name].tolist() for name in names]
        metrics = [dict(zip(names, row, strict=True)) for row in zip(*rows, strict=True)]
        kept = {name: columns[name].tolist() for name in ("loss", *COUNTS, "wait_s")}
        return cls(metrics=metrics, seconds=columns["total_s"].tolist(), **kept)


class Training:
    """A model on its way. Collective to make and to step.

    Parameters
    ----------
    model : Module
        Called as ``model(view, x)``; gives (n_owned, data.n_out).
    data : hpcmp.nn.data.Data
    optimizer : Adam or SGD
    seed : int
        Of first weights and dropout.
    keep_best : bool
        Keep the weights of the best epoch too.
    task : hpcmp.nn.tasks.Vertices, optional
        Loss and metrics; default: cross entropy and accuracy.
    monitor : str, optional
        Which metric tells what is best, and is told to learning rates that
        hear one; default: the first of the task, of the split "val".
    patience : int
        It is over after so many epochs without a better monitored metric; 0: never.

    Raises
    ------
    ProgramError
        The metric is none, or its split, by which a learning rate, ``keep_best`` or
        ``patience`` goes, has no vertices. Raised on every rank.

    Attributes
    ----------
    weights, state, best : dicts of arrays
        Of parameters and buffers now; of the optimiser; of parameters and
        buffers in the best epoch, or None.
    history : History
    """

    @collective
    def __init__(self, model, data, optimizer, *, seed=0, keep_best=False, task=None, monitor=None, patience=0):
        self.model, self.data, self.optimizer, self.seed = model, data, optimizer, int(seed)
        self.task = task or Vertices()
        monitor = monitor or f"val_{self.task.metrics[0]}"
        self.keep_best, self.best, self.history = keep_best, None, History(monitor=monitor)
        self.patience = patience
        self._check_monitor()
        self._last_slope = None  # the parameter with the largest gradient of the last epoch, and how large
        data.view.seed = self.seed
        model.initialise(data.view)
        self.parameters, self.kept = model.parameters(), model.state()
        self.state = optimizer.start(self.parameters)
        listen(optimizer, self.history.larger_is_better)

    def _check_monitor(self):
        monitor = self.history.monitor
        split, _, metric = monitor.partition("_")
        if metric not in self.task.metrics or split not in SPLITS:
            have = f"{', '.join(self.task.metrics)} of a split ({', '.join(SPLITS)})"
            raise alike(f"monitor {monitor!r} is none of the metrics {have}, such as val_{self.task.metrics[0]}")
        needs = {
            f"a learning rate that hears {monitor}": hears(self.optimizer),
            f"the best epoch by {monitor}": self.keep_best,
            f"patience by {monitor}": self.patience,
        }
        for what, is_wanted in needs.items():
            if is_wanted and split not in self.data.masks:
                raise alike(f"{what} needs vertices in the split {split!r}; there are none")

    @property
    def comm(self):
        return self.data.comm

    @property
    def weights(self):
        return {name: t.data for name, t in self.kept.items()}

    @property
    def final_weights(self):
        """Those of the best epoch where they are kept, else the last."""
        return self.best if self.best is not None else self.weights

    @property
    def n_epochs(self):
        """Epochs done."""
        return self.history.n_epochs

    def is_over(self, epochs):
        """Whether all epochs are done, or none has been better for too long. Local."""
        waited = self.n_epochs - 1 - self.history.best_epoch
        return self.n_epochs >= epochs or bool(self.patience and waited >= self.patience)

    def where(self):
        """How far it is, for other threads. Local."""
        return f"seed {self.seed}, epoch {self.n_epochs}, {self.data.view.sent['rows']} rows sent so far"

    @collective
    def epoch(self):
        """One epoch; its row goes into the history. Collective.

        Raises
        ------
        ProgramError
            The loss or a gradient is no number, before any weight is changed;
            or a weight is none after the step. Raised on every rank.
        """
        start, view, t = time.perf_counter(), self.data.view, self.n_epochs
        view.seed, sent = self.seed, dict(view.sent)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # they end as a loss that is no number
            loss = self.train_once(t)
            metrics = evaluate(self.model, self.data, t, self.task)
        history = self.history
        history.loss.append(loss)
        history.metrics.append(metrics)
        cost = sent_by_all(view.comm, {name: view.sent[name] - sent[name] for name in sent})
        history.halo_rows.append(cost["rows"])
        history.halo_bytes.append(cost["bytes"])
        history.wait_s.append(cost["wait_s"])
        history.seconds.append(view.comm.bcast(time.perf_counter() - start))
        self._tell(metrics)
        if self.keep_best and history.best_epoch == t:
            self.best = {name: w.copy() for name, w in self.weights.items()}

    def go_on_from(self, history):
        """Take up a history; learning rates hear its metrics once more. Local."""
        history.monitor, self.history = self.history.monitor, history
        for metrics in history.metrics:
            self._tell(metrics)

    def _tell(self, metrics):
        if self.history.monitor in metrics:
            self.optimizer.observe(metrics[self.history.monitor])

    @collective
    def train_once(self, t):
        """Forward, back and a step of the optimiser; the loss before it. Collective.

        Raises
        ------
        ProgramError
            As of `epoch`.
        """
        view, data = self.data.view, self.data
        view.begin(t, True)
        loss = self.task.loss_of(data, self.model(view, data.x), "train")
        value = float(loss.data[0, 0])
        for p in self.parameters.values():
            p.grad = None
        backward(loss)
        slopes = {name: _largest(p.grad) for name, p in self.parameters.items() if p.grad is not None}
        wrong = [f"the gradient of {self._called(name)}" for name, slope in slopes.items() if not np.isfinite(slope)]
        raise_together(view.comm, self._not_finite(value, wrong))
        self.optimizer.step(self.parameters, self.state, t + 1)
        # Rows of vertices may overflow on one rank alone. So they are never saved in the place of good ones.
        bad = (self._called(name) for name, w in self.weights.items() if not np.isfinite(w).all())
        raise_together(view.comm, self._not_finite(value, [f"{name} after the optimiser's step" for name in bad]))
        self._last_slope = max(slopes.items(), key=lambda item: item[1], default=None)
        return value

    def _called(self, name):
        """A parameter's name, and its group if it is in one."""
        group = group_of(self.optimizer, name)
        return name if group is None else f"{name} (group {group!r})"

    def _not_finite(self, loss, wrong):
        """The error of a loss that is no number, or of what is not finite, or None."""
        if np.isfinite(loss) and not wrong:
            return None
        text = f"the loss is {loss} in epoch {self.n_epochs}"
        if wrong:
            text += f"; {wrong[0]} is not finite"
        if self._last_slope is not None:
            name, slope = self._last_slope
            text += f"; in the epoch before, the largest gradient was {slope:.3g}, of {self._called(name)}"
        return ProgramError(f"{text}; a smaller learning rate may help")

    @collective
    def finish(self):
        """Final weights into the model, their digest into the history. Collective."""
        final = self.final_weights
        for name, t in self.kept.items():
            t.data = final[name]
        self.history.digest = self.digest()
        return self.history

    def digest(self):
        """Digest of the final weights: 64 hex digits. Collective."""
        final = self.final_weights
        return digest_of({name: t.digested(final[name]) for name, t in self.kept.items()})


@collective
def run_epochs(training, epochs, *, progress=None, after=None, every_s=5.0):
    """Train on until it is over. Collective.

    Parameters
    ----------
    progress : callable (text), optional
        Called on rank 0 every few seconds.
    after : callable (), optional
        Called on all ranks after every epoch.
    """
    said, comm = time.perf_counter(), training.comm
    while not training.is_over(epochs):
        with pulse.telling(training.where):
            training.epoch()
        if after is not None:
            after()
        if progress and comm.rank == 0 and time.perf_counter() - said > every_s:
            said = time.perf_counter()
            progress(f"seed {training.seed}, {describe(training.history)}")


def describe(history):
    """The last epoch in a line. Local."""
    t, metrics = history.n_epochs - 1, history.metrics[-1]
    shown = "".join(f", {name} {value:.3f}" for name, value in metrics.items())
    cost = f"{history.seconds[-1]:.3g} s and {history.halo_bytes[-1]} halo bytes an epoch"
    return f"epoch {t}, loss {history.loss[-1]:.4f}{shown}; {cost}"


@collective
def evaluate(model, data, epoch=0, task=None):
    """Metrics of each split, without dropout: dict of SPLIT_METRIC. Collective."""
    data.view.begin(epoch, False, is_learning=False)
    return (task or Vertices()).evaluate(data, model(data.view, data.x))


@collective
def apply(model, view, features, normalize, n_in):
    """What a model with weights gives for every vertex. Collective.

    Parameters
    ----------
    features : str
        A vertex field; empty: none.
    n_in : int
        Width of the features that it was trained with.

    Returns
    -------
    logits : (n_owned, classes)
    sent : dict
        Rows and bytes of halos of all ranks, seconds waited by the slowest.

    Raises
    ------
    ProgramError
        The graph has no such features. Raised on every rank.
    """
    x = load_features(view, features, normalize) if features else None
    with together(view.comm):
        if x is not None and x.width != n_in:
            raise ProgramError(f"the features {features!r} are {x.width} wide, the model was trained with {n_in}")
    view.begin(0, False, is_learning=False)
    logits = model(view, x).data
    return logits, sent_by_all(view.comm, view.sent)


def sent_by_all(comm, sent):
    """Rows and bytes of all ranks, seconds of the slowest: dict. Collective."""
    rows = comm.allgather(sent)
    return {name: (max if name == "wait_s" else sum)(row[name] for row in rows) for name in sent}


def digest_of(weights):
    """SHA-256 of all weights by name: 64 hex digits. Local.

    Parameters
    ----------
    weights : dict of str to array
    """
    h = hashlib.sha256()
    for name in sorted(weights):
        h.update(name.encode())
        h.update(np.ascontiguousarray(weights[name]).tobytes())
    return h.hexdigest()


def _largest(gradient):
    """Largest of |gradient|; NaN if any is."""
    return float(np.abs(gradient).max(initial=0.0))
