"""What an agent's function sends: written as records into a buffer, by compiled code and by plain Python alike.

A message is one record: a header, then its payload. Every kind of message has a record type of its own over the same
bytes, so one buffer holds all kinds in the order in which they were sent. `Outbox` is a named tuple of arrays, which
numba sees through; its methods have compiled twins below.

k: place in the buffer
"""

from typing import NamedTuple

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.core.imputils import lower_constant
from numba.core.typing.typeof import typeof_impl
from numba.extending import models, overload, overload_method, register_model

from hpcmp.jit import inlined
from hpcmp.kernels import access

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
# places of the numbers in Outbox.at
FILLED, LEFT, ROW, STEP, STATUS, ASKED, OF_SENDER, OF_NUMBER, OF_HOME, OF_ROOT_SENDER, OF_ROOT_NUMBER, LEAVES = range(
    12
)
N_AT = 12
# what may be wrong in Outbox.at[STATUS]
FINE, OVER_BUDGET, BAD_DELAY = range(3)
NOWHERE = -1  # gid of a receiver that has to be looked up; number of a cause that is not there
ZERO, ONE = np.uint64(0), np.uint64(1)


class Records:
    """Records as compiled code sees them, for plain Python: rows with attributes."""

    def __init__(self, array):
        self.array, self.dtype = array, array.dtype

    def __len__(self):
        return len(self.array)

    def __getitem__(self, key):
        return self.array[key] if isinstance(key, str) else Row(self.array[key])


class Row:
    """One record whose fields are attributes, whatever their names. Reads and writes go to the array."""

    __slots__ = ("_fields",)

    def __init__(self, fields):
        object.__setattr__(self, "_fields", fields)

    def __getattr__(self, name):
        if name not in self._fields.dtype.names:
            raise AttributeError(f"there is no field {name!r}; there are {', '.join(self._fields.dtype.names)}")
        return self._fields[name]

    def __setattr__(self, name, value):
        getattr(self, name)
        self._fields[name] = value


class Outbox(NamedTuple):
    """Where the functions of an agent put messages; one for each thread."""

    mail: tuple  # of each kind the records (room,), over the same bytes
    at: np.ndarray  # int64 (N_AT,) how far it is filled, and for whom
    asked: np.ndarray  # int64 (room, 2) place and receiver's id of messages to agents that are not near
    numbers: np.ndarray  # int64 (n_owned,) how many messages each row has sent
    ptr: np.ndarray  # uint64 (n_owned + 1,) of neighbours
    heard_by: np.ndarray  # uint32 local rows of out-neighbours, ascending by id
    id: np.ndarray  # int64 (n_local,)
    gid: np.ndarray  # int64 (n_local,)
    edges: tuple  # fields of edges to neighbours, as they lie in heard_by

    def send(self, kind, receiver, *values):
        """Send to a neighbour, the sender of the message at hand, or oneself. Local."""
        write(self, kind, find(self, receiver), receiver, 1, values)

    def send_later(self, delay, kind, receiver, *values):
        """`send` what can be read ``delay`` steps from now. Local."""
        write(self, kind, find(self, receiver), receiver, delay, values)

    def to_neighbours(self, kind, *values):
        """Send to all out-neighbours, ascending by id. Local."""
        write_to_all(self, kind, values)

    def degree(self):
        """Number of out-neighbours. Local."""
        return n_neighbours(self)

    def neighbour(self, q):
        """Id of the q-th out-neighbour, q from 0. Local."""
        return neighbour(self, q)

    def place(self, id):
        """Which neighbour has an id, -1 if none: what `edge` takes. Local."""
        return place(self, id)

    def edge(self, q):
        """Edge to the q-th out-neighbour: its fields of scalars. Local."""
        return edge(self, q)

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
def n_neighbours(out):
    """Number of out-neighbours of the row at hand. Local."""
    row = np.uint64(out.at[ROW])
    return np.int64(out.ptr[row + ONE] - out.ptr[row])


@inlined
def neighbour(out, q):
    """Id of the q-th out-neighbour. Local."""
    if q < 0 or q >= n_neighbours(out):
        raise IndexError("the agent has not so many neighbours")
    return out.id[out.heard_by[out.ptr[np.uint64(out.at[ROW])] + np.uint64(q)]]


@inlined
def find(out, receiver):
    """Gid of a receiver by its id: `NOWHERE` if it is not near. Local."""
    if out.at[OF_HOME] != NOWHERE and receiver == out.at[OF_SENDER]:
        return out.at[OF_HOME]
    row = np.uint64(out.at[ROW])
    if receiver == out.id[row]:
        return out.gid[row]
    q = place(out, receiver)
    return out.gid[out.heard_by[out.ptr[row] + np.uint64(q)]] if q >= 0 else np.int64(NOWHERE)


@inlined
def place(out, id):
    """Which out-neighbour, the first of several edges, has an id; else -1. Local."""
    row = np.uint64(out.at[ROW])
    lo, end = out.ptr[row], out.ptr[row + ONE]
    hi = end
    while lo < hi:
        middle = (lo + hi) >> ONE
        if out.id[out.heard_by[middle]] < id:
            lo = middle + ONE
        else:
            hi = middle
    if lo < end and out.id[out.heard_by[lo]] == id:
        return np.int64(lo - out.ptr[row])
    return np.int64(-1)


