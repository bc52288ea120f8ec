"""Loops over edges while a graph is opened or built, without arrays of edge length beside them.

i: row    e: edge
"""

import numpy as np

from hpcmp.jit import kernel


@kernel
def narrow(wide, n, out, is_seen):
    """out = wide, marked in is_seen unless empty; where the first is no row, or -1."""
    for e in range(wide.size):
        v = wide[e]
        if v < 0 or v >= n:
            return e
        out[e] = v
        if is_seen.size > 0:
            is_seen[np.uint64(v)] = True
    return -1


@kernel
def mark(values, is_seen):
    """is_seen[v] = True for all values."""
    for e in range(values.size):
        is_seen[np.uint64(values[e])] = True


@kernel
def mark_from(keys, low, is_seen):
    """is_seen[key - low] = 1 for all keys."""
    for e in range(keys.size):
        is_seen[np.uint64(keys[e] - low)] = 1


@kernel
def count(values, counts):
    """counts[v] += 1 for all values."""
    for e in range(values.size):
        counts[np.uint64(values[e])] += 1


@kernel
def translate(values, table, out):
    """out[e] = table[values[e]]; out may be values."""
    for e in range(values.size):
        out[e] = table[np.uint64(values[e])]


@kernel
def look_up(keys, low, table, out):
    """out[e] = table[keys[e] - low], or -1 where the key lies outside the table."""
    n = np.uint64(table.size)
    for e in range(keys.size):
        at = np.uint64(keys[e] - low)  # wraps around below low
        out[e] = table[at] if at < n else np.int64(-1)


@kernel
def copy_runs(ptr, rows, column, out_ptr, out):
    """out[out_ptr[i] : out_ptr[i + 1]] = the run of rows[i] in column."""
    for i in range(rows.size):
        at = out_ptr[i]
        for e in range(ptr[rows[i]], ptr[rows[i] + np.uint64(1)]):
            out[at] = column[e]
            at += np.uint64(1)


@kernel
def mark_boundary(in_ptr, in_src, n_owned, is_boundary):
    """is_boundary[i] = whether row i hears a ghost."""
    for i in range(is_boundary.size):
        hears = False
        for e in range(in_ptr[i], in_ptr[np.uint64(i) + np.uint64(1)]):
            if in_src[e] >= n_owned:
                hears = True
                break
        is_boundary[i] = hears


@kernel
def first_fall(values):
    """Where the first value below the one before it is, or -1."""
    for i in range(1, values.size):
        if values[i] < values[i - 1]:
            return i
    return -1


@kernel
def gather_gids(in_src, first, n_owned, ghosts, out):
    """out[e] = gid of the local row in_src[e]."""
    for e in range(in_src.size):
        j = in_src[e]
        out[e] = first + np.int64(j) if j < n_owned else ghosts[j - n_owned]
