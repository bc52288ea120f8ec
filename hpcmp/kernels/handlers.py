"""The loop in which agents read their messages and act, closed over a user's functions.

The ``fingerprint`` of all fused functions is captured so that it becomes part of the cache's key, as in `maps`.

i: row    q: place in slots    k: place of a message
"""

import numpy as np

from hpcmp.jit import inlined, kernel_if
from hpcmp.kernels.inbox import DROPPED_OLD, MERGED
from hpcmp.kernels.intrinsics import prefetch
from hpcmp.kernels.outbox import begin_agent, begin_alone, begin_conversation, begin_message
from hpcmp.kernels.places import FILLED, FINE, LEAVES, STATUS

ONE, AHEAD = np.uint64(1), np.uint64(12)  # messages; records are asked for so far ahead


def by_kind(functions, numbers):
    """One function (kind, me, mail, k, out, ctx) from those of several kinds. Local."""
    if not functions:
        return inlined(_read_nothing)
    function, number, others = functions[0], numbers[0], by_kind(functions[1:], numbers[1:])

    def read(kind, me, mail, k, out, ctx):
        if kind == number:
            function(me, mail[number][k], out, ctx)
        else:
            others(kind, me, mail, k, out, ctx)

    return inlined(read)


def _read_nothing(kind, me, mail, k, out, ctx):
    pass


def make_acts(functions, numbers, each_step, fingerprint, compiled):
    """A loop over the agents of one type: messages first, then `each_step`. Local.

    Returns
    -------
    loop : callable (agents, rows, is_there, ptr, slots, mail, status, out, ctx, budget, room, lo, hi) -> int
        From ``lo`` on; where it stopped: at ``hi``, or where there may be no room for what another agent sends, or
        where something is wrong (``out.at``).
    """
    read = by_kind(functions, numbers)
    acts = each_step is not None
    each = each_step if acts else inlined(_do_nothing)

    def loop(agents, rows, is_there, ptr, slots, mail, status, out, ctx, budget, room, lo, hi):
        fingerprint  # noqa: B018 (part of the cache key)
        header, last = mail[0], np.uint64(max(len(slots), 1) - 1)
        for r in range(lo, hi):
            if out.at[FILLED] + budget > room:
                return r
            i = np.uint64(rows[r])
            if not is_there[i]:
                continue
            begin_agent(out, rows[r], budget)
            for q in range(ptr[i], ptr[i + ONE]):
                prefetch(header, np.uint64(slots[min(q + AHEAD, last)]), 0)
                k = np.uint64(slots[q])
                if status[k] == 0:
                    begin_message(out, header[k])
                    begin_conversation(out, header[k])
                    read(header[k].kind, agents[r], mail, k, out, ctx)
                    if out.at[STATUS] != FINE:
                        return r
            if acts:
                begin_alone(out)
                each(agents[r], out, ctx)
                if out.at[STATUS] != FINE:
                    return r
            if out.at[LEAVES]:
                is_there[i] = False
        return hi

    return kernel_if(compiled, loop)


def _do_nothing(me, out, ctx):
    pass


def make_limits(merges, numbers, fingerprint, compiled):
    """A loop that keeps the limits of inboxes. Local.

    Returns
    -------
    loop : callable (rows, ptr, slots, mail, limits, policies, status, counts, at, lo, hi) -> int
        Marks what is left out in ``status``, and counts it by status. A row whose inbox overflows with the policy
        "error" ends the loop; -1 else. ``at``: the row whose messages are merged, and the place of the message.
    """
    merge = by_merge(merges, numbers)

    def loop(rows, ptr, slots, mail, limits, policies, status, counts, at, lo, hi):
        fingerprint  # noqa: B018 (part of the cache key)
        header = mail[0]
        seen, last, total = (
            np.empty(limits.size, np.int64),
            np.empty(limits.size, np.int64),
            np.empty(limits.size, np.int64),
        )
        for r in range(lo, hi):
            i = np.uint64(rows[r])
            seen[:] = 0
            total[:] = 0
            for q in range(ptr[i], ptr[i + ONE]):
                if status[slots[q]] == 0:
                    total[header[slots[q]].kind] += 1
            for q in range(ptr[i], ptr[i + ONE]):
                k = slots[q]
                if status[k] != 0:
                    continue
                kind = header[k].kind
                limit, policy = limits[kind], policies[kind]
                if limit < 0 or total[kind] <= limit:
                    continue
                seen[kind] += 1
                if policy == 0:
                    return r
                if policy == DROPPED_OLD:
                    if seen[kind] <= total[kind] - limit:
                        status[k] = DROPPED_OLD
                        counts[DROPPED_OLD] += 1
                elif seen[kind] > limit:
                    status[k] = policy
                    counts[policy] += 1
                    if policy == MERGED:
                        at[0], at[1] = r, k
                        merge(kind, mail, last[kind], k)
                else:
                    last[kind] = k
        return -1

    return kernel_if(compiled, loop)


def by_merge(functions, numbers):
    """One function (kind, mail, into, k) from those of several kinds. Local."""
    if not functions:
        return inlined(_merge_nothing)
    function, number, others = functions[0], numbers[0], by_merge(functions[1:], numbers[1:])

    def merge(kind, mail, into, k):
        if kind == number:
            function(mail[number][into], mail[number][k])
        else:
            others(kind, mail, into, k)

    return inlined(merge)


def _merge_nothing(kind, mail, into, k):
    pass


def make_test(function, fingerprint, compiled):
    """A loop that counts agents of which a function is not true. Local.

    ``at[0]``: the row at hand, here and in `make_begin`.
    """

    def loop(agents, rows, is_there, at, ctx, lo, hi):
        fingerprint  # noqa: B018 (part of the cache key)
        n = 0
        for r in range(lo, hi):
            at[0] = r
            if is_there[rows[r]] and not function(agents[r], ctx):
                n += 1
        return n

    return kernel_if(compiled, loop)


def make_measure(function, absorb, fingerprint, compiled):
    """A loop that takes a number of each agent into a share of a reduction. Local."""

    def loop(agents, rows, is_there, at, ctx, share, lo, hi):
        fingerprint  # noqa: B018 (part of the cache key)
        for r in range(lo, hi):
            at[0] = r
            if is_there[rows[r]]:
                absorb(share, function(agents[r], ctx))

    return kernel_if(compiled, loop)


def make_begin(function, fingerprint, compiled):
    """A loop in which agents make their first state. Local."""

    def loop(agents, at, ctx, lo, hi):
        fingerprint  # noqa: B018 (part of the cache key)
        for r in range(lo, hi):
            at[0] = r
            function(agents[r], ctx)

    return kernel_if(compiled, loop)
