"""Global values of a step, and everything else the ranks tell each other once a step.

One all-reduce of integers carries exact sums (`hpcmp.kernels.exact`), counts
and whether a rank failed; a second, of doubles, goes only where a program
asks for a smallest or largest value.
"""

import numpy as np

from hpcmp.engine.program import All, Any, Min, Sum
from hpcmp.kernels import exact

COUNTERS = ("failed", "changed", "out_edges", "messages", "halo_rows", "halo_bytes", "digest")


class Totals:
    """Local contributions of one step, and their sums over ranks after `reduce`."""

    def __init__(self, reducers):
        self.reducers = reducers
        self.sums = [name for name, r in reducers.items() if isinstance(r, Sum)]
        self.extremes = [name for name, r in reducers.items() if not isinstance(r, Sum)]
        self.counts = np.zeros(len(COUNTERS), np.int64)
        self.words = {name: exact.zero() for name in self.sums}
        self.largest = dict.fromkeys(self.extremes, -np.inf)
        self.has_nan = dict.fromkeys(self.extremes, 0.0)  # apart, since a maximum may lose it

    def add(self, name, values):
        """Take in the values of one reduction, float64 (n,). Local."""
        reducer = self.reducers[name]
        if isinstance(reducer, Sum):
            exact.add(self.words[name], values)
        elif len(values):
            # everything is a maximum: min x = -max(-x), any = max, all = min
            sign = -1.0 if isinstance(reducer, Min | All) else 1.0
            values = (values != 0.0).astype(np.float64) if isinstance(reducer, Any | All) else values
            # + 0.0: of 0.0 and -0.0 either may be the largest
            self.largest[name] = float(np.fmax(self.largest[name], np.fmax.reduce(sign * values) + 0.0))
            self.has_nan[name] = max(self.has_nan[name], float(np.isnan(values).any()))

    def count(self, **counts):
        """Add to counters by name. Local."""
        for name, n in counts.items():
            self.counts[COUNTERS.index(name)] += np.int64(n)

    def reduce(self, comm):
        """Counts by name, and global values by name. Collective."""
        from mpi4py import MPI

        mine = np.concatenate([self.counts, *self.words.values()])
        total = np.empty_like(mine)
        comm.Allreduce(mine, total)
        values = {}
        if self.extremes:
            top = np.array([*self.largest.values(), *self.has_nan.values()])
            comm.Allreduce(MPI.IN_PLACE, top, op=MPI.MAX)
            for name, t, has_nan in zip(self.extremes, *np.split(top, 2), strict=True):
                values[name] = _extreme(self.reducers[name], float("nan") if has_nan else float(t))
        n = len(COUNTERS)
        for k, name in enumerate(self.sums):
            values[name] = exact.value(total[n + k * exact.N_WORDS : n + (k + 1) * exact.N_WORDS])
        counts = dict(zip(COUNTERS, total[:n].tolist(), strict=True))
        return counts, {name: values[name] for name in self.reducers}


def _extreme(reducer, top):
    if isinstance(reducer, Any):
        return top > 0.0
    if isinstance(reducer, All):
        return not top >= 0.0  # -max(-x) > 0, and true of no vertices
    return 0.0 - top if isinstance(reducer, Min) else top
