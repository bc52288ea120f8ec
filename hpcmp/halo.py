"""Ghost rows and the exchange that fills them, in both directions.

`Halo` is the frozen plan: who sends which rows to whom. Messages carry no
ids, both sides know the order. `forward` copies owned rows onto the ghosts
that other ranks keep of them; `reverse`, its transpose, brings ghost rows
home and folds them into the owned ones:

    <forward x, y> == <x, reverse y>

Buffers and persistent requests are a second object, one per row layout and
exchange in flight, kept for the next exchange of the same layout. `bind` makes
one for arrays that are exchanged again and again: the ghosts of a single array
are then received where they lie, and rows that lie together are sent from there.
"""

import time
import weakref
from dataclasses import dataclass, field

import numpy as np

from hpcmp.comm import TAG_HALO, owner_of, raise_together, row_type, sparse_exchange
from hpcmp.dtypes import GID, LID
from hpcmp.errors import GraphError

FOLDS = {"sum": np.add, "min": np.minimum, "max": np.maximum}
TAG_MAIL = TAG_HALO - 3
HEADER = np.dtype(np.int64)  # rows that follow in a message of changed rows
POSITION = np.dtype(np.uint32)  # place in the list of rows agreed with the peer


@dataclass(frozen=True)
class Halo:
    """Who sends which rows to whom. Ghosts lie after owned rows, by owner, then gid."""

    comm: object
    n_owned: int
    n_ghost: int
    send_ranks: np.ndarray  # int64 (s,) ranks that keep ghosts of our rows, ascending
    send_ptr: np.ndarray  # int64 (s + 1,) into send_rows
    send_rows: np.ndarray  # intp (n_send,) owned rows, ascending per peer; numpy's take wants intp
    recv_ranks: np.ndarray  # int64 (r,) owners of our ghosts, ascending
    recv_ptr: np.ndarray  # int64 (r + 1,) into the ghosts
    idle: dict = field(default_factory=dict, repr=False, compare=False)  # layout -> buffers not in flight
    made: list = field(default_factory=list, repr=False, compare=False)  # every buffer, in the order of creation

    @property
    def n_local(self):
        return self.n_owned + self.n_ghost

    @property
    def n_send(self):
        return len(self.send_rows)

    def forward_begin(self, x):
        """Start copying owned rows of x to their ghosts. Collective.

        Parameters
        ----------
        x : (n_local, ...) array or tuple of such
            A tuple travels in one message per peer.

        Returns
        -------
        Pending
            Give it to `forward_end` with the same x.
        """
        return self._forward_begin(x, None)

    def _forward_begin(self, x, buffers):
        arrays = self._checked(x)
        if not self.n_send and not self.n_ghost:
            return Pending(None, (), 0, 0)
        buffers = buffers or self._take(arrays)
        for lo, hi in buffers.packed:
            for home, a in zip(buffers.homes, arrays, strict=True):
                np.take(a, self.send_rows[lo:hi], axis=0, out=home[lo:hi], mode="clip")
        buffers.start(buffers.forward)
        return Pending(buffers, buffers.forward, self.n_send, self.n_send * buffers.home.itemsize)

    def forward_end(self, x, pending):
        """Wait for the ghosts of x. Collective."""
        pending.wait()
        if pending.buffers is None or pending.buffers.bound is not None:
            return
        for away, a in zip(pending.buffers.aways, _tuple(x), strict=True):
            a[self.n_owned :] = away
        self._give(pending.buffers)

    def bind(self, x):
        """Prepare to forward the same arrays often; see `Exchange`. Collective."""
        arrays = self._checked(x)
        return Exchange(self, arrays, self._new_buffers(_layout(arrays), arrays))

    def forward(self, x):
        """Fill the ghosts of x now; returns the finished `Pending`. Collective."""
        pending = self.forward_begin(x)
        self.forward_end(x, pending)
        return pending

    def reverse_begin(self, x):
        """Start sending the ghost rows of x to their owners. Collective."""
        arrays = self._checked(x)
        buffers = self._take(arrays)
        for away, a in zip(buffers.aways, arrays, strict=True):
            away[:] = a[self.n_owned :]
        buffers.start(buffers.reverse)
        return Pending(buffers, buffers.reverse, self.n_ghost, self.n_ghost * buffers.away.itemsize)

    def reverse_end(self, x, pending, fold="sum"):
        """Fold what came back into the owned rows of x, by peer. Collective.

        ``fold`` is "sum", "min" or "max". Sums of integers do not depend on
        the ranks; sums of floats follow the order of the peers.
        """
        pending.wait()
        for home, a in zip(pending.buffers.homes, _tuple(x), strict=True):
            for k in range(len(self.send_ranks)):  # one peer names a row once, so this fold has no races
                lo, hi = self.send_ptr[k], self.send_ptr[k + 1]
                rows = self.send_rows[lo:hi]
                a[rows] = FOLDS[fold](a[rows], home[lo:hi])
        self._give(pending.buffers)

    def reverse(self, x, fold="sum"):
        """Bring the ghost rows of x home now and fold them. Collective."""
        pending = self.reverse_begin(x)
        self.reverse_end(x, pending, fold)
        return pending

    def changed_begin(self, x, changed):
        """Start a forward of only those owned rows that changed. Collective.

        A message holds the number of rows, which rows (offsets, or one bit
        per agreed row once more than 1 in 32 changed) and the rows.

        Parameters
        ----------
        x : as for `forward_begin`
        changed : bool (n_local,)
        """
        arrays = self._checked(x)
        row_bytes = sum(_row_bytes(a) for a in arrays)
        received, requests, n_rows, n_bytes = [], [], 0, 0
        for k, rank in enumerate(self.recv_ranks):
            n_listed = int(self.recv_ptr[k + 1] - self.recv_ptr[k])
            received.append(np.empty(_longest_message(n_listed, row_bytes), np.uint8))
            requests.append(self.comm.Irecv(received[-1], source=int(rank), tag=TAG_HALO - 1))
        for k, rank in enumerate(self.send_ranks):
            rows = self.send_rows[self.send_ptr[k] : self.send_ptr[k + 1]]
            message, n_picked = _pack_changed(arrays, rows, changed[rows])
            requests.append(self.comm.Isend(message, dest=int(rank), tag=TAG_HALO - 1))
            received.append(message)  # kept alive until the send is done
            n_rows += n_picked
            n_bytes += message.nbytes
        return PendingChanged(requests, received, n_rows, n_bytes)

    def changed_end(self, x, changed, pending):
        """Wait; write the ghosts that changed and their flags. Collective."""
        pending.wait()
        arrays = _tuple(x)
        changed[self.n_owned :] = False
        for k in range(len(self.recv_ranks)):
            first = self.n_owned + int(self.recv_ptr[k])
            n_listed = int(self.recv_ptr[k + 1] - self.recv_ptr[k])
            _unpack_changed(arrays, first, n_listed, pending.messages[k], changed)

    def forward_ragged(self, ptr, values):
        """Copy rows of varying length to the ghosts. Collective.

        Parameters
        ----------
        ptr : int64 (n_owned + 1,)
        values : (ptr[-1],) array

        Returns
        -------
        ghost_ptr : int64 (n_ghost + 1,)
        ghost_values : (ghost_ptr[-1],) array
        """
        length = np.zeros(self.n_local, np.int64)
        length[: self.n_owned] = np.diff(ptr)
        self.forward(length)
        ghost_ptr = np.concatenate(([0], np.cumsum(length[self.n_owned :])))
        ghost_values = np.empty(int(ghost_ptr[-1]), values.dtype)
        unit = row_type(values)
        requests, kept = [], []
        for k, rank in enumerate(self.recv_ranks):
            part = ghost_values[ghost_ptr[self.recv_ptr[k]] : ghost_ptr[self.recv_ptr[k + 1]]]
            requests.append(self.comm.Irecv([part, unit], source=int(rank), tag=TAG_HALO - 2))
        for k, rank in enumerate(self.send_ranks):
            rows = self.send_rows[self.send_ptr[k] : self.send_ptr[k + 1]]
            kept.append(values[ranges(ptr[rows], length[rows])])
            requests.append(self.comm.Isend([kept[-1], unit], dest=int(rank), tag=TAG_HALO - 2))
        if requests:
            type(requests[0]).Waitall(requests)
        unit.Free()
        return ghost_ptr, ghost_values

    def close(self):
        """Free the requests of all buffers. Local."""
        for buffers in self.made:
            buffers.close()
        self.made.clear()
        self.idle.clear()

    def _checked(self, x):
        arrays = _tuple(x)
        for a in arrays:
            if len(a) != self.n_local:
                raise GraphError(
                    f"x has {len(a)} rows, the graph has {self.n_local} local vertices "
                    f"({self.n_owned} owned + {self.n_ghost} ghosts); allocate with graph.n_local rows"
                )
        return arrays

    def _take(self, arrays):
        layout = _layout(arrays)
        idle = self.idle.setdefault(layout, [])
        if idle:  # the lowest tag: ranks may have ended exchanges in different orders
            return idle.pop(min(range(len(idle)), key=lambda k: idle[k].tag))
        return self._new_buffers(layout)

    def _new_buffers(self, layout, bound=None):
        # Ranks begin exchanges in the same order, so the first free tag is the same on all of them.
        taken = {buffers.tag for buffers in self.made}
        tag = next(t for t in range(TAG_HALO, TAG_HALO + 2 * len(taken) + 2, 2) if t not in taken)
        self.made.append(Buffers(self, layout, tag, bound))
        return self.made[-1]

    def _give(self, buffers):
        self.idle[buffers.home.dtype].append(buffers)


