"""Steps by pulling: a row looks along its in-edges, and messages are folded as they are made.

i: destination row    j: source row    e: edge    k: channel    r: place in rows
"""

import numpy as np

from hpcmp.jit import kernel_if
from hpcmp.kernels.access import (
    as_tuple,
    at,
    differs,
    filled_rows,
    prefetch_row,
    put,
    put_rows,
    rows_differ,
    scratch_rows,
    single,
)
from hpcmp.kernels.forms import kinds_of, scratch_of

SEGMENT = np.uint64(4096)  # edges of a row summed left to right before segments are combined
# Edges between asking for a source's row and reading it, and rows under way: 8, 16 and 32 measured alike, 4 too few.
ROWS_AHEAD = np.uint64(16)
ZERO, ONE = np.uint64(0), np.uint64(1)


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

    return kernel_if(compiled, step)


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

    return kernel_if(compiled, step)


def make_vector_step(absorb_edge, fold, update, listens, read, width, only_changed, fingerprint, compiled=True):
    """One step of a program with vector fields. Local.

    Rows of sources are asked for some edges before they are read, as no
    processor can guess them.

    Parameters
    ----------
    absorb_edge : (callable, callable)
        `forms.absorb_by_row` or `forms.absorb_by_channel` of the message.
    update : callable
        In row form; `forms.update_by_row` and the like wrap what the user wrote.
    read : callable
        `rows_at` where a function gets whole rows of vertices, else `views_at`.
    width : int
        Channels of a message.
    """
    identity, merge, result = fold.identity, fold.merge, fold.result
    make_scratch, absorb = absorb_edge
    make_acc = scratch_of(kinds_of(identity), width)
    make_total = scratch_of(kinds_of(as_tuple(result(identity))), width)

    def step(in_ptr, in_src, edges, vertices, sent, changed, ctx, rows, out, out_degree, news, lo, hi):
        fingerprint  # noqa: B018
        vertex_scratch, scratch, new = scratch_rows(vertices), make_scratch(sent), filled_rows(out)
        acc, part, total = make_acc(), make_acc(), make_total()
        n_new, out_edges, n_edges = ZERO, ZERO, np.uint64(in_src.size)
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
                    soon = in_src[min(e + ROWS_AHEAD, n_edges - ONE)]
                    if not only_changed or changed[soon]:
                        prefetch_row(sent, soon)
                    j = in_src[e]
                    if only_changed and not changed[j]:
                        continue
                    hears = True
                    absorb(part, sent, j, vertices, i, vertex, at(edges, e), ctx, scratch)
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

    return kernel_if(compiled, step)
