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
        self.on_silence = None


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
    beat()
    _PULSE.n_slow += 1
    try:
        yield
    finally:
        _PULSE.n_slow -= 1
        beat()


@contextlib.contextmanager
def silent():
    """What is inside is slow, and keeps Python's lock: no thread answers. Local."""
    tell = _PULSE.on_silence or (lambda is_silent: None)
    tell(True)
    try:
        with slow():
            yield
    finally:
        tell(False)


def is_slow():
    """Whether we are inside a `slow`. Local."""
    return _PULSE.n_slow > 0


def listen(listener):
    """Call ``listener(is_silent)`` when a silence begins and ends. Local."""
    _PULSE.on_silence = listener


def taken():
    """Number of beats, and what the loops tell, the innermost last. Local."""
    return _PULSE.n_beats, tuple(map(_told, tuple(_PULSE.tellers)))


def _told(where):
    try:
        return where()
    except Exception:  # asked in the middle of a change
        return "between two places"
