"""Operations on each number or row alone, each with its way back beside it."""

import numpy as np

from hpcmp.kernels import activations, learning
from hpcmp.nn.dense import sum_over_rows
from hpcmp.nn.sums import alike
from hpcmp.nn.tape import Tensor, made


def over_parts(view, kernel, like, *args):
    """What a kernel(*args, out, lo, hi) writes over all parts. Local."""
    out = np.empty_like(like)
    view.over_parts(lambda p, lo, hi: kernel(*args, out, lo, hi))
    return out


def add(a, b):
    """a + b, of rows; or a parameter (1, width) added to every row. Local.

    Raises
    ------
    ProgramError
        Widths differ, or neither is rows. Raised on every rank.
    """
    a, b = _rows_first(a, b)
    view = a.view

    def given(tensor, d):
        return d if tensor.view is not None else sum_over_rows(view, d)

    out = over_parts(view, learning.plus, a.data, a.data, b.data)
    return made(out, view, (a, b), lambda d: (given(a, d), given(b, d)))


def multiply(a, b):
    """a * b, of rows; or every row times a parameter (1, width). Local.

    Raises
    ------
    ProgramError
        Widths differ, or neither is rows. Raised on every rank.
    """
    a, b = _rows_first(a, b)
    view = a.view

    def times(d, other):
        return over_parts(view, activations.product, d, d, other.data)

    def back(d):
        db = times(d, a)
        return times(d, b), db if b.view is not None else sum_over_rows(view, db)

    return made(over_parts(view, activations.product, a.data, a.data, b.data), view, (a, b), back)


def _rows_first(a, b):
    """The two, rows before a parameter."""
    if a.view is None:
        a, b = b, a
    if a.view is None or a.width != b.width:
        kinds = [f"{'a parameter' if t.view is None else 'rows'} of width {t.width}" for t in (a, b)]
        raise alike(f"{kinds[0]} and {kinds[1]} do not fit together; two rows of one width, or one and a parameter, do")
    return a, b


def maximum(*tensors):
    """Largest of several rows, channel by channel. Local.

    The gradient goes to the first that has it.
    """
    data = np.stack([t.data for t in tensors])
    best = data.argmax(axis=0)

    def back(d):
        return tuple(np.where(best == which, d, d.dtype.type(0)) for which in range(len(tensors)))

    return made(data.max(axis=0), tensors[0].view, tensors, back)


def scale(x, factor):
    """x times a number or an array (n_owned, 1) that wants no gradient. Local."""
    return made(x.data * factor, x.view, (x,), lambda d: (d * factor,))


def relu(x):
    """max(x, 0). Local."""
    return leaky_relu(x, 0.0)


def leaky_relu(x, slope=0.01):
    """x, or slope * x where it is negative; slope in [0, 1). Local."""
    slope = x.data.dtype.type(slope)
    out = over_parts(x.view, learning.leaky, x.data, x.data, slope)
    # of the result, which is above 0 where x is
    return made(out, x.view, (x,), lambda d: (over_parts(x.view, learning.leaky_back, d, d, out, slope),))


def elu(x):
    """x, or exp(x) - 1 where it is negative. Local."""
    is_up = x.data > 0
    low = over_parts(x.view, learning.exponential, x.data, np.minimum(x.data, 0))
    out = np.where(is_up, x.data, low - 1)
    return made(out, x.view, (x,), lambda d: (np.where(is_up, d, d * low),))


def gelu(x):
    """x times the share of a normal distribution below x. Local.

    Source: D. Hendrycks and K. Gimpel, arXiv:1606.08415, with erf as torch's default.
    """
    out = over_parts(x.view, activations.gelu, x.data, x.data)
    return made(out, x.view, (x,), lambda d: (over_parts(x.view, activations.gelu_back, d, d, x.data),))


def sigmoid(x):
    """1 / (1 + exp(-x)). Local."""
    out = over_parts(x.view, activations.logistic, x.data, x.data)
    return made(out, x.view, (x,), lambda d: (over_parts(x.view, activations.logistic_back, d, d, out),))


def tanh(x):
    """Hyperbolic tangent. Local."""
    out = over_parts(x.view, activations.hyperbolic, x.data, x.data)
    return made(out, x.view, (x,), lambda d: (over_parts(x.view, activations.hyperbolic_back, d, d, out),))


def dropout(x, p):
    """x with numbers left out with probability p, in training only. Local.

    The others are scaled up. Which ones is a function of (seed, epoch, number
    of this call, id, channel). p is rounded to a multiple of 2**-16 below 1.

    Raises
    ------
    ProgramError
        p is outside [0, 1). Raised on every rank.
    """
    view = x.view
    limit, scale = drawing(p)
    if not view.is_training or p == 0:
        return x
    key = *view.next_draws(), view.graph.id
    factor = x.data.dtype.type(scale)

    def follow(v):
        return over_parts(view, learning.drop, v, *key, np.ascontiguousarray(v), limit, factor)

    return made(follow(x.data), view, (x,), lambda d: (follow(d),))


def drawing(p):
    """What 16 bits must reach to be kept, and the factor of what is. Local.

    Raises
    ------
    ProgramError
        p is outside [0, 1). Raised on every rank.
    """
    if not 0 <= p < 1:
        raise alike(f"dropout p = {p} is outside [0, 1)")
    limit = min(round(p * 65536), 65535)
    return np.uint64(limit), 65536 / (65536 - limit)


def concat(*tensors):
    """Rows side by side. Local."""
    ends = np.cumsum([t.width for t in tensors])[:-1]
    data = np.concatenate([t.data for t in tensors], axis=1)
    return made(data, tensors[0].view, tensors, lambda d: tuple(map(np.ascontiguousarray, np.split(d, ends, axis=1))))


def log_softmax(x):
    """x - log(sum of exp(x)) of every row. Local."""
    out = over_parts(x.view, learning.log_softmax, x.data, x.data)

    def back(d):
        p = over_parts(x.view, learning.exponential, out, out)
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
