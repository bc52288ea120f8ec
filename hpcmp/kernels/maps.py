"""Loops over vertices, closed over a program's functions: maps and totals.

Each factory fuses functions into one loop that numba compiles and keeps on
disk. With ``compiled=False`` it gives the same loop as plain Python. The
``fingerprint`` of all fused functions is captured so that it becomes part of
the cache's key: numba itself does not notice that a captured function was
edited. So in `pull` and `push`.

i: row    k: channel    r: place in rows
"""

import numpy as np

from hpcmp.jit import inlined, kernel_if
from hpcmp.kernels.access import (
    as_tuple,
    at,
    channel_at,
    filled_rows,
    pick,
    put,
    put_channel,
    put_rows,
    rows_at,
    scratch_rows,
    single,
    views_at,
)

ZERO = np.uint64(0)


def make_probe(function, read, of_channel):
    """One call of send on vertex 0, to learn what it returns. Local.

    Parameters
    ----------
    read : `scalars_at`, `views_at` or `rows_at`
        How the function sees vertices.
    of_channel : bool
        Whether it sees one channel of vector fields.
    """

    def probe(vertices, ctx):
        vertex = read(vertices, ZERO, scratch_rows(vertices))
        return as_tuple(function(pick(vertex, ZERO) if of_channel else vertex, ctx))

    return probe


def make_message_probe(message, read, of_channel):
    """One call of message on edge 0, to learn what it returns. Local."""

    def probe(sent, vertices, edges, ctx):
        receiver = read(vertices, ZERO, scratch_rows(vertices))
        source = views_at(sent, ZERO, ())
        if of_channel:
            return as_tuple(message(single(pick(source, ZERO)), pick(receiver, ZERO), at(edges, ZERO), ctx))
        return as_tuple(message(single(source), receiver, at(edges, ZERO), ctx))

    return probe


def make_map(function, read, fingerprint, compiled=True):
    """out[i] = function(vertex i, ctx) for rows[lo:hi]. Local."""

    def map_rows(vertices, ctx, rows, out, lo, hi):
        fingerprint  # noqa: B018 (part of the cache key)
        scratch = scratch_rows(vertices)
        for r in range(lo, hi):
            i = rows[r]
            put(out, i, as_tuple(function(read(vertices, i, scratch), ctx)))

    return kernel_if(compiled, map_rows)


def make_row_map(function, fingerprint, compiled=True):
    """function(vertex i, ctx, rows) fills rows, which are written to out[i]. Local.

    ``function`` is in row form (`forms.map_by_row`).
    """

    def map_into_rows(vertices, ctx, rows, out, lo, hi):
        fingerprint  # noqa: B018
        scratch, filled = scratch_rows(vertices), filled_rows(out)
        for r in range(lo, hi):
            i = rows[r]
            function(rows_at(vertices, i, scratch), ctx, filled)
            put_rows(out, i, filled)

    return kernel_if(compiled, map_into_rows)


def make_channel_map(function, width, fingerprint, compiled=True):
    """out[i, k] = function(channel k of vertex i, ctx) for rows[lo:hi]. Local.

    Channels are read and written where they lie, in a loop that the compiler
    turns into vector instructions.
    """

    def map_channels(vertices, ctx, rows, out, lo, hi):
        fingerprint  # noqa: B018
        for r in range(lo, hi):
            i = rows[r]
            for k in range(width):
                put_channel(out, i, k, as_tuple(function(channel_at(vertices, i, k), ctx)))

    return kernel_if(compiled, map_channels)


def make_total(function, absorb, fingerprint, compiled=True):
    """absorb(total, function(vertex i, ctx)) for i in [lo, hi). Local."""

    def add_rows(vertices, ctx, total, lo, hi):
        fingerprint  # noqa: B018
        scratch = scratch_rows(vertices)
        for i in range(np.uint64(lo), np.uint64(hi)):
            absorb(total, function(rows_at(vertices, i, scratch), ctx))

    return kernel_if(compiled, add_rows)


def make_pair_total(function, absorb, fingerprint, compiled=True):
    """absorb(total, function(old row i, new row i, ctx)) for i in [lo, hi). Local."""

    def add_pairs(old, new, ctx, total, lo, hi):
        fingerprint  # noqa: B018
        old_scratch, new_scratch = scratch_rows(old), scratch_rows(new)
        for i in range(np.uint64(lo), np.uint64(hi)):
            absorb(total, function(rows_at(old, i, old_scratch), rows_at(new, i, new_scratch), ctx))

    return kernel_if(compiled, add_pairs)


def keep_largest(sign, is_truth):
    """absorb(top, value) for float64 (largest sign * value, is one nan). Local."""

    def keep(top, value):
        v = 1.0 * value
        if is_truth:
            v = 1.0 if v != 0.0 else 0.0
        v = sign * v + 0.0  # of 0.0 and -0.0 either may be the largest
        if v != v:
            top[1] = 1.0
        elif v > top[0]:
            top[0] = v

    return inlined(keep)
