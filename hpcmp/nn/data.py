"""Features, labels and splits of a graph's vertices, checked and ready for training."""

from dataclasses import dataclass

import numpy as np

from hpcmp.comm import together
from hpcmp.errors import ProgramError
from hpcmp.nn.sums import columns
from hpcmp.nn.tape import Tensor
from hpcmp.nn.view import View

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Data:
    """What a model is trained on; this rank's rows."""

    view: View
    x: Tensor | None  # (n_owned, n_in); None: the model takes no features
    labels: np.ndarray  # int64 (n_owned,); below 0: none
    masks: dict  # split -> bool (n_owned,); only vertices with a label
    n_classes: int

    @property
    def n_in(self):
        """Width of the features, or None."""
        return None if self.x is None else self.x.width


def load(graph, *, features="x", labels="label", split="split", normalize="none", threads=1):
    """What a model is trained on, from fields of the graph. Collective.

    Parameters
    ----------
    features, labels, split : str
        Vertex fields: (n, width) or (n,) numbers, or None for a model without; class numbers from 0, below 0
        for none; and "train", "val", "test" or else.
    normalize : "none" or "rows"

    Raises
    ------
    ProgramError
        A field is absent or does not fit. Raised on every rank.
    """
    comm, view = graph.comm, View(graph, threads)
    x = None if features is None else load_features(view, features, normalize)
    with together(comm):
        y = _labels(graph, labels)
        masks = _masks(graph, split, y)
    n_classes = max(comm.allgather(int(y.max(initial=-1)))) + 1
    masks = {name: mask for name, mask in masks.items() if comm.allreduce(int(mask.sum()))}
    with together(comm):
        if "train" not in masks:
            raise ProgramError(f"no vertex with a label is in the split 'train' of {split!r}")
    return Data(view, x, y, masks, n_classes)


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


def _labels(graph, name):
    values = field_of(graph, name)
    if values.ndim != 1 or values.dtype.kind not in "iub":
        shape = f"{values.dtype}" + (f" x {values.shape[1]}" if values.ndim > 1 else "")
        raise ProgramError(f"the labels {name!r} are {shape}; one class number a vertex, from 0, is needed")
    return values.astype(np.int64)


def _masks(graph, name, labels):
    values = field_of(graph, name)
    if values.ndim != 1 or values.dtype.kind not in "iub":
        raise ProgramError(
            f"the split {name!r} is no field of the texts {', '.join(SPLITS)}, nor of their numbers 0, 1, 2"
        )
    names = graph.categories.get(name, SPLITS)
    return {word: (values == k) & (labels >= 0) for k, word in enumerate(names) if word in SPLITS}
