"""Tensors that remember how they were made, and the way back.

An operation makes its result with `made`: the tensors it came from, and a
function from the gradient of the result to theirs. `backward` goes through
what was made, newest first. There is no global tape: what a result remembers
is its own, and is forgotten as the way back passes it.
"""

import itertools

import numpy as np

from hpcmp.nn.sums import alike

_CLOCK = itertools.count()


def _SPENT(d):
    """Way back of an origin that has forgotten it."""


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

    sources, back, age = (), None, -1  # as an Origin has them: nothing made it

    def __init__(self, data, view=None, wants_grad=False, name=None):
        self.data, self.view, self.wants_grad, self.name = data, view, wants_grad, name
        self.grad = None
        self.is_lasting = False  # the same in every epoch, so that what is made of it may be kept
        self.made_by = None  # an Origin, of a result

    @property
    def origin(self):
        """How it was made; of what nothing made, itself."""
        return self.made_by or self

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


class Origin:
    """How a tensor was made; knows no array but those that the way back asks for.

    So the rows between two operations can go as soon as the model lets them.
    """

    __slots__ = ("age", "back", "sources", "view")

    def __init__(self, sources, back, view):
        self.sources, self.back, self.view, self.age = sources, back, view, next(_CLOCK)


def made(data, view, sources, back):
    """The result of an operation. Local.

    Parameters
    ----------
    sources : tuple of Tensor
    back : callable (gradient of the result) -> tuple, one for each source
        None for a source that wants none.
    """
    wants = any(s.wants_grad for s in sources) and getattr(view, "is_learning", True)
    out = Tensor(data, view, wants)
    if wants:
        out.made_by = Origin(tuple(s.origin if s.wants_grad else None for s in sources), back, view)
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

    Raises
    ------
    ProgramError
        Something it was made of has forgotten already. Raised on every rank.
    """
    if any(origin.back is _SPENT for origin in _ancestors(result)):
        raise alike("this was gone back through before: a result gives gradients once; make it again for more")
    found, order = {result.origin: gradient}, sorted(_ancestors(result), key=lambda o: o.age)
    while order:
        origin = order.pop()
        if origin.back is None:
            continue
        d = found.pop(origin, None)
        given = (None,) * len(origin.sources) if d is None else origin.back(d)
        for source, part in zip(origin.sources, given, strict=True):
            if source is not None and part is not None:
                # not in place: an operation may have given the same array to two sources
                found[source] = _sum(source.view, found[source], part) if source in found else part
        origin.sources, origin.back = (), _SPENT
        del d, given, part
    return found


def _sum(view, a, b):
    return a + b if view is None else view.plus(a, b)


def now():
    """A time to compare the ages of origins with. Local."""
    return next(_CLOCK)


def parameters_of(result, since, inside):
    """Parameters that a result was made of, in the order of their names: list. Local.

    Parameters
    ----------
    since : int
        `now` before it was made.
    inside : View or chunk
        Whose rows it may be made of.

    Raises
    ------
    ProgramError
        It was made of something that an operation gave before, or of other rows
        that want gradients. Raised on every rank.
    """
    found = {}
    for origin in _ancestors(result):
        if not isinstance(origin, Tensor):
            if origin.age < since:
                raise alike(
                    "a message may use parameters, but not what was made of them before; make it within the message"
                )
        elif origin.view is None:
            found[origin.name] = origin
        elif origin.view is not inside:
            raise alike("a message may use rows of its ends alone; give others as part of what is sent")
    return [found[name] for name in sorted(found)]


def _ancestors(result):
    """What a gradient reaches: origins, and tensors that nothing made."""
    found = {result.origin}
    todo = [result.origin]
    while todo:
        new = [source for source in todo.pop().sources if source is not None and source not in found]
        found.update(new)
        todo.extend(new)
    return found
