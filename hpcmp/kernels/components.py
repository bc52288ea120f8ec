"""Components by union-find: every row points to a smaller row of its component, roots to themselves.

Threads may link at once: a root is hooked by one atomic swap, which fails where
another thread was first, and then the walk goes on from what that one wrote. At
the end the root of a component is its smallest row, whoever was first.
Source: M. Sutton, T. Ben-Nun, A. Barak, IPDPS 2018 (Afforest).

i: row    j: source row    e: edge
"""

import numpy as np

from hpcmp.dtypes import LID, PTR
from hpcmp.jit import inlined, kernel
from hpcmp.kernels.intrinsics import swap_if

ONE = np.uint64(1)


def load():
    """Compile the kernels of this file, or load them from the cache. Local."""
    ptr, rows, values = np.zeros(1, PTR), np.empty(0, LID), np.empty(0, np.int64)
    link_first(ptr, rows, rows, 0, 0, 0)
    link_rest(ptr, rows, rows, 0, -1, 0, 0)
    link_pairs(rows, rows, rows)
    compress(rows, 0, 0)
    smallest_of(rows, values, values)


@inlined
def link(root, i, j):
    """Join the components of two rows of ``root`` (uint32). Local."""
    a, b = root[i], root[j]
    while a != b:
        high, low = max(a, b), min(a, b)
        above = root[high]
        if above == low or (above == high and swap_if(root, np.uint64(high), high, low)):
            break
        a, b = root[root[high]], root[low]


@kernel
def link_first(in_ptr, in_src, root, n, lo, hi):
    """Link rows [lo, hi) with their first n sources."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        for e in range(in_ptr[i], min(in_ptr[i] + np.uint64(n), in_ptr[i + ONE])):
            link(root, i, np.uint64(in_src[e]))


@kernel
def link_rest(in_ptr, in_src, root, n, skipped, lo, hi):
    """Link rows [lo, hi) with their sources from the n-th on.

    But for rows of the component ``skipped``: its root, or -1 for none.
    """
    for i in range(np.uint64(lo), np.uint64(hi)):
        if np.int64(root[i]) != np.int64(skipped):
            for e in range(in_ptr[i] + np.uint64(n), in_ptr[i + ONE]):
                link(root, i, np.uint64(in_src[e]))


@kernel
def link_pairs(root, first, second):
    """Link first[k] with second[k]."""
    for k in range(first.size):
        link(root, np.uint64(first[k]), np.uint64(second[k]))


@kernel
def compress(root, lo, hi):
    """Let rows [lo, hi) point straight to their roots."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        a = root[i]
        while root[a] != a:
            a = root[a]
        root[i] = a


@kernel
def smallest_of(root, values, smallest):
    """smallest[r] = least of the values of the rows below root r; others stay."""
    for i in range(np.uint64(values.size)):
        r = root[i]
        smallest[r] = min(smallest[r], values[i])
