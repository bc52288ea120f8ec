"""Kernels over the structure of a graph: transpose, marking, chunks of work.

i: destination row    j: source row    e: edge    r: place in rows
"""

import numpy as np

from hpcmp.dtypes import LID, PTR
from hpcmp.jit import kernel

BLOCK_BITS = 9  # at most 2**9 blocks of sources while edges are turned: as many places are written by turns
CHUNK_WORK = 1 << 16  # rows + edges of one chunk: some 50 us, long against the 5 us it takes to hand it out


def transpose(in_ptr, in_src, n_local, first=0):
    """Out-edges of the local rows from ``first`` on that end on this rank. Local.

    Edges are dealt to blocks of sources before each finds its place, so that
    it is one in the caches: two to three times faster than at once.

    Returns
    -------
    out_ptr : uint64 (n_local + 1,)
    out_dst : uint32 (n,) owned rows, ascending per source
    out_edge : uint32 or uint64 (n,) which in-edge each is
    """
    out_ptr, first = np.zeros(n_local + 1, PTR), np.uint32(first)
    count_by_source(in_src, first, out_ptr)
    n, shift = int(out_ptr[-1]), np.uint64(max((n_local - int(first)).bit_length() - BLOCK_BITS, 0))
    block_starts = np.arange(int(first), n_local + 1, 1 << int(shift))
    out_dst, out_edge = np.empty(n, LID), np.empty(n, LID if len(in_src) < 2**32 else PTR)
    src, dst, edge = np.empty(n, LID), np.empty_like(out_dst), np.empty_like(out_edge)
    deal_to_blocks(in_ptr, in_src, first, shift, out_ptr[block_starts], src, dst, edge)
    place(src, dst, edge, out_ptr, out_dst, out_edge)
    return out_ptr, out_dst, out_edge


@kernel
def count_by_source(in_src, first, out_ptr):
    """out_ptr[j + 1] = edges of the sources from first to j."""
    one = np.uint64(1)
    for e in range(in_src.size):
        if in_src[e] >= first:
            out_ptr[in_src[e] + one] += one
    for j in range(out_ptr.size - 1):
        out_ptr[j + 1] += out_ptr[j]


@kernel
def deal_to_blocks(in_ptr, in_src, first, shift, ends, src, dst, edge):
    """Edges by block of 2**shift sources; ends[b] is where block b goes on."""
    one = np.uint64(1)
    for i in range(np.uint64(in_ptr.size - 1)):
        for e in range(in_ptr[i], in_ptr[i + one]):
            j = in_src[e]
            if j >= first:
                b = np.uint64(j - first) >> shift
                src[ends[b]], dst[ends[b]], edge[ends[b]] = j, i, e
                ends[b] += one


@kernel
def place(src, dst, edge, out_ptr, out_dst, out_edge):
    """Edges by source, as they come; out_ptr tells where each source starts."""
    one = np.uint64(1)
    for k in range(src.size):
        at = out_ptr[src[k]]
        out_dst[at], out_edge[at] = dst[k], edge[k]
        out_ptr[src[k]] = at + one
    # every pointer has moved to the end of its row, which is the start of the next
    for j in range(np.uint64(out_ptr.size - 1), np.uint64(0), -1):
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
    """Ranges of places in rows, about equal work: list of (lo, hi). Local.

    Rows whose ends lie as far apart as if they followed each other are taken
    to do so; others only make the shares less equal.
    """
    if n_threads == 1 or len(rows) == 0:
        return [(0, len(rows))]
    is_range = int(rows[-1]) - int(rows[0]) == len(rows) - 1
    work = len(rows) + int(in_ptr[int(rows[-1]) + 1] - in_ptr[rows[0]]) if is_range else int(work_of(in_ptr, rows))
    n_chunks = n_chunks or int(min(max(work // CHUNK_WORK, 1), 16 * n_threads))
    bounds = np.full(n_chunks + 1, len(rows), np.int64)
    (cut_range if is_range else cut)(in_ptr, rows, work, bounds)
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


@kernel
def cut_range(in_ptr, rows, work, bounds):
    """`cut` of rows that follow each other, by bisection."""
    n_chunks, first = bounds.size - 1, np.int64(rows[0])
    for k in range(n_chunks):
        low, high = 0, rows.size
        while low < high:
            r = (low + high) // 2
            done = r + np.int64(in_ptr[first + r] - in_ptr[first])
            if done * n_chunks >= work * k:
                high = r
            else:
                low = r + 1
        bounds[k] = low
