"""What a training makes small, and what tells how well it does.

A loss says what labels must be (`hpcmp.nn.data.TARGETS`) and which metrics make sense of
what a model gives (`METRICS`). Metrics are told as SPLIT_METRIC, such as "val_accuracy".
"""

from dataclasses import dataclass

import numpy as np

from hpcmp.errors import ProgramError
from hpcmp.nn import losses, metrics
from hpcmp.nn.elementwise import log_softmax

BALANCED = "balanced"  # class weights: n / (classes * n of the class), of the vertices trained on


@dataclass(frozen=True)
class Vertices:
    """Something to say of every vertex.

    Attributes
    ----------
    loss : "cross_entropy", "bce" or "mse"
    metrics : tuple of str
        Of `METRICS`; empty: the first of those of the loss.
    class_weights : (classes,) numbers or "balanced", optional
        What a vertex of each class counts in the cross entropy.
    """

    loss: str = "cross_entropy"
    metrics: tuple = ()
    class_weights: object = None

    def __post_init__(self):
        if self.loss not in METRICS:
            raise ProgramError(f"loss {self.loss!r} is not one of {', '.join(METRICS)}")
        known = METRICS[self.loss]
        if not self.metrics:
            object.__setattr__(self, "metrics", (next(iter(known)),))
        for name in self.metrics:
            if name not in known:
                raise ProgramError(f"metric {name!r} does not fit the loss {self.loss}; these do: {', '.join(known)}")
        if isinstance(self.class_weights, str) and self.class_weights != BALANCED:
            raise ProgramError(f"class weights {self.class_weights!r} are neither numbers nor {BALANCED!r}")
        if self.class_weights is not None and self.loss != "cross_entropy":
            raise ProgramError(f"class weights are of the loss cross_entropy, not of {self.loss}")

    def loss_of(self, data, out, split):
        """Loss of what the model gave for a split: Tensor (1, 1). Collective."""
        mask = data.masks[split]
        if self.loss == "cross_entropy":
            return losses.cross_entropy(out, data.labels, mask, self._weights(data))
        return {"bce": losses.bce_with_logits, "mse": losses.mse}[self.loss](out, data.labels, mask)

    def evaluate(self, data, out):
        """Each metric of each split: dict. Collective."""
        found = {}
        for split, mask in data.masks.items():
            for name in self.metrics:
                if name == "loss":
                    value = float(self.loss_of(data, out, split).data[0, 0])
                else:
                    value = METRICS[self.loss][name](data, out, mask)
                found[f"{split}_{name}"] = value
        return found

    def _weights(self, data):
        if self.class_weights is None:
            return None
        if not isinstance(self.class_weights, str):
            return np.asarray(self.class_weights, np.float64)
        if BALANCED not in data.kept:
            mine = np.bincount(data.labels[data.masks["train"]], minlength=data.n_out)
            n = data.view.comm.allreduce(mine)
            data.kept[BALANCED] = n.sum() / (data.n_out * np.maximum(n, 1))
        return data.kept[BALANCED]


def _accuracy(data, out, mask):
    return metrics.accuracy(data.view.comm, out.data, data.labels, mask)


def _f1(average):
    return lambda data, out, mask: metrics.f1(data.view.comm, out.data, data.labels, mask, average)


def _auc(data, out, mask):
    return metrics.roc_auc(data.view.comm, out.data, data.labels, mask)


def _auc_of_classes(data, out, mask):
    """Of two classes, that of the second; of more, the mean of each against the rest."""
    if out.width == 2:
        return metrics.roc_auc(data.view.comm, out.data[:, 1] - out.data[:, 0], data.labels, mask)
    is_of_class = (data.labels[:, None] == np.arange(out.width)).astype(np.int64)
    return metrics.roc_auc(data.view.comm, log_softmax(out).data, is_of_class, mask)


# loss -> metric -> (data, out, mask); the first is the default. "loss" is worked out by `Vertices.evaluate`.
F1 = {"f1_macro": _f1("macro"), "f1_micro": _f1("micro")}
METRICS = {
    "cross_entropy": {"accuracy": _accuracy, **F1, "roc_auc": _auc_of_classes, "loss": None},
    "bce": {"f1_micro": F1["f1_micro"], "f1_macro": F1["f1_macro"], "roc_auc": _auc, "loss": None},
    "mse": {"loss": None},
}
