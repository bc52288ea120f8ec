"""Fingerprints of functions: whatever a kernel was made from, and nothing else."""

import math
import types

import numpy as np
import pytest

from hpcmp.engine.fingerprint import fingerprint, names_used
from hpcmp.engine.program import Max, Min, Sum

BASE = """
import collections, enum, math
import numpy as np
import helper
RATE = 0.5
TABLE = np.array([1.0, 2.0])
PAIR = (1, 2)
class Colour(enum.IntEnum):
    RED = 1
    BLUE = 2
class Level(enum.Enum):
    HIGH = 1
HIGH = Level.HIGH
Pair = collections.namedtuple("Pair", "left right")
def inner(x):
    return Pair(x, RATE).left * RATE + HIGH.value
def outer(vertex, ctx, scale=2):
    def local(y):
        return y + 1
    if vertex.id in {3, 4}:
        return local(0)
    return inner(vertex.value) + TABLE[0] + PAIR[1] + helper.shift(vertex.kind) * scale + Colour.RED + helper.deep.LIMIT
"""
HELPER = "def shift(x):\n    return x + 1\n"


def module(text, helper=HELPER, limit=9):
    deep = types.ModuleType("deep")
    deep.LIMIT = limit
    made = types.ModuleType("helper")
    exec(helper, made.__dict__)
    made.deep = deep
    user = types.ModuleType("user")
    exec(text.replace("import helper\n", ""), user.__dict__)
    user.helper = made
    return user.outer


EDITS = {
    "a body": ("local(0)", "local(1)"),
    "a global number": ("RATE = 0.5", "RATE = 0.25"),
    "a global array": ("[1.0, 2.0]", "[1.0, 2.5]"),
    "a global tuple": ("(1, 2)", "(1, 3)"),
    "a called function": ("left * RATE", "left / RATE"),
    "a function within": ("y + 1", "y + 2"),
    "a default": ("scale=2", "scale=3"),
    "a field": ("vertex.value", "vertex.speed"),
    "a set of constants": ("{3, 4}", "{3, 5}"),
    "a member of an enumeration": ("RED = 1", "RED = 7"),
    "a member taken out of its enumeration": ("HIGH = 1", "HIGH = 2"),
    "the order of a named tuple": ('"left right"', '"right left"'),
}


def test_a_fingerprint_is_of_what_a_function_does():
    assert fingerprint(module(BASE)) == fingerprint(module(BASE))


@pytest.mark.parametrize("what", EDITS)
def test_a_fingerprint_changes_with(what):
    edited = BASE.replace(*EDITS[what])
    assert edited != BASE
    assert fingerprint(module(edited)) != fingerprint(module(BASE))


def test_a_fingerprint_sees_helpers_in_other_modules():
    assert fingerprint(module(BASE, HELPER.replace("+ 1", "+ 2"))) != fingerprint(module(BASE))
    assert fingerprint(module(BASE, limit=8)) != fingerprint(module(BASE))


def test_a_fingerprint_sees_captured_values():
    def make(rate, table):
        return lambda vertex, ctx: vertex.value * rate + table[0]

    found = {fingerprint(make(r, np.array(t))) for r in (1, 1.0, 2.0) for t in ([1.0], [2.0])}
    assert len(found) == 6


def test_a_fingerprint_tells_descriptions_of_the_same_fields_apart():
    assert len({fingerprint(kind(len)) for kind in (Sum, Min, Max)}) == 3


def test_a_fingerprint_ends_on_functions_that_call_each_other():
    space = {}
    exec("def a(x):\n    return b(x)\ndef b(x):\n    return a(x)", space)
    assert fingerprint(space["a"]) == fingerprint(space["a"])


def test_a_fingerprint_ignores_what_is_not_used():
    assert fingerprint(module(BASE + "\nUNUSED = 5\n")) == fingerprint(module(BASE + "\nUNUSED = 6\n"))


def test_names_are_those_of_the_functions_and_their_helpers():
    names = names_used(module(BASE))
    assert {"value", "kind", "id"} <= names
    assert "speed" not in names
    assert names_used(lambda vertex, ctx: math.sqrt(getattr(vertex, "mass"))) >= {"mass"}  # noqa: B009
