"""The loop in which agents read their messages and act, closed over a user's functions.

It takes the blocks of rows one after the other: messages are sorted by receiver, kept to limits, read and answered
while they are in the cache. The ``fingerprint`` of all fused functions is captured so that it becomes part of the
cache's key, as in `maps`.

i: row of an agent    r: its place among those of its type    q: place in slots    k: place of a message
"""

from typing import NamedTuple

import numpy as np

from hpcmp.jit import inlined, kernel_if, lean_kernel_if
from hpcmp.kernels import inbox as mailbox
from hpcmp.kernels import recording
from hpcmp.kernels.chunks import CHUNK_BITS
from hpcmp.kernels.inbox import DROPPED_OLD, MERGED, RECEIVER_LEFT
from hpcmp.kernels.intrinsics import prefetch
from hpcmp.kernels.outbox import begin_agent, begin_alone, begin_conversation, begin_message, end_agent
from hpcmp.kernels.places import (
    AGENT,
    ANYBODY,
    ASKED,
    BAD_KIND,
    BLOCK_BITS,
    BUDGET,
    DOING,
    FINE,
    LEAVES,
    MERGES,
    N_LATER,
    OVER_LIMIT,
    STATUS,
    STEP,
    TESTS,
    UNREAD,
)

AHEAD = 4  # agents whose neighbours are asked for before it is their turn
SEEN, TOTAL, INTO = range(3)  # rows of Inbox.tally


class Agents(NamedTuple):
    """The agents of this rank, by row."""

    type: np.ndarray  # uint8 (n_owned,) number of the type
    nth: np.ndarray  # uint32 (n_owned,) place among the agents of the type
    joins: np.ndarray  # int64 (n_owned,) step in which it comes
    has_left: np.ndarray  # bool (n_owned,)
    is_there: np.ndarray  # bool (n_owned,) in this step
    limits: np.ndarray  # int64 (n_types, n_kinds) messages of a kind in a step, -1: any number
    policies: np.ndarray  # int64 (n_types, n_kinds) inbox.POLICIES


class Functions(NamedTuple):
    """What agents of one type do."""

    read: tuple  # by message type
    kinds: tuple  # numbers of those
    each_step: object  # or None
    goal: object  # or None
    merges: tuple
    merged_kinds: tuple
    has_limits: bool


def make_step(types, level, fingerprint, compiled):
    """A loop over blocks of agents: messages, then `each_step`, then goals. Local.

    Parameters
    ----------
    types : sequence of Functions
    level : "off", "record" or "as sent"
        Whether messages are recorded, and whether functions may change them before.

    Returns
    -------
    loop : callable (states, agents, inbox, out, ctx) -> bool
        From where ``inbox.at`` says. False: it needs more chunks, or something is wrong (``out.at``); it can go on
        when there are.
    """
    keep_as_sent, record = RECORDERS[level]
    turn = by_type([make_turn(functions, number) for number, functions in enumerate(types)])

    def loop(states, agents, inbox, out, ctx):
        fingerprint  # noqa: B018 (part of the cache key)
        at, n_free, ptr = inbox.at, out.lists.n_free, inbox.ptr
        header, n = out.mail[0], agents.joins.size
        shift = out.at[BLOCK_BITS]
        while at[mailbox.BLOCK] < at[mailbox.END]:
            b = np.uint64(at[mailbox.BLOCK])
            first = np.int64(at[mailbox.BLOCK] << shift)
            n_rows = min(n - first, np.int64(1) << shift)
            if not at[mailbox.IS_OPEN]:
                if not open_block(inbox, out, header, b, first, n_rows):
                    return False
                keep_as_sent(inbox, n_rows)
            for i in range(at[mailbox.NEXT], first + n_rows):
                if n_free[0] < at[mailbox.NEED] or (
                    out.at[ANYBODY] and out.at[ASKED] + out.at[BUDGET] > out.asked.size
                ):
                    at[mailbox.NEXT] = i
                    return False
                if i + 2 * AHEAD < n:
                    prefetch(out.ptr, np.uint64(out.row[i + 2 * AHEAD]), 0)
                    prefetch(out.heard_by, out.ptr[out.row[i + AHEAD]], 0)
                lo, hi = np.int64(ptr[i - first]), np.int64(ptr[i - first + 1])
                agents.is_there[i] = agents.joins[i] <= ctx.step and not agents.has_left[i]
                if not agents.is_there[i]:
                    for q in range(lo, hi):
                        inbox.status[q] = RECEIVER_LEFT
                    inbox.counts[RECEIVER_LEFT] += hi - lo
                    continue
                begin_agent(out, i)
                turn(agents.type[i], states, agents.nth[i], lo, hi, agents, inbox, out, ctx)
                if out.at[STATUS] != FINE:
                    return False
                end_agent(out, i)
                if out.at[LEAVES]:
                    agents.has_left[i], agents.is_there[i] = True, False
            record(inbox, out, n_rows)
            mailbox.close_block(b, inbox.head, inbox.tail, out.lists)
            at[mailbox.BLOCK] += 1
            at[mailbox.IS_OPEN] = 0
        return True

    return lean_kernel_if(compiled, loop)


