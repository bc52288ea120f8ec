"""Checkpoints in memory: what a rank has, the next rank has too, so that one that dies is missed by nobody.

Each rank keeps its own rows and those of the rank before it, of the last two checkpoints. A checkpoint can be used while
the ranks that live hold the rows of all, whether or not every rank came to the end of making it.
"""

import json
from dataclasses import dataclass

import numpy as np

from hpcmp.comm import together
from hpcmp.io.snapshot import Loaded

KEPT = 2  # checkpoints; a rank may die while the newest travels
PIECE_BYTES = 1 << 30  # of one message; counts are C ints
TAG = 7_301


@dataclass(frozen=True)
class _Copy:
    """What one rank keeps of a checkpoint."""

    step: int
    rank: int  # when it was made
    size: int
    mine: tuple  # (facts, tables)
    theirs: tuple  # the same of the rank before


class Partners:
    """The checkpoints that this process keeps, from one communicator to the next. Local to make."""

    def __init__(self):
        self.copies = []

    def keep(self, comm, step, facts, tables):
        """Keep a checkpoint, whose arrays nobody changes any more. Collective.

        Parameters
        ----------
        step, facts, tables
            As for `snapshot.Writer.begin`.

        Raises
        ------
        MemoryLimitError
            A rank has no memory for it. Raised on every rank.
        """
        mine = facts, tables
        self.copies = self.copies[-(KEPT - 1) :]
        self.copies.append(_Copy(step, comm.rank, comm.size, mine, _swapped(comm, mine)))

    def newest(self, comm):
        """The newest of which these ranks hold all rows, or None. Collective.

        Returns
        -------
        Loaded or None
        """
        offers = comm.allgather([(copy.step, copy.size, copy.rank) for copy in self.copies])
        for step, size in sorted({(step, size) for some in offers for step, size, _ in some}, reverse=True):
            holder = {}  # rank when it was made -> rank that gives its rows now
            for back in (0, 1):  # those of the dead from the rank behind them
                for now, some in enumerate(offers):
                    for at, n, rank in some:
                        if (at, n) == (step, size):
                            holder.setdefault((rank - back) % size, now)
            if len(holder) == size:
                return self._loaded(comm, step, size, holder)
        return None

    def _loaded(self, comm, step, size, holder):
        parts = {}
        for copy in self.copies:
            if (copy.step, copy.size) == (step, size):
                parts = {(copy.rank - 1) % size: copy.theirs, copy.rank: copy.mine}
        told = (parts[0][0], _empty(parts[0][1])) if holder[0] == comm.rank else None
        facts, layout = comm.bcast(told, root=holder[0])
        held = [parts[rank][1] for rank in sorted(parts) if holder[rank] == comm.rank]
        tables = {
            table: {name: np.concatenate([a, *(one[table][name] for one in held)]) for name, a in columns.items()}
            for table, columns in layout.items()
        }
        return Loaded(step, json.loads(json.dumps(facts)), tables)


def _empty(tables):
    return {table: {name: a[:0].copy() for name, a in columns.items()} for table, columns in tables.items()}


def _swapped(comm, mine):
    """What the rank before has, for what this one has, which goes to the rank behind."""
    from mpi4py import MPI

    facts, tables = mine
    to, source = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    columns = [(t, name, np.ascontiguousarray(a)) for t, some in tables.items() for name, a in some.items()]
    head = facts, [(t, name, a.dtype, a.shape) for t, name, a in columns]
    facts, heads = comm.sendrecv(head, to, TAG, source=source, recvtag=TAG)
    theirs = {t: {} for t, *_ in heads}
    with together(comm):
        for t, name, dtype, shape in heads:
            theirs[t][name] = np.empty(shape, dtype)
    came = [theirs[t][name] for t, name, *_ in heads]
    requests = [comm.Irecv([piece, MPI.BYTE], source, TAG) for a in came for piece in _pieces(a)]
    requests += [comm.Isend([piece, MPI.BYTE], to, TAG) for *_, a in columns for piece in _pieces(a)]
    MPI.Request.Waitall(requests)
    return facts, theirs


def _pieces(a):
    flat = a.reshape(-1).view(np.uint8)
    return [flat[at : at + PIECE_BYTES] for at in range(0, len(flat), PIECE_BYTES)]
