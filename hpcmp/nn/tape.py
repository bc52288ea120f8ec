"""Tensors that remember how they were made, and the way back.

An operation makes its result with `made`: the tensors it came from, and a
function from the gradient of the result to theirs. `backward` goes through
what was made, newest first. There is no global tape: what a result remembers
is its own, and is forgotten as the way back passes it.
"""

import itertools

import numpy as np

_CLOCK = itertools.count()


class Tensor:
    """An array of a computation.

    Attributes
    ----------
    data : float array
        ``(n_owned, width)`` rows of a view's vertices, or with ``view`` None
        a parameter, the same on all ranks.
    grad : like data, or None
        Derivative of what `backward` was called for.
    view : View or None
    """

    def __init__(self, data, view=None, wants_grad=False, name=None):
        self.data, self.view, self.wants_grad, self.name = data, view, wants_grad, name
        self.grad = None
        self.is_lasting = False  # the same in every epoch, so that what is made of it may be kept
        self.sources, self.back, self.age = (), None, next(_CLOCK)

    @property
    def shape(self):
        return self.data.shape

    @property
    def width(self):
        return self.data.shape[1]

    def __add__(self, other):
        from hpcmp.nn.elementwise import add

        return add(self, other)

    def __repr__(self):
        kind = "parameter" if self.view is None else "rows"
        return f"Tensor({kind} {self.name or ''} {self.data.shape} {self.data.dtype})"


def made(data, view, sources, back):
    """The result of an operation. Local.

    Parameters
    ----------
    sources : tuple of Tensor
    back : callable (gradient of the result) -> tuple, one for each source
        None for a source that wants none.
    """
    wants = any(s.wants_grad for s in sources)
    out = Tensor(data, view, wants)
    if wants:
        out.sources, out.back = sources, back
    return out


def backward(result, gradient=None):
    """Gradients of a result by what it was made of, into ``grad``. Collective.

    Parameters
    ----------
    result : Tensor
    gradient : like result.data, optional
        Default: ones, of a loss of one element.
    """
    for tensor, d in gradients(result, np.ones_like(result.data) if gradient is None else gradient).items():
        tensor.grad = d if tensor.grad is None else tensor.grad + d


def gradients(result, gradient):
    """Gradients of a result by the tensors that nothing made: dict. Collective.

    The result forgets how it was made.
    """
    found = {result: gradient}
    for tensor in sorted(_ancestors(result), key=lambda t: -t.age):
        if tensor.back is None:
            continue
        d = found.pop(tensor, None)
        given = (None,) * len(tensor.sources) if d is None else tensor.back(d)
        for source, part in zip(tensor.sources, given, strict=True):
            if part is not None and source.wants_grad:
                # not in place: an operation may have given the same array to two sources
                found[source] = found[source] + part if source in found else part
        tensor.sources, tensor.back = (), None
    return found


def _ancestors(result):
    found, todo = {result}, [result]
    while todo:
        for source in todo.pop().sources:
            if source.wants_grad and source not in found:
                found.add(source)
                todo.append(source)
    return found
