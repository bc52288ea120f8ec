"""Features, labels and splits of a graph's vertices, checked and ready for training."""

from dataclasses import dataclass, field

import numpy as np

from hpcmp.comm import together
from hpcmp.errors import ProgramError
from hpcmp.nn.sums import columns
from hpcmp.nn.tape import Tensor
from hpcmp.nn.view import View

SPLITS = ("train", "val", "test")
LEAST_LIMIT = 1000  # classes that any graph may have; more only where there are as many vertices


@dataclass(frozen=True)
class Data:
    """What a model is trained on; this rank's rows."""

    view: View
    x: Tensor | None  # (n_owned, n_in); None: the model takes no features
    labels: np.ndarray | None  # (n_owned,) or (n_owned, k), as `TARGETS` has them; None: see `hpcmp.nn.linked`
    masks: dict  # split -> bool (n_owned,); only vertices with a label. Of links Pairs
    n_out: int  # width of what the model gives: classes, or columns of labels
    kept: dict = field(default_factory=dict, init=False, repr=False)  # what a task works out once

    @property
    def comm(self):
        return self.view.comm

    @property
    def n_in(self):
        """Width of the features, or None."""
        return None if self.x is None else self.x.width


def load(
    graph,
    *,
    features="x",
    labels="label",
    split="split",
    normalize="none",
    loss="cross_entropy",
    threads=1,
    keep_sums=True,
):
    """What a model is trained on, from fields of the graph. Collective.

    Parameters
    ----------
    features, labels, split : str
        Vertex fields: (n, width) or (n,) numbers, or None for a model without; what the loss needs; and
        "train", "val", "test" or else.
    normalize : "none" or "rows"
    loss : "cross_entropy", "bce" or "mse"
        Labels are class numbers from 0, below 0 for none; or one or more columns of 0 and 1, below 0 in any for
        none; or of numbers, nan in any for none.
    keep_sums : bool
        See `View`.

    Raises
    ------
    ProgramError
        A field is absent or does not fit. Raised on every rank.
    """
    comm, view = graph.comm, View(graph, threads, keeps_sums=keep_sums)
    x = None if features is None else load_features(view, features, normalize)
    with together(comm):
        y, has_label = TARGETS[loss](graph, labels)
        masks = _masks(graph, split, has_label)
    n_out = max(comm.allgather(int(y.max(initial=-1)))) + 1 if loss == "cross_entropy" else columns(y).shape[1]
    masks = {name: mask for name, mask in masks.items() if comm.allreduce(int(mask.sum()))}
    with together(comm):
        if "train" not in masks:
            raise ProgramError(f"no vertex with a label is in the split 'train' of {split!r}")
    return Data(view, x, y, masks, n_out)


def load_features(view, name="x", normalize="none"):
    """A vertex field as rows for a model: Tensor. Collective."""
    graph = view.graph
    with together(view.comm):
        x = columns(field_of(graph, name, '; of models without features, features = ""'))
        bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
        if len(bad):
            raise ProgramError(f"vertex {graph.id[bad[0]]} has a feature that is no number in {name!r}")
        tensor = view.tensor(x, name)
        if normalize == "rows":
            total = tensor.data.sum(axis=1, keepdims=True)
            tensor.data = tensor.data / np.where(total == 0, 1, total)
    return tensor


def field_of(graph, name, hint=""):
    """A vertex field, or an error that tells which there are. Local."""
    if name not in graph.vertex_fields:
        have = ", ".join([*graph.vertex_fields, *graph.unread]) or "none"
        raise ProgramError(f"the graph has no vertex field {name!r} (fields: {have}){hint}")
    return graph.vertex_fields[name]


def _classes(graph, name):
    """Class numbers: (labels, whether each is one)."""
    values = field_of(graph, name)
    if values.ndim != 1 or values.dtype.kind not in "iub":
        raise ProgramError(f"the labels {name!r} are {_kind(values)}; one class number a vertex, from 0, is needed")
    labels = values.astype(np.int64)
    far = np.flatnonzero(labels >= max(graph.n_vertices, LEAST_LIMIT))
    if len(far):
        raise ProgramError(
            f"vertex {graph.id[far[0]]} has the label {labels[far[0]]} in {name!r}, of {graph.n_vertices} vertices; "
            "class numbers from 0 are needed, a column of the model for each"
        )
    return labels, labels >= 0


def _yes_and_no(graph, name):
    """Columns of 0 and 1: (labels, whether a row is of these)."""
    values = columns(field_of(graph, name))
    if values.dtype.kind not in "iubf":
        raise ProgramError(f"the labels {name!r} are {_kind(values)}; columns of 0 and 1 are needed")
    labels = values.astype(np.float64)
    has_label = ~(labels < 0).any(axis=1)
    wrong = np.argwhere(has_label[:, None] & ~np.isin(labels, (0, 1)))
    if len(wrong):
        i, k = wrong[0]
        raise ProgramError(
            f"vertex {graph.id[i]} has the label {labels[i, k]:g} in {name!r}; the loss bce needs 0 or 1"
        )
    return np.where(has_label[:, None], labels, 0).astype(np.int64), has_label


def _numbers(graph, name):
    """Columns of numbers: (labels, whether a row is of these)."""
    values = columns(field_of(graph, name))
    if values.dtype.kind not in "iubf":
        raise ProgramError(f"the labels {name!r} are {_kind(values)}; columns of numbers are needed")
    labels = values.astype(np.float64)
    infinite = np.flatnonzero(np.isinf(labels).any(axis=1))
    if len(infinite):
        raise ProgramError(f"vertex {graph.id[infinite[0]]} has an infinite label in {name!r}; nan stands for none")
    return labels, ~np.isnan(labels).any(axis=1)


TARGETS = {"cross_entropy": _classes, "bce": _yes_and_no, "mse": _numbers}  # loss -> what labels must be


def _kind(values):
    return f"{values.dtype}" + (f" x {values.shape[1]}" if values.ndim > 1 else "")


def _masks(graph, name, has_label):
    values = field_of(graph, name)
    if values.ndim != 1 or values.dtype.kind not in "iub":
        raise ProgramError(
            f"the split {name!r} is no field of the texts {', '.join(SPLITS)}, nor of their numbers 0, 1, 2"
        )
    names = graph.categories.get(name, SPLITS)
    return {word: (values == k) & has_label for k, word in enumerate(names) if word in SPLITS}
