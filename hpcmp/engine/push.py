"""Messages that changed vertices push along their out-edges, and what they have told so far."""

import numpy as np

from hpcmp.dtypes import LID
from hpcmp.engine.bind import accumulators
from hpcmp.engine.frontier import joined
from hpcmp.kernels import csr

MAX_SCANNING_THREADS = 4  # more would spend their time passing over the rows of others
MIN_PUSHED_EDGES = 1 << 15  # fewer are done before another thread has woken up


class Push:
    """Accumulators of one rank's rows, empty between steps."""

    def __init__(self, bound, graph, everyone, threads):
        self.bound, self.graph, self.threads = bound, graph, threads
        n = graph.n_owned
        self.acc = accumulators(bound.fold, n)
        self.hears = np.zeros(n, np.bool_)
        self.touched = np.empty(n, LID)
        self.pieces = []  # of the rows that hear something in this step
        self.out_edges = self._out_edges()
        self.ranges = csr.chunks(graph.in_ptr, everyone, threads.n_threads, threads.n_threads)

    def tell(self, ctx, senders, n_edges):
        """Push the messages of local rows with about n_edges out-edges. Local."""
        b, n = self.bound, self.graph.n_owned
        room = self.touched if not self.pieces else np.empty(n, LID)

        def call(first, last):
            args = (b.vertices, b.sent, ctx, senders, self.acc, self.hears, room, first, last)
            n_touched = int(b.push(*self.out_edges, *args))
            self.pieces.append(room[first : first + n_touched])

        self.threads.run(call, self.ranges if n_edges >= MIN_PUSHED_EDGES else [(0, n)])

    def rows(self):
        """The rows that heard something: uint32; the next step starts from none. Local."""
        pieces, self.pieces = self.pieces, []
        return joined(pieces)

    def _out_edges(self):
        g, edges = self.graph, self.bound.edges
        has_twins = g.has_twins and "sender" not in edges._fields
        if has_twins and self.threads.n_threads <= MAX_SCANNING_THREADS:
            return g.in_ptr, g.in_src, False, edges  # which do not ascend
        out_ptr, out_dst, out_edge = csr.transpose(g.in_ptr, g.in_src, g.n_local)
        return out_ptr, out_dst, True, type(edges)(*(a[out_edge] for a in edges))