class Buffers:
    """Send and receive rows of one layout, with persistent requests both ways.

    With ``bound``, of these arrays only; a single one's ghosts then need no
    second place.
    """

    def __init__(self, halo, layout, tag, bound=None):
        self.tag = tag
        self.bound = bound if bound is not None and len(bound) == 1 else None
        self.home = np.empty(halo.n_send, layout)  # our rows, as peers see them
        if self.bound is None:
            self.away = np.empty(halo.n_ghost, layout)  # their rows, as we see them
        else:
            self.away = _as_rows(bound[0][halo.n_owned :], layout)
        self.homes = [self.home[name] for name in layout.names]
        self.aways = [self.away[name] for name in layout.names]
        self.row = row_type(self.home)
        comm = halo.comm
        self.packed, outer = [], []
        for k, (rank, rows) in enumerate(_runs(halo.send_ranks, halo.send_ptr, self.home, self.row)):
            lo, hi = int(halo.send_ptr[k]), int(halo.send_ptr[k + 1])
            first, last = int(halo.send_rows[lo]), int(halo.send_rows[hi - 1])
            if self.bound is not None and last - first == hi - 1 - lo:  # they ascend, so they lie together
                rows = [_as_rows(bound[0][first : last + 1], layout).view(np.uint8), hi - lo, self.row]
            else:
                self.packed.append((lo, hi))
            outer.append((rank, rows))
        inner = list(_runs(halo.recv_ranks, halo.recv_ptr, self.away, self.row))
        self.forward = [comm.Recv_init(rows, rank, tag) for rank, rows in inner]
        self.forward += [comm.Send_init(rows, rank, tag) for rank, rows in outer]
        self.reverse = [comm.Recv_init(rows, rank, tag + 1) for rank, rows in outer]
        self.reverse += [comm.Send_init(rows, rank, tag + 1) for rank, rows in inner]
        # Freeing is local; MPI complains of requests that are left when it ends.
        self.close = weakref.finalize(self, _free, self.forward + self.reverse, self.row)

    def start(self, requests):
        """Start all requests of one direction. Local."""
        if requests:
            type(requests[0]).Startall(requests)


