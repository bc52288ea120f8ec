"""Who can have heard of whom: reach along messages in the order of time.

News that an agent u has at the start can reach v if there are messages u -> a,
a -> b, ..., -> v, each sent no earlier than the one before was delivered: in a
trail that was made from a log, at strictly rising times.

One pass over the messages, from the last to the first, with a row of bits for
each agent: whom news that it has from now on can reach. A message u -> v adds
to u's row v itself and v's row as of the step of delivery. Cost: for each
message one row of n bits. Rows of at most `ROW_BYTES` in all are kept at once;
for more agents the pass is done again for each share of the targets.
"""

from dataclasses import dataclass

import numpy as np

from hpcmp.analysis.causes import refuse_instant
from hpcmp.io import trail as files

ROW_BYTES = 1 << 28


@dataclass(frozen=True)
class Reach:
    """How many others each agent can reach."""

    agents: np.ndarray  # int64 (n,) ids, ascending
    counts: np.ndarray  # int64 (n,)

    @property
    def pairs(self):
        return int(self.counts.sum())

    @property
    def best(self):
        """Id of the agent that reaches most (the smallest id of equals), and how many it reaches; None: no agents."""
        if not len(self.agents):
            return None
        place = int(np.argmax(self.counts))
        return int(self.agents[place]), int(self.counts[place])

    @property
    def none(self):
        """How many agents reach nobody."""
        return int((self.counts == 0).sum())


def reach(trail, row_bytes=ROW_BYTES):
    """How many others each agent's news can reach in time. Local.

    Returns
    -------
    Reach
    """
    refuse_instant(trail)
    n = len(trail.agents)
    counts = np.zeros(n, np.int64)
    n_words = max(1, min((n + 63) // 64, row_bytes // (8 * max(n, 1))))
    for first in range(0, n, 64 * n_words):
        rows = _reached(trail, first, n_words)
        counts += np.bitwise_count(rows).sum(axis=1, dtype=np.int64)
        own = np.arange(first, min(first + 64 * n_words, n))
        counts[own] -= _bit_of(rows, own, own - first)  # news that came back
    return Reach(trail.agents, counts)


def _reached(trail, first, n_words):
    """Bits of the agents [first, first + 64 * n_words) that each agent reaches: uint64 (n, n_words)."""
    rows = np.zeros((len(trail.agents), n_words), np.uint64)
    arrived = trail["status"] == files.DELIVERED
    u, v = trail.sender[arrived], trail.receiver[arrived]
    sent, delivered = trail["step_sent"][arrived], trail["step_delivered"][arrived]
    column = (v - first) >> 6
    column[(column < 0) | (column >= n_words)] = -1
    bit = np.uint64(1) << ((v - first) & 63).astype(np.uint64)

    def carried(k):  # what messages bring to their senders, as rows stand now
        news = rows[v[k]]
        inside = column[k] >= 0
        news[np.flatnonzero(inside), column[k][inside]] |= bit[k][inside]
        return news

    # A message that is longer on its way carries its receiver's row as of its own delivery: it is kept until it was sent.
    late = np.flatnonzero(delivered > sent + 1)
    late = late[np.argsort(delivered[late], kind="stable")]
    kept, waiting = {}, len(late)
    start = np.flatnonzero(np.diff(sent, prepend=sent[:1] - 1)) if len(sent) else []
    for lo, hi in reversed([*zip(start, [*start[1:], len(sent)])]):
        step = sent[lo]
        # rows stand as after the messages sent in later steps; of those delivered later than the next step, news is taken
        while waiting and delivered[late[waiting - 1]] > step:
            waiting -= 1
            kept[late[waiting]] = carried(late[waiting : waiting + 1])[0]
        if hi - lo == 1 and lo not in kept:  # most messages of a log have a time of their own
            row = rows[u[lo]]
            row |= rows[v[lo]]
            if column[lo] >= 0:
                row[column[lo]] |= bit[lo]
            continue
        news = carried(np.arange(lo, hi))
        for k in np.flatnonzero(delivered[lo:hi] > step + 1):
            news[k] = kept.pop(lo + k)
        np.bitwise_or.at(rows, u[lo:hi], news)
    return rows


def _bit_of(rows, row, column):
    return ((rows[row, column >> 6] >> (column & 63).astype(np.uint64)) & np.uint64(1)).astype(np.int64)
