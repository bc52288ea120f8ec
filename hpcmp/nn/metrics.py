"""How well a model does: counts over all ranks first, one division last.

Every metric is a function of numbers of this rank's rows (or pairs), and the
same on all ranks whoever holds which.
"""

import numpy as np

from hpcmp.comm import Route, block_bounds, together
from hpcmp.errors import ProgramError
from hpcmp.nn.sums import alike, columns, exact_sum

SAMPLES_PER_RANK = 256  # scores from which the splitters of a sort over ranks are chosen


def accuracy(comm, logits, labels, mask=None):
    """Share of the masked vertices whose largest logit is their label's. Collective.

    Parameters
    ----------
    logits : (n_owned, classes) array
    labels : int64 (n_owned,)
        Below 0: none, and the vertex does not count.
    mask : bool (n_owned,), optional

    Returns
    -------
    float
        0 where nothing counts.
    """
    rows = _labelled_rows(labels, mask)
    right = int((logits[rows].argmax(axis=1) == labels[rows]).sum())
    right, n = comm.allreduce(np.array([right, len(rows)]))
    return float(right / max(n, 1))


def f1(comm, logits, labels, mask=None, average="macro"):
    """F1 score, 2 tp / (2 tp + fp + fn) of each class, made one. Collective.

    Parameters
    ----------
    logits : (n_owned, classes) array
        Of class numbers, the largest is the prediction; of columns of yes and
        no, each that is above 0 says yes.
    labels : int64 (n_owned,), or (n_owned, classes) of 0 and 1
    mask : bool (n_owned,), optional
    average : "macro" or "micro"
        Mean over classes (of class numbers, over those that some vertex has or
        is given), or one score of the counts of all classes together.

    Returns
    -------
    float
        0 where nothing counts.
    """
    if average not in ("macro", "micro"):
        raise alike(f"average {average!r} is not one of macro, micro")
    labels, classes = np.asarray(labels), logits.shape[1]
    with together(comm):
        if labels.ndim == 1:
            rows = _labelled_rows(labels, mask)
            _refuse_above(labels[rows], classes)
            said = logits[rows].argmax(axis=1) if len(rows) else np.empty(0, np.int64)
            is_right = said == labels[rows]
            counted = said[is_right], said, labels[rows].astype(np.int64)
            right, given, true = (np.bincount(numbers, minlength=classes) for numbers in counted)
        else:
            rows = np.flatnonzero(np.ones(len(labels), np.bool_) if mask is None else mask)
            says, is_so = logits[rows] > 0, labels[rows] > 0
            right, given, true = (a.sum(axis=0, dtype=np.int64) for a in (says & is_so, says, is_so))
    right, both = comm.allreduce(np.array([right, given + true], np.int64))  # given + true = 2 tp + fp + fn
    if average == "micro":
        return float(2 * right.sum() / max(both.sum(), 1))
    kept = both > 0 if labels.ndim == 1 else np.ones(classes, np.bool_)
    return float((2 * right[kept] / np.maximum(both[kept], 1)).sum() / max(kept.sum(), 1))


