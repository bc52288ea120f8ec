"""Causes and effects in a trail.

Every message names the message that caused it, if any did: a forest, in which
`back` goes up to the root and `forward` down to all that followed. Where
causes were not recorded, or may be wrong, time alone bounds what can have
mattered: `cone` by time holds whatever could have reached the place in
question, by recorded cause only what is said to have led there.
"""

import numpy as np

from hpcmp.errors import FormatError, GraphError
from hpcmp.io import trail as files


def back(trail, row):
    """Rows from a message to the root of its causes: int64, row first. Local.

    Raises
    ------
    FormatError
        Causes go round in a circle.
    """
    cause, chain = trail.cause, [row]
    while cause[chain[-1]] < trail.n:
        chain.append(int(cause[chain[-1]]))
        if len(chain) > trail.n:
            _refuse_circle(trail, row)
    return np.array(chain, np.int64)


def forward(trail, rows):
    """Rows of messages and all that they caused, transitively: ascending. Local.

    Ways back are doubled: 1, 2, 4, ... causes at once, so that a cascade of d
    generations takes log2(d) passes over all messages.
    """
    mark = np.zeros(trail.n + 1, np.bool_)
    mark[rows] = True
    if not mark.any():
        return np.empty(0, np.int64)
    first = int(np.argmax(mark))  # causes come first (or in the same step): what lies before is not caused
    first = int(np.searchsorted(trail["step_sent"], trail["step_sent"][first]))
    n = trail.n - first
    mark = mark[first:]  # the last place stands for "no cause"
    back = np.where(trail.cause[first:] >= first, trail.cause[first:] - first, n)
    for _ in range(max(n, 1).bit_length() + 1):
        mark |= mark[back]
        if back.min(initial=n) == n:
            return np.flatnonzero(mark[:-1]) + first
        back = back[back]
    return _refuse_circle(trail, first + int(np.flatnonzero(back < n)[0]))


def sent_by(trail, agent):
    """Rows of the messages that an agent sent. Local."""
    return np.flatnonzero(trail["sender"] == agent)


def sent_in(trail, step):
    """Rows of the messages sent in a step. Local."""
    lo, hi = np.searchsorted(trail["step_sent"], [step, step + 1])
    return np.arange(lo, hi)


def agents_reached(trail, rows):
    """Ids of the agents that got some of these messages: int64, ascending. Local."""
    got = rows[trail["status"][rows] == files.DELIVERED]
    seen = np.zeros(len(trail.agents), np.bool_)
    seen[trail.receiver[got]] = True
    return trail.agents[seen]


def history(trail, agent):
    """Rows of what an agent sent and got, by the step in which it did. Local.

    Returns
    -------
    rows : int64 (k,)
    is_sent : bool (k,)
        Whether the agent sent it; what it sent to itself is there twice.
        What was sent to it and not delivered is at the step it was sent.
    """
    out, got = sent_by(trail, agent), np.flatnonzero(trail["receiver"] == agent)
    rows = np.concatenate((got, out))
    is_sent = np.arange(len(rows)) >= len(got)
    step = np.where(is_sent, trail["step_sent"][rows], trail["step_delivered"][rows])
    step = np.where(step < 0, trail["step_sent"][rows], step)
    order = np.lexsort((rows, is_sent, step))  # in a step, what is read comes before what is sent
    return rows[order], is_sent[order]


def conversation(trail, row):
    """Rows of all messages of the conversation that a message belongs to. Local."""
    same = trail["conversation_sender"] == trail["conversation_sender"][row]
    return np.flatnonzero(same & (trail["conversation_number"] == trail["conversation_number"][row]))


def ancestors(trail, rows):
    """Rows of messages and of all their causes, transitively: ascending. Local."""
    mark = np.zeros(trail.n + 1, np.bool_)
    mark[-1] = True
    last = np.empty(trail.n + 1, np.int64)
    while len(rows):
        mark[rows] = True
        rows = trail.cause[rows]
        rows = rows[~mark[rows]]
        last[rows] = np.arange(len(rows))  # of equal rows, one keeps its place: the others are left out
        rows = rows[last[rows] == np.arange(len(rows))]
    return np.flatnonzero(mark[:-1])


def cone_of_agent(trail, agent, step, by="time"):
    """What could have led to the state of an agent at the end of a step. Local.

    Parameters
    ----------
    by : str
        "time": every message delivered to the agent by then, and to the
        sender of such a message before it was sent, and so on. "cause":
        every message delivered to the agent by then, and their causes.

    Returns
    -------
    int64
        Rows, ascending.
    """
    if by == "cause":
        got = (trail["receiver"] == agent) & _arrived_by(trail, step)
        return ancestors(trail, np.flatnonzero(got))
    until = np.full(len(trail.agents), -1, np.int64)
    until[_place_of(trail, agent)] = step
    return _earlier(trail, until, step)


def cone_of_message(trail, row, by="time"):
    """What could have led to a message: rows with its own, ascending. Local.

    Parameters
    ----------
    by : str
        "time": as `cone_of_agent` for its sender in the step it was sent;
        "cause": the chain of its causes.
    """
    if by == "cause":
        return back(trail, row)[::-1]
    rows = cone_of_agent(trail, trail["sender"][row], trail["step_sent"][row], by)
    return np.union1d(rows, [row])


def refuse_instant(trail):
    """Refuse a trail in which a message arrives no later than it is sent. Local."""
    wrong = (trail["step_delivered"] >= 0) & (trail["step_delivered"] <= trail["step_sent"])
    rows = np.flatnonzero(wrong)
    if len(rows):
        raise FormatError(f"{trail.path}: message {trail.called(rows[0])} was delivered no later than it was sent")


def _arrived_by(trail, step):
    return (trail["status"] == files.DELIVERED) & (trail["step_delivered"] <= step)


def _place_of(trail, agent):
    place = np.flatnonzero(trail.agents == agent)
    if not len(place):
        raise GraphError(f"{agent} is no agent of {trail.path}")
    return place[0]


def _earlier(trail, until, step):
    """Rows of what could have reached agents by the steps ``until``, from the last step to the first.

    An agent's step rises to that of the last message it sent into the cone; that
    is the first of its messages met on the way back.
    """
    refuse_instant(trail)
    delivered, sender, receiver = trail["step_delivered"], trail.sender, trail.receiver
    arrived = trail["status"] == files.DELIVERED
    steps, start = trail.step_start
    inside = np.zeros(trail.n, np.bool_)
    for k in range(int(np.searchsorted(steps, step)) - 1, -1, -1):
        lo, hi = start[k], start[k + 1]
        hit = arrived[lo:hi] & (delivered[lo:hi] <= until[receiver[lo:hi]])
        inside[lo:hi] = hit
        found = sender[lo:hi][hit]
        until[found] = np.maximum(until[found], steps[k])
    return np.flatnonzero(inside)


def _refuse_circle(trail, row):
    raise FormatError(f"{trail.path}: the causes of message {trail.called(row)} go round in a circle; it is damaged")
