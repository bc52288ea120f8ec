"""Losses: a sum over all that counts, on all ranks, divided by how much that is.

Sums are exact and so depend on no order; no rank divides by a number of its own.
"""

import numpy as np

from hpcmp.comm import together
from hpcmp.errors import ProgramError
from hpcmp.kernels import losses as kernels
from hpcmp.nn.elementwise import log_softmax
from hpcmp.nn.metrics import accuracy as accuracy  # also found here
from hpcmp.nn.sums import alike, columns
from hpcmp.nn.sums import exact_sum as exact_sum
from hpcmp.nn.tape import made


def cross_entropy(logits, labels, mask=None, weight=None):
    """Mean of -log(softmax(logits)[label]) over the masked vertices. Collective.

    Parameters
    ----------
    logits : Tensor (n_owned, classes)
    labels : int64 (n_owned,)
        Looked at under the mask only.
    mask : bool (n_owned,), optional
        Which vertices count; None: all.
    weight : (classes,) array, optional
        What a vertex of each class counts, the same on all ranks; the sum is
        then divided by that of the weights of the vertices that count.

    Returns
    -------
    Tensor (1, 1)

    Raises
    ------
    ProgramError
        A label under the mask is no class, or nothing counts. Raised on every rank.
    """
    view, classes = logits.view, logits.width
    with together(view.comm):
        rows, labels = _labelled(view, labels, mask, classes)
        weight = None if weight is None else _class_weights(weight, classes)
    log_p = log_softmax(logits)
    share = np.ones(len(rows)) if weight is None else weight[labels]
    total = view.comm.allreduce(len(rows)) if weight is None else exact_sum(view.comm, share)
    if not total:
        raise alike("the mask selects no vertex that counts; the loss is a mean over those it selects")
    loss = -exact_sum(view.comm, log_p.data[rows, labels] * share) / total

    def back(d):
        given = np.zeros_like(log_p.data)
        given[rows, labels] = -(d[0, 0] * share) / total
        return (given,)

    return _scalar(loss, view, log_p, back)


def bce_with_logits(logits, targets, mask=None):
    """Mean of -y log f - (1 - y) log(1 - f), f = logistic(logits). Collective.

    Parameters
    ----------
    logits : Tensor (n_owned, k)
    targets : (n_owned, k) array of numbers from 0 to 1; (n_owned,) where k is 1
        Looked at under the mask only.
    mask : bool (n_owned,) or (n_owned, k), optional
        Which vertices, or numbers, count; None: all.

    Returns
    -------
    Tensor (1, 1)
        The mean over all numbers that count.

    Raises
    ------
    ProgramError
        A target under the mask is outside [0, 1], or nothing counts. Raised on every rank.
    """
    view, x = logits.view, logits.data
    with together(view.comm):
        y, counts = _targets(logits, targets, mask)
        _first_wrong(view, counts & ~((y >= 0) & (y <= 1)), y, "is outside [0, 1]")
    n = _n_counting(view, counts)
    lost = np.empty(x.shape, np.float64)
    view.over_parts(lambda p, lo, hi: kernels.yes_no(x, y, counts, lost, lo, hi))

    def back(d):
        dx, share = np.empty_like(x), float(d[0, 0]) / n
        view.over_parts(lambda p, lo, hi: kernels.yes_no_back(x, y, counts, share, dx, lo, hi))
        return (dx,)

    return _scalar(exact_sum(view.comm, lost) / n, view, logits, back)


def mse(outputs, targets, mask=None):
    """Mean of (outputs - targets)**2 over all numbers that count. Collective.

    Parameters
    ----------
    outputs : Tensor (n_owned, k)
    targets, mask
        As of `bce_with_logits`; any finite numbers.

    Raises
    ------
    ProgramError
        A target under the mask is not finite, or nothing counts. Raised on every rank.
    """
    view = outputs.view
    with together(view.comm):
        y, counts = _targets(outputs, targets, mask)
        _first_wrong(view, counts & ~np.isfinite(y), y, "is not finite")
    n = _n_counting(view, counts)
    away = np.where(counts, outputs.data.astype(np.float64) - y, 0.0)

    def back(d):
        return ((2 * float(d[0, 0]) / n * away).astype(outputs.data.dtype),)

    return _scalar(exact_sum(view.comm, away * away) / n, view, outputs, back)


def _scalar(loss, view, source, back):
    return made(np.array([[loss]], source.data.dtype), view, (source,), back)


def _labelled(view, labels, mask, classes):
    """Rows under the mask, and their labels."""
    labels, n = np.asarray(labels), view.n_owned
    mask = np.ones(n, np.bool_) if mask is None else np.asarray(mask, np.bool_)
    if labels.shape != (n,) or mask.shape != (n,):
        raise ProgramError(f"labels {labels.shape} and mask {mask.shape} must be ({n},), one of each owned vertex")
    rows = np.flatnonzero(mask)
    picked = labels[rows]
    wrong = np.flatnonzero(~((picked >= 0) & (picked < classes)))
    if len(wrong):
        where = view.graph.id[rows[wrong[0]]]
        raise ProgramError(
            f"vertex {where} has label {picked[wrong[0]]}, outside [0, {classes}); leave vertices without a label "
            "out of the mask, or give the model an output for each class"
        )
    return rows, picked.astype(np.int64)


def _class_weights(weight, classes):
    weight = np.asarray(weight, np.float64)
    if weight.shape != (classes,) or not (np.isfinite(weight) & (weight >= 0)).all():
        raise ProgramError(f"class weights {weight} must be {classes} finite numbers, none below 0")
    return weight


def _targets(tensor, targets, mask):
    """Targets and whether each counts, both (n_owned, k)."""
    n, shape = len(tensor.data), tensor.shape
    targets = np.asarray(targets)
    if targets.shape != shape and (targets.shape, shape[1]) != ((n,), 1):
        raise ProgramError(f"targets {targets.shape} must be {shape}, as the model's output")
    counts = np.ones(n, np.bool_) if mask is None else np.asarray(mask, np.bool_)
    if counts.shape not in ((n,), shape):
        raise ProgramError(f"mask {counts.shape} must be ({n},) or {shape}")
    counts = np.ascontiguousarray(np.broadcast_to(columns(counts), shape))
    return np.ascontiguousarray(columns(targets), tensor.data.dtype), counts


def _first_wrong(view, wrong, y, rule):
    places = np.argwhere(wrong)
    if len(places):
        i, k = places[0]
        raise ProgramError(f"vertex {view.graph.id[i]} has target {y[i, k]} in column {k}, which {rule}")


def _n_counting(view, counts):
    n = view.comm.allreduce(int(counts.sum()))
    if not n:
        raise alike("the mask selects nothing that counts; the loss is a mean over what it selects")
    return n
