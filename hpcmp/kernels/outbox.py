"""What an agent's function sends: written as records into lists of chunks, by compiled code and by plain Python alike.

`Outbox` is a named tuple of arrays, which numba sees through; its methods have compiled twins below.

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
from hpcmp.kernels.chunks import ONE, ROW_BITS, ROW_MASK, claim
from hpcmp.kernels.kind import as_kind, as_known, near_of, near_of_type
from hpcmp.kernels.neighbours import address_of, edge, find, n_neighbours, neighbour, neighbour_row, place, row_in
from hpcmp.kernels.places import (
    ACTS,
    AGENT,
    ASKED,
    BAD_DELAY,
    BLOCK_BITS,
    BUDGET,
    DOING,
    FINE,
    ID,
    LAST,
    LEAVES,
    LONGEST,
    N_BLOCKS,
    N_LATER,
    N_SENT,
    NOWHERE,
    NUMBER,
    OF_HOME,
    OF_NUMBER,
    OF_ROOT_NUMBER,
    OF_ROOT_SENDER,
    OF_SENDER,
    OVER_BUDGET,
    OVER_NUMBER,
    RANK,
    ROW,
    SEEN,
    STATUS,
    STEP,
    TOO_LARGE,
    TOO_LATE,
    Stopped,
    fail,
)
from hpcmp.kernels.records import MOST


class Outbox(NamedTuple):
    """Where the functions of an agent put messages; one for each thread."""

    mail: tuple  # of each kind the records (n_places,), over the same bytes
    at: np.ndarray  # int64 (N_AT,) whose turn it is, and what is counted
    lists: tuple  # chunks.Lists, for each block of agents, each rank, and receivers that have to be looked up
    asked: np.ndarray  # int64 (room,) ids of those
    sent: np.ndarray  # int64 (n_kinds,) how many, where messages are recorded
    numbers: np.ndarray  # int32 (n_owned,) how many messages each agent has sent
    ids: np.ndarray  # int64 (n_owned,) of agents, ascending
    row: np.ndarray  # uint32 (n_owned,) row in the graph of each agent
    agent: np.ndarray  # uint32 (n_local,) row among the agents of its rank, of each row of the graph
    ghost_rank: np.ndarray  # int64 (n_ghost,)
    id: np.ndarray  # int64 (n_local,)
    ptr: np.ndarray  # uint64 (lists * n_owned + 1,) of neighbours
    heard_by: np.ndarray  # uint32 rows of out-neighbours, ascending by id in each list
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
def begin_agent(out, i):
    """Let what is sent from now on be of agent i. Local."""
    at, first = out.at, np.int64(out.numbers[i])
    at[AGENT], at[ROW], at[ID] = i, out.row[i], out.ids[i]
    at[NUMBER], at[LAST] = first, min(first + at[BUDGET], MOST)
    at[LEAVES], at[DOING], at[SEEN] = 0, ACTS, NOWHERE
    at[OF_NUMBER], at[OF_HOME] = NOWHERE, NOWHERE


@inlined
def end_agent(out, i):
    """Count what it has sent. Local."""
    out.at[N_SENT] += out.at[NUMBER] - out.numbers[i]
    out.numbers[i] = out.at[NUMBER]


@inlined
def begin_message(out, header):
    """Let what is sent from now on be caused by a message. Local."""
    out.at[OF_SENDER], out.at[OF_NUMBER], out.at[OF_HOME] = header.sender, header.number, header.home


@inlined
def begin_alone(out):
    """Let what is sent from now on be caused by nothing. Local."""
    out.at[OF_NUMBER], out.at[OF_HOME] = NOWHERE, NOWHERE


@inlined
def must_be_fine(out, delay):
    """Stop the function at hand where one more message is not in order. Local."""
    at = out.at
    if at[STATUS] == FINE and delay >= 1 and delay <= MOST - at[STEP] and at[NUMBER] < at[LAST]:
        return
    if at[STATUS] == FINE:
        if delay < 1:
            at[STATUS] = BAD_DELAY
        elif delay > MOST - at[STEP]:
            at[STATUS] = TOO_LATE
        else:
            at[STATUS] = OVER_NUMBER if at[LAST] == MOST else OVER_BUDGET
    raise Stopped


@inlined
def list_of(out, address):
    """The list of messages to an address. Local."""
    at, rank = out.at, address >> np.int64(ROW_BITS)
    if rank == at[RANK]:
        return (np.uint64(address) & ROW_MASK) >> np.uint64(at[BLOCK_BITS])
    return np.uint64(out.lists.tail.size) - ONE if address == NOWHERE else np.uint64(at[N_BLOCKS] + rank)


@inlined
def put_header(out, records, number, address, receiver, delay):
    """Write all of a message but its payload; its place. Local."""
    at = out.at
    k = claim(out.lists, list_of(out, address))
    if address == NOWHERE:
        out.asked[at[ASKED]] = receiver
        at[ASKED] += 1
    if delay > 1:
        at[N_LATER], at[LONGEST] = at[N_LATER] + 1, max(at[LONGEST], delay)
    records["to"][k] = np.uint64(address) & ROW_MASK
    records["sender"][k] = at[ID]
    records["home"][k] = (at[RANK] << np.int64(ROW_BITS)) | at[AGENT]
    records["number"][k], records["due"][k], records["kind"][k] = at[NUMBER], at[STEP] + delay, number
    put_cause(out, records, k, number)
    at[NUMBER] += 1
    return k


def put_cause(out, records, k, number):
    """Write the cause of a message, and count it, if it is to be recorded. Local."""
    if "cause_sender" in records.dtype.names:
        _put_cause(out, records, k, number)


@inlined
def _put_cause(out, records, k, number):
    at = out.at
    out.sent[number] += 1
    is_caused = at[OF_NUMBER] != NOWHERE
    records["sent"][k] = at[STEP]
    records["cause_sender"][k] = at[OF_SENDER] if is_caused else at[ID]
    records["cause_number"][k] = at[OF_NUMBER]
    records["root_sender"][k] = at[OF_ROOT_SENDER] if is_caused else at[ID]
    records["root_number"][k] = at[OF_ROOT_NUMBER] if is_caused else at[NUMBER]


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


def write_one(out, kind, address, receiver, delay, values):
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
    must_be_fine(out, delay)
    records = out.mail[kind.number]
    k = put_header(out, records, kind.number, address, receiver, delay)
    for name, value in zip(kind.fields, values, strict=True):
        records[name][k] = value


def write_to_all(out, kind, values):
    """Write one message to every out-neighbour. Local."""
    near = as_known(kind).near
    for q in range(n_neighbours(out, near)):
        write_one(out, kind, address_of(out, neighbour_row(out, q, near)), NOWHERE, 1, values)


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
def _put_cause_overload(out, records, k, number):
    if "cause_sender" in records.dtype.fields:
        return lambda out, records, k, number: _put_cause(out, records, k, number)
    return lambda out, records, k, number: None


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
    """A function (out, address, receiver, delay, values) that writes one message of a kind."""
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

    def one(out, address, receiver, delay, values):
        keep(out, values)
        must_be_fine(out, delay)
        records = out.mail[number]
        k = put_header(out, records, number, address, receiver, delay)
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
                one(out, address_of(out, np.uint64(out.heard_by[e])), NOWHERE, 1, values)

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
