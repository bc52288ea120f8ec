"""Training on the whole graph.

Each epoch: a forward pass of all vertices, the loss of those of the split
"train", back, a step of the optimiser; then a pass without dropout for the
other splits. The weights of the best epoch by the validation metric are kept.
"""

import hashlib
import time
from dataclasses import dataclass, field

import numpy as np

from hpcmp.comm import collective, together
from hpcmp.errors import ProgramError
from hpcmp.hashing import GRAPH_SEEDS, hash_sum
from hpcmp.nn.losses import accuracy, cross_entropy
from hpcmp.nn.tape import backward
from hpcmp.nn.view import View


@dataclass
class History:
    """What training was like, epoch by epoch; the same on all ranks."""

    loss: list = field(default_factory=list)
    metrics: list = field(default_factory=list)  # dict of split to accuracy
    seconds: list = field(default_factory=list)
    best_epoch: int = -1
    digest: str = ""  # of the final weights


@collective
def fit(
    model,
    graph,
    *,
    features="x",
    labels="label",
    split="split",
    epochs=200,
    optimizer=None,
    seed=0,
    threads=1,
    patience=None,
    progress=None,
):
    """Train a model on a graph. Collective.

    Parameters
    ----------
    model : Module
        Called as ``model(view, x)``; gives logits (n_owned, classes).
    graph : Graph
    features, labels, split : str
        Vertex fields: (n, width) or (n,) numbers, or None for a model without; class numbers from 0, below 0
        for none; and "train", "val", "test" or else.
    epochs : int
    optimizer : Adam or SGD
    patience : int, optional
        End after so many epochs without a better validation metric.
    progress : callable (text), optional
        Called on rank 0 every few seconds.

    Returns
    -------
    History

    Raises
    ------
    ProgramError
        Fields do not fit, or the loss is no number. Raised on every rank.
    """
    from hpcmp.nn.optim import Adam

    optimizer = optimizer or Adam(lr=0.01, weight_decay=5e-4)
    view = View(graph, threads, seed)
    x, y, masks = _data(view, features, labels, split)
    model.initialise(view)
    parameters, history = model.parameters(), History()
    state, best, said = optimizer.start(parameters), (-1.0, -1, None), time.perf_counter()
    for epoch in range(epochs):
        start = time.perf_counter()
        loss = _train_once(model, view, x, y, masks["train"], parameters, optimizer, state, epoch)
        history.loss.append(loss)
        metrics = evaluate(model, view, x, y, masks, epoch)
        history.metrics.append(metrics)
        history.seconds.append(time.perf_counter() - start)
        if metrics.get("val", 0.0) > best[0]:
            best = metrics.get("val", 0.0), epoch, {name: p.data.copy() for name, p in parameters.items()}
        if progress and graph.comm.rank == 0 and time.perf_counter() - said > 5:
            said = time.perf_counter()
            shown = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
            progress(f"epoch {epoch}, loss {loss:.4f}, {shown}, {history.seconds[-1]:.3g} s an epoch")
        if patience is not None and epoch - best[1] >= patience:
            break
    history.best_epoch = best[1]
    history.digest = digest_of(view, parameters)
    return history


def _train_once(model, view, x, y, mask, parameters, optimizer, state, epoch):
    view.begin(epoch, True)
    loss = cross_entropy(model(view, x), y, mask)
    value = float(loss.data[0, 0])
    if not np.isfinite(value):
        raise ProgramError(f"the loss is {value} in epoch {epoch}; a smaller learning rate may help")
    for p in parameters.values():
        p.grad = None
    backward(loss)
    optimizer.step(parameters, state, epoch + 1)
    return value


def evaluate(model, view, x, y, masks, epoch=0):
    """Accuracy of each split, without dropout: dict. Collective."""
    view.begin(epoch, False)
    logits = model(view, x).data
    return {name: accuracy(view.comm, logits, y, mask) for name, mask in masks.items()}


def digest_of(view, parameters):
    """SHA-256 of all weights by name: 64 hex digits, the same on any ranks. Collective."""
    h = hashlib.sha256()
    for name in sorted(parameters):
        p = parameters[name]
        h.update(f"{name} {p.data.dtype} {p.data.shape[1]}".encode())
        if p.view is None:
            h.update(np.ascontiguousarray(p.data).tobytes())
        else:  # rows of vertices: a sum of hashes does not depend on where they live
            own = np.array([hash_sum([view.graph.id[: view.n_owned], p.data], seed) for seed in GRAPH_SEEDS], np.uint64)
            total = np.empty_like(own)
            view.comm.Allreduce(own, total)
            h.update(total.tobytes())
    return h.hexdigest()


def _data(view, features, labels, split):
    graph = view.graph
    with together(view.comm):
        for name in (features, labels, split) if features else (labels, split):
            if name not in graph.vertex_fields:
                have = ", ".join(graph.vertex_fields) or "none"
                raise ProgramError(f"the graph has no vertex field {name!r} (it has: {have})")
        x = graph.vertex_fields[features] if features else None
        bad = np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(axis=1)) if features else ()
        if len(bad):
            raise ProgramError(f"vertex {graph.id[bad[0]]} has a feature that is no number in {features!r}")
        y = graph.vertex_fields[labels].astype(np.int64)
        masks = _masks(graph, split)
    n = {name: view.comm.allreduce(int(mask.sum())) for name, mask in masks.items()}
    with together(view.comm):
        if not n.get("train"):
            raise ProgramError(f"no vertex is in the split 'train' of {split!r}")
    return (view.tensor(x, features) if features else None), y, masks


def _masks(graph, split):
    values = graph.vertex_fields[split]
    names = graph.categories.get(split, ("train", "val", "test"))
    return {name: values == k for k, name in enumerate(names) if name in ("train", "val", "test")}
