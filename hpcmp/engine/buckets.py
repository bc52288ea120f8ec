"""Vertices that changed but let others send first: delta-stepping as a schedule.

A program's ``bucket`` function sorts changed vertices by how final they are.
Those of the current bucket send; the rest wait until no vertex of any rank is
left in it. Which rows send in a step does not depend on the ranks.
Source: Meyer and Sanders, J. Algorithms 49 (2003); two heaps instead of many
lists as in Davidson, Baxter, Garland and Owens, IPDPS 2014.
"""

import numpy as np

from hpcmp.dtypes import LID
from hpcmp.engine.frontier import joined


class Buckets:
    """The waiting rows of one rank."""

    def __init__(self, bound, graph):
        self.bound, self.graph = bound, graph
        self.limit = -np.inf
        self.waits = np.zeros(graph.n_owned, np.bool_)
        self.far = []

    @property
    def n_waiting(self):
        """Places in the list of the waiting; some may be stale. Local."""
        return sum(map(len, self.far))

    def part(self, ctx, changed):
        """Let changed rows send or wait; those that send, and their out-edges. Local."""
        return self._split(ctx, changed, False)

    def open(self, ctx):
        """Lowest bucket that waits here, inf if none: float. Local."""
        b = self.bound
        return float(b.lowest(b.vertices, ctx, joined(self.far), self.waits))

    def advance(self, ctx, limit):
        """Let the waiting up to a bucket send; those rows, and their out-edges. Local."""
        self.limit = limit
        waiting, self.far = joined(self.far), []
        return self._split(ctx, waiting, True)

    def _split(self, ctx, rows, only_waiting):
        b, near, far = self.bound, np.empty(len(rows), LID), np.empty(len(rows), LID)
        out_degree = self.graph.out_degree
        n_near, n_far, n_edges = b.split(
            b.vertices, ctx, rows, self.waits, only_waiting, self.limit, out_degree, near, far
        )
        if n_far:
            self.far.append(far[: int(n_far)])
        return near[: int(n_near)], int(n_edges)
