"""What an agent's function sends: written as records into lists of chunks, by compiled code and by plain Python alike.

`Outbox` is a named tuple of arrays, which numba sees through; its methods have compiled twins below. An agent is known
by its *address*: its rank, and its row there. Rows of agents ascend by id; rows of the graph are another numbering.

k: place in the buffer    d: list    j: row of the graph
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
from hpcmp.kernels.chunks import ONE, ROW_BITS, ROW_MASK, claim
from hpcmp.kernels.records import MOST

# places of the numbers in Outbox.at
(
    STATUS,
    STEP,
    RANK,  # this one
    N_BLOCKS,  # lists of blocks; those of ranks follow, and one for receivers that have to be looked up
    BLOCK_BITS,  # a block is 2**BLOCK_BITS rows
    ANY,  # whether any receiver may be sent to
    BUDGET,
    ROW,  # whose turn it is
    VERTEX,  # its row in the graph
    ID,
    NUMBER,  # of its next message
    LAST,  # number that it may not reach in this turn
    LEAVES,
    SEEN,  # neighbour whose id it asked for last, as a row of the graph
    SEEN_ID,
    OF_SENDER,  # the message at hand
    OF_NUMBER,
    OF_HOME,
    OF_ROOT_SENDER,
    OF_ROOT_NUMBER,
    ASKED,  # messages to receivers that have to be looked up
    ASKED_ID,  # of a message that cannot be sent
    ASKED_KIND,
    N_SENT,
    N_LATER,  # messages that are not for the next step
    N_AT,
) = range(26)
# what may be wrong in Outbox.at[STATUS]
FINE, OVER_BUDGET, OVER_NUMBER, BAD_DELAY, TOO_LATE, NOT_NEAR, UNREAD, OVER_LIMIT = range(8)
NOWHERE = -1  # address of a receiver that has to be looked up; number of a cause that is not there


class Outbox(NamedTuple):
    """Where the functions of an agent put messages; one for each thread."""

    mail: tuple  # of each kind the records (n_places,), over the same bytes
    at: np.ndarray  # int64 (N_AT,) whose turn it is, and what is counted
    lists: tuple  # chunks.Lists, for each block of rows, each rank, and receivers that have to be looked up
    asked: np.ndarray  # int64 (room,) ids of those
    numbers: np.ndarray  # int32 (n_owned,) how many messages each agent has sent
    ids: np.ndarray  # int64 (n_owned,) of agents, ascending
    vertex: np.ndarray  # uint32 (n_owned,) row of the graph of each agent
    row: np.ndarray  # uint32 (n_local,) row among the agents of its rank, of each row of the graph
    ghost_rank: np.ndarray  # int64 (n_ghost,)
    ptr: np.ndarray  # uint64 (n_owned + 1,) of neighbours
    heard_by: np.ndarray  # uint32 rows of out-neighbours, ascending by id
    id: np.ndarray  # int64 (n_local,)
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
def begin_agent(out, row):
    """Let what is sent from now on be of an agent. Local."""
    at, first = out.at, np.int64(out.numbers[row])
    at[ROW], at[VERTEX], at[ID] = row, out.vertex[row], out.ids[row]
    at[NUMBER], at[LAST] = first, min(first + at[BUDGET], MOST)
    at[LEAVES], at[SEEN] = 0, NOWHERE
    at[OF_NUMBER], at[OF_HOME] = NOWHERE, NOWHERE


@inlined
def end_agent(out, row):
    """Count what it has sent. Local."""
    out.at[N_SENT] += out.at[NUMBER] - out.numbers[row]
    out.numbers[row] = out.at[NUMBER]


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
    """Number of out-neighbours of the agent. Local."""
    v = np.uint64(out.at[VERTEX])
    return np.int64(out.ptr[v + ONE] - out.ptr[v])


@inlined
def neighbour_row(out, q):
    """The q-th out-neighbour, as a row of the graph. Local."""
    if q < 0 or q >= n_neighbours(out):
        raise IndexError("the agent has not so many neighbours")
    return np.uint64(out.heard_by[out.ptr[np.uint64(out.at[VERTEX])] + np.uint64(q)])


@inlined
def neighbour(out, q):
    """Id of the q-th out-neighbour. Local."""
    j = neighbour_row(out, q)
    out.at[SEEN], out.at[SEEN_ID] = j, out.id[j]
    return out.id[j]


@inlined
def address(rank, row):
    """An agent, by its rank and its row there. Local."""
    return np.int64((np.uint64(rank) << ROW_BITS) | np.uint64(row))


@inlined
def address_of(out, j):
    """Address of the agent on row j of the graph. Local."""
    n = np.uint64(out.vertex.size)
    return address(out.ghost_rank[j - n] if j >= n else out.at[RANK], out.row[j])


@inlined
def find(out, receiver):
    """Address of a receiver by its id: `NOWHERE` if it is not near. Local."""
    at = out.at
    if receiver == at[SEEN_ID] and at[SEEN] != NOWHERE:  # most often it was asked for just now
        return address_of(out, np.uint64(at[SEEN]))
    if receiver == at[OF_SENDER] and at[OF_HOME] != NOWHERE:
        return at[OF_HOME]
    if receiver == at[ID]:
        return address(at[RANK], at[ROW])
    q = place(out, receiver)
    if q >= 0:
        return address_of(out, neighbour_row(out, q))
    return find_here(out, receiver) if at[ANY] else np.int64(NOWHERE)


@inlined
def find_here(out, id):
    """Address of an agent of this rank by its id, or `NOWHERE`. Local."""
    q = np.searchsorted(out.ids, id)
    return address(out.at[RANK], q) if q < out.ids.size and out.ids[q] == id else np.int64(NOWHERE)


@inlined
def place(out, id):
    """Which out-neighbour, the first of several edges, has an id; else -1. Local."""
    v = np.uint64(out.at[VERTEX])
    lo, end = out.ptr[v], out.ptr[v + ONE]
    hi = end
    while lo < hi:
        middle = (lo + hi) >> ONE
        if out.id[out.heard_by[middle]] < id:
            lo = middle + ONE
        else:
            hi = middle
    if lo < end and out.id[out.heard_by[lo]] == id:
        return np.int64(lo - out.ptr[v])
    return np.int64(-1)


@inlined
def edge(out, q):
    """Fields of the edge to the q-th out-neighbour. Local."""
    if q < 0 or q >= n_neighbours(out):
        raise IndexError("the agent has not so many neighbours")
    return access.at(out.edges, out.ptr[np.uint64(out.at[VERTEX])] + np.uint64(q))


@inlined
def list_of(out, address):
    """The list of messages to an address. Local."""
    at, rank = out.at, address >> np.int64(ROW_BITS)
    if rank == at[RANK]:
        return (np.uint64(address) & ROW_MASK) >> np.uint64(at[BLOCK_BITS])
    return np.uint64(out.lists.tail.size) - ONE if address == NOWHERE else np.uint64(at[N_BLOCKS] + rank)


@inlined
def may_send(out, kind, n, delay, address, receiver):
    """Whether n more messages to an address are in order; if not, the status says why. Local."""
    at = out.at
    if 1 <= delay and delay <= MOST - at[STEP] and at[NUMBER] + n <= at[LAST] and (address != NOWHERE or at[ANY]):
        return True
    if at[STATUS] == FINE:
        at[ASKED_KIND], at[ASKED_ID] = kind, receiver
        if delay < 1:
            at[STATUS] = BAD_DELAY
        elif delay > MOST - at[STEP]:
            at[STATUS] = TOO_LATE
        elif at[NUMBER] + n > at[LAST]:
            at[STATUS] = OVER_NUMBER if at[LAST] == MOST else OVER_BUDGET
        else:
            at[STATUS] = NOT_NEAR
    return False


@inlined
def put_header(out, records, number, address, receiver, delay):
    """Write all of a message but its payload; its place. Local."""
    at = out.at
    k = claim(out.lists, list_of(out, address))
    if address == NOWHERE:
        out.asked[at[ASKED]] = receiver
        at[ASKED] += 1
    if delay > 1:
        at[N_LATER] += 1
    records["to"][k] = np.uint64(address) & ROW_MASK
    records["sender"][k] = at[ID]
    records["home"][k] = (at[RANK] << np.int64(ROW_BITS)) | at[ROW]
    records["number"][k], records["due"][k], records["kind"][k] = at[NUMBER], at[STEP] + delay, number
    put_cause(out, records, k)
    at[NUMBER] += 1
    return k


def put_cause(out, records, k):
    """Write what a message was caused by, if records have room for it. Local."""
    if "cause_sender" in records.dtype.names:
        _put_cause(out, records, k)


@inlined
def _put_cause(out, records, k):
    at = out.at
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


def write(out, kind, address, receiver, delay, values):
    """Write one message. Local."""
    check_values(kind, len(values))
    if may_send(out, kind.number, 1, delay, address, receiver):
        records = out.mail[kind.number]
        k = put_header(out, records, kind.number, address, receiver, delay)
        for name, value in zip(kind.fields, values, strict=True):
            records[name][k] = value


def write_to_all(out, kind, values):
    """Write one message to every out-neighbour. Local."""
    check_values(kind, len(values))
    if may_send(out, kind.number, n_neighbours(out), 1, 0, NOWHERE):
        for q in range(n_neighbours(out)):
            write(out, kind, address_of(out, neighbour_row(out, q)), NOWHERE, 1, values)


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
    """Number of a kind, and a function (records, k, values) that writes its payload."""
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

    def one(out, address, receiver, delay, values):
        if may_send(out, number, 1, delay, address, receiver):
            records = out.mail[number]
            k = put_header(out, records, number, address, receiver, delay)
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
        one, number = _make_write(kind, _types_of(values)), kind.number

        def to_all(out, kind, *values):
            v = np.uint64(out.at[VERTEX])
            if may_send(out, number, n_neighbours(out), 1, 0, NOWHERE):
                for e in range(out.ptr[v], out.ptr[v + ONE]):
                    one(out, address_of(out, np.uint64(out.heard_by[e])), NOWHERE, 1, values)

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
