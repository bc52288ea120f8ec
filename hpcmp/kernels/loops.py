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
    channel_at,
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


def make_total(function, absorb, fingerprint, compiled=True):
    """absorb(total, function(vertex i, ctx)) for i in [lo, hi). Local."""

    def add_rows(vertices, ctx, total, lo, hi):
        fingerprint  # noqa: B018
        scratch = scratch_rows(vertices)
        for i in range(np.uint64(lo), np.uint64(hi)):
            absorb(total, function(rows_at(vertices, i, scratch), ctx))

    return _maybe(add_rows, compiled)


def make_pair_total(function, absorb, fingerprint, compiled=True):
    """absorb(total, function(old row i, new row i, ctx)) for i in [lo, hi). Local."""

    def add_pairs(old, new, ctx, total, lo, hi):
        fingerprint  # noqa: B018
        old_scratch, new_scratch = scratch_rows(old), scratch_rows(new)
        for i in range(np.uint64(lo), np.uint64(hi)):
            absorb(total, function(rows_at(old, i, old_scratch), rows_at(new, i, new_scratch), ctx))

    return _maybe(add_pairs, compiled)


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


# ---------------------------------------------------------------- steps by pulling: a row looks along its in-edges


def make_scalar_step(message, fold, update, listens, read, only_changed, fingerprint, compiled=True):
    """One step of a program whose state is all scalars. Local.

    Messages are never stored: they are made, folded and forgotten in one pass
    over a row's in-edges, which ends early where the fold says that no further
    message can matter. Gives the number of rows that changed, which are
    written to ``news`` from ``lo`` on, and of their out-edges.
    """
    identity, absorb, merge, result, is_final = fold.identity, fold.absorb, fold.merge, fold.result, fold.is_final

    def step(in_ptr, in_src, edges, vertices, sent, changed, ctx, rows, out, out_degree, news, lo, hi):
        fingerprint  # noqa: B018
        scratch = scratch_rows(vertices)
        n_new, out_edges = ZERO, ZERO
        for r in range(lo, hi):
            i = rows[r]
            vertex = read(vertices, i, scratch)
            if not listens(vertex, ctx):
                continue
            acc, hears = identity, False
            start, end = in_ptr[i], in_ptr[i + ONE]
            while start < end and not is_final(acc):
                stop = min(start + SEGMENT, end)
                part = identity
                for e in range(start, stop):
                    j = in_src[e]
                    if only_changed and not changed[j]:
                        continue
                    hears = True
                    part = absorb(part, message(single(at(sent, j)), vertex, at(edges, e), ctx))
                    if is_final(part):
                        break
                acc = merge(acc, part)
                start = stop
            if only_changed and not hears:
                continue
            new = as_tuple(update(vertex, result(acc), ctx))
            if only_changed and differs(out, i, new):
                news[np.uint64(lo) + n_new] = i
                n_new += ONE
                out_edges += np.uint64(out_degree[i])
            put(out, i, new)
        return n_new, out_edges

    return _maybe(step, compiled)


def make_collect_step(message, function, kind, update, listens, read, only_changed, fingerprint, compiled=True):
    """One step of a scalar program whose aggregate is a Collect. Local."""

    def step(in_ptr, in_src, edges, vertices, sent, changed, ctx, rows, out, out_degree, news, lo, hi):
        fingerprint  # noqa: B018
        longest = np.uint64(0)
        for r in range(lo, hi):
            longest = max(longest, in_ptr[rows[r] + ONE] - in_ptr[rows[r]])
        heard, scratch = np.empty(longest, kind), scratch_rows(vertices)
        n_new, out_edges = ZERO, ZERO
        for r in range(lo, hi):
            i = rows[r]
            vertex = read(vertices, i, scratch)
            if not listens(vertex, ctx):
                continue
            n_heard = 0
            for e in range(in_ptr[i], in_ptr[i + ONE]):
                j = in_src[e]
                if only_changed and not changed[j]:
                    continue
                heard[n_heard] = message(single(at(sent, j)), vertex, at(edges, e), ctx)
                n_heard += 1
            if only_changed and n_heard == 0:
                continue
            new = as_tuple(update(vertex, function(heard[:n_heard]), ctx))
            if only_changed and differs(out, i, new):
                news[np.uint64(lo) + n_new] = i
                n_new += ONE
                out_edges += np.uint64(out_degree[i])
            put(out, i, new)
        return n_new, out_edges

    return _maybe(step, compiled)