@inlined
def edge(out, q):
    """Fields of the edge to the q-th out-neighbour. Local."""
    if q < 0 or q >= n_neighbours(out):
        raise IndexError("the agent has not so many neighbours")
    return access.at(out.edges, out.ptr[np.uint64(out.at[ROW])] + np.uint64(q))


@inlined
def claim(out, delay):
    """Place of the next message, -1 if there may be none. Local."""
    if delay < 1:
        out.at[STATUS] = BAD_DELAY
    elif out.at[LEFT] <= 0:
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


def write(out, kind, gid, receiver, delay, values):
    """Write one message. Local."""
    check_values(kind, len(values))
    records, k = out.mail[kind.number], claim(out, delay)
    if k >= 0:
        put_header(out, records, k, kind.number, gid, receiver, delay)
        for name, value in zip(kind.fields, values, strict=True):
            records[name][k] = value


def write_to_all(out, kind, values):
    """Write one message to every out-neighbour. Local."""
    row = int(out.at[ROW])
    for e in range(int(out.ptr[row]), int(out.ptr[row + 1])):
        j = out.heard_by[e]
        write(out, kind, out.gid[j], out.id[j], 1, values)


def check_values(kind, n_values):
    """Refuse a number of values that is not that of the kind's fields. Local."""
    if n_values != len(kind.fields):
        have = ", ".join(kind.fields) or "none"
        raise TypeError(f"message {kind.name!r} has the fields {have}; {n_values} values were given")


# ---------------------------------------------------------------- the same for numba


class Kind(types.Type):
    """numba's type of a kind of message, whose values carry nothing: all is in the type."""

    def __init__(self, name, number, fields):
        self.kind_name, self.number, self.fields = name, number, fields
        super().__init__(f"Kind({name}, {number}, {fields})")


register_model(Kind)(models.OpaqueModel)


@lower_constant(Kind)
def _no_value(context, builder, kind, value):
    return context.get_dummy_value()


def know_kind(cls):
    """Let numba type the instances of a class by name, number and fields. Local."""

    @typeof_impl.register(cls)
    def _type_of(value, c):
        return Kind(value.name, value.number, value.fields)


def _is_outbox(out):
    return isinstance(out, types.NamedTuple) and out.instance_class is Outbox


def _as_kind(kind):
    if not isinstance(kind, Kind):
        raise TypingError(f"a MessageType is needed to send, not {kind}")
    return kind


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


def _writer(kind, values):
    """A function (out, gid, receiver, delay, values) that writes one message of a kind."""
    number, fields = _as_kind(kind).number, kind.fields
    n_values = len(values)
    if n_values != len(fields):
        have = ", ".join(fields) or "none"
        raise TypingError(f"message {kind.kind_name!r} has the fields {have}; {n_values} values were given")
    return number, _payload_writer(fields)


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


def _make_write(kind, values):
    number, put_payload = _writer(kind, values)

    def one(out, gid, receiver, delay, values):
        k = claim(out, delay)
        if k >= 0:
            records = out.mail[number]
            put_header(out, records, k, number, gid, receiver, delay)
            put_payload(records, k, values)

    return inlined(one)


@overload_method(types.NamedTuple, "send")
def _send(out, kind, receiver, *values):
    if _is_outbox(out):
        one = _make_write(kind, _types_of(values))
        return lambda out, kind, receiver, *values: one(out, find(out, receiver), receiver, 1, values)
    return None


@overload_method(types.NamedTuple, "send_later")
def _send_later(out, delay, kind, receiver, *values):
    if _is_outbox(out):
        one = _make_write(kind, _types_of(values))
        return lambda out, delay, kind, receiver, *values: one(out, find(out, receiver), receiver, delay, values)
    return None


@overload_method(types.NamedTuple, "to_neighbours")
def _to_neighbours(out, kind, *values):
    if _is_outbox(out):
        one = _make_write(kind, _types_of(values))

        def to_all(out, kind, *values):
            row = np.uint64(out.at[ROW])
            for e in range(out.ptr[row], out.ptr[row + ONE]):
                j = out.heard_by[e]
                one(out, out.gid[j], out.id[j], 1, values)

        return to_all
    return None


@overload_method(types.NamedTuple, "degree")
def _degree(out):
    if _is_outbox(out):
        return lambda out: n_neighbours(out)
    return None


@overload_method(types.NamedTuple, "neighbour")
def _neighbour(out, q):
    if _is_outbox(out):
        return lambda out, q: neighbour(out, q)
    return None


@overload_method(types.NamedTuple, "place")
def _place(out, id):
    if _is_outbox(out):
        return lambda out, id: place(out, id)
    return None


@overload_method(types.NamedTuple, "edge")
def _edge(out, q):
    if _is_outbox(out):
        return lambda out, q: edge(out, q)
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