def roc_auc(comm, scores, labels, mask=None):
    """Chance that a positive scores higher than a negative, a tie half. Collective.

    Scores are sorted over all ranks: each gets a run of them, each distinct
    score once from every rank with how many positives and negatives have it. The
    result is one division of whole numbers.

    Parameters
    ----------
    scores : (n,) or (n, k) array of float32 or float64
    labels : (n,) or (n, k) array
        Above 0: positive, 0: negative.
    mask : bool (n,) or (n, k), optional

    Returns
    -------
    float
        Of columns, the mean over those that have both positives and negatives.

    Raises
    ------
    ProgramError
        A score is nan, or there are not both kinds. Raised on every rank.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    with together(comm):
        if scores.shape != labels.shape:
            raise ProgramError(f"scores {scores.shape} and labels {labels.shape} differ in shape")
        counts = np.ones(len(scores), np.bool_) if mask is None else np.asarray(mask, np.bool_)
        scores, labels = columns(scores), columns(labels)
        counts = np.broadcast_to(columns(counts), scores.shape)
        _refuse_nan(scores[counts])
    found = [_auc(comm, scores[:, k], labels[:, k], counts[:, k]) for k in range(scores.shape[1])]
    found = [auc for auc in found if auc is not None]
    if not found:
        raise alike("roc_auc needs a positive and a negative that count; there are none of one kind")
    return float(sum(found) / len(found))


def _auc(comm, scores, labels, counts):
    """AUC of one column, None without both kinds."""
    distinct, inverse = np.unique(scores[counts], return_inverse=True)
    is_positive = labels[counts] > 0
    n_positive = np.bincount(inverse[is_positive], minlength=len(distinct))
    n_negative = np.bincount(inverse[~is_positive], minlength=len(distinct))
    route = Route(comm, np.searchsorted(_splitters(comm, distinct), distinct, side="right"))
    merged, inverse = np.unique(route.there(distinct), return_inverse=True)
    positive, negative = np.zeros((2, len(merged)), np.int64)
    np.add.at(positive, inverse, route.there(n_positive))
    np.add.at(negative, inverse, route.there(n_negative))
    shares = comm.allgather((int(positive.sum()), int(negative.sum())))
    below = sum(n for _, n in shares[: comm.rank]) + np.cumsum(negative) - negative
    twice = comm.allreduce(int((positive * (2 * below + negative)).sum()))  # negatives below count 2, ties 1
    n_pairs = sum(p for p, _ in shares) * sum(n for _, n in shares)
    return twice / (2 * n_pairs) if n_pairs else None


def _splitters(comm, ascending):
    """Where to cut the numbers of all ranks into runs, one a rank: (size - 1,)."""
    step = max(len(ascending) // SAMPLES_PER_RANK, 1)
    samples = np.sort(np.concatenate(comm.allgather(ascending[::step])))
    at = block_bounds(len(samples), comm.size)[1:-1]
    return samples[at] if len(samples) else np.zeros(comm.size - 1, ascending.dtype)


def mrr(comm, positive, negative):
    """Mean of 1 / rank of positives among their own negatives. Collective.

    The rank of a positive is 1, and 1 for each of its negatives that scores
    higher, and 1/2 for each that scores the same.

    Parameters
    ----------
    positive : (m,) array
        Scores of this rank's positives.
    negative : (m, q) array
        Scores of the negatives of each.

    Raises
    ------
    ProgramError
        A score is nan, or there is no positive. Raised on every rank.
    """
    ranks, n = _ranks(comm, positive, negative)
    return exact_sum(comm, 1 / ranks) / n


def hits_at_k(comm, positive, negative, k):
    """Share of positives whose rank, as in `mrr`, is at most k. Collective.

    Parameters
    ----------
    positive, negative
        As of `mrr`.
    k : int
    """
    ranks, n = _ranks(comm, positive, negative)
    return float(comm.allreduce(int((ranks <= k).sum())) / n)


def _ranks(comm, positive, negative):
    """Rank of each positive of this rank: float64 (m,); and how many there are on all ranks."""
    with together(comm):
        positive, negative = np.asarray(positive), np.asarray(negative)
        if positive.ndim != 1 or negative.ndim != 2 or len(positive) != len(negative):
            raise ProgramError(f"positive {positive.shape} and negative {negative.shape} must be (m,) and (m, q)")
        _refuse_nan(positive)
        _refuse_nan(negative)
        higher, same = ((f(negative, positive[:, None])).sum(axis=1) for f in (np.greater, np.equal))
    n = comm.allreduce(len(positive))
    if not n:
        raise alike("there is no positive whose rank could be told")
    return 1 + higher + same / 2, n


def _labelled_rows(labels, mask):
    has_label = np.asarray(labels) >= 0
    return np.flatnonzero(has_label if mask is None else has_label & mask)


def _refuse_above(labels, classes):
    if labels.max(initial=-1) >= classes:
        raise ProgramError(f"label {labels.max()} is outside [0, {classes}); the model has {classes} outputs")


def _refuse_nan(scores):
    if np.isnan(scores).any():
        raise ProgramError("a score is nan, which is neither above nor below another")