class Exchange:
    """Forwards of the same arrays; begin and end in turn."""

    def __init__(self, halo, arrays, buffers):
        self.halo, self.arrays, self.buffers = halo, arrays, buffers

    def begin(self):
        """`Halo.forward_begin` of these arrays. Collective."""
        return self.halo._forward_begin(self.arrays, self.buffers)

    def end(self, pending):
        """`Halo.forward_end` of these arrays. Collective."""
        pending.wait()
        if pending.buffers is not None and self.buffers.bound is None:
            for away, a in zip(self.buffers.aways, self.arrays, strict=True):
                a[self.halo.n_owned :] = away

    def close(self):
        """Free the requests. Local."""
        self.halo.made.remove(self.buffers)
        self.buffers.close()


class Mail:
    """Rows of the same arrays that go to their ghosts one by one, at no fixed time.

    A rank posts what it marked and takes what has come; nobody waits.
    """

    def __init__(self, halo, x):
        self.halo, self.arrays = halo, halo._checked(x)
        self.dirty = np.zeros(halo.n_owned, np.bool_)
        self.arrived = np.zeros(halo.n_local, np.bool_)
        self.requests, self.kept = [], []
        self.n_sent = self.n_received = self.n_rows = self.n_bytes = 0

    def mark(self, rows):
        """Owned rows that peers should get. Local."""
        self.dirty[rows] = True

    def forget(self):
        """Nothing marked shall be posted. Local."""
        self.dirty[:] = False

    def post(self):
        """Post what is marked, once all posted before has left; whether all has. Local."""
        if self.requests and not type(self.requests[0]).Testall(self.requests):
            return False
        self.requests, self.kept = [], []
        if not len(self.halo.send_rows) or not self.dirty.any():
            return True
        for k, rank in enumerate(self.halo.send_ranks):
            rows = self.halo.send_rows[self.halo.send_ptr[k] : self.halo.send_ptr[k + 1]]
            is_marked = self.dirty[rows]
            if is_marked.any():
                message, n_picked = _pack_changed(self.arrays, rows, is_marked)
                self.requests.append(self.halo.comm.Isend(message, dest=int(rank), tag=TAG_MAIL))
                self.kept.append(message)
                self.n_sent += 1
                self.n_rows += n_picked
                self.n_bytes += message.nbytes
        self.dirty[:] = False
        return not self.requests

    def receive(self):
        """Write the ghosts that have come; whether any has. Local."""
        from mpi4py import MPI

        status, n_before = MPI.Status(), self.n_received
        while (message := self.halo.comm.Improbe(tag=TAG_MAIL, status=status)) is not None:
            content = np.empty(status.Get_count(MPI.BYTE), np.uint8)
            message.Recv([content, MPI.BYTE])
            k = int(np.searchsorted(self.halo.recv_ranks, status.Get_source()))
            lo, hi = int(self.halo.recv_ptr[k]), int(self.halo.recv_ptr[k + 1])
            _unpack_changed(self.arrays, self.halo.n_owned + lo, hi - lo, content, self.arrived)
            self.n_received += 1
        return self.n_received > n_before

    def take_ghosts(self):
        """Ghosts that have come since the last call: uint32. Local."""
        rows = np.flatnonzero(self.arrived)
        self.arrived[rows] = False
        return rows.astype(LID)

    def close(self):
        """Wait until all that was posted has left. Local."""
        if self.requests:
            type(self.requests[0]).Waitall(self.requests)


