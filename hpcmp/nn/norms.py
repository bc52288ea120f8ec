"""Normalisation: of each vertex's numbers, and of each channel over all vertices of all ranks.

Means and variances over vertices are sums over each part, in double, then in the tree over the parts (`View.tree_sum`),
so that no rank or thread changes a bit.
"""

import numpy as np

from hpcmp.kernels import learning, norms
from hpcmp.nn.elementwise import add, multiply, over_parts
from hpcmp.nn.module import Buffer, Module, Parameter
from hpcmp.nn.tape import made


class LayerNorm(Module):
    """h_i = w (x_i - mean) / sqrt(variance + eps) + b, both of the numbers of x_i.

    Source: J. Ba, J. Kiros and G. Hinton, arXiv:1607.06450; as torch.nn.LayerNorm.
    """

    def __init__(self, width, eps=1e-5):
        self.weight, self.bias, self.eps = Parameter((1, width), "ones"), Parameter((1, width), "zeros"), eps

    def __call__(self, graph, x):
        return add(multiply(standard_rows(x, self.eps), self.weight), self.bias)


class BatchNorm(Module):
    """h_i = w (x_i - mean) / sqrt(variance + eps) + b, both of a channel over all vertices.

    Outside training mean and variance are those kept from it: each forward pass
    in training adds ``momentum`` of its own. Source: S. Ioffe and C. Szegedy,
    ICML 2015; as torch.nn.BatchNorm1d, which too divides the variance that it
    keeps by one vertex less.
    """

    def __init__(self, width, eps=1e-5, momentum=0.1):
        self.weight, self.bias = Parameter((1, width), "ones"), Parameter((1, width), "zeros")
        self.running_mean, self.running_var = Buffer((1, width), 0.0), Buffer((1, width), 1.0)
        self.eps, self.momentum = eps, momentum

    def __call__(self, graph, x):
        if x.view.is_training and x.view.graph.n_vertices:
            y, mean, variance = standard_columns(x, self.eps)
            n = x.view.graph.n_vertices
            self._keep(self.running_mean, mean)
            self._keep(self.running_var, variance * (n / max(n - 1, 1)))
        else:
            y = shifted(x, self.running_mean.data[0], self.running_var.data[0], self.eps)
        return add(multiply(y, self.weight), self.bias)

    def _keep(self, buffer, found):
        kept = (1 - self.momentum) * buffer.data.astype(np.float64) + self.momentum * found
        buffer.data = kept.astype(buffer.data.dtype)


def standard_rows(x, eps):
    """(x - mean) / sqrt(variance + eps) of each row. Local.

    Parameters
    ----------
    x : Tensor (n_owned, width)
    eps : float
    """
    view, root, y = x.view, np.empty(len(x.data)), np.empty_like(x.data)
    view.over_parts(lambda p, lo, hi: norms.standard_rows(x.data, eps, y, root, lo, hi))
    return made(y, view, (x,), lambda d: (over_parts(view, norms.standard_rows_back, d, d, y, root),))


def standard_columns(x, eps):
    """(x - mean) / sqrt(variance + eps) of each channel. Collective.

    Mean and variance are over all vertices of all ranks.

    Parameters
    ----------
    x : Tensor (n_owned, width)
    eps : float

    Returns
    -------
    Tensor (n_owned, width)
    mean, variance : float64 (width,)
        The same on all ranks; the variance is divided by the number of vertices.
    """
    view, n, width = x.view, x.view.graph.n_vertices, x.width
    mean = _summed(view, learning.sum_columns, (width,), x.data) / n
    variance = _summed(view, norms.sum_spreads, (width,), x.data, mean) / n
    root = 1 / np.sqrt(variance + eps)
    y = over_parts(view, norms.shift_columns, x.data, x.data, mean, root)

    def back(d):
        means = _summed(view, norms.sum_slopes, (2, width), d, y) / n
        return (over_parts(view, norms.standard_columns_back, d, d, y, means, root),)

    return made(y, view, (x,), back), mean, variance


def shifted(x, mean, variance, eps):
    """(x - mean) / sqrt(variance + eps) by a mean and a variance that stay. Local.

    Parameters
    ----------
    x : Tensor (n_owned, width)
    mean, variance : (width,) arrays
    eps : float
    """
    mean, root = mean.astype(np.float64), 1 / np.sqrt(variance.astype(np.float64) + eps)
    y = over_parts(x.view, norms.shift_columns, x.data, x.data, mean, root)
    return made(y, x.view, (x,), lambda d: ((d * root).astype(d.dtype),))


def _summed(view, kernel, shape, *args):
    """What a kernel(..., out, bounds, p, p + 1) sums over each part, over all parts: float64 array of a shape."""
    leaves, bounds = np.zeros((view.n_parts, *shape)), view.part_bounds
    view.over_parts(lambda p, lo, hi: kernel(*args, leaves, bounds, p, p + 1))
    return view.tree_sum(leaves)
