"""Ghost rows and the exchange that fills them, in both directions.

`Halo` is the frozen plan: who sends which rows to whom. Messages carry no
ids, both sides know the order. `forward` copies owned rows onto the ghosts
that other ranks keep of them; `reverse`, its transpose, brings ghost rows
home and folds them into the owned ones:

    <forward x, y> == <x, reverse y>

What is in flight is a second object: `Buffers`, kept for the next exchange of
the same row layout, or those of an `Exchange`.
"""

import itertools
from dataclasses import dataclass, field

import numpy as np

from hpcmp import changed_rows
from hpcmp.comm import TAG_HALO, owner_of, raise_together, row_type, sparse_exchange
from hpcmp.dtypes import GID
from hpcmp.errors import GraphError
from hpcmp.exchange import Buffers, Exchange, Pending, PendingChanged, layout_of

FOLDS = {"sum": np.add, "min": np.minimum, "max": np.maximum}
TAG_CHANGED, TAG_RAGGED = TAG_HALO - 1, TAG_HALO - 2


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

    def sends(self):
        """Ranks that keep ghosts of our rows, each with these rows. Local."""
        for k, rank in enumerate(self.send_ranks):
            yield int(rank), self.send_rows[self.send_ptr[k] : self.send_ptr[k + 1]]

    def receives(self):
        """Owners of our ghosts, each with the bounds of its ghosts among all. Local."""
        for k, rank in enumerate(self.recv_ranks):
            yield int(rank), int(self.recv_ptr[k]), int(self.recv_ptr[k + 1])

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
        arrays = self.checked(x)
        if not self.n_send and not self.n_ghost:
            return Pending(None, (), 0, 0)
        return self._take(arrays).begin_forward(arrays)

    def forward_end(self, x, pending):
        """Wait for the ghosts of x. Collective."""
        pending.wait()
        if pending.buffers is not None:
            pending.buffers.write_ghosts(_tuple(x))
            self._give(pending.buffers)

    def bind(self, x):
        """Prepare to forward the same arrays often; see `Exchange`. Collective."""
        arrays = self.checked(x)
        return Exchange(self, arrays, self._new_buffers(layout_of(arrays), arrays))

    def forward(self, x):
        """Fill the ghosts of x now; returns the finished `Pending`. Collective."""
        pending = self.forward_begin(x)
        self.forward_end(x, pending)
        return pending

    def reverse_begin(self, x):
        """Start sending the ghost rows of x to their owners. Collective."""
        arrays = self.checked(x)
        return self._take(arrays).begin_reverse(arrays)

    def reverse_end(self, x, pending, fold="sum"):
        """Fold what came back into the owned rows of x, by peer. Collective.

        ``fold`` is "sum", "min" or "max". Sums of integers do not depend on
        the ranks; sums of floats follow the order of the peers.
        """
        pending.wait()
        for home, a in zip(pending.buffers.homes, _tuple(x), strict=True):
            for lo, hi in itertools.pairwise(self.send_ptr):  # one peer names a row once, so this fold has no races
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

        Parameters
        ----------
        x : as for `forward_begin`
        changed : bool (n_local,)
        """
        arrays = self.checked(x)
        row_bytes = sum(changed_rows.row_bytes(a) for a in arrays)
        received, requests, n_rows, n_bytes = [], [], 0, 0
        for rank, lo, hi in self.receives():
            received.append(np.empty(changed_rows.longest(hi - lo, row_bytes), changed_rows.WORD))
            requests.append(self.comm.Irecv(received[-1], source=rank, tag=TAG_CHANGED))
        for rank, rows in self.sends():
            message, n_picked = changed_rows.pack(arrays, rows, changed[rows])
            requests.append(self.comm.Isend(message, dest=rank, tag=TAG_CHANGED))
            received.append(message)  # kept alive until the send is done
            n_rows += n_picked
            n_bytes += message.nbytes
        peers = [*self.recv_ranks.tolist(), *self.send_ranks.tolist()]
        return PendingChanged(requests, received, n_rows, n_bytes, peers)

    def changed_end(self, x, changed, pending):
        """Wait; write the ghosts that changed and their flags. Collective."""
        pending.wait()
        arrays = _tuple(x)
        changed[self.n_owned :] = False
        for message, (_, lo, hi) in zip(pending.messages, self.receives(), strict=False):  # sent ones follow
            changed_rows.unpack(arrays, self.n_owned + lo, hi - lo, message, changed)

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
        for rank, lo, hi in self.receives():
            part = ghost_values[ghost_ptr[lo] : ghost_ptr[hi]]
            requests.append(self.comm.Irecv([part, unit], source=rank, tag=TAG_RAGGED))
        for rank, rows in self.sends():
            kept.append(values[ranges(ptr[rows], length[rows])])
            requests.append(self.comm.Isend([kept[-1], unit], dest=rank, tag=TAG_RAGGED))
        if requests:
            type(requests[0]).Waitall(requests)
        unit.Free()
        return ghost_ptr, ghost_values

    def checked(self, x):
        """The array or arrays of x as a tuple, each as long as the graph here. Local."""
        arrays = _tuple(x)
        for a in arrays:
            if len(a) != self.n_local:
                raise GraphError(
                    f"x has {len(a)} rows, the graph has {self.n_local} local vertices "
                    f"({self.n_owned} owned + {self.n_ghost} ghosts); allocate with graph.n_local rows"
                )
        return arrays

    def close(self):
        """Free the requests of all buffers. Local."""
        for buffers in self.made:
            buffers.close()
        self.made.clear()
        self.idle.clear()

    def _take(self, arrays):
        layout = layout_of(arrays)
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


def _tuple(x):
    return x if isinstance(x, tuple) else (x,)
