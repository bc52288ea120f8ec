"""The hash of edges, row by row: the loops behind `hpcmp.graph.digest_of`.

The same words as `hpcmp.hashing.hash_sum` over the columns (id of the
destination, id of the source, ...), without such columns.

i: row    e: edge
"""

import numpy as np

from hpcmp.jit import inlined, kernel
from hpcmp.random import GOLDEN, mix


@inlined
def _mixed(h, word):
    return mix(h * GOLDEN + word)


@kernel
def hash_ends(in_ptr, in_src, ids, seed, first_row, out):
    """out = hash of the ends of each edge, from first_row until out is full."""
    i = np.uint64(first_row)
    at, n = np.uint64(0), np.uint64(out.size)
    while at < n:
        of_row = _mixed(seed, np.uint64(ids[i]))
        for e in range(in_ptr[i], in_ptr[i + np.uint64(1)]):
            out[at] = _mixed(of_row, np.uint64(ids[in_src[e]]))
            at += np.uint64(1)
        i += np.uint64(1)


@kernel
def hash_words(h, words):
    """Go on with one more word of every row, in place."""
    for e in range(h.size):
        h[e] = _mixed(h[e], words[e])


@kernel
def sum_of_ends(in_ptr, in_src, ids, seed):
    """Sum of what `hash_ends` gives for all rows."""
    total = np.uint64(0)
    for i in range(in_ptr.size - 1):
        of_row = _mixed(seed, np.uint64(ids[i]))
        for e in range(in_ptr[i], in_ptr[np.uint64(i) + np.uint64(1)]):
            total += _mixed(of_row, np.uint64(ids[in_src[e]]))
    return total
