"""What a user writes: the functions of a step and the state they act on.

`Program` only describes; `hpcmp.engine.bind` fits it to a graph and
`hpcmp.engine.run` steps it.
"""

import inspect
import math
from dataclasses import dataclass, field

import numpy as np

from hpcmp.dtypes import FIELD_DTYPES, field_dtype
from hpcmp.errors import ProgramError
from hpcmp.graph import BUILT_IN

AGGREGATES = ("sum", "mean", "min", "max", "any", "all", "count", "argmin", "argmax", "std", "softmax_sum", "mode")
NEIGHBOURS = ("in", "out", "both")
CONTEXT = ("step", "n_vertices", "n_edges")


@dataclass(frozen=True)
class Reducer:
    """A global value over all vertices, in no order.

    ``function(vertex, ctx)`` of the state a step starts from, or
    ``function(old, new, ctx)`` of the state before and after a step. Vector
    fields arrive as whole rows. Values are doubles: integers beyond 2**53 are
    rounded.
    """

    function: object

    @property
    def is_of_change(self):
        """Whether it compares the state before and after a step."""
        return _n_arguments(self.function) == 3


class Sum(Reducer):
    """Sum of doubles: exact, rounded once."""

    identity = 0.0


class Min(Reducer):
    """Smallest value; +inf over no vertices."""

    identity = math.inf


class Max(Reducer):
    """Largest value; -inf over no vertices."""

    identity = -math.inf


class Any(Reducer):
    """Whether it is true of a vertex."""

    identity = False


class All(Reducer):
    """Whether it is true of every vertex."""

    identity = True