@inlined
def _nothing_as_sent(inbox, n_rows):
    pass


@inlined
def _keep_as_sent(inbox, n_rows):
    n_words = inbox.at[mailbox.N_WORDS]
    recording.copy_as_sent(inbox.slots, inbox.ptr[n_rows], inbox.words, n_words, inbox.as_sent[0], inbox.spare)


@inlined
def _record_nothing(inbox, out, n_rows):
    pass


@inlined
def _record(inbox, out, n_rows):
    _record_those(inbox, out, n_rows, inbox.slots, out.mail[0], inbox.words)


@inlined
def _record_as_sent(inbox, out, n_rows):
    _record_those(inbox, out, n_rows, inbox.spare, inbox.as_sent[1], inbox.as_sent[0])


@inlined
def _record_those(inbox, out, n_rows, places, header, words):
    headers = recording.Headers(
        header["sender"],
        header["to"],
        header["number"],
        header["kind"],
        header["sent"],
        header["cause_sender"],
        header["cause_number"],
        header["root_sender"],
        header["root_number"],
    )
    at, n = inbox.at, inbox.ptr[n_rows]
    step = out.at[STEP]
    recording.record(places, n, headers, inbox.status, words, at[mailbox.N_WORDS], at[mailbox.PAYLOAD], step, inbox.log)


RECORDERS = {
    "off": (_nothing_as_sent, _record_nothing),
    "record": (_nothing_as_sent, _record),
    "as sent": (_keep_as_sent, _record_as_sent),
}


@inlined
def open_block(inbox, out, header, b, first, n_rows):
    """Put the messages of a block in order. Local.

    False if there are not chunks enough for those that stay.
    """
    at, lists, step = inbox.at, out.lists, out.at[STEP]
    n_later = mailbox.open_block(
        b, inbox.head, inbox.tail, lists.link, header["to"], header["due"], step, first, n_rows, inbox.slots, inbox.ptr
    )
    if n_later:
        if lists.n_free[0] < at[mailbox.NEED] + (n_later >> np.int64(CHUNK_BITS)) + 1:
            at[mailbox.LACK] = n_later
            return False
        mailbox.keep_later(b, inbox.head, inbox.tail, header["due"], step, inbox.words, at[mailbox.N_WORDS], lists)
        out.at[N_LATER] += n_later
    n_due = inbox.ptr[n_rows]
    inbox.status[:n_due] = 0
    at[mailbox.N_DUE] += n_due
    if not at[mailbox.IS_SORTED]:
        mailbox.sort_rows(inbox.ptr, n_rows, inbox.slots, inbox.spare, header["sender"], header["number"])
    at[mailbox.IS_OPEN], at[mailbox.NEXT] = 1, first
    return True


