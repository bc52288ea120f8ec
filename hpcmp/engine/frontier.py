"""Who sends in a step, and how its messages find the rows that hear them.

In a program without ``only_changed`` everybody sends and every row looks along
its in-edges. With it, the vertices that changed send, and each step goes one
of three ways, chosen from counts over all ranks:

pull
    Every row looks along its in-edges for senders: while senders are many.
push
    Senders go along their out-edges: while they are few, and the aggregate
    gives the same bits in any order.
mark
    Senders only mark the rows that hear them, and those look along all their
    in-edges: for the aggregates that need the canonical order.

The results are the same bits whichever way is taken. Pushing and pulling by
turns is direction-optimising search (Beamer, Asanovic, Patterson, SC 2012)
for any program.
"""

import numpy as np

from hpcmp.dtypes import LID
from hpcmp.kernels import csr

ALPHA = 15  # a look at everybody pays once senders have more than 1/15 of the vertices and edges not yet followed
BETA = 18  # and no longer when they are fewer than 1/18 of the vertices, and dwindling
PULL_SHARE = 1 / 20  # of all edges, where vertices may change again and again (Gemini, OSDI 2016)
REMEMBERING_PULL_SHARE = 2 / 3  # where most messages are dropped as they come; measured, Kronecker graphs
MODES = ("auto", "step", "frontier", "async")


class Frontier:
    """Changed vertices of one rank, step by step."""

    def __init__(self, graph, program, mode, can_push=False):
        self.graph, self.program, self.mode = graph, program, mode
        self.few = "push" if can_push else "mark"
        self.way = "pull"
        self.remembers = False  # whether accumulators keep what was heard in earlier steps; see `Push`
        self.everyone = np.arange(graph.n_owned, dtype=LID)
        self.senders = self.everyone[:0] if program.only_changed else self.everyone
        self.changed = np.zeros(graph.n_local, np.bool_)  # who sends in this step; ghosts by `Halo.changed_end`
        self.found = [self.everyone]  # pieces of the rows that will send in the next
        is_all = program.only_changed and program.active is None
        self.found_edges = [int(graph.out_degree.sum())] if is_all else []  # out-edges of each piece
        self._n_unfollowed, self._n_before = graph.n_edges, 0
        self._touched = None
        n_room = graph.n_owned if program.only_changed else 0
        self._rooms, self._n_used = [np.empty(n_room, LID), np.empty(n_room, LID)], 0  # senders lie in the other one

    def first(self, is_active):
        """Who sends in the first step: bool (n_owned,). Local."""
        self.found = [np.flatnonzero(is_active).astype(LID)]
        self.found_edges = [int(self.graph.out_degree[self.found[0]].sum())]

    @property
    def n_found(self):
        """How many rows will send in the next step, here. Local."""
        return sum(map(len, self.found))

    def begin_step(self, n_changed, out_edges):
        """Turn who changed into who sends, and choose the way; uint32 rows. Local.

        Parameters
        ----------
        n_changed, out_edges : int
            Vertices that send, and their out-edges, on all ranks.
        """
        if not self.program.only_changed:
            return self.senders
        csr.set_flags(self.changed, self.senders, False)
        self.senders = self.turn()
        csr.set_flags(self.changed, self.senders, True)
        self.way = self._choose(n_changed, out_edges)
        if self.way == "mark":
            self._touched = np.zeros(self.graph.n_local, np.bool_)
            csr.mark_listeners(*self.graph.heard_by, self.senders, self._touched)
        return self.senders

    def turn(self):
        """The rows found so far; from now on others are found: uint32. Local."""
        rows = joined(self.found)
        self.found, self.found_edges, self._n_used = [], [], 0
        self._rooms.reverse()
        return rows

    def interior(self):
        """Interior rows that may hear somebody: uint32. Local."""
        if self.way != "mark":
            return self.graph.interior
        return np.flatnonzero(self._touched[: self.graph.n_owned] > self.graph.is_boundary).astype(LID)

    def boundary(self):
        """Boundary rows that may, once the ghosts' flags are there: uint32. Local."""
        if self.way != "mark" or not self.graph.n_ghost:
            return self.graph.boundary
        csr.mark_listeners(*self.graph.ghosts_heard_by, self.ghost_senders(), self._touched)
        return np.flatnonzero(self._touched[: self.graph.n_owned] & self.graph.is_boundary).astype(LID)

    def ghost_senders(self):
        """Ghosts that send in this step, once their flags are there: uint32. Local."""
        n = self.graph.n_owned
        return (n + np.flatnonzero(self.changed[n:])).astype(LID)

    def room(self, n):
        """n more places where kernels write the rows that change: uint32. Local."""
        if not self.found:
            self._n_used = 0
        buffer = self._rooms[0]
        self._n_used += n
        if self._n_used > len(buffer):
            raise AssertionError("more rows were to change than there are")
        return buffer[self._n_used - n : self._n_used]

    def _choose(self, n_changed, out_edges):
        before, self._n_before = self._n_before, n_changed
        if self.mode != "auto":
            return "pull" if self.mode == "step" else self.few
        if self.program.listens is None:
            share = REMEMBERING_PULL_SHARE if self.remembers else PULL_SHARE
            return "pull" if out_edges >= share * self.graph.n_edges else self.few
        if self.way == "pull" and before and (n_changed >= before or n_changed * BETA > self.graph.n_vertices):
            many = True
        else:
            many = out_edges * ALPHA > self._n_unfollowed + self.graph.n_vertices
        self._n_unfollowed = max(self._n_unfollowed - out_edges, 0)
        return "pull" if many else self.few


def joined(pieces):
    """Pieces of a list of rows as one: uint32. Local."""
    return pieces[0] if len(pieces) == 1 else np.concatenate([*pieces, np.empty(0, LID)])