@dataclass(frozen=True, kw_only=True)
class Program:
    """A message-passing program: what vertices hold, send, hear and become.

    Functions see numbers as int64, float64 or bool: narrower fields are
    widened when read and rounded when stored.

    Parameters
    ----------
    state : dict of str to dtype or (dtype, width)
        Fields of every vertex, in the order in which update returns them.
    init : callable (vertex, ctx) -> value(s)
        First state; ``vertex`` reads the graph's vertex fields, ``id``,
        ``in_degree`` and ``out_degree``.
    send : callable (vertex, ctx) -> value(s), optional
        What neighbours may read, and all that crosses the network. Default:
        the state.
    message : callable (sent, receiver, edge, ctx) -> value(s), optional
        What an edge carries. ``edge`` reads edge fields, ``sender`` (id of
        the source) and ``relation`` (its number). Default: ``sent``.
    messages : dict of str to callable, optional
        A message function per relation, in place of ``message``; other
        relations carry nothing.
    aggregate : str, Monoid or Collect
        How messages become one: sum, mean, min, max, any, all, count,
        argmin, argmax (of ``(key, label)``; of a single key the label is the
        sender's id), std, softmax_sum (of ``(logit, value)``), mode.
    update : callable (vertex, total, ctx) -> value(s)
        The new state.
    reduce : dict of str to Sum, Min, Max, Any, All
        Global values, read as ``ctx.NAME``.
    until : callable (ctx) -> bool, optional
        Asked after every step; True ends the run.
    only_changed : bool
        Vertices that did not change stay silent, vertices that hear nothing
        are not updated, and the run ends when none changed.
    active : callable (vertex, ctx) -> bool, optional
        With only_changed: who sends in the first step. Default: all.
    listens : callable (vertex, ctx) -> bool, optional
        Where it is False the vertex hears nothing in this step and keeps its
        state, at no cost. Default: all listen.
    bucket : callable (vertex, ctx) -> number, optional
        With only_changed: vertices of the lowest bucket send first, others
        wait, so that fewer values are sent that soon change again
        (delta-stepping). For aggregates to which a message twice is as a
        message once (min, max, any, all), and functions that do not ask for
        the step; the result is then the same.
    monotone : bool
        A promise: whenever a message comes, and however often, the state ends
        the same (shortest ways, smallest labels). With an aggregate such as
        min, max, any or all it allows ``mode="async"``; and in a run to the
        end, without reduce and until, messages that are pushed and tell a
        vertex nothing new are dropped as they come, in every mode.
    contraction : float, optional
        A promise: each step brings any two states nearer to each other, so
        that all runs end in the same one. ``mode="async"`` then ends when no
        number that is sent moves by more than this.
    params : dict of str to int, float, bool or array
        Defaults of what is read as ``ctx.NAME`` and may be set per run.
    sent, received : dtype, (dtype, width), or a tuple of such, optional
        What send and message give, where they fill rows (below); for send
        also a narrower type to travel in.
    neighbours : "in", "out" or "both"
        Whom a vertex hears: along edges, against them, or both ways.
    steps : int, optional
        How many steps where the run does not say.

    Vector fields: functions are written for one channel and applied to each.
    A function with one argument more, ``out``, is in row form: it gets whole
    rows and fills ``out`` (a tuple of rows where there are several fields).
    """

    state: dict
    init: object
    update: object
    send: object = None
    message: object = None
    messages: dict = field(default_factory=dict)
    aggregate: object = "sum"
    reduce: dict = field(default_factory=dict)
    until: object = None
    only_changed: bool = False
    active: object = None
    listens: object = None
    bucket: object = None
    monotone: bool = False
    contraction: float | None = None
    params: dict = field(default_factory=dict)
    sent: object = None
    received: object = None
    neighbours: str = "in"
    steps: int | None = None
    name: str = ""

    def __post_init__(self):
        if not self.state:
            raise ProgramError("state is empty; a program needs at least one field")
        in_files = ("name", "order", "steps", "ranks", *(f"{name}_channel" for name in self.state))
        for name, what in self.state.items():
            _check_name(name, "state field", (*BUILT_IN, *in_files))
            type_of_field(what, f"state field {name!r}")
        for name in (*self.params, *self.reduce):
            _check_name(name, "parameter or reduction", CONTEXT)
        for name in set(self.params) & set(self.reduce):
            raise ProgramError(f"{name!r} is both a parameter and a reduction; rename one of them")
        for name, value in self.params.items():
            if not isinstance(value, bool | int | float | np.ndarray | np.number | np.bool_):
                raise ProgramError(
                    f"parameter {name!r} is a {type(value).__name__}; use an int, a float, a bool or an array"
                )
        for name, reducer in self.reduce.items():
            if not isinstance(reducer, Reducer) or type(reducer) is Reducer:
                raise ProgramError(
                    f"reduce[{name!r}] is a {type(reducer).__name__}; use Sum, Min, Max, Any or All of a function"
                )
        self._check_functions()
        if self.neighbours not in NEIGHBOURS:
            raise ProgramError(f"neighbours = {self.neighbours!r} is not one of {', '.join(NEIGHBOURS)}")
        if isinstance(self.aggregate, str) and self.aggregate not in AGGREGATES:
            raise ProgramError(
                f"aggregate {self.aggregate!r} is not one of {', '.join(AGGREGATES)}, a Monoid or a Collect"
            )
        if self.message is not None and self.messages:
            raise ProgramError("give message or messages (one per relation), not both")
        if self.active is not None and not self.only_changed:
            raise ProgramError("active says who sends first when only_changed=True; without it every vertex sends")
        if self.contraction is not None and (self.only_changed or not self.contraction > 0):
            raise ProgramError("contraction is a tolerance above 0, for programs without only_changed")
        if self.monotone and not self.only_changed:
            raise ProgramError("monotone is for programs with only_changed=True")
        if self.bucket is not None and (not self.only_changed or self.reduce or self.until):
            raise ProgramError("bucket is for programs with only_changed=True, without reduce and until")

    def _check_functions(self):
        rules = {
            "init": (self.init, (2, 3), "(vertex, ctx) or, filling rows, (vertex, ctx, out)"),
            "send": (self.send, (2, 3), "(vertex, ctx) or, filling rows, (vertex, ctx, out)"),
            "message": (self.message, (4, 5), "(sent, receiver, edge, ctx) or, filling rows, (..., out)"),
            "update": (self.update, (3, 4), "(vertex, total, ctx) or, filling rows, (vertex, total, ctx, out)"),
            "until": (self.until, (1,), "(ctx)"),
            "active": (self.active, (2,), "(vertex, ctx)"),
            "listens": (self.listens, (2,), "(vertex, ctx)"),
            "bucket": (self.bucket, (2,), "(vertex, ctx)"),
        }
        rules |= {f"messages[{k!r}]": (f, *rules["message"][1:]) for k, f in self.messages.items()}
        rules |= {
            f"reduce[{k!r}]": (r.function, (2, 3), "(vertex, ctx) or (old, new, ctx)") for k, r in self.reduce.items()
        }
        for name, (function, allowed, shown) in rules.items():
            if function is None and name in ("send", "message", "until", "active", "listens", "bucket"):
                continue
            if not callable(function):
                raise ProgramError(f"{name} is a {type(function).__name__}; give a function {shown}")
            if _n_arguments(function) not in allowed:
                raise ProgramError(f"{name} takes {_n_arguments(function)} arguments; it must be a function {shown}")

    @property
    def functions(self):
        """All of the user's functions that run per vertex or edge."""
        own = [
            self.init,
            self.send,
            self.message,
            *self.messages.values(),
            self.update,
            self.active,
            self.listens,
            self.bucket,
        ]
        own += [r.function for r in self.reduce.values()]
        own += [getattr(self.aggregate, "combine", None), getattr(self.aggregate, "function", None)]
        return [f for f in own if f is not None]

    @property
    def ends_by_itself(self):
        return self.only_changed or self.until is not None


