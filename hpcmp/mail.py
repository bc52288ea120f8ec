"""Rows that go to their ghosts when they have changed, at no fixed time.

A rank posts what it marked and takes what has come; nobody waits.
"""

import numpy as np

from hpcmp import changed_rows
from hpcmp.comm import TAG_HALO
from hpcmp.dtypes import LID

TAG_MAIL = TAG_HALO - 3
LOOKS = 2  # in vain, before nothing more has come: one that finds nothing may be what makes MPI fetch the next message


class Mail:
    """What one rank sends and takes of the same arrays."""

    def __init__(self, halo, x):
        self.halo, self.arrays = halo, halo.checked(x)
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
        for rank, rows in self.halo.sends():
            is_marked = self.dirty[rows]
            if is_marked.any():
                message, n_picked = changed_rows.pack(self.arrays, rows, is_marked)
                self.requests.append(self.halo.comm.Isend(message, dest=rank, tag=TAG_MAIL))
                self.kept.append(message)
                self.n_sent += 1
                self.n_rows += n_picked
                self.n_bytes += message.nbytes
        self.dirty[:] = False
        return not self.requests

    def receive(self):
        """Write the ghosts that have come; whether any has. Local."""
        from mpi4py import MPI

        status, n_before, n_misses = MPI.Status(), self.n_received, 0
        while n_misses < LOOKS:
            message = self.halo.comm.Improbe(tag=TAG_MAIL, status=status)
            if message is None:
                n_misses += 1
                continue
            n_misses = 0
            content = np.empty(status.Get_count(MPI.INT64_T), changed_rows.WORD)
            message.Recv([content, MPI.INT64_T])
            k = int(np.searchsorted(self.halo.recv_ranks, status.Get_source()))
            lo, hi = int(self.halo.recv_ptr[k]), int(self.halo.recv_ptr[k + 1])
            changed_rows.unpack(self.arrays, self.halo.n_owned + lo, hi - lo, content, self.arrived)
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
