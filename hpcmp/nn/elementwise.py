"""Operations on each number or row alone, each with its way back beside it."""

import numpy as np

from hpcmp.kernels import activations, learning
from hpcmp.nn.dense import sum_over_rows
from hpcmp.nn.sums import alike
from hpcmp.nn.tape import Tensor, made


def over_parts(view, kernel, like, *args):
    """What a kernel(*args, out, lo, hi) writes over all parts. Local."""
    out = view.empty(like.shape, like.dtype)
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

    is_row = b.view is None
    out = over_parts(view, learning.plus, a.data, a.data, b.data)
    return made(out, view, (a, b), lambda d: (d, sum_over_rows(view, d) if is_row else d))


def multiply(a, b):
    """a * b, of rows; or every row times a parameter (1, width). Local.

    Raises
    ------
    ProgramError
        Widths differ, or neither is rows. Raised on every rank.
    """
    a, b = _rows_first(a, b)
    view = a.view

    of_a, of_b, is_row = a.data, b.data, b.view is None

    def times(d, other):
        return over_parts(view, activations.product, d, d, other)

    def back(d):
        db = times(d, of_a)
        return times(d, of_b), sum_over_rows(view, db) if is_row else db

    return made(times(of_a, of_b), view, (a, b), back)


def _rows_first(a, b):
    """The two, rows before a parameter."""
    if a.view is None:
        a, b = b, a
    if b.view is not None:
        same_view(a, b)
    if a.view is None or a.width != b.width:
        kinds = [f"{'a parameter' if t.view is None else 'rows'} of width {t.width}" for t in (a, b)]
        raise alike(f"{kinds[0]} and {kinds[1]} do not fit together; two rows of one width, or one and a parameter, do")
    return a, b


def same_view(*tensors):
    """Refuse rows of different views, whose numbers differ. Local.

    Raises
    ------
    ProgramError
        They are of several. Raised on every rank.
    """
    if any(t.view is not tensors[0].view for t in tensors):
        raise alike("rows of different views do not fit together: of an edge's ends and of vertices, or of two graphs")


def maximum(*tensors):
    """Largest of several rows, channel by channel. Local.

    The gradient goes to the first that has it.
    """
    same_view(*tensors)
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
    return _by_result(x, learning.leaky, learning.leaky_back, x.data.dtype.type(slope))


def elu(x):
    """x, or exp(x) - 1 where it is negative. Local."""
    return _by_result(x, activations.elu, activations.elu_back)


def sigmoid(x):
    """1 / (1 + exp(-x)). Local."""
    return _by_result(x, activations.logistic, activations.logistic_back)


def tanh(x):
    """Hyperbolic tangent. Local."""
    return _by_result(x, activations.hyperbolic, activations.hyperbolic_back)


def _by_result(x, kernel, back, *args):
    """A function whose derivative is one of its result, so that x may go."""
    view, out = x.view, over_parts(x.view, kernel, x.data, x.data, *args)
    return made(out, view, (x,), lambda d: (over_parts(view, back, d, d, out, *args),))


def gelu(x):
    """x times the share of a normal distribution below x. Local.

    Source: D. Hendrycks and K. Gimpel, arXiv:1606.08415, with erf as torch's default.
    """
    out = over_parts(x.view, activations.gelu, x.data, x.data)
    return made(out, x.view, (x,), lambda d: (over_parts(x.view, activations.gelu_back, d, d, x.data),))


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
    same_view(*tensors)
    ends = np.cumsum([t.width for t in tensors])[:-1]
    data = np.concatenate([t.data for t in tensors], axis=1)
    return made(data, tensors[0].view, tensors, lambda d: tuple(map(np.ascontiguousarray, np.split(d, ends, axis=1))))


def log_softmax(x):
    """x - log(sum of exp(x)) of every row. Local."""
    view, out = x.view, over_parts(x.view, learning.log_softmax, x.data, x.data)
    return made(out, view, (x,), lambda d: (over_parts(view, learning.log_softmax_back, d, d, out),))


def constant(tensor):
    """The same numbers, wanting no gradient. Local."""
    return Tensor(tensor.data, tensor.view)
