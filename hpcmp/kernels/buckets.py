"""Changed rows that send now, and those that wait in bins of buckets that lie together.

i: row    r: place in rows    k: bin
"""

import numpy as np

from hpcmp.jit import kernel_if
from hpcmp.kernels.access import scratch_rows

ZERO, ONE = np.uint64(0), np.uint64(1)
FARTHEST = 254  # the bin of whatever is farther than the others reach
NOWHERE = 255  # instead of a bin: the row does not wait


def make_split(bucket, read, fingerprint, compiled=True):
    """Part rows that changed or waited into those that send and that wait. Local.

    A row waits while its bucket is above ``limit`` (one that is no number does
    not): in the bin ``floor(bucket - base)``, of which the last takes all that
    are farther.
    ``bin_of`` tells where each row waits now; lists may name it elsewhere too.
    With ``opened``, the rows are those of that bin, and what has moved is
    passed over; -1: they have changed, whatever their bin. Those that send go
    to ``near``; those that moved to ``moved``, sorted by bin as ``ptr`` says.
    Gives how many send, by how many more wait than before, and the out-edges
    of the senders.
    """

    def split(vertices, ctx, rows, bin_of, opened, limit, base, out_degree, near, unsorted, moved, ptr):
        fingerprint  # noqa: B018
        scratch = scratch_rows(vertices)
        n_near, n_moved, n_more, out_edges = ZERO, ZERO, 0, ZERO
        for r in range(rows.size):
            i = rows[r]
            before = bin_of[i]
            if opened >= 0 and before != opened:
                continue
            b = 1.0 * bucket(read(vertices, i, scratch), ctx)
            if not b > limit:
                bin_of[i] = NOWHERE
                near[n_near] = i
                n_near += ONE
                out_edges += np.uint64(out_degree[i])
                n_more -= before != NOWHERE
                continue
            after = FARTHEST
            if b - base < FARTHEST:
                after = np.int64(max(b - base, 0.0))
            n_more += before == NOWHERE
            if after != before or opened >= 0:
                bin_of[i] = after
                unsorted[n_moved] = i
                n_moved += ONE
                ptr[after + 1] += ONE
        for k in range(1, ptr.size):
            ptr[k] += ptr[k - 1]
        for r in range(n_moved):
            k = bin_of[unsorted[r]]
            moved[ptr[k]] = unsorted[r]
            ptr[k] += ONE
        return n_near, n_more, out_edges

    return kernel_if(compiled, split)


def make_lowest(bucket, read, fingerprint, compiled=True):
    """Smallest bucket of the rows that wait in a bin, inf if none; float64. Local."""

    def lowest(vertices, ctx, rows, bin_of, opened):
        fingerprint  # noqa: B018
        scratch, least = scratch_rows(vertices), np.inf
        for r in range(rows.size):
            if bin_of[rows[r]] == opened:
                least = min(least, 1.0 * bucket(read(vertices, rows[r], scratch), ctx))
        return least

    return kernel_if(compiled, lowest)
