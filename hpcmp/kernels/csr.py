"""Kernels over the structure of a graph: transpose, marking, chunks of work.

i: destination row    j: source row    e: edge    r: place in rows
"""

import numpy as np

from hpcmp.dtypes import LID, PTR
from hpcmp.jit import kernel

CHUNK_WORK = 1 << 16  # rows + edges of one chunk: some 50 us, long against the 5 us it takes to hand it out


def transpose(in_ptr, in_src, n_local):
    """Out-edges of every local row that end on this rank. Local.

    Returns
    -------
    out_ptr : uint64 (n_local + 1,)
    out_dst : uint32 (n_in,) owned rows, ascending per source
    out_edge : uint32 or uint64 (n_in,) which in-edge each is
    """
    out_ptr = np.zeros(n_local + 1, PTR)
    out_dst = np.empty(len(in_src), LID)
    out_edge = np.empty(len(in_src), LID if len(in_src) < 2**32 else PTR)
    fill_transpose(in_ptr, in_src, out_ptr, out_dst, out_edge)
    return out_ptr, out_dst, out_edge


@kernel
def fill_transpose(in_ptr, in_src, out_ptr, out_dst, out_edge):
    """Count, then place: out_dst holds the rows that hear source j."""
    one = np.uint64(1)
    n_local = np.uint64(out_ptr.size - 1)
    for e in range(in_src.size):
        out_ptr[in_src[e] + one] += one
    for j in range(n_local):
        out_ptr[j + one] += out_ptr[j]
    for i in range(in_ptr.size - 1):
        for e in range(in_ptr[i], in_ptr[np.uint64(i) + one]):
            j = in_src[e]
            out_dst[out_ptr[j]] = i
            out_edge[out_ptr[j]] = e
            out_ptr[j] += one
    # every pointer has moved to the end of its row, which is the start of the next
    for j in range(n_local, np.uint64(0), -1):
        out_ptr[j] = out_ptr[np.uint64(j) - one]
    out_ptr[0] = np.uint64(0)


@kernel
def set_flags(flags, rows, value):
    """flags[rows] = value."""
    for r in range(rows.size):
        flags[rows[r]] = value


@kernel
def mark_listeners(out_ptr, out_dst, sources, touched):
    """touched[i] = True for every row that hears one of the sources."""
    for r in range(sources.size):
        j = sources[r]
        for e in range(out_ptr[j], out_ptr[j + np.uint64(1)]):
            touched[out_dst[e]] = True


def chunks(in_ptr, rows, n_threads, n_chunks=None):
    """Ranges of places in rows of about equal work: list of (lo, hi). Local."""
    if n_threads == 1 or len(rows) == 0:
        return [(0, len(rows))]
    work = int(work_of(in_ptr, rows))
    n_chunks = n_chunks or int(min(max(work // CHUNK_WORK, 1), 16 * n_threads))
    bounds = np.full(n_chunks + 1, len(rows), np.int64)
    cut(in_ptr, rows, work, bounds)
    bounds = np.unique(bounds).tolist()
    return list(zip(bounds[:-1], bounds[1:], strict=True))


@kernel
def work_of(in_ptr, rows):
    """Rows and their in-edges."""
    work = np.uint64(rows.size)
    for r in range(rows.size):
        work += in_ptr[rows[r] + np.uint64(1)] - in_ptr[rows[r]]
    return work


@kernel
def cut(in_ptr, rows, work, bounds):
    """Place bounds[k] where k equal shares of the work are done."""
    n_chunks, k, done = bounds.size - 1, 0, 0
    for r in range(rows.size):
        while k < n_chunks and done * n_chunks >= work * k:
            bounds[k] = r
            k += 1
        done += 1 + np.int64(in_ptr[rows[r] + np.uint64(1)] - in_ptr[rows[r]])