def type_of_field(what, whose):
    """(dtype, width) of a field's declaration; width None for a scalar. Local."""
    dtype, width = what if isinstance(what, tuple) else (what, None)
    if field_dtype(dtype) is None:
        raise ProgramError(
            f"{whose} has type {what!r}; use one of {', '.join(map(str, FIELD_DTYPES))}, or (type, width)"
        )
    if width is not None and (not isinstance(width, int) or width < 1):
        raise ProgramError(f"{whose} has width {width!r}; a width is a whole number of at least 1")
    return np.dtype(dtype), width


def types_of(what, whose):
    """List of (dtype, width) of ``sent`` or ``received``. Local."""
    is_one = not isinstance(what, tuple) or (len(what) == 2 and isinstance(what[1], int))
    return [type_of_field(w, whose) for w in ([what] if is_one else what)]


def fills_rows(function, plain):
    """Whether a function of ``plain`` arguments has one more, ``out``. Local."""
    return function is not None and _n_arguments(function) == plain + 1


def with_params(program, given):
    """The program's parameters with some replaced: dict. Local.

    Raises
    ------
    ProgramError
        An unknown name, or a value of another kind than the default.
    """
    params = dict(program.params)
    for name, value in (given or {}).items():
        if name not in params:
            known = ", ".join(sorted(params)) or "none"
            raise ProgramError(f"{name!r} is not a parameter of this program (it has: {known})")
        params[name] = like_default(params[name], value, name)
    return params


def like_default(default, value, name):
    """A value as the kind of its default, or a `ProgramError`. Local."""
    if isinstance(default, np.ndarray):
        try:
            return np.asarray(value, default.dtype)
        except (TypeError, ValueError) as error:
            raise ProgramError(f"{name} = {value!r} is no array of {default.dtype}: {error}") from error
    kinds = {bool: (bool, np.bool_), int: (int, np.integer), float: (int, float, np.number)}
    for kind, accepted in kinds.items():
        if isinstance(default, accepted if kind is not float else (float, np.floating)):
            if not isinstance(value, accepted) or (kind is not bool and isinstance(value, bool)):
                raise ProgramError(
                    f"{name} = {value!r} is a {type(value).__name__}; this parameter is a {kind.__name__}"
                )
            return kind(value)
    return value


def _check_name(name, what, taken):
    if not isinstance(name, str) or not name.isidentifier() or name.startswith("_") or name in taken:
        raise ProgramError(f"{what} {name!r} must be a Python name other than {', '.join(taken)}")


def _n_arguments(function):
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return -1
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
