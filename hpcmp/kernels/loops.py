"""The loops of a step, closed over a program's functions.

Each factory fuses functions into one loop that numba compiles and keeps on
disk. With ``compiled=False`` it gives the same loop as plain Python. The
``fingerprint`` of all fused functions is captured so that it becomes part of
the cache's key: numba itself does not notice that a captured function was
edited.

i: destination row    j: source row    e: edge    k: channel    r: place in rows
"""

import numpy as np

from hpcmp.jit import inlined, kernel
from hpcmp.kernels.access import (
    as_tuple,
    at,
    differs,
    filled_rows,
    pick,
    put,
    put_rows,
    rows_at,
    rows_differ,
    scratch_rows,
    single,
    views_at,
)

SEGMENT = np.uint64(4096)  # edges of a row summed left to right before segments are combined
ZERO, ONE = np.uint64(0), np.uint64(1)


def _maybe(function, compiled):
    return kernel(function) if compiled else function


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

    return _maybe(map_rows, compiled)


def make_pair_map(function, fingerprint, compiled=True):
    """out[i] = function(old row i, new row i, ctx) for rows[lo:hi]. Local."""

    def map_pairs(old, new, ctx, rows, out, lo, hi):
        fingerprint  # noqa: B018
        old_scratch, new_scratch = scratch_rows(old), scratch_rows(new)
        for r in range(lo, hi):
            i = rows[r]
            put(out, i, as_tuple(function(rows_at(old, i, old_scratch), rows_at(new, i, new_scratch), ctx)))

    return _maybe(map_pairs, compiled)


def make_row_map(function, fingerprint, compiled=True):
    """function(vertex i, ctx, rows) fills rows, which are written to out[i]. Local.

    ``function`` is in row form (`by_row`, `map_by_channel`).
    """

    def map_into_rows(vertices, ctx, rows, out, lo, hi):
        fingerprint  # noqa: B018
        scratch, filled = scratch_rows(vertices), filled_rows(out)
        for r in range(lo, hi):
            i = rows[r]
            function(rows_at(vertices, i, scratch), ctx, filled)
            put_rows(out, i, filled)

    return _maybe(map_into_rows, compiled)


def make_scalar_step(message, fold, update, read, only_changed, fingerprint, compiled=True):
    """One step of a program whose state is all scalars. Local.

    Messages are never stored: they are made, folded and forgotten in one pass
    over a row's in-edges.
    """
    identity, absorb, merge, result = fold.identity, fold.absorb, fold.merge, fold.result

    def step(in_ptr, in_src, edges, vertices, sent, changed, ctx, rows, out, is_new, lo, hi):
        fingerprint  # noqa: B018
        scratch = scratch_rows(vertices)
        n_messages = 0
        for r in range(lo, hi):
            i = rows[r]
            vertex = read(vertices, i, scratch)
            acc, n_heard = identity, 0
            start, end = in_ptr[i], in_ptr[i + ONE]
            while start < end:
                stop = min(start + SEGMENT, end)
                part = identity
                for e in range(start, stop):
                    j = in_src[e]
                    if only_changed and not changed[j]:
                        continue
                    n_heard += 1
                    part = absorb(part, message(single(at(sent, j)), vertex, at(edges, e), ctx))
                acc = merge(acc, part)
                start = stop
            if only_changed and n_heard == 0:
                continue
            n_messages += n_heard
            new = as_tuple(update(vertex, result(acc), ctx))
            if only_changed:
                is_new[i] = differs(out, i, new)
            put(out, i, new)
        return n_messages

    return _maybe(step, compiled)


def make_collect_step(message, function, kind, update, read, only_changed, fingerprint, compiled=True):
    """One step of a scalar program whose aggregate is a Collect. Local."""

    def step(in_ptr, in_src, edges, vertices, sent, changed, ctx, rows, out, is_new, lo, hi):
        fingerprint  # noqa: B018
        longest = np.uint64(0)
        for r in range(lo, hi):
            longest = max(longest, in_ptr[rows[r] + ONE] - in_ptr[rows[r]])
        heard, scratch = np.empty(longest, kind), scratch_rows(vertices)
        n_messages = 0
        for r in range(lo, hi):
            i = rows[r]
            vertex = read(vertices, i, scratch)
            n_heard = 0
            for e in range(in_ptr[i], in_ptr[i + ONE]):
                j = in_src[e]
                if only_changed and not changed[j]:
                    continue
                heard[n_heard] = message(single(at(sent, j)), vertex, at(edges, e), ctx)
                n_heard += 1
            if only_changed and n_heard == 0:
                continue
            n_messages += n_heard
            new = as_tuple(update(vertex, function(heard[:n_heard]), ctx))
            if only_changed:
                is_new[i] = differs(out, i, new)
            put(out, i, new)
        return n_messages

    return _maybe(step, compiled)


