"""Components by union-find: every row points to a smaller row of its component, roots to themselves.

Threads may link at once: a root is hooked by one atomic swap, which fails where
another thread was first, and then the walk goes on from what that one wrote. At
the end the root of a component is its smallest row, whoever was first.
Source: M. Sutton, T. Ben-Nun, A. Barak, IPDPS 2018 (Afforest).

i: row    j: source row    e: edge    r: root
"""

import numpy as np

from hpcmp.dtypes import LID, PTR
from hpcmp.jit import inlined, kernel
from hpcmp.kernels.intrinsics import lower_to, swap_if

ONE = np.uint64(1)


def load():
    """Compile the kernels of this file, or load them from the cache. Local."""
    ptr, rows, values = np.zeros(1, PTR), np.empty(0, LID), np.empty(0, np.int64)
    hook(ptr, rows, rows, 0, 0, 0)
    link_roots(ptr, rows, rows, 0, 0, 0)
    link_rows(ptr, rows, rows, -1, 0, 0)
    link_pairs(rows, rows, rows)
    compress(rows, 0, 0)
    copy(values, values, 0, 0)
    lower_roots(rows, values, values, 0, 0)
    follow_roots(rows, values, 0, 0)


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
def hook(in_ptr, in_src, root, n, lo, hi):
    """Point rows [lo, hi) to the smallest of themselves and their first n sources.

    Needs no ``root`` to start from, but for those of ghosts, themselves. A
    ghost among those sources points to a row that hears it, whichever wrote last.
    """
    n_owned = np.uint64(in_ptr.size - 1)
    for i in range(np.uint64(lo), np.uint64(hi)):
        low = i
        for e in range(in_ptr[i], min(in_ptr[i] + np.uint64(n), in_ptr[i + ONE])):
            j = np.uint64(in_src[e])
            low = min(low, j)
            if j >= n_owned:
                root[j] = i
        root[i] = low


@kernel
def link_roots(in_ptr, in_src, root, n, lo, hi):
    """Link those rows of [lo, hi) that are roots with their first n sources."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        if root[i] == i:
            for e in range(in_ptr[i], min(in_ptr[i] + np.uint64(n), in_ptr[i + ONE])):
                link(root, i, np.uint64(in_src[e]))


@kernel
def link_rows(in_ptr, in_src, root, skipped, lo, hi):
    """Link rows [lo, hi) with their sources.

    But for rows of the component ``skipped``: its root, or -1 for none.
    """
    for i in range(np.uint64(lo), np.uint64(hi)):
        if np.int64(root[i]) != np.int64(skipped):
            for e in range(in_ptr[i], in_ptr[i + ONE]):
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
def copy(values, out, lo, hi):
    """out[i] = values[i] for rows [lo, hi)."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        out[i] = values[i]


@kernel
def lower_roots(root, values, least, lo, hi):
    """least[r] = min(least[r], values[i]) for rows i of [lo, hi) and their roots r."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        r = np.uint64(root[i])
        if values[i] < least[r]:  # seldom, so that threads seldom meet
            lower_to(least, r, values[i])


@kernel
def follow_roots(root, values, lo, hi):
    """values[i] = values[r] for rows i of [lo, hi) and their roots r."""
    for i in range(np.uint64(lo), np.uint64(hi)):
        if root[i] != i:  # values of roots stay: another thread may be reading them
            values[i] = values[root[i]]
