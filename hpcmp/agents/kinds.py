"""What a model of agents is made of: kinds of messages, and types of agents with their functions."""

import inspect
import operator

import numpy as np

from hpcmp.engine.program import Reducer
from hpcmp.errors import ProgramError
from hpcmp.io.trail import type_title
from hpcmp.kernels import kind, records
from hpcmp.kernels.inbox import POLICIES

RESERVED = {name for name, _ in (*records.HEADER, *records.CAUSE)}
NUMBERS = "iufb"  # kinds of dtypes that a field may have


class MessageType:
    """A kind of message: a name and payload fields.

        Bid = agents.MessageType("bid", price="float64", item="int64")

    A message that is read has these fields, ``sender`` (id of who sent it) and
    ``number`` (of the sender's messages, from 0).

    Parameters
    ----------
    name : str
    relation : str, optional
        Of the graph: such messages go along its edges alone.
    fields
        Name to dtype: numbers or truth values.

    Raises
    ------
    ProgramError
        A field has a reserved name or another dtype.
    """

    def __init__(self, name, relation=None, **fields):
        self.name, self.relation = str(name), None if relation is None else str(relation)
        self.number = self.near = 0  # among the kinds of a model; whose neighbours get it
        self.dtypes = {field: _number_dtype(f"message {name!r}", field, dtype) for field, dtype in fields.items()}
        self.fields = tuple(self.dtypes)
        for field in self.fields:
            if field in RESERVED:
                raise ProgramError(
                    f"message {name!r}: {field!r} is a field that every message has; choose another name"
                )

    def __repr__(self):
        bound = [] if self.relation is None else [f"relation={self.relation!r}"]
        return f"MessageType({', '.join([repr(self.name), *bound, *(f'{f}={d}' for f, d in self.dtypes.items())])})"

    @property
    def title(self):
        """What to call it: its name, and its relation if it has one."""
        return type_title(self.name, self.relation)

    def over(self, relation):
        """A kind of the same name and fields along another relation. Local.

        It has functions of its own: what a note means depends on the relation
        over which it came.
        """
        return MessageType(self.name, relation=relation, **self.dtypes)

    def record(self, width, is_traced):
        """Record type of such messages, of so many bytes. Local."""
        return records.layout(tuple(self.dtypes.items()), is_traced, width)


kind.know_kind(MessageType)


