"""What an agent's function sends: written as records into a buffer, by compiled code and by plain Python alike.

A message is one record: a header, then its payload. Every kind of message has a record type of its own over the same
bytes, so one buffer holds all kinds in the order in which they were sent. `Outbox` is a named tuple of arrays, which
numba sees through; its methods have compiled twins below.

k: place in the buffer
"""

from typing import NamedTuple

import numpy as np
from numba import types
from numba.core.errors import NumbaNotImplementedError, TypingError
from numba.extending import overload, overload_method
from numba.np.numpy_support import as_dtype

from hpcmp.jit import inlined
from hpcmp.kernels import uses
from hpcmp.kernels.kind import as_kind, as_known, near_of, near_of_type
from hpcmp.kernels.neighbours import edge, find, n_neighbours, neighbour, place, row_in
from hpcmp.kernels.places import (
    ASKED,
    BAD_DELAY,
    FILLED,
    FINE,
    LEAVES,
    LEFT,
    NOWHERE,
    OF_HOME,
    OF_NUMBER,
    OF_ROOT_NUMBER,
    OF_ROOT_SENDER,
    OF_SENDER,
    ONE,
    OVER_BUDGET,
    ROW,
    STATUS,
    STEP,
    TOO_LARGE,
    fail,
)

HEADER = (
    ("to", "<i8"),  # gid of the receiver
    ("sender", "<i8"),  # id
    ("home", "<i8"),  # gid of the sender
    ("number", "<i8"),  # of the sender's messages, from 0
    ("due", "<i8"),  # step in which it can be read
    ("kind", "<u4"),
    ("status", "<u4"),
)
CAUSE = (  # step in which it was sent; ids and numbers of the message that caused it, and of the first of its conversation
    ("sent", "<i8"),
    ("cause_sender", "<i8"),
    ("cause_number", "<i8"),
    ("root_sender", "<i8"),
    ("root_number", "<i8"),
)


class Outbox(NamedTuple):
    """Where the functions of an agent put messages; one for each thread."""

    mail: tuple  # of each kind the records (room,), over the same bytes
    at: np.ndarray  # int64 (N_AT,) how far it is filled, and for whom
    asked: np.ndarray  # int64 (room, 2) place and receiver's id of messages to agents that are not near
    numbers: np.ndarray  # int64 (n_owned,) how many messages each row has sent
    ptr: np.ndarray  # uint64 (lists * n_owned + 1,) of neighbours
    heard_by: np.ndarray  # uint32 local rows of out-neighbours, ascending by id in each list
    id: np.ndarray  # int64 (n_local,)
    gid: np.ndarray  # int64 (n_local,)
    edges: tuple  # fields of edges to neighbours, as they lie in heard_by

    def send(self, kind, receiver, *values):
        """Send to a neighbour, the sender of the message at hand, or oneself. Local."""
        write(self, kind, receiver, 1, values)

    def send_later(self, delay, kind, receiver, *values):
        """`send` what can be read ``delay`` steps from now. Local."""
        write(self, kind, receiver, delay, values)

    def to_neighbours(self, kind, *values):
        """Send to all out-neighbours, ascending by id. Local."""
        write_to_all(self, kind, values)

    def degree(self, kind=None):
        """Number of out-neighbours, or of those that get a kind of message. Local."""
        return n_neighbours(self, near_of(kind))

    def neighbour(self, q, kind=None):
        """Id of the q-th out-neighbour, q from 0. Local."""
        return neighbour(self, q, near_of(kind))

    def place(self, id, kind=None):
        """Which neighbour has an id, -1 if none: what `edge` takes. Local."""
        return place(self, id, near_of(kind))

    def edge(self, q, kind=None):
        """Edge to the q-th out-neighbour: its fields of scalars. Local."""
        return edge(self, q, near_of(kind))

    def leave(self):
        """Be gone from the next step on: what comes then is not read. Local."""
        self.at[LEAVES] = 1


@inlined
def begin_agent(out, row, budget):
    """Let what is sent from now on be of a row. Local."""
    out.at[ROW], out.at[LEFT], out.at[LEAVES] = row, budget, 0
    out.at[OF_NUMBER], out.at[OF_HOME] = NOWHERE, NOWHERE


@inlined
def begin_message(out, header):
    """Let what is sent from now on be caused by a message. Local."""
    out.at[OF_SENDER], out.at[OF_NUMBER], out.at[OF_HOME] = header.sender, header.number, header.home


@inlined
def begin_alone(out):
    """Let what is sent from now on be caused by nothing. Local."""
    out.at[OF_NUMBER], out.at[OF_HOME] = NOWHERE, NOWHERE


@inlined
def claim(out, delay):
    """Place of the next message, -1 if there may be none. Local."""
    if out.at[STATUS] == FINE and delay < 1:
        out.at[STATUS] = BAD_DELAY
    elif out.at[STATUS] == FINE and out.at[LEFT] <= 0:
        out.at[STATUS] = OVER_BUDGET
    if out.at[STATUS] != FINE:
        return np.int64(-1)
    out.at[LEFT] -= 1
    out.at[FILLED] += 1
    return out.at[FILLED] - 1


