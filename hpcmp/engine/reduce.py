"""Global values of a step, and everything else the ranks tell each other once a step.

One all-reduce of integers carries exact sums (`hpcmp.kernels.exact`), counts
and whether a rank failed; a second, of doubles, goes only where a program
asks for a smallest or largest value.
"""

import numpy as np

from hpcmp.engine.program import All, Any, Min, Sum
from hpcmp.kernels import exact
from hpcmp.kernels.loops import keep_largest

COUNTERS = ("failed", "changed", "out_edges", "waiting", "halo_rows", "halo_bytes", "digest")


def share_of(reducer):
    """What a rank's rows are added to by a reduction's kernel: nothing yet. Local."""
    return exact.zero() if isinstance(reducer, Sum) else np.array([-np.inf, 0.0])


def absorber(reducer):
    """absorb(share, value) of a reduction, for kernels. Local.

    Everything but a sum is a maximum: min x = -max(-x), any = max, all = min.
    """
    if isinstance(reducer, Sum):
        return exact.add_value
    return keep_largest(-1.0 if isinstance(reducer, Min | All) else 1.0, isinstance(reducer, Any | All))


class Totals:
    """Local contributions of one step, and their sums over ranks after `reduce`."""

    def __init__(self, reducers):
        self.reducers = reducers
        self.sums = [name for name, r in reducers.items() if isinstance(r, Sum)]
        self.extremes = [name for name, r in reducers.items() if not isinstance(r, Sum)]
        self.counts = np.zeros(len(COUNTERS), np.int64)
        self.shares = {name: share_of(reducers[name]) for name in (*self.sums, *self.extremes)}

    def add(self, name, share):
        """Take in the share of some rows; see `share_of`. Local."""
        if name in self.sums:
            exact.carry(share)
            self.shares[name] += share
        else:
            np.maximum(self.shares[name], share, out=self.shares[name])

    def count(self, **counts):
        """Add to counters by name. Local."""
        for name, n in counts.items():
            self.counts[COUNTERS.index(name)] += np.int64(n)

    def reduce(self, comm):
        """Counts by name, and global values by name. Collective."""
        from mpi4py import MPI

        mine = np.concatenate([self.counts, *(self.shares[name] for name in self.sums)])
        total = np.empty_like(mine)
        comm.Allreduce(mine, total)
        values = {}
        if self.extremes:
            tops = np.array([self.shares[name] for name in self.extremes])
            comm.Allreduce(MPI.IN_PLACE, tops, op=MPI.MAX)
            for name, (top, has_nan) in zip(self.extremes, tops.tolist(), strict=True):
                values[name] = _extreme(self.reducers[name], float("nan") if has_nan else top)
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
