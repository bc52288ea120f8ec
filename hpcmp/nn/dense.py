"""Products of rows with weights, part by part, and sums over all rows.

y = x W + b        dx = dy W^T        dW = sum over parts of x^T dy        db = sum over parts of dy

BLAS may give a row other bits in a product of other rows or on other threads. So each part is a product of its own,
with one BLAS thread; hpcmp's threads share the parts.
"""

import numpy as np
from threadpoolctl import ThreadpoolController

from hpcmp.kernels import learning
from hpcmp.nn.sums import alike
from hpcmp.nn.tape import made

_BLAS = ThreadpoolController()


def one_blas_thread():
    """Context in which BLAS starts no threads of its own. Local."""
    return _BLAS.limit(limits=1, user_api="blas")


def times(view, x, w, bias=None):
    """x @ w, and + bias, part by part: (n_owned, w.shape[1]). Local."""
    out = view.empty((len(x), w.shape[1]), x.dtype)

    def one(p, lo, hi):
        np.matmul(x[lo:hi], w, out=out[lo:hi])
        if bias is not None:
            out[lo:hi] += bias

    with one_blas_thread():
        view.over_parts(one)
    return out


def transposed_times(view, x, dy):
    """x^T @ dy over all rows of all ranks: (x.shape[1], dy.shape[1]). Collective."""
    leaves = np.zeros((view.n_parts, x.shape[1], dy.shape[1]), x.dtype)
    with one_blas_thread():
        view.over_parts(lambda p, lo, hi: np.matmul(x[lo:hi].T, dy[lo:hi], out=leaves[p]))
    return view.tree_sum(leaves)


def sum_over_rows(view, x):
    """Sum of all rows of all ranks: (1, width). Collective."""
    leaves, bounds = np.zeros((view.n_parts, x.shape[1]), x.dtype), view.part_bounds
    view.over_parts(lambda p, lo, hi: learning.sum_columns(x, leaves, bounds, p, p + 1))
    return view.tree_sum(leaves).reshape(1, -1)


def linear(x, weight, bias=None):
    """x @ weight + bias of every row. Collective.

    Parameters
    ----------
    x : Tensor (n_owned, width)
    weight : parameter (width, out)
    bias : parameter (1, out), optional

    Raises
    ------
    ProgramError
        Widths differ. Raised on every rank.
    """
    view = x.view
    if x.width != weight.shape[0]:
        raise alike(
            f"rows of width {x.width} meet the weight {weight.name or ''} {weight.shape}, for width {weight.shape[0]}"
        )
    out = times(view, x.data, weight.data, None if bias is None else bias.data)

    def back(dy):
        dx = times(view, dy, weight.data.T) if x.wants_grad else None
        dw = transposed_times(view, x.data, dy)
        return (dx, dw) if bias is None else (dx, dw, sum_over_rows(view, dy))

    return made(out, view, (x, weight) if bias is None else (x, weight, bias), back)


def matvec(x, matrices):
    """x[i] @ matrices[i] of every row: (rows, out). Local.

    Parameters
    ----------
    x : Tensor (rows, width)
    matrices : Tensor (rows, width * out)
        Row by row.
    """
    n, width = x.shape
    m = matrices.data.reshape(n, width, matrices.width // width)
    out = np.zeros((n, m.shape[2]), x.data.dtype)
    for k in range(width):
        out += x.data[:, k, None] * m[:, k]

    def back(d):
        dx = np.zeros_like(x.data)
        for c in range(m.shape[2]):
            dx += m[:, :, c] * d[:, c, None]
        return dx, (x.data[:, :, None] * d[:, None, :]).reshape(matrices.shape)

    return made(out, x.view, (x, matrices), back)