@dataclass
class Pending:
    """An exchange in flight, and what it carries from this rank."""

    buffers: Buffers
    requests: list
    n_rows: int
    n_bytes: int
    wait_s: float = 0.0

    def wait(self):
        """Wait until all rows have come and gone. Local."""
        start = time.perf_counter()
        if self.requests:
            type(self.requests[0]).Waitall(self.requests)
        self.wait_s = time.perf_counter() - start


class PendingChanged(Pending):
    """A `changed_begin` in flight; ``messages`` are received ones first."""

    def __init__(self, requests, messages, n_rows, n_bytes):
        super().__init__(None, requests, n_rows, n_bytes)
        self.messages = messages


def build(comm, gid_bounds, ghosts):
    """Plan the halo from the ghosts of every rank. Collective.

    Each rank asks the owners of its ghosts and learns who asks it: sparse, no
    table of all pairs of ranks.

    Parameters
    ----------
    gid_bounds : int64 (size + 1,)
        Rank p owns the gids [gid_bounds[p], gid_bounds[p + 1]).
    ghosts : int64 (n_ghost,)
        Gids of other ranks' rows needed here, ascending, distinct.

    Raises
    ------
    GraphError
        A ghost is not a row of another rank. Raised on every rank.
    """
    first, end = int(gid_bounds[comm.rank]), int(gid_bounds[comm.rank + 1])
    owner = owner_of(gid_bounds, ghosts)
    recv_ranks, recv_counts = np.unique(owner, return_counts=True)
    recv_ptr = np.concatenate(([0], np.cumsum(recv_counts))).astype(np.int64)
    error = None
    if len(ghosts) and (ghosts[0] < 0 or ghosts[-1] >= gid_bounds[-1] or np.any(owner == comm.rank)):
        error = GraphError(f"a ghost lies outside [0, {int(gid_bounds[-1])}) or is owned here [{first}, {end})")
    raise_together(comm, error)
    asked = sparse_exchange(
        comm, {int(q): ghosts[recv_ptr[k] : recv_ptr[k + 1]] for k, q in enumerate(recv_ranks)}, GID
    )
    send_ranks = np.array(list(asked), np.int64)
    send_ptr = np.concatenate(([0], np.cumsum([len(rows) for rows in asked.values()]))).astype(np.int64)
    send_rows = (np.concatenate(list(asked.values())) - first if asked else np.empty(0)).astype(np.intp)
    return Halo(comm, end - first, len(ghosts), send_ranks, send_ptr, send_rows, recv_ranks, recv_ptr)