def by_type(turns, number=0):
    """One function (type, ...) from those of several types. Local."""
    turn = turns[0]
    if len(turns) == 1:

        def only(type, states, r, lo, hi, agents, inbox, out, ctx):
            turn(states[number], r, lo, hi, agents, inbox, out, ctx)

        return inlined(only)
    others = by_type(turns[1:], number + 1)

    def take(type, states, r, lo, hi, agents, inbox, out, ctx):
        if type == number:
            turn(states[number], r, lo, hi, agents, inbox, out, ctx)
        else:
            others(type, states, r, lo, hi, agents, inbox, out, ctx)

    return inlined(take)


def make_turn(functions, type):
    """One turn of agent r of a type: its messages are slots [lo, hi). Local."""
    read, merge = by_kind(functions.read, functions.kinds), by_merge(functions.merges, functions.merged_kinds)
    acts, has_goal, has_limits = functions.each_step is not None, functions.goal is not None, functions.has_limits
    each, goal = functions.each_step or inlined(_do_nothing), functions.goal or inlined(_is_done)

    def turn(states, r, lo, hi, agents, inbox, out, ctx):
        if has_limits and not keep_limits(merge, agents.limits[type], agents.policies[type], inbox, out, lo, hi):
            out.at[STATUS] = OVER_LIMIT
            return
        header, me = out.mail[0], states[r]
        for q in range(lo, hi):
            k = inbox.slots[q]
            if inbox.status[q] == 0:
                begin_message(out, header[k])
                begin_conversation(out, header[k])
                read(header[k].kind, me, out.mail, k, out, ctx)
                if out.at[STATUS] != FINE:
                    return
        if acts:
            begin_alone(out)
            each(me, out, ctx)
        if has_goal and not out.at[LEAVES]:
            begin_alone(out)
            out.at[DOING] = TESTS
            if not goal(me, ctx):
                inbox.at[mailbox.NOT_DONE] += 1

    return inlined(turn)


def _do_nothing(me, out, ctx):
    pass


def _is_done(me, ctx):
    return True


def by_kind(functions, numbers):
    """One function (kind, me, mail, k, out, ctx) from those of several kinds. Local."""
    if not functions:
        return inlined(_refuse)
    function, number, others = functions[0], numbers[0], by_kind(functions[1:], numbers[1:])

    def read(kind, me, mail, k, out, ctx):
        if kind == number:
            function(me, mail[number][k], out, ctx)
        else:
            others(kind, me, mail, k, out, ctx)

    return inlined(read)


def _refuse(kind, me, mail, k, out, ctx):
    out.at[STATUS], out.at[BAD_KIND] = UNREAD, kind


@inlined
def keep_limits(merge, limits, policies, inbox, out, lo, hi):
    """Mark what is left out of the messages slots [lo, hi) of an agent. Local.

    False if there may not be so many.
    """
    header, slots, status, counts = out.mail[0], inbox.slots, inbox.status, inbox.counts
    seen, total, into = inbox.tally[SEEN], inbox.tally[TOTAL], inbox.tally[INTO]
    for q in range(lo, hi):
        seen[header[slots[q]].kind] = total[header[slots[q]].kind] = 0
    for q in range(lo, hi):
        total[header[slots[q]].kind] += 1
    for q in range(lo, hi):
        k = slots[q]
        kind = header[k].kind
        limit, policy = limits[kind], policies[kind]
        if limit < 0 or total[kind] <= limit:
            continue
        seen[kind] += 1
        if policy == 0:
            return False
        if policy == DROPPED_OLD:
            if seen[kind] <= total[kind] - limit:
                status[q] = DROPPED_OLD
                counts[DROPPED_OLD] += 1
        elif seen[kind] > limit:
            status[q] = policy
            counts[policy] += 1
            if policy == MERGED:
                begin_message(out, header[k])
                out.at[DOING] = MERGES
                merge(kind, inbox.merged, into[kind], k)
        else:
            into[kind] = k
    begin_agent(out, out.at[AGENT])
    return True


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


def make_measure(function, absorb, fingerprint, compiled):
    """A loop that takes a number of each agent into a share of a reduction. Local.

    ``at[0]``: the agent at hand, here and in `make_begin`.
    """

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
