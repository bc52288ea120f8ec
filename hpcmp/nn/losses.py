"""Losses: a sum over the vertices that count, on all ranks, divided by their number; and how well a model does.

Sums of losses are exact and so do not depend on any order; a label below 0 is none.
"""

import numpy as np

from hpcmp.kernels import exact
from hpcmp.nn.elementwise import log_softmax
from hpcmp.nn.tape import made


def cross_entropy(logits, labels, mask):
    """Mean over the masked vertices of -log(softmax(logits)[label]). Collective.

    Parameters
    ----------
    logits : Tensor (n_owned, classes)
    labels : int64 (n_owned,)
    mask : bool (n_owned,)
    """
    view = logits.view
    log_p = log_softmax(logits)
    rows = np.flatnonzero(mask)
    picked = log_p.data[rows, labels[rows]]
    n = max(view.comm.allreduce(len(rows)), 1)
    loss = -exact_sum(view.comm, picked) / n

    def back(d):
        given = np.zeros_like(log_p.data)
        given[rows, labels[rows]] = -d[0, 0] / n
        return (given,)

    return made(np.array([[loss]], log_p.data.dtype), view, (log_p,), back)


def exact_sum(comm, values):
    """Sum over all ranks, in any order the same bits: float. Collective."""
    words = exact.zero()
    exact.add(words, values.ravel())
    return exact.value(comm.allreduce(words))


def accuracy(comm, logits, labels, mask):
    """Share of the masked vertices whose largest logit is their label's: float. Collective."""
    rows = np.flatnonzero(mask)
    right = int((logits[rows].argmax(axis=1) == labels[rows]).sum())
    right, n = comm.allreduce(np.array([right, len(rows)]))
    return float(right / max(n, 1))