@inlined
def put_header(out, records, k, number, gid, receiver, delay):
    """Write all of a message but its payload. Local."""
    row = np.uint64(out.at[ROW])
    if gid == NOWHERE:
        out.asked[out.at[ASKED], 0], out.asked[out.at[ASKED], 1] = k, receiver
        out.at[ASKED] += 1
    records["to"][k], records["home"][k], records["sender"][k] = gid, out.gid[row], out.id[row]
    records["number"][k], records["due"][k] = out.numbers[row], out.at[STEP] + delay
    records["kind"][k], records["status"][k] = number, 0
    put_cause(out, records, k)
    out.numbers[row] += 1


def put_cause(out, records, k):
    """Write what a message was caused by, if records have room for it. Local."""
    if "cause_sender" in records.dtype.names:
        _put_cause(out, records, k)


@inlined
def _put_cause(out, records, k):
    is_caused = out.at[OF_NUMBER] != NOWHERE
    records["sent"][k] = out.at[STEP]
    records["cause_sender"][k] = out.at[OF_SENDER] if is_caused else out.id[out.at[ROW]]
    records["cause_number"][k] = out.at[OF_NUMBER]
    records["root_sender"][k] = out.at[OF_ROOT_SENDER] if is_caused else out.id[out.at[ROW]]
    records["root_number"][k] = out.at[OF_ROOT_NUMBER] if is_caused else out.numbers[out.at[ROW]]


def begin_conversation(out, header):
    """Go on with the conversation of a message, if it tells of it. Local."""
    if "root_sender" in header._fields.dtype.names:
        out.at[OF_ROOT_SENDER], out.at[OF_ROOT_NUMBER] = header.root_sender, header.root_number


def write(out, kind, receiver, delay, values):
    """Write one message. Local."""
    as_known(kind)
    for what, given in (("an id", uses.dtype_of(receiver)), ("a delay", uses.dtype_of(delay))):
        check_whole(what, given, given)
    write_one(out, kind, find(out, receiver, kind.number, kind.near), receiver, delay, values)


def write_one(out, kind, gid, receiver, delay, values):
    """Write one message whose receiver was found. Local."""
    check_values(kind.name, kind.fields, len(values))
    if out.mail[kind.number].kind is not kind:
        raise TypeError(f"message {kind.name!r} is no part of the model: no function of its agents names it")
    for name, value in zip(kind.fields, values, strict=True):
        field, given = kind.dtypes[name], uses.dtype_of(value)
        check_value(kind.name, name, field, given, given)
        bounds = uses.limits(field, given)
        if bounds and not bounds[0] <= value <= bounds[1]:
            fail(out, TOO_LARGE, kind.number, kind.fields.index(name), value)
    records, k = out.mail[kind.number], claim(out, delay)
    if k >= 0:
        put_header(out, records, k, kind.number, gid, receiver, delay)
        for name, value in zip(kind.fields, values, strict=True):
            records[name][k] = value


def write_to_all(out, kind, values):
    """Write one message to every out-neighbour. Local."""
    row = int(row_in(out, as_known(kind).near))
    for e in range(int(out.ptr[row]), int(out.ptr[row + 1])):
        j = out.heard_by[e]
        write_one(out, kind, out.gid[j], out.id[j], 1, values)


def check_values(name, fields, n_values):
    """Refuse a number of values that is not that of a kind's fields. Local."""
    if n_values != len(fields):
        have = ", ".join(fields) or "none"
        raise TypeError(f"message {name!r} has the fields {have}; {n_values} values were given")


def check_value(name, field, dtype, given, shown):
    """Refuse a value that a field of a kind does not hold, by its dtype. Local."""
    if not uses.may_hold(dtype, given):
        raise TypeError(f"message {name!r}: {uses.wrong_store(field, dtype, shown)}")


def check_whole(what, given, shown):
    """Refuse a number that is not whole, by its dtype. Local."""
    if given.kind not in "iu":
        raise TypeError(f"{what} is a whole number, {shown} was given")


# ---------------------------------------------------------------- the same for numba


def _is_outbox(out):
    return isinstance(out, types.NamedTuple) and out.instance_class is Outbox


@overload(put_cause)
def _put_cause_overload(out, records, k):
    if "cause_sender" in records.dtype.fields:
        return lambda out, records, k: _put_cause(out, records, k)
    return lambda out, records, k: None


@overload(begin_conversation)
def _begin_conversation_overload(out, header):
    if "root_sender" not in header.fields:
        return lambda out, header: None

    def begin(out, header):
        out.at[OF_ROOT_SENDER], out.at[OF_ROOT_NUMBER] = header.root_sender, header.root_number

    return begin