def make_row_step(message, fold, update, listens, forms, width, kinds, only_changed, fingerprint, compiled=True):
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

    def step(in_ptr, in_src, edges, vertices, sent, changed, ctx, rows, out, out_degree, news, lo, hi):
        fingerprint  # noqa: B018
        vertex_scratch, sent_scratch, new = scratch_rows(vertices), scratch_rows(sent), filled_rows(out)
        m, acc, part, total = make_message(), make_acc(), make_acc(), make_total()
        n_new, out_edges = ZERO, ZERO
        for r in range(lo, hi):
            i = rows[r]
            vertex = read_vertex(vertices, i, vertex_scratch)
            if not listens(vertex, ctx):
                continue
            for k in range(width):
                put(acc, k, identity)
            hears = False
            start, end = in_ptr[i], in_ptr[i + ONE]
            while start < end:
                stop = min(start + SEGMENT, end)
                for k in range(width):
                    put(part, k, identity)
                for e in range(start, stop):
                    j = in_src[e]
                    if only_changed and not changed[j]:
                        continue
                    hears = True
                    message(read_sent(sent, j, sent_scratch), vertex, at(edges, e), ctx, m)
                    for k in range(width):
                        put(part, k, absorb(at(part, k), single(at(m, k))))
                for k in range(width):
                    put(acc, k, merge(at(acc, k), at(part, k)))
                start = stop
            if only_changed and not hears:
                continue
            for k in range(width):
                put(total, k, as_tuple(result(at(acc, k))))
            update(vertex, total, ctx, new)
            if only_changed and rows_differ(out, i, new):
                news[np.uint64(lo) + n_new] = i
                n_new += ONE
                out_edges += np.uint64(out_degree[i])
            put_rows(out, i, new)
        return n_new, out_edges

    return _maybe(step, compiled)


def make_channel_step(message, fold, update, listens, read, width, kinds, only_changed, fingerprint, compiled=True):
    """`make_row_step` for a message written for one channel. Local.

    Messages are folded channel by channel as they are made, in a loop that
    the compiler turns into vector instructions. ``message`` is the user's own.
    """
    identity, absorb, merge, result = fold.identity, fold.absorb, fold.merge, fold.result
    make_acc = scratch_of(kinds_of(identity), width)
    make_total = scratch_of(kinds_of(as_tuple(result(identity))), width)

    def step(in_ptr, in_src, edges, vertices, sent, changed, ctx, rows, out, out_degree, news, lo, hi):
        fingerprint  # noqa: B018
        vertex_scratch, new = scratch_rows(vertices), filled_rows(out)
        acc, part, total = make_acc(), make_acc(), make_total()
        n_new, out_edges = ZERO, ZERO
        for r in range(lo, hi):
            i = rows[r]
            vertex = read(vertices, i, vertex_scratch)
            if not listens(vertex, ctx):
                continue
            for k in range(width):
                put(acc, k, identity)
            hears = False
            start, end = in_ptr[i], in_ptr[i + ONE]
            while start < end:
                stop = min(start + SEGMENT, end)
                for k in range(width):
                    put(part, k, identity)
                for e in range(start, stop):
                    j = in_src[e]
                    if only_changed and not changed[j]:
                        continue
                    hears = True
                    edge = at(edges, e)
                    for k in range(width):
                        heard = message(single(channel_at(sent, j, k)), channel_at(vertices, i, k), edge, ctx)
                        put(part, k, absorb(at(part, k), heard))
                for k in range(width):
                    put(acc, k, merge(at(acc, k), at(part, k)))
                start = stop
            if only_changed and not hears:
                continue
            for k in range(width):
                put(total, k, as_tuple(result(at(acc, k))))
            update(vertex, total, ctx, new)
            if only_changed and rows_differ(out, i, new):
                news[np.uint64(lo) + n_new] = i
                n_new += ONE
                out_edges += np.uint64(out_degree[i])
            put_rows(out, i, new)
        return n_new, out_edges

    return _maybe(step, compiled)


# ---------------------------------------------------------------- steps by pushing: a sender goes along its out-edges


