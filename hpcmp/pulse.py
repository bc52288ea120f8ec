"""How far this process is, for those who watch it.

Long loops tell where they are when they are asked, which costs them nothing;
what has no such count beats now and then. What may rightly stand still for
long, such as a call of another library, says so.
"""

import contextlib

SLOW_FACTOR = 10  # how much longer what is slow may stand still


class _Pulse:
    def __init__(self):
        self.n_beats = 0
        self.n_slow = 0  # how many `slow` we are in
        self.tellers = []  # the innermost last
        self.listener = None  # told of each change of is_slow


_PULSE = _Pulse()


def beat():
    """A piece of work is done. Local."""
    _PULSE.n_beats += 1


@contextlib.contextmanager
def telling(where):
    """While inside, ``where()`` tells how far we are: a text. Local.

    Another thread may ask at any time; another answer than before is progress.
    """
    _PULSE.tellers.append(where)
    try:
        yield
    finally:
        _PULSE.tellers.remove(where)


@contextlib.contextmanager
def slow():
    """What is inside may take long in one piece. Local."""
    _count_slow(1)
    try:
        yield
    finally:
        _count_slow(-1)
        beat()


def _count_slow(n):
    was, _PULSE.n_slow = _PULSE.n_slow > 0, _PULSE.n_slow + n
    if _PULSE.listener and was != is_slow():
        _PULSE.listener(is_slow())


def is_slow():
    """Whether we are inside a `slow`. Local."""
    return _PULSE.n_slow > 0


def listen(listener):
    """From now on ``listener(is_slow)`` is called when that changes; None: no more. Local."""
    _PULSE.listener = listener


def taken():
    """Number of beats, and what the loops tell, the innermost last. Local."""
    return _PULSE.n_beats, tuple(where() for where in tuple(_PULSE.tellers))