class Agent:
    """A type of agents: state, and what they do.

    Functions are plain Python, compiled together into one loop. ``me`` is the
    agent: its ``id`` and its state, to be read and written; ``msg`` the message
    at hand; ``out`` sends; ``ctx`` has ``step``, ``n_vertices`` and the
    parameters.

    Parameters
    ----------
    name : str
    state : dict of str to dtype
        A field of the graph's vertices of the same name is what it begins with;
        else 0.

    Raises
    ------
    ProgramError
        A field has a reserved name or another dtype.
    """

    def __init__(self, name, state):
        self.name = str(name)
        self.state = {field: _number_dtype(f"agent {name!r}", field, dtype) for field, dtype in state.items()}
        if "id" in self.state:
            raise ProgramError(f"agent {name!r}: 'id' is what every agent has")
        self.handlers, self.limits, self.merges, self.measures = {}, {}, {}, {}
        self.step_function = self.begin_function = self.goal_function = None
        self.acts_alone = False  # when no message is on its way

    def __repr__(self):  # of no address: it may be part of a fingerprint
        return f"Agent({self.name!r})"

    def on(self, kind, limit=None, policy="error"):
        """Decorator: function(me, msg, out, ctx) reads messages of a kind. Local.

        Parameters
        ----------
        kind : MessageType
        limit : int, optional
            Messages of the kind that an agent can get in one step.
        policy : "error", "drop_new", "drop_old" or a function
            What is done with more: the run ends; those that come last, or
            first, in the order of reading are left out; or function(into, msg)
            makes the last that fits and each one more into one.
        """
        if not isinstance(kind, MessageType):
            raise ProgramError(f"agent {self.name!r}: on() takes a MessageType, not {kind!r}")
        if kind.title in {k.title for k in self.handlers}:
            raise ProgramError(f"agent {self.name!r} has two functions for message {kind.title!r}")
        if not callable(policy) and policy not in POLICIES:
            raise ProgramError(f"policy {policy!r} is none of error, drop_new, drop_old and no function")
        limit = None if limit is None else whole("limit", limit, least=1)
        if limit is None and policy != "error":
            raise ProgramError(f"agent {self.name!r}: a policy for message {kind.title!r} needs a limit that it keeps")

        def take(function):
            self.handlers[kind] = self._takes(function, "me", "msg", "out", "ctx")
            if limit is not None:
                self.limits[kind] = limit, "merge" if callable(policy) else policy
                if callable(policy):
                    self.merges[kind] = self._takes(policy, "into", "msg")
            return function

        return take

    def each_step(self, function=None, *, alone=True):
        """Decorator: function(me, out, ctx) acts in every step, after messages. Local.

        With ``alone=False`` it does nothing in steps that no message leads to:
        the run ends as "quiet" when none is on its way.
        """
        if function is None:
            return lambda function: self.each_step(function, alone=alone)
        self.step_function, self.acts_alone = self._takes(function, "me", "out", "ctx"), alone
        return function

    def begin(self, function):
        """Decorator: function(me, ctx) makes the first state. Local."""
        self.begin_function = self._takes(function, "me", "ctx")
        return function

    def goal(self, function):
        """Decorator: function(me, ctx) tells whether an agent is done. Local.

        The run ends when it is true of all agents of all types that have one.
        """
        self.goal_function = self._takes(function, "me", "ctx")
        return function

    def _takes(self, function, *names):
        """The function, if it takes so many arguments."""
        try:
            inspect.signature(function).bind(*names)
        except (TypeError, ValueError) as error:
            name = getattr(function, "__name__", repr(function))
            raise ProgramError(f"agent {self.name!r}: {name} is no function of ({', '.join(names)})") from error
        return function

    def measure(self, reducer, name=None):
        """Decorator: function(me, ctx) is reduced over agents after each step. Local.

        Parameters
        ----------
        reducer : hpcmp.Sum, Min, Max, Any or All
        name : str, optional
            Default: that of the function. Agent types with one of the same
            name share it.
        """
        if not (isinstance(reducer, type) and issubclass(reducer, Reducer) and reducer is not Reducer):
            raise ProgramError(f"agent {self.name!r}: measure() takes Sum, Min, Max, Any or All, not {reducer!r}")

        def take(function):
            called = str(name or function.__name__)
            if called in self.measures:
                raise ProgramError(f"agent {self.name!r} has two measures {called!r}")
            self.measures[called] = reducer(self._takes(function, "me", "ctx"))
            return function

        return take

    @property
    def functions(self):
        """All of them, for fingerprints."""
        every = (*self.handlers.values(), *self.merges.values(), self.step_function, self.begin_function)
        return (*every, self.goal_function, *(reducer.function for reducer in self.measures.values()))

    def record(self):
        """Record type of the agents' state. Local."""
        return np.dtype([("id", "<i8"), *self.state.items()], align=True)


def whole(name, value, least=None):
    """A whole number of 64 bits that is not below another. Local."""
    try:
        number = operator.index(value)
    except TypeError as error:
        raise ProgramError(f"{name} = {value!r} is no whole number") from error
    if least is not None and number < least:
        raise ProgramError(f"{name} = {number} is below {least}")
    if abs(number) >= 2**63:
        raise ProgramError(f"{name} = {number} does not fit 64 bits")
    return number


def _number_dtype(what, field, dtype):
    try:
        dtype = np.dtype(dtype)
    except TypeError as error:
        raise ProgramError(f"{what}: {field} = {dtype!r} is no dtype") from error
    if dtype.kind not in NUMBERS or not str(field).isidentifier():
        raise ProgramError(f"{what}: {field} = {dtype} is no number or truth value of a plain name")
    return dtype