def make_push(message, fold, listens, read, fingerprint, compiled=True):
    """Fold the messages of some senders at the rows of [first, last). Local.

    For folds that any order of messages gives the same bits. Several threads
    share the rows, not the senders, so that one thread writes a row; where the
    out-edges of a sender ascend, each finds its own by search. Gives how many
    rows heard something for the first time, which are written to ``touched``
    from ``first`` on.
    """
    absorb = fold.absorb

    def push(out_ptr, out_dst, ascends, edges, vertices, sent, ctx, senders, acc, hears, touched, first, last):
        fingerprint  # noqa: B018
        scratch, first, last = scratch_rows(vertices), np.uint64(first), np.uint64(last)
        is_share, n = first > ZERO or last < np.uint64(hears.size), ZERO
        for r in range(senders.size):
            j = senders[r]
            start, end = out_ptr[j], out_ptr[j + ONE]
            if is_share and ascends:
                start = first_at_least(out_dst, start, end, first)
                end = first_at_least(out_dst, start, end, last)
            told = single(at(sent, j))
            for e in range(start, end):
                i = np.uint64(out_dst[e])
                if is_share and (i < first or i >= last):
                    continue
                vertex = read(vertices, i, scratch)
                if not listens(vertex, ctx):
                    continue
                if not hears[i]:
                    hears[i] = True
                    touched[first + n] = i
                    n += ONE
                put(acc, i, absorb(at(acc, i), message(told, vertex, at(edges, e), ctx)))
        return n

    return _maybe(push, compiled)


def make_settle(fold, update, read, fingerprint, compiled=True):
    """Update rows that heard something by `make_push`, and forget it. Local.

    Gives what a step by pulling gives.
    """
    identity, result = fold.identity, fold.result

    def settle(vertices, acc, hears, ctx, rows, out, out_degree, news, lo, hi):
        fingerprint  # noqa: B018
        scratch = scratch_rows(vertices)
        n_new, out_edges = ZERO, ZERO
        for r in range(lo, hi):
            i = rows[r]
            new = as_tuple(update(read(vertices, i, scratch), result(at(acc, i)), ctx))
            put(acc, i, identity)
            hears[i] = False
            if differs(out, i, new):
                news[np.uint64(lo) + n_new] = i
                n_new += ONE
                out_edges += np.uint64(out_degree[i])
            put(out, i, new)
        return n_new, out_edges

    return _maybe(settle, compiled)


def make_split(bucket, read, fingerprint, compiled=True):
    """Part rows that changed into those that send now and those that wait. Local.

    A row waits while its bucket is above ``limit``. Row lists may name a row
    twice; ``waits`` tells which rows are in the list of the waiting. With
    ``only_waiting``, rows that no longer wait are passed over.
    """

    def split(vertices, ctx, rows, waits, only_waiting, limit, out_degree, near, far):
        fingerprint  # noqa: B018
        scratch = scratch_rows(vertices)
        n_near, n_far, out_edges = ZERO, ZERO, ZERO
        for r in range(rows.size):
            i = rows[r]
            if only_waiting:
                if not waits[i]:
                    continue
                waits[i] = False
            if bucket(read(vertices, i, scratch), ctx) <= limit:
                waits[i] = False
                near[n_near] = i
                n_near += ONE
                out_edges += np.uint64(out_degree[i])
            elif not waits[i]:
                far[n_far] = i
                n_far += ONE
                if not only_waiting:
                    waits[i] = True
        if only_waiting:
            for r in range(n_far):
                waits[far[r]] = True
        return n_near, n_far, out_edges

    return _maybe(split, compiled)


def make_lowest(bucket, read, fingerprint, compiled=True):
    """Smallest bucket of the rows that wait; float64. Local."""

    def lowest(vertices, ctx, rows, waits):
        fingerprint  # noqa: B018
        scratch, least = scratch_rows(vertices), np.inf
        for r in range(rows.size):
            if waits[rows[r]]:
                least = min(least, 1.0 * bucket(read(vertices, rows[r], scratch), ctx))
        return least

    return _maybe(lowest, compiled)


@inlined
def first_at_least(values, start, end, bound):
    """First place of [start, end), ascending, not below bound. Local."""
    while start < end:
        middle = (start + end) >> ONE
        if values[middle] < bound:
            start = middle + ONE
        else:
            end = middle
    return start


@inlined
def always(vertex, ctx):
    """Every vertex listens. Local."""
    return True


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
