"""Vertices that changed but let others send first: delta-stepping as a schedule.

A program's ``bucket`` function sorts changed vertices by how final they are.
Those of the current bucket send; the rest wait until no vertex of any rank is
left in it. Which rows send in a step does not depend on the ranks.
Source: Meyer and Sanders, J. Algorithms 49 (2003); the lists are as in S.
Beamer, K. Asanovic and D. Patterson, arXiv:1508.03619: a row that moves is
added to another one, and the place that it leaves is passed over.
"""

import threading

import numpy as np

from hpcmp.dtypes import LID
from hpcmp.engine.frontier import joined
from hpcmp.kernels.buckets import FARTHEST, NOWHERE

MIN_SPLIT_ROWS = 1 << 14  # fewer are done before another thread has woken up


class Buckets:
    """The waiting rows of one rank, in bins of buckets that lie together."""

    def __init__(self, bound, graph, threads):
        self.bound, self.graph, self.threads = bound, graph, threads
        self.limit, self.base = -np.inf, 0.0  # buckets up to the limit send; bin k is of [base + k, base + k + 1)
        self.bin_of = np.full(graph.n_owned, NOWHERE, np.uint8)
        self.bins = {}  # number -> pieces of the list of its rows; some have moved on since
        self.n_waiting = 0
        self.lock = threading.Lock()

    def part(self, ctx, changed):
        """Let changed rows send or wait; those that send, and their out-edges. Local."""
        found = []
        size = max(-(-len(changed) // (4 * self.threads.n_threads)), MIN_SPLIT_ROWS)
        chunks = [(lo, min(lo + size, len(changed))) for lo in range(0, len(changed), size)]
        self.threads.run(lambda lo, hi: found.append(self._split(ctx, changed[lo:hi])), chunks)
        return joined([near for near, _ in found] or [changed[:0]]), sum(n_edges for _, n_edges in found)

    def open(self, ctx):
        """Lowest bucket that waits here, inf if none: float. Local."""
        b = self.bound
        while self.bins:
            opened = min(self.bins)
            rows = joined(self.bins[opened])
            lowest = float(b.lowest(b.vertices, ctx, rows, self.bin_of, opened))
            if opened == FARTHEST and self.base < lowest < np.inf:  # the others are empty: let them reach farther
                self.base = np.floor(lowest)
                self.bins = {}
                sent_now, _ = self._split(ctx, rows, opened)
                assert not len(sent_now), "a bucket fell while its row waited"
            elif lowest < np.inf or opened == FARTHEST:
                return lowest
            else:
                del self.bins[opened]
        return np.inf

    def advance(self, ctx, limit):
        """Let the waiting up to a bucket send; those rows, and their out-edges. Local."""
        self.limit, found = limit, []
        for opened in sorted(self.bins):
            if self.base + opened > limit and opened:
                break
            found.append(self._split(ctx, joined(self.bins.pop(opened)), opened))
        return joined([near for near, _ in found] or [np.empty(0, LID)]), sum(n_edges for _, n_edges in found)

    def _split(self, ctx, rows, opened=-1):
        b, n, ends = self.bound, len(rows), np.zeros(FARTHEST + 2, np.uint64)
        near, unsorted, moved = (np.empty(n, LID) for _ in range(3))
        n_near, n_more, n_edges = b.split(
            b.vertices,
            ctx,
            rows,
            self.bin_of,
            opened,
            self.limit,
            self.base,
            self.graph.out_degree,
            near,
            unsorted,
            moved,
            ends,
        )
        ends = ends.astype(np.int64)
        with self.lock:
            self.n_waiting += int(n_more)
            for k in np.flatnonzero(np.diff(ends, prepend=0)).tolist():
                self.bins.setdefault(k, []).append(moved[ends[k - 1] if k else 0 : ends[k]].copy())
        return near[: int(n_near)], int(n_edges)
