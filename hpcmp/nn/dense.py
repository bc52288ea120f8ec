"""Products of rows with weights, part by part, and sums over all rows.

y = x W + b        dx = dy W^T        dW = sum over parts of x^T dy        db = sum over parts of dy

BLAS may give a row other bits in a product of other rows or on other threads. So each part is a product of its own,
with one BLAS thread; hpcmp's threads share the parts.
"""

import numpy as np
from threadpoolctl import ThreadpoolController

from hpcmp.kernels import learning
from hpcmp.nn.tape import made

_BLAS = ThreadpoolController()


def one_blas_thread():
    """Context in which BLAS starts no threads of its own. Local."""
    return _BLAS.limit(limits=1, user_api="blas")


def times(view, x, w):
    """x @ w, part by part: (n_owned, w.shape[1]). Local."""
    out = np.empty((len(x), w.shape[1]), x.dtype)
    with one_blas_thread():
        view.over_parts(lambda p, lo, hi: np.matmul(x[lo:hi], w, out=out[lo:hi]))
    return out


def transposed_times(view, x, dy):
    """x^T @ dy over all rows of all ranks: (x.shape[1], dy.shape[1]). Collective."""
    leaves = np.zeros((view.n_parts, x.shape[1], dy.shape[1]), x.dtype)
    with one_blas_thread():
        view.over_parts(lambda p, lo, hi: np.matmul(x[lo:hi].T, dy[lo:hi], out=leaves[p]))
    return view.tree_sum(leaves)


def sum_over_rows(view, x):
    """Sum of all rows of all ranks: (1, width). Collective."""
    bounds = view.part_bounds
    leaves = np.zeros((view.n_parts, x.shape[1]), x.dtype)
    chunks = [(p, p + 1) for p in range(view.n_parts)]
    view.threads.run(lambda lo, hi: learning.sum_columns(x, leaves, bounds, lo, hi), chunks)
    return view.tree_sum(leaves).reshape(1, -1)


def linear(x, weight, bias=None):
    """x @ weight + bias of every row. Local; its way back is collective.

    Parameters
    ----------
    x : Tensor (n_owned, width)
    weight : parameter (width, out)
    bias : parameter (1, out), optional
    """
    view = x.view
    out = times(view, x.data, weight.data)
    if bias is not None:
        out += bias.data

    def back(dy):
        dx = times(view, dy, weight.data.T) if x.wants_grad else None
        dw = transposed_times(view, x.data, dy)
        return (dx, dw) if bias is None else (dx, dw, sum_over_rows(view, dy))

    return made(out, view, (x, weight) if bias is None else (x, weight, bias), back)
