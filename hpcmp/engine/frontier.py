"""Who sends in a step, and which rows hear them.

In a program without ``only_changed`` that is everybody. In one with it, the
frontier is the vertices that changed; the rows that hear them are found along
their out-edges while they are few, and by looking at every row otherwise. The
results are the same bits either way.
"""

import numpy as np

from hpcmp.dtypes import LID
from hpcmp.kernels import csr

PULL_SHARE = 20  # look at all rows once the frontier has more than 1/20 of the edges (Gemini, OSDI 2016)


class Frontier:
    """Changed vertices of one rank, step by step."""

    def __init__(self, graph, only_changed, mode):
        self.graph, self.only_changed, self.mode = graph, only_changed, mode
        self.changed = np.ones(graph.n_local, np.bool_)  # who sends in this step; ghosts by `Halo.changed_end`
        self.is_new = np.ones(graph.n_owned, np.bool_)  # who will send in the next
        self.everyone = np.arange(graph.n_owned, dtype=LID)
        self._touched = None  # rows that hear somebody, where that is known; None: any may
        self._out_edges = None

    def counts(self):
        """Vertices that will send, and their out-edges, on this rank. Local."""
        if not self.only_changed:
            return {}
        return {"changed": self.is_new.sum(), "out_edges": self.graph.out_degree[self.is_new].sum()}

    def begin_step(self, out_edges):
        """Turn what is new into who sends; the rows that send: uint32. Local.

        Parameters
        ----------
        out_edges : int
            Of all who send, on all ranks.
        """
        if not self.only_changed:
            return self.everyone
        self.changed[: self.graph.n_owned] = self.is_new
        self.is_new[:] = False
        senders = np.flatnonzero(self.changed[: self.graph.n_owned]).astype(LID)
        self._touched = None
        if self._is_sparse(out_edges):
            self._touched = np.zeros(self.graph.n_owned, np.bool_)
            self._mark(senders)
        return senders

    def interior(self):
        """Interior rows that may hear somebody: uint32. Local."""
        return self._rows(self.graph.interior, ~self.graph.is_boundary)

    def boundary(self):
        """Boundary rows that may, once the ghosts' flags are there: uint32. Local."""
        if self._touched is not None:
            n = self.graph.n_owned
            self._mark((n + np.flatnonzero(self.changed[n:])).astype(LID))
        return self._rows(self.graph.boundary, self.graph.is_boundary)

    def _rows(self, all_rows, kind):
        return all_rows if self._touched is None else np.flatnonzero(self._touched & kind).astype(LID)

    def _is_sparse(self, out_edges):
        return self.mode == "frontier" or (self.mode == "auto" and out_edges * PULL_SHARE < self.graph.n_edges)

    def _mark(self, sources):
        g = self.graph
        if self._out_edges is None:
            self._out_edges = csr.transpose(g.in_ptr, g.in_src, g.n_local)
        csr.mark_listeners(*self._out_edges, sources, self._touched)
