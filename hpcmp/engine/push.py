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
        self.out_edges, self.ghost_edges = self._edges()
        self.ranges = csr.chunks(graph.in_ptr, everyone, threads.n_threads, threads.n_threads)

    def tell(self, ctx, senders, are_ghosts=False):
        """Push the messages of owned rows, or of ghosts. Local."""
        n, n_senders, edges = self.graph.n_owned, len(senders), self.ghost_edges if are_ghosts else self.out_edges
        if self.threads.n_threads == 1 or csr.work_of(edges[0], senders) < MIN_PUSHED_EDGES:
            self._push(edges, ctx, senders, 0, n_senders, 0, n)
        elif self.bound.fold.is_one_word:
            chunks = csr.chunks(edges[0], senders, self.threads.n_threads)
            self.threads.run(lambda lo, hi: self._push(edges, ctx, senders, lo, hi, 0, n), chunks)
        else:
            self.threads.run(lambda lo, hi: self._push(edges, ctx, senders, 0, n_senders, lo, hi), self.ranges)

    def _push(self, edges, ctx, senders, *range_of_senders_and_rows):
        """Let one thread push a share."""
        me = threading.get_ident()
        if me not in self.rooms:
            self.rooms[me] = [np.empty(self.graph.n_owned, LID), 0]
        b, room = self.bound, self.rooms[me]
        touched, n = room
        args = (b.vertices, b.sent, ctx, senders, self.acc, self.hears, self.remembers, touched[n:])
        room[1] += int(b.push(*edges, *args, *range_of_senders_and_rows))

    def rows(self):
        """The rows that heard something: uint32; the next step starts from none. Local."""
        pieces = [touched[:n] for touched, n in self.rooms.values() if n]
        for room in self.rooms.values():
            room[1] = 0
        return joined(pieces)

    def _edges(self):
        """What goes before the other arguments of the kernel: out-edges of owned rows, and those of ghosts."""
        g, b = self.graph, self.bound
        turned = turned_edges(b, g, self.threads.n_threads)
        by_row = g.in_ptr, g.in_src, False, b.edges  # also the out-edges of an undirected graph, not ascending
        if turned == "none":
            return by_row, by_row
        out = g.ghost_edges if turned == "ghosts" else g.out_edges
        made = out.ptr, out.dst, True, type(b.edges)(*map(out.field, b.edges._fields, b.edges))
        return (by_row if turned == "ghosts" else made), made


def turned_edges(bound, graph, n_threads):
    """Whose out-edges are made, to push or to mark: none, ghosts, all. Local."""
    are_scanned = bound.push is not None and n_threads > MAX_SCANNING_THREADS and not bound.fold.is_one_word
    has_sender = bound.push is not None and "sender" in bound.edges._fields
    if graph.directed or are_scanned or has_sender:
        return "all"
    return "ghosts" if graph.n_ghost else "none"
