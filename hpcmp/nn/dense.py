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


def times(view, *pairs, bias=None):
    """Sum of x @ w over pairs (x, w), + bias, part by part. Local.

    Returns
    -------
    (n_owned, w.shape[1]) array
    """
    out = view.empty((len(pairs[0][0]), pairs[0][1].shape[1]), pairs[0][0].dtype)

    def one(p, lo, hi):
        x, w = pairs[0]
        np.matmul(x[lo:hi], w, out=out[lo:hi])
        for x, w in pairs[1:]:
            out[lo:hi] += x[lo:hi] @ w
        if bias is not None:
            out[lo:hi] += bias

    with one_blas_thread():
        view.over_parts(one)
    return out


def transposed_times(view, x, dy):
    """x^T @ dy over all rows of all ranks: (x.shape[1], dy.shape[1]). Collective."""
    with one_blas_thread():
        return view.tree_sum_of(
            lambda p, lo, hi, out: np.matmul(x[lo:hi].T, dy[lo:hi], out=out), (x.shape[1], dy.shape[1]), x.dtype
        )


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
    """
    return linear_sum(((x, weight),), bias)


def linear_sum(pairs, bias=None):
    """Sum of x @ weight over pairs (x, weight), + bias, of every row. Collective.

    Parameters
    ----------
    pairs : sequence of (Tensor (n_owned, width), parameter (width, out))
    bias : parameter (1, out), optional

    Raises
    ------
    ProgramError
        Widths differ. Raised on every rank.
    """
    for x, w in pairs:
        if x.width != w.shape[0]:
            raise alike(f"rows of width {x.width} meet the weight {w.name or ''} {w.shape}")
    view, wants = pairs[0][0].view, [x.wants_grad for x, _ in pairs]
    given = [(x.data, w.data) for x, w in pairs]
    out = times(view, *given, bias=None if bias is None else bias.data)

    def back(dy):
        found = []
        for (x, w), x_wants in zip(given, wants, strict=True):
            found += [times(view, (dy, w.T)) if x_wants else None, transposed_times(view, x, dy)]
        return tuple(found) if bias is None else (*found, sum_over_rows(view, dy))

    sources = [t for pair in pairs for t in pair]
    return made(out, view, sources if bias is None else (*sources, bias), back)


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