def make_row_step(message, fold, update, forms, width, kinds, only_changed, fingerprint, compiled=True):
    """One step of a program with vector fields. Local.

    Parameters
    ----------
    message, update : callable
        In row form; `message_by_row`, `message_by_channel` and the like wrap
        what the user wrote.
    forms : (reader of sent rows, reader of vertices)
        `rows_at` for a function that gets whole rows, else `views_at`.
    width : int
        Channels of a message.
    kinds : tuple of dtypes
        Of the components of a message.
    """
    identity, absorb, merge, result = fold.identity, fold.absorb, fold.merge, fold.result
    make_message, make_acc = scratch_of(kinds, width), scratch_of(kinds_of(identity), width)
    make_total = scratch_of(kinds_of(as_tuple(result(identity))), width)
    read_sent, read_vertex = forms

    def step(in_ptr, in_src, edges, vertices, sent, changed, ctx, rows, out, is_new, lo, hi):
        fingerprint  # noqa: B018
        vertex_scratch, sent_scratch, new = scratch_rows(vertices), scratch_rows(sent), filled_rows(out)
        m, acc, part, total = make_message(), make_acc(), make_acc(), make_total()
        n_messages = 0
        for r in range(lo, hi):
            i = rows[r]
            vertex = read_vertex(vertices, i, vertex_scratch)
            for k in range(width):
                put(acc, k, identity)
            n_heard = 0
            start, end = in_ptr[i], in_ptr[i + ONE]
            while start < end:
                stop = min(start + SEGMENT, end)
                for k in range(width):
                    put(part, k, identity)
                for e in range(start, stop):
                    j = in_src[e]
                    if only_changed and not changed[j]:
                        continue
                    n_heard += 1
                    message(read_sent(sent, j, sent_scratch), vertex, at(edges, e), ctx, m)
                    for k in range(width):
                        put(part, k, absorb(at(part, k), single(at(m, k))))
                for k in range(width):
                    put(acc, k, merge(at(acc, k), at(part, k)))
                start = stop
            if only_changed and n_heard == 0:
                continue
            n_messages += n_heard
            for k in range(width):
                put(total, k, as_tuple(result(at(acc, k))))
            update(vertex, total, ctx, new)
            if only_changed:
                is_new[i] = rows_differ(out, i, new)
            put_rows(out, i, new)
        return n_messages

    return _maybe(step, compiled)


# ---------------------------------------------------------------- forms of a user's function


def map_by_channel(function, width):
    """function(vertex, ctx) of one channel, applied to every channel. Local."""

    def by_channel(vertex, ctx, out):
        for k in range(width):
            put(out, k, as_tuple(function(pick(vertex, k), ctx)))

    return inlined(by_channel)


def map_by_row(function):
    """function(vertex, ctx, out) of whole rows. Local."""

    def by_row(vertex, ctx, out):
        function(vertex, ctx, single(out))

    return inlined(by_row)


def message_by_channel(function, width):
    """function(sent, receiver, edge, ctx) applied to every channel. Local."""

    def by_channel(sent, receiver, edge, ctx, out):
        for k in range(width):
            put(out, k, as_tuple(function(single(pick(sent, k)), pick(receiver, k), edge, ctx)))

    return inlined(by_channel)


def message_by_row(function):
    """function(sent, receiver, edge, ctx, out) of whole rows. Local."""

    def by_row(sent, receiver, edge, ctx, out):
        function(single(sent), receiver, edge, ctx, single(out))

    return inlined(by_row)


def update_by_channel(function, width):
    """function(vertex, total, ctx) applied to every channel. Local."""

    def by_channel(vertex, total, ctx, out):
        for k in range(width):
            put(out, k, as_tuple(function(pick(vertex, k), single(at(total, k)), ctx)))

    return inlined(by_channel)


def update_by_row(function):
    """function(vertex, total, ctx, out) of whole rows. Local."""

    def by_row(vertex, total, ctx, out):
        function(vertex, single(total), ctx, single(out))

    return inlined(by_row)


def by_relation(functions, numbers):
    """One message function from those of several relations. Local.

    Each edge carries the number of its relation; the last function serves
    whatever is left.
    """
    function, rest = functions[0], functions[1:]
    if not rest:
        return function
    number, others = numbers[0], by_relation(rest, numbers[1:])

    def message(sent, receiver, edge, ctx):
        if edge.relation == number:
            return function(sent, receiver, edge, ctx)
        return others(sent, receiver, edge, ctx)

    return inlined(message)


def rows_by_relation(functions, numbers):
    """`by_relation` for functions in row form. Local."""
    function, rest = functions[0], functions[1:]
    if not rest:
        return function
    number, others = numbers[0], rows_by_relation(rest, numbers[1:])

    def message(sent, receiver, edge, ctx, out):
        if edge.relation == number:
            function(sent, receiver, edge, ctx, out)
        else:
            others(sent, receiver, edge, ctx, out)

    return inlined(message)


def kinds_of(values):
    """Dtypes of Python scalars: int64, float64 or bool. Local."""
    return tuple(
        np.dtype(np.bool_ if isinstance(v, bool) else np.int64 if isinstance(v, int) else np.float64) for v in values
    )


def scratch_of(kinds, width):
    """A function that makes a tuple of arrays of given kinds and width. Local."""
    kind, rest = kinds[0].type, kinds[1:]
    if not rest:

        def last():
            return (np.empty(width, kind),)

        return inlined(last)
    make_rest = scratch_of(rest, width)

    def make():
        return (np.empty(width, kind), *make_rest())

    return inlined(make)
