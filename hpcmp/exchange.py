"""Rows on their way between ranks that know what to expect: buffers and persistent requests.

One `Buffers` serves one row layout and one exchange in flight. An `Exchange`
has its own for arrays that are forwarded again and again: the ghosts of a
single array are then received where they lie, and rows that lie together are
sent from there.
"""

import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpcmp.comm import row_type

_left_in_flight: list = []  # requests of exchanges that were given up


class Buffers:
    """Send and receive rows of one layout, with persistent requests both ways.

    With ``bound``, of these arrays only; a single one's ghosts then need no
    second place.
    """

    def __init__(self, halo, layout, tag, bound=None):
        self.tag, self.n_owned, self.send_rows = tag, halo.n_owned, halo.send_rows
        self.in_place = bound is not None and len(bound) == 1
        self.home = np.empty(halo.n_send, layout)  # our rows, as peers see them
        if self.in_place:
            self.away = _as_rows(bound[0][halo.n_owned :], layout)
        else:
            self.away = np.empty(halo.n_ghost, layout)  # their rows, as we see them
        self.homes = [self.home[name] for name in layout.names]
        self.aways = [self.away[name] for name in layout.names]
        self.row = row_type(self.home)
        self.packed, outer = [], []
        lo = 0
        for rank, rows in halo.sends():
            hi, first, last = lo + len(rows), int(rows[0]), int(rows[-1])
            if self.in_place and last - first == len(rows) - 1:  # they ascend, so they lie together
                outer.append((rank, self._message(_as_rows(bound[0][first : last + 1], layout))))
            else:
                outer.append((rank, self._message(self.home[lo:hi])))
                self.packed.append((lo, hi))
            lo = hi
        inner = [(rank, self._message(self.away[lo:hi])) for rank, lo, hi in halo.receives()]
        comm = halo.comm
        self.forward = [comm.Recv_init(rows, rank, tag) for rank, rows in inner]
        self.forward += [comm.Send_init(rows, rank, tag) for rank, rows in outer]
        self.reverse = [comm.Recv_init(rows, rank, tag + 1) for rank, rows in outer]
        self.reverse += [comm.Send_init(rows, rank, tag + 1) for rank, rows in inner]
        self.peers = [rank for rank, _ in inner], [rank for rank, _ in outer]
        # Freeing is local; MPI complains of requests that are left when it ends.
        self.close = weakref.finalize(self, _free, self.forward + self.reverse, self.row)

    def begin_forward(self, arrays):
        """Start owned rows of arrays on their way: `Pending`. Local."""
        for lo, hi in self.packed:
            for home, a in zip(self.homes, arrays, strict=True):
                np.take(a, self.send_rows[lo:hi], axis=0, out=home[lo:hi], mode="clip")
        inner, outer = self.peers
        return self._start(self.forward, self.home, inner + outer)

    def write_ghosts(self, arrays):
        """Write the ghosts that came. Local."""
        if not self.in_place:
            for away, a in zip(self.aways, arrays, strict=True):
                a[self.n_owned :] = away

    def begin_reverse(self, arrays):
        """Start ghosts of arrays on their way home: `Pending`. Local."""
        for away, a in zip(self.aways, arrays, strict=True):
            away[:] = a[self.n_owned :]
        inner, outer = self.peers
        return self._start(self.reverse, self.away, outer + inner)

    def _message(self, rows):
        return [rows.view(np.uint8), len(rows), self.row]

    def _start(self, requests, sent, peers):
        if requests:
            type(requests[0]).Startall(requests)
        return Pending(self, requests, len(sent), sent.nbytes, peers)


class Exchange:
    """Forwards of the same arrays; begin and end in turn."""

    def __init__(self, halo, arrays, buffers):
        self.halo, self.arrays, self.buffers = halo, arrays, buffers

    def begin(self):
        """`Halo.forward_begin` of these arrays. Collective."""
        return self.buffers.begin_forward(self.arrays)

    def end(self, pending):
        """`Halo.forward_end` of these arrays. Collective."""
        pending.wait()
        self.buffers.write_ghosts(self.arrays)

    def close(self):
        """Free the requests. Local."""
        self.halo.made.remove(self.buffers)
        self.buffers.close()


@dataclass
class Pending:
    """An exchange in flight, and what it carries from this rank."""

    buffers: Buffers
    requests: list
    n_rows: int
    n_bytes: int
    peers: Sequence = ()  # of each request
    wait_s: float = 0.0

    def wait(self):
        """Wait until all rows have come and gone. Local."""
        start = time.perf_counter()
        if self.requests:
            type(self.requests[0]).Waitall(self.requests)
        self.wait_s = time.perf_counter() - start

    def waits_for(self):
        """Ranks with whom the exchange is not done; another thread may ask. Local."""
        requests = zip(self.requests, self.peers, strict=True)
        waiting = {rank for request, rank in requests if not request.Get_status()}
        return sorted(waiting or set(self.peers))  # Open MPI tells nothing of requests that are being waited for


class PendingChanged(Pending):
    """A `Halo.changed_begin` in flight; ``messages`` are received ones first."""

    def __init__(self, requests, messages, n_rows, n_bytes, peers):
        super().__init__(None, requests, n_rows, n_bytes, peers)
        self.messages = messages


def layout_of(arrays):
    """Type of a row of all these arrays together. Local."""
    return np.dtype([(f"f{k}", a.dtype, a.shape[1:]) for k, a in enumerate(arrays)])


def _as_rows(a, layout):
    return a.reshape(len(a) * int(np.prod(a.shape[1:], dtype=np.int64))).view(layout)


def _free(requests, row):
    """Free what is done, of these requests and of those that were left before. Local.

    After an error, say that a rank died, some may still be in flight: MPI may write to their rows, and it ends a process
    in which a request that was freed fails.
    """
    row.Free()
    in_flight = []
    for request in (*_left_in_flight, *requests):
        if request.Get_status():
            request.Free()
        else:
            in_flight.append(request)
    _left_in_flight[:] = in_flight
