"""Rows of a trail: by the names of messages, without sorting where that can be, and by what messages are like."""

import numpy as np

from hpcmp.errors import FormatError, GraphError
from hpcmp.io import trail as files

SPREAD = 4  # a table by number is used where it has at most so many places a message; else numbers are sorted
FREE_PLACES = 1 << 20  # and as many more cost nothing


def select(trail, steps=None, agents=None, kind=None, status=None, among=None):
    """Rows of the messages that are like this: int64, ascending. Local.

    Parameters
    ----------
    steps : (int, int), optional
        First and last step in which they were sent.
    agents : list of int, optional
        Ids; one of them sent or got it.
    kind : str, optional
        Message type.
    status : str, optional
        One of `hpcmp.io.trail.STATUSES`; "dropped": any but the first two.
    among : int64, optional
        Of these rows only.

    Raises
    ------
    GraphError
        There is no such message type or status.
    """
    kept = np.ones(trail.n, np.bool_)
    if steps is not None:
        kept &= (trail["step_sent"] >= steps[0]) & (trail["step_sent"] <= steps[1])
    if agents is not None:
        kept &= np.isin(trail["sender"], agents) | np.isin(trail["receiver"], agents)
    if kind is not None:
        kept &= trail["type"] == trail.type_number(kind)
    if status == "dropped":
        kept &= trail["status"] > files.IN_FLIGHT
    elif status is not None:
        if status not in files.STATUSES:
            raise GraphError(f"{status!r} is no status of messages ({', '.join(files.STATUSES)}, or dropped for any)")
        kept &= trail["status"] == files.STATUSES.index(status)
    if among is not None:
        inside = np.zeros(trail.n, np.bool_)
        inside[among] = True
        kept &= inside
    return np.flatnonzero(kept)


def distinct(parts):
    """Distinct numbers of some arrays, ascending: int64. Local."""
    parts = [a for a in parts if len(a)]
    if not parts:
        return np.empty(0, np.int64)
    low, high = min(int(a.min()) for a in parts), max(int(a.max()) for a in parts)
    if high - low >= SPREAD * sum(map(len, parts)) + FREE_PLACES:
        return np.unique(np.concatenate(parts))
    seen = np.zeros(high - low + 1, np.bool_)
    for a in parts:
        seen[a - low] = True
    return np.flatnonzero(seen) + low


def one_key(columns):
    """A number a row that sorts as columns do; None: too large for it. Local."""
    if not len(columns[0]):
        return columns[0]
    lows = [int(a.min()) for a in columns]
    spans = [int(a.max()) - low + 1 for a, low in zip(columns, lows, strict=True)]
    if np.prod([float(span) for span in spans]) > 2.0**62:
        return None
    key = columns[0] - lows[0]
    for a, low, span in zip(columns[1:], lows[1:], spans[1:], strict=True):
        key *= span
        key += a - low
    return key


def sorting(columns):
    """What sorts rows by columns, the first first; equals stay in order. Local."""
    key = one_key(columns)
    return np.lexsort(columns[::-1]) if key is None else np.argsort(key, kind="stable")


def finder(sender, number, path):
    """A function from (senders, numbers) to rows: n for no such message. Local.

    Numbers of one sender are mostly 0, 1, 2 ...: then a table with a place for
    each is far quicker than a search.
    """
    n = len(sender)
    if not n:
        return lambda s, k: np.zeros(len(s), np.int64)
    senders = distinct([sender])
    dense = senders[-1] - senders[0] == len(senders) - 1
    base = int(senders[0])

    def place(ids):  # of a sender, -1: none
        if dense:
            inside = (ids >= base) & (ids <= senders[-1])
            return np.where(inside, ids - base, -1)
        at = np.minimum(np.searchsorted(senders, ids), len(senders) - 1)
        return np.where(senders[at] == ids, at, -1)

    own = place(sender)
    first = np.full(len(senders), np.iinfo(np.int64).max)
    last = np.full(len(senders), -1, np.int64)
    np.minimum.at(first, own, number)
    np.maximum.at(last, own, number)
    if (last - first).astype(np.float64).sum() > SPREAD * n + FREE_PLACES:
        return _searcher(own, number, place, path, sender)
    spans = last - first + 1
    start = np.cumsum(spans) - spans
    table = np.full(int(spans.sum()), n, np.int64)
    at = start[own] + number - first[own]
    table[at] = np.arange(n)
    again = np.flatnonzero(table[at] != np.arange(n))
    if len(again):
        _refuse_twins(path, sender[again[0]], number[again[0]])

    def find(s, k):
        p = place(s)
        inside = (p >= 0) & (k >= first[p]) & (k <= last[p])
        if inside.all():
            return table[start[p] + k - first[p]]
        rows = np.full(len(s), n, np.int64)
        p, k = p[inside], k[inside]
        rows[inside] = table[start[p] + k - first[p]]
        return rows

    return find


def _searcher(own, number, place, path, sender):
    """The same by searching in sorted numbers."""
    n, numbers = len(own), np.unique(number)
    key = own * len(numbers) + np.searchsorted(numbers, number)
    order = np.argsort(key, kind="stable")
    key = key[order]
    twins = np.flatnonzero(key[1:] == key[:-1])
    if len(twins):
        _refuse_twins(path, sender[order[twins[0]]], number[order[twins[0]]])

    def find(s, k):
        p, q = place(s), np.minimum(np.searchsorted(numbers, k), len(numbers) - 1)
        wanted = p * len(numbers) + q
        at = np.minimum(np.searchsorted(key, wanted), n - 1)
        return np.where((p >= 0) & (numbers[q] == k) & (key[at] == wanted), order[at], n)

    return find


def _refuse_twins(path, sender, number):
    raise FormatError(f"{path} has two messages {sender}:{number}; the trail is damaged")
