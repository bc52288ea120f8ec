"""Messages that changed vertices push along their out-edges, and what they have told so far."""

import threading

import numpy as np

from hpcmp.dtypes import LID
from hpcmp.engine.bind import accumulators
from hpcmp.engine.frontier import joined
from hpcmp.kernels import csr

MAX_SCANNING_THREADS = 4  # more would spend their time passing over the rows of others
MIN_PUSHED_EDGES = 1 << 15  # fewer are done before another thread has woken up


class Push:
    """Accumulators of one rank's rows, empty between steps unless they remember."""

    def __init__(self, bound, graph, everyone, threads, remembers):
        self.bound, self.graph, self.threads, self.remembers = bound, graph, threads, remembers
        n = graph.n_owned
        self.acc = accumulators(bound.fold, n)
        self.hears = np.zeros(n, np.bool_)
        self.rooms = {}  # thread -> [where it writes the rows that hear something, how many it wrote]
        self.out_edges = self._out_edges()
        self.ranges = csr.chunks(graph.in_ptr, everyone, threads.n_threads, threads.n_threads)

    def tell(self, ctx, senders, n_edges):
        """Push the messages of local rows with about n_edges out-edges. Local."""
        n, n_senders = self.graph.n_owned, len(senders)
        if self.threads.n_threads == 1 or n_edges < MIN_PUSHED_EDGES:
            self._push(ctx, senders, 0, n_senders, 0, n)
        elif self.bound.fold.is_one_word:
            chunks = csr.chunks(self.out_edges[0], senders, self.threads.n_threads)
            self.threads.run(lambda lo, hi: self._push(ctx, senders, lo, hi, 0, n), chunks)
        else:
            self.threads.run(lambda lo, hi: self._push(ctx, senders, 0, n_senders, lo, hi), self.ranges)

    def _push(self, ctx, senders, *range_of_senders_and_rows):
        """Let one thread push a share."""
        room = self.rooms.setdefault(threading.get_ident(), [np.empty(self.graph.n_owned, LID), 0])
        b, (touched, n) = self.bound, room
        args = (b.vertices, b.sent, ctx, senders, self.acc, self.hears, self.remembers, touched[n:])
        room[1] += int(b.push(*self.out_edges, *args, *range_of_senders_and_rows))

    def rows(self):
        """The rows that heard something: uint32; the next step starts from none. Local."""
        pieces = [touched[:n] for touched, n in self.rooms.values() if n]
        for room in self.rooms.values():
            room[1] = 0
        return joined(pieces)

    def _out_edges(self):
        g, edges = self.graph, self.bound.edges
        are_scanned = self.threads.n_threads > 1 and not self.bound.fold.is_one_word  # by each thread for its rows
        if (
            g.has_twins
            and "sender" not in edges._fields
            and not (are_scanned and self.threads.n_threads > MAX_SCANNING_THREADS)
        ):
            return g.in_ptr, g.in_src, False, edges
        out = g.out_edges
        return out.ptr, out.dst, True, type(edges)(*map(out.field, edges._fields, edges))
