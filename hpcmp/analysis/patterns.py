"""Trouble in a trail: queries without an answer, loops, repeats, starving agents."""

from collections import defaultdict, deque
from dataclasses import dataclass

import numpy as np

from hpcmp.analysis.lookup import sorting
from hpcmp.errors import GraphError
from hpcmp.hashing import mix64
from hpcmp.io import trail as files
from hpcmp.io.trail_digest import hash_payloads

LONGEST_LOOP = 64  # messages of a loop that is looked for


def unanswered(trail, query, reply):
    """Queries to which no reply came back. Local.

    A reply answers the nearest query among its causes that its receiver
    sent, however many agents worked on it in between. In a trail without any
    recorded cause, a reply from b to a answers the oldest open query of a to
    b that was delivered by then. A conversation is in a sample as a whole, so
    that its queries are told as in all messages, if causes are recorded.

    Parameters
    ----------
    query, reply : str
        Names of message types.

    Returns
    -------
    rows : int64 (k,)
        Queries without an answer, ascending.
    n_queries : int
    """
    query, reply = trail.type_number(query), trail.type_number(reply)
    queries = np.flatnonzero(trail["type"] == query)
    replies = np.flatnonzero((trail["type"] == reply) & (trail["status"] == files.DELIVERED))
    answered = np.zeros(trail.n + 1, np.bool_)
    if not trail.has_causes:
        trail.refuse_sample("without causes, replies are told from all messages")
    answer = _by_cause if trail.has_causes else _by_order
    answer(trail, query, queries, replies, answered)
    return queries[~answered[queries]], len(queries)


def _by_cause(trail, query, queries, replies, answered):
    at, asker = trail.cause[replies], trail["receiver"][replies]
    while True:
        alive = at < trail.n
        at, asker = at[alive], asker[alive]
        if not len(at):
            return
        match = (trail["type"][at] == query) & (trail["sender"][at] == asker)
        answered[at[match]] = True
        at, asker = trail.cause[at[~match]], asker[~match]


def _by_order(trail, query, queries, replies, answered):
    waiting = defaultdict(deque)
    arrived = queries[trail["status"][queries] == files.DELIVERED]
    # by the step in which each takes effect; of one step, deliveries first: the answer may be sent in it
    events = np.concatenate((arrived, replies))
    is_reply = np.arange(len(events)) >= len(arrived)
    step = np.where(is_reply, trail["step_sent"][events], trail["step_delivered"][events])
    order = np.lexsort((events, is_reply, step))
    sender, receiver = trail["sender"][events].tolist(), trail["receiver"][events].tolist()
    for k in order.tolist():
        if not is_reply[k]:
            waiting[sender[k], receiver[k]].append(events[k])
        elif waiting[receiver[k], sender[k]]:
            answered[waiting[receiver[k], sender[k]].popleft()] = True


@dataclass(frozen=True)
class Loops:
    """Messages that bring a chain of causes back to an agent."""

    rows: np.ndarray  # int64 (k,) the message that closes each loop, ascending
    length: np.ndarray  # int64 (k,) messages of the loop: 1 sent to oneself, 2 an answer


def loops(trail, shortest=3, longest=LONGEST_LOOP):
    """Chains of causes that come back to an agent that sent one of them. Local.

    Of the loops that a message closes, the shortest counts. An answer to
    whoever asked is a loop of two messages, so that three are the default.

    Parameters
    ----------
    shortest, longest : int
        Messages of a loop.
    """
    rows = np.flatnonzero(trail["status"] == files.DELIVERED)
    home, at = trail["receiver"][rows], rows
    length = np.zeros(trail.n, np.int64)
    for k in range(1, longest + 1):
        match = trail["sender"][at] == home
        length[rows[match]] = k
        at = trail.cause[at]
        alive = ~match & (at < trail.n)
        rows, home, at = rows[alive], home[alive], at[alive]
        if not len(rows):
            break
    found = np.flatnonzero(length >= shortest)
    return Loops(found, length[found])


@dataclass(frozen=True)
class Repeats:
    """Messages that were sent again with the same payload."""

    rows: np.ndarray  # int64 (k,) the first of each kind, the most repeated first
    count: np.ndarray  # int64 (k,) how often it was sent in all, 2 or more


def repeats(trail):
    """Messages of the same sender, receiver, type and payload. Local.

    Payloads are compared by two hashes of 64 bits.

    Raises
    ------
    GraphError
        The trail was written without payloads.
    """
    if trail.level != "full":
        raise GraphError(f"{trail.path} has headers only; repeats are told by payloads, kept at the level full")
    kind = trail.columns(("type", "payload_offset", "payload_length"))
    hashes = hash_payloads(kind["payload_offset"], kind["payload_length"], trail.payload_bytes)
    keys = [*hashes, kind["type"], trail.receiver, trail.sender]
    # one number a message tells most of them apart in one sort; only those that share theirs are compared by all keys
    mixed = mix64(
        hashes[0] + mix64(trail.sender.astype(np.uint64)) + (trail.receiver.astype(np.uint64) << np.uint64(16))
    )
    order = np.argsort(mixed, kind="stable")
    same = mixed[order][1:] == mixed[order][:-1]
    rows = np.sort(order[np.append(same, False) | np.append(False, same)])
    keys = [key[rows] for key in keys]
    order = np.lexsort(keys)  # stable: of equals, the first sent comes first
    new = np.ones(len(order), np.bool_)
    if len(order):
        new[1:] = np.any([key[order][1:] != key[order][:-1] for key in keys], axis=0)
    order = rows[order]
    start = np.flatnonzero(new)
    count = np.diff(np.append(start, len(order)))
    several = np.flatnonzero(count > 1)
    several = several[np.lexsort((order[start[several]], -count[several]))]
    return Repeats(order[start[several]], count[several])


@dataclass(frozen=True)
class Starving:
    """Agents that got nothing for a while."""

    agents: np.ndarray  # int64 (k,) ids, the longest first
    steps: np.ndarray  # int64 (k,) the longest run of steps without a delivery
    since: np.ndarray  # int64 (k,) the first step of that run


def starving(trail, steps):
    """Agents to which nothing was delivered for so many steps in a row. Local.

    Raises
    ------
    GraphError
        The trail is a sample: what was delivered may be missing.
    """
    trail.refuse_sample("agents that got nothing are told from all messages")
    first, last = trail.steps
    n = len(trail.agents)
    arrived = trail["status"] == files.DELIVERED
    # each agent's deliveries, and one before the first step and one after the last
    who = np.concatenate((trail.receiver[arrived], np.arange(n), np.arange(n)))
    when = np.concatenate((trail["step_delivered"][arrived], np.full(n, first - 1), np.full(n, last + 1)))
    order = sorting((who, when))
    who, when = who[order], when[order]
    same = who[1:] == who[:-1]
    agent, gap, since = who[1:][same], (when[1:] - when[:-1] - 1)[same], (when[:-1] + 1)[same]
    start = np.flatnonzero(np.diff(agent, prepend=-1))
    longest = np.maximum.reduceat(gap, start) if n else gap
    is_top = np.flatnonzero(gap == np.repeat(longest, np.diff(np.append(start, len(gap)))))
    top = is_top[np.searchsorted(is_top, start)]  # the longest of each agent, the first of equals
    top = top[gap[top] >= steps]
    top = top[np.argsort(-gap[top], kind="stable")]
    return Starving(trail.agents[agent[top]], gap[top], since[top])
