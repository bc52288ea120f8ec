"""Users' functions as kernels call them: refused with random numbers, marked once, known again when made anew."""

import dis
import random

import numpy as np

from hpcmp import jit
from hpcmp.engine.fingerprint import fingerprint, helpers
from hpcmp.errors import ProgramError

_OWN: dict = {}  # users' functions that numba was told of, by fingerprint and place


def own(function):
    """A user's function as kernels call it, or its equal of an earlier run. Local.

    So with what it calls. numba keeps for ever what it was told of. A program whose functions are made anew for each run
    would leave some 10 kB a run; one that is equal in all that it depends on, and of the same place, is taken for it.
    """
    key, code = fingerprint(function), function.__code__
    place = (key, function.__qualname__, code.co_filename, code.co_firstlineno)
    known = _OWN.setdefault(place, function)
    if known is not function and fingerprint(known) != key:  # what it names is another since
        known = _OWN[place] = function
    for helper in helpers(known):
        jit.inlined(helper, fingerprint(helper))
    return jit.inlined(known, key)


def refuse_random(functions):
    """Refuse generators with a past: other bits on other ranks. Local."""
    for function in helpers(*functions):
        if any(_is_generator(value) for value in _globals_named(function)):
            raise ProgramError(
                f"{function.__name__} draws random numbers whose value depends on the rank; "
                "use hpcmp.uniform(seed, step, stream, vertex.id)"
            )


def _globals_named(function):
    """The values that a function's code loads by global name, of numpy's its `random` where that is taken."""
    code = list(dis.get_instructions(function))
    for load, then in zip(code, [*code[1:], None], strict=True):
        if load.opname == "LOAD_GLOBAL" and load.argval in function.__globals__:
            value = function.__globals__[load.argval]
            yield np.random if value is np and then is not None and then.argval == "random" else value


def _is_generator(value):
    return value is random or value is np.random or getattr(value, "__module__", None) == "random"
