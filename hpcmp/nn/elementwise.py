"""Operations on each number or row alone, each with its way back beside it."""

import numpy as np

from hpcmp.errors import ProgramError
from hpcmp.kernels import learning
from hpcmp.nn.dense import sum_over_rows
from hpcmp.nn.tape import Tensor, made


def _over_parts(view, kernel, like, *args):
    """What a kernel(x..., out, lo, hi) writes."""
    out = np.empty_like(like)
    view.over_parts(lambda p, lo, hi: kernel(*args, out, lo, hi))
    return out


def add(a, b):
    """a + b, of rows; or a parameter (1, width) added to every row. Local."""
    view = a.view or b.view

    def given(tensor, d):
        return d if tensor.view is not None else sum_over_rows(view, d)

    out = _over_parts(view, learning.plus, a.data, a.data, b.data)
    return made(out, view, (a, b), lambda d: (given(a, d), given(b, d)))


def scale(x, factor):
    """x times a number or an array (n_owned, 1) that wants no gradient. Local."""
    return made(x.data * factor, x.view, (x,), lambda d: (d * factor,))


def relu(x):
    """max(x, 0). Local."""
    return leaky_relu(x, 0.0)


def leaky_relu(x, slope=0.01):
    """x, or slope * x where it is negative; slope in [0, 1). Local."""
    slope = x.data.dtype.type(slope)
    out = _over_parts(x.view, learning.leaky, x.data, x.data, slope)
    # of the result, which is above 0 where x is
    return made(out, x.view, (x,), lambda d: (_over_parts(x.view, learning.leaky_back, d, d, out, slope),))


def elu(x):
    """x, or exp(x) - 1 where it is negative. Local."""
    is_up = x.data > 0
    low = _over_parts(x.view, learning.exponential, x.data, np.minimum(x.data, 0))
    out = np.where(is_up, x.data, low - 1)
    return made(out, x.view, (x,), lambda d: (np.where(is_up, d, d * low),))


def dropout(x, p):
    """x with numbers left out with probability p, in training only. Local.

    The others are scaled up.

    Which ones is a function of (seed, epoch, number of this call, id, channel). p is rounded to a multiple of 2**-16.
    """
    view = x.view
    if not 0 <= p < 1:
        raise ProgramError(f"dropout p = {p} is outside [0, 1)")
    if not view.is_training or p == 0:
        return x
    view.n_draws += 1
    limit = np.uint64(round(p * 65536))
    factor = x.data.dtype.type(65536 / (65536 - int(limit)))
    key = np.int64(view.seed), np.int64(view.epoch), np.int64(view.n_draws), view.graph.id

    def follow(v):
        return _over_parts(view, learning.drop, v, *key, np.ascontiguousarray(v), limit, factor)

    return made(follow(x.data), view, (x,), lambda d: (follow(d),))


def concat(*tensors):
    """Rows side by side. Local."""
    ends = np.cumsum([t.width for t in tensors])[:-1]
    data = np.concatenate([t.data for t in tensors], axis=1)
    return made(data, tensors[0].view, tensors, lambda d: tuple(np.split(d, ends, axis=1)))


def log_softmax(x):
    """x - log(sum of exp(x)) of every row. Local."""
    out = _over_parts(x.view, learning.log_softmax, x.data, x.data)

    def back(d):
        p = _over_parts(x.view, learning.exponential, out, out)
        return (d - p * _row_sums(x.view, d),)

    return made(out, x.view, (x,), back)


def _row_sums(view, d):
    """Sum of every row, channel by channel: (n, 1)."""
    out = np.zeros((len(d), 1), d.dtype)
    for k in range(d.shape[1]):
        out[:, 0] += d[:, k]
    return out


def constant(tensor):
    """The same numbers, wanting no gradient. Local."""
    return Tensor(tensor.data, tensor.view)