def _payload_writer(names):
    """A function (records, k, values) that writes fields."""
    if not names:
        return inlined(_write_nothing)
    name, rest = names[0], _payload_writer(names[1:])

    def put(records, k, values):
        records[name][k] = values[0]
        rest(records, k, values[1:])

    return inlined(put)


def _write_nothing(records, k, values):
    pass


def _limits_keeper(number, bounds, at=0):
    """A function (out, values) that refuses numbers beyond the bounds of their fields, None for no bounds."""
    while bounds and bounds[-1] is None:
        bounds = bounds[:-1]
    if not bounds:
        return inlined(_keep_nothing)
    rest = _limits_keeper(number, bounds[1:], at + 1)
    is_bounded, (least, largest) = bounds[0] is not None, bounds[0] or (0, 0)

    def keep(out, values):
        if is_bounded and (values[0] < least or values[0] > largest):
            fail(out, TOO_LARGE, number, at, values[0])
        rest(out, values[1:])

    return inlined(keep)


def _keep_nothing(out, values):
    pass


def _make_write(out, kind, values, **whole):
    """A function (out, gid, receiver, delay, values) that writes one message of a kind."""
    number, name = as_kind(kind).number, kind.kind_name
    record = out.types[out.fields.index("mail")][number].dtype
    fields = {field: as_dtype(record.typeof(field)) for field in kind.fields}
    given = [_dtype_or_none(value) for value in values]
    try:
        check_values(name, kind.fields, len(values))
        for what, value in whole.items():
            check_whole(what.replace("_", " "), _dtype_or_none(value) or np.dtype(object), types.unliteral(value))
        for (field, dtype), has, value in zip(fields.items(), given, values, strict=True):
            check_value(name, field, dtype, has or np.dtype(object), types.unliteral(value))
    except TypeError as error:
        raise TypingError(str(error)) from error
    put_payload = _payload_writer(kind.fields)
    keep = _limits_keeper(number, [uses.limits(*pair) for pair in zip(fields.values(), given, strict=True)])

    def one(out, gid, receiver, delay, values):
        keep(out, values)
        k = claim(out, delay)
        if k >= 0:
            records = out.mail[number]
            put_header(out, records, k, number, gid, receiver, delay)
            put_payload(records, k, values)

    return inlined(one)


def _dtype_or_none(value):
    try:
        return as_dtype(types.unliteral(value))
    except NumbaNotImplementedError:
        return None


@overload_method(types.NamedTuple, "send")
def _send(out, kind, receiver, *values):
    if _is_outbox(out):
        one = _make_write(out, kind, _types_of(values), an_id=receiver)
        number, near = kind.number, kind.near
        return lambda out, kind, receiver, *values: one(out, find(out, receiver, number, near), receiver, 1, values)
    return None


@overload_method(types.NamedTuple, "send_later")
def _send_later(out, delay, kind, receiver, *values):
    if _is_outbox(out):
        one = _make_write(out, kind, _types_of(values), an_id=receiver, a_delay=delay)
        number, near = kind.number, kind.near
        return lambda out, delay, kind, receiver, *values: one(
            out, find(out, receiver, number, near), receiver, delay, values
        )
    return None


@overload_method(types.NamedTuple, "to_neighbours")
def _to_neighbours(out, kind, *values):
    if _is_outbox(out):
        one = _make_write(out, kind, _types_of(values))
        near = kind.near

        def to_all(out, kind, *values):
            row = row_in(out, near)
            for e in range(out.ptr[row], out.ptr[row + ONE]):
                j = out.heard_by[e]
                one(out, out.gid[j], out.id[j], 1, values)

        return to_all
    return None


@overload_method(types.NamedTuple, "degree")
def _degree(out, kind=None):
    if _is_outbox(out):
        near = near_of_type(kind)
        return lambda out, kind=None: n_neighbours(out, near)
    return None


@overload_method(types.NamedTuple, "neighbour")
def _neighbour(out, q, kind=None):
    if _is_outbox(out):
        near = near_of_type(kind)
        return lambda out, q, kind=None: neighbour(out, q, near)
    return None


@overload_method(types.NamedTuple, "place")
def _place(out, id, kind=None):
    if _is_outbox(out):
        near = near_of_type(kind)
        return lambda out, id, kind=None: place(out, id, near)
    return None


@overload_method(types.NamedTuple, "edge")
def _edge(out, q, kind=None):
    if _is_outbox(out):
        near = near_of_type(kind)
        return lambda out, q, kind=None: edge(out, q, near)
    return None


@overload_method(types.NamedTuple, "leave")
def _leave(out):
    if _is_outbox(out):

        def leave(out):
            out.at[LEAVES] = 1

        return leave
    return None


def _types_of(values):
    """Types of star arguments, which numba gives as one tuple type or as several."""
    if len(values) == 1 and isinstance(values[0], types.BaseTuple):
        return tuple(values[0])
    return values