def ranges(starts, lengths):
    """Indices of many ranges, one after the other: int64. Local."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total, dtype=np.int64) + np.repeat(starts - (ends - lengths), lengths)


def _free(requests, row):
    for request in requests:
        request.Free()
    row.Free()


def _tuple(x):
    return x if isinstance(x, tuple) else (x,)


def _layout(arrays):
    return np.dtype([(f"f{k}", a.dtype, a.shape[1:]) for k, a in enumerate(arrays)])


def _as_rows(a, layout):
    return a.reshape(len(a) * int(np.prod(a.shape[1:], dtype=np.int64))).view(layout)


def _row_bytes(a):
    return a.dtype.itemsize * int(np.prod(a.shape[1:], dtype=np.int64))


def _runs(ranks, ptr, rows, row):
    for k, rank in enumerate(ranks):
        yield int(rank), [rows[ptr[k] : ptr[k + 1]].view(np.uint8), int(ptr[k + 1] - ptr[k]), row]


def _uses_bits(n_picked, n_listed):
    return n_picked > n_listed / 32 + 2  # a bit per listed row is then shorter than 32 bits per picked one


def _which_bytes(n_picked, n_listed):
    return -(-n_listed // 8) if _uses_bits(n_picked, n_listed) else n_picked * POSITION.itemsize


def _longest_message(n_listed, row_bytes):
    return HEADER.itemsize + max(-(-n_listed // 8), (n_listed // 32 + 2) * POSITION.itemsize) + n_listed * row_bytes


def _pack_changed(arrays, rows, is_changed):
    picked = np.flatnonzero(is_changed)
    bits = _uses_bits(len(picked), len(rows))
    which = np.packbits(is_changed) if bits else picked.astype(POSITION).view(np.uint8)
    parts = [np.array([len(picked)], HEADER).view(np.uint8), which]
    parts += [np.ascontiguousarray(a[rows[picked]]).view(np.uint8).reshape(-1) for a in arrays]
    return np.concatenate(parts), len(picked)


def _unpack_changed(arrays, first, n_listed, message, changed):
    n_picked = int(message[: HEADER.itemsize].view(HEADER)[0])
    at = HEADER.itemsize
    which = message[at : at + _which_bytes(n_picked, n_listed)]
    at += len(which)
    if _uses_bits(n_picked, n_listed):
        rows = first + np.flatnonzero(np.unpackbits(which, count=n_listed))
    else:
        rows = first + which.copy().view(POSITION).astype(np.intp)
    changed[rows] = True
    for a in arrays:
        n_bytes = n_picked * _row_bytes(a)
        a[rows] = message[at : at + n_bytes].copy().view(a.dtype).reshape(n_picked, *a.shape[1:])
        at += n_bytes
