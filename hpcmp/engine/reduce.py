"""Global values of a step, and everything else the ranks tell each other once a step.

One all-reduce of integers carries exact sums (`hpcmp.kernels.exact`), counts
and whether a rank failed; a second, of doubles, goes only where a program
asks for a smallest or largest value.
"""

import numpy as np

from hpcmp.engine.checkpoints import WISHES
from hpcmp.engine.program import All, Any, Min, Sum
from hpcmp.kernels import exact
from hpcmp.kernels.maps import keep_largest

COUNTERS = ("failed", "changed", "out_edges", "waiting", "halo_rows", "halo_bytes", "digest", *WISHES)
NOTHING = np.array([-np.inf, 0.0])  # the largest of no values, and whether one was nan
PLACE = {name: k for k, name in enumerate(COUNTERS)}


def share_of(reducer):
    """What a rank's rows are added to by a reduction's kernel: nothing yet. Local."""
    return exact.zero() if isinstance(reducer, Sum) else NOTHING.copy()


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
        self.words = np.zeros(len(COUNTERS) + exact.N_WORDS * len(self.sums), np.int64)
        self.counts = self.words[: len(COUNTERS)]
        self.tops = np.empty((len(self.extremes), 2))
        sums = self.words[len(COUNTERS) :].reshape(-1, exact.N_WORDS)
        self.shares = dict(zip((*self.sums, *self.extremes), (*sums, *self.tops), strict=True))
        self.clear()

    def clear(self):
        """Start again from nothing. Local."""
        self.words[:] = 0
        self.tops[:] = NOTHING

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
            self.counts[PLACE[name]] += n

    def reduce(self, comm):
        """Counts by name, and global values by name. Collective."""
        from mpi4py import MPI

        if comm.size > 1:
            for name in self.sums:
                exact.carry(self.shares[name])
            comm.Allreduce(MPI.IN_PLACE, self.words)
            if self.extremes:
                comm.Allreduce(MPI.IN_PLACE, self.tops, op=MPI.MAX)
        values = {}
        for name, reducer in self.reducers.items():
            share = self.shares[name]
            values[name] = exact.value(share) if isinstance(reducer, Sum) else _extreme(reducer, *share.tolist())
        return dict(zip(COUNTERS, self.counts.tolist(), strict=True)), values


def _extreme(reducer, top, has_nan):
    if has_nan:
        top = float("nan")
    if isinstance(reducer, Any):
        return top > 0.0
    if isinstance(reducer, All):
        return not top >= 0.0  # -max(-x) > 0, and true of no vertices
    return 0.0 - top if isinstance(reducer, Min) else top
