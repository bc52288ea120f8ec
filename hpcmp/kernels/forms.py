"""Forms of a user's functions: one channel or whole rows, one relation or several.

i: row    k: channel
"""

import numpy as np

from hpcmp.jit import inlined
from hpcmp.kernels.access import as_tuple, at, channel_at, pick, put, rows_at, scratch_rows, single


@inlined
def always(vertex, ctx):
    """Every vertex listens. Local."""
    return True


def map_by_row(function):
    """function(vertex, ctx, out) of whole rows. Local."""

    def by_row(vertex, ctx, out):
        function(vertex, ctx, single(out))

    return inlined(by_row)


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


def absorb_by_row(message, fold, width, kinds):
    """How a message that fills a row is folded into what was heard. Local.

    Returns
    -------
    make_scratch : callable (sent) -> what ``absorb`` works with
    absorb : callable
        ``(part, sent, j, vertices, i, vertex, edge, ctx, scratch)`` folds the message
        along one edge into ``part``.
    """
    make_message, absorb_one = scratch_of(kinds, width), fold.absorb

    def make_scratch(sent):
        return scratch_rows(sent), make_message()

    def absorb(part, sent, j, vertices, i, vertex, edge, ctx, scratch):
        message(rows_at(sent, j, scratch[0]), vertex, edge, ctx, scratch[1])
        for k in range(width):
            put(part, k, absorb_one(at(part, k), single(at(scratch[1], k))))

    return inlined(make_scratch), inlined(absorb)


def absorb_by_channel(message, fold, width):
    """`absorb_by_row` for a message of one channel. Local.

    It is folded as it is made, in a loop that the compiler turns into vector
    instructions. ``message`` is the user's own.
    """
    absorb_one = fold.absorb

    def make_scratch(sent):
        return ()

    def absorb(part, sent, j, vertices, i, vertex, edge, ctx, scratch):
        for k in range(width):
            heard = message(single(channel_at(sent, j, k)), channel_at(vertices, i, k), edge, ctx)
            put(part, k, absorb_one(at(part, k), heard))

    return inlined(make_scratch), inlined(absorb)


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
