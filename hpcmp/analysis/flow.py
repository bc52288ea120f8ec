"""Traffic in a trail: who sends how much to whom and when, and where it jams.

Three measures of a bottleneck: how many messages lie in a mailbox at once
(`mailboxes`), from how many others they come, and `betweenness`: how many of
the shortest ways through the graph of who has written to whom pass an agent.
"""

from dataclasses import dataclass

import numpy as np

from hpcmp.hashing import mix64
from hpcmp.io import trail as files

COST = 50_000_000  # sources x pairs of agents that ways are counted from and along: some 3 seconds


@dataclass(frozen=True)
class Edges:
    """Distinct pairs of a sender and a receiver, ascending; loops too."""

    sender: np.ndarray  # int64 (m,) places in trail.agents
    receiver: np.ndarray  # int64 (m,)
    count: np.ndarray  # int64 (m,) messages sent, whatever became of them


@dataclass(frozen=True)
class Mailboxes:
    """What each agent got, by place in trail.agents: int64 (n,) each."""

    received: np.ndarray
    sent: np.ndarray
    lost: np.ndarray  # messages to it that were dropped
    fan_in: np.ndarray  # agents it got messages from
    fan_out: np.ndarray  # agents it sent to
    queue: np.ndarray  # most messages delivered to it in one step
    queue_step: np.ndarray  # the first step of so many; -1: none


def edges(trail):
    """Messages by sender and receiver. Local."""
    n = max(len(trail.agents), 1)
    key, count = np.unique(trail.sender * n + trail.receiver, return_counts=True)
    return Edges(key // n, key % n, count)


def by_step(trail, n_bins=None):
    """Messages sent by step and type. Local.

    Parameters
    ----------
    n_bins : int, optional
        At most so many runs of steps of one length instead of steps.

    Returns
    -------
    first : int64 (k,)
        First step of each bin.
    counts : int64 (k, types)
    """
    lo, hi = trail.steps
    n_steps = max(hi - lo + 1, 0)
    width = 1 if n_bins is None else max(1, -(-n_steps // n_bins))
    k = -(-n_steps // width)
    key = (trail["step_sent"] - lo) // width * len(trail.types) + trail["type"]
    counts = np.bincount(key, minlength=k * len(trail.types)).reshape(k, len(trail.types))
    return lo + width * np.arange(k), counts


def by_status(trail):
    """Messages by what became of them and by type: int64 (statuses, types). Local."""
    n_types = len(trail.types)
    key = trail["status"].astype(np.int64) * n_types + trail["type"]
    return np.bincount(key, minlength=len(files.STATUSES) * n_types).reshape(len(files.STATUSES), -1)


def slow_steps(trail, k):
    """The k slowest steps, by the slowest rank of each; none without timing. Local.

    Returns
    -------
    list of dict
        ``step``, ``rank`` and its ``seconds``, in all and by phase.
    """
    timing = trail.timing
    if not timing:
        return []
    total = sum(timing[name] for name in files.PHASES)
    order = np.lexsort((timing["rank"], -total, timing["step"]))
    slowest = order[np.flatnonzero(np.diff(timing["step"][order], prepend=-1))]
    slowest = slowest[np.argsort(-total[slowest], kind="stable")][:k]
    return [
        {"step": int(timing["step"][row]), "rank": int(timing["rank"][row]), "seconds": float(total[row])}
        | {name: float(timing[name][row]) for name in files.PHASES}
        for row in slowest.tolist()
    ]


def mailboxes(trail, pairs=None):
    """Load of every agent: `Mailboxes`; ``pairs``: its `edges`, if known. Local."""
    n = len(trail.agents)
    arrived = trail["status"] == files.DELIVERED
    receiver, step = trail.receiver[arrived], trail["step_delivered"][arrived]
    span = int(step.max(initial=0)) + 1
    key, depth = np.unique(receiver * span + step, return_counts=True)
    at = key // span
    queue = np.zeros(n, np.int64)
    np.maximum.at(queue, at, depth)
    fullest = np.flatnonzero(depth == queue[at])[::-1]  # the first step is written last
    queue_step = np.full(n, -1, np.int64)
    queue_step[at[fullest]] = key[fullest] % span
    # with counts numpy sorts; without, it fills a hash table: 6 s instead of 0.4 for 5 million (measured, numpy 2.4)
    heard, _ = np.unique(trail.sender[arrived] * n + receiver, return_counts=True)
    found = edges(trail) if pairs is None else pairs
    return Mailboxes(
        received=np.bincount(receiver, minlength=n),
        sent=np.bincount(trail.sender, minlength=n),
        lost=np.bincount(trail.receiver[trail["status"] > files.IN_FLIGHT], minlength=n),
        fan_in=np.bincount(heard % max(n, 1), minlength=n),
        fan_out=np.bincount(found.sender, minlength=n),
        queue=queue,
        queue_step=queue_step,
    )


def betweenness(n, sender, receiver, weight=None, sources=None):
    """Betweenness of vertices by Brandes' algorithm, scaled to [0, 1]. Local.

    Ways are directed and shortest in hops; loops do not count. Without
    weights it is the usual measure, of ``networkx.betweenness_centrality``.
    With them, a way counts as often as there are choices of a message along
    each of its edges: the betweenness of the multigraph in which every
    message is an edge. (Traffic does not make an edge shorter: two hops over
    busy edges are still two hops.)

    Parameters
    ----------
    n : int
    sender, receiver : int64 (m,)
        Distinct pairs.
    weight : (m,), optional
        Messages of each edge.
    sources : int64, optional
        Ways from these vertices only, and scaled to all: an estimate.

    Returns
    -------
    float64 (n,)

    References
    ----------
    Brandes (2001), A faster algorithm for betweenness centrality.
    """
    return _betweenness(n, sender, receiver, [weight], sources)[0]


def _betweenness(n, sender, receiver, weights, sources=None):
    """`betweenness` for several weights at once, whose shortest ways are the same: float64 (weights, n)."""
    keep = sender != receiver
    sender, receiver = sender[keep], receiver[keep]
    order = np.argsort(sender, kind="stable")
    target = receiver[order]
    times = [None if weight is None else np.asarray(weight, np.float64)[keep][order] for weight in weights]
    start = np.concatenate(([0], np.cumsum(np.bincount(sender, minlength=n))))
    total = np.zeros((len(weights), n))
    chosen = np.arange(n) if sources is None else np.asarray(sources)
    for source in chosen.tolist():
        layers = _layers(n, start, target, source)
        for k, one in enumerate(times):
            total[k] += _dependency(n, layers, one, source)
    if n > 2 and len(chosen):
        total *= n / len(chosen) / ((n - 1) * (n - 2))
    return total


def _layers(n, start, target, source):
    """Edges of the shortest ways from a source, by hops: list of (edge, tail, head)."""
    level = np.full(n, -1, np.int64)
    level[source] = 0
    front, layers = np.array([source]), []
    while len(front):
        degree = start[front + 1] - start[front]
        ends = np.cumsum(degree)
        edge = np.arange(ends[-1]) + np.repeat(start[front] - ends + degree, degree)
        tail, head = np.repeat(front, degree), target[edge]
        down = level[head] < 0
        edge, tail, head = edge[down], tail[down], head[down]
        level[head] = len(layers) + 1
        layers.append((edge, tail, head))
        front = np.flatnonzero(np.bincount(head, minlength=n)) if len(head) else head
    return layers


def _dependency(n, layers, times, source):
    """What a source adds to the betweenness of each vertex; ``times``: choices along each edge, None: one."""
    paths, dependency = np.zeros(n), np.zeros(n)
    paths[source] = 1
    for edge, tail, head in layers:
        paths += np.bincount(head, paths[tail] * (1 if times is None else times[edge]), minlength=n)
    for edge, tail, head in reversed(layers):
        share = paths[tail] * (1 if times is None else times[edge]) / paths[head] * (1 + dependency[head])
        dependency += np.bincount(tail, share, minlength=n)
    dependency[source] = 0
    return dependency


@dataclass(frozen=True)
class Bottlenecks:
    """Load and betweenness of every agent, by place in trail.agents."""

    edges: Edges
    boxes: Mailboxes
    betweenness: np.ndarray  # float64 (n,) of who has written to whom
    traffic: np.ndarray  # float64 (n,) the same, where every message is an edge
    n_sources: int  # vertices that ways were counted from; under n: an estimate


def bottlenecks(trail, n_sources=None):
    """Load and betweenness of every agent: `Bottlenecks`. Local.

    Parameters
    ----------
    n_sources : int, optional
        Count ways from so many agents, picked without chance; None: from as
        many as `COST` allows.
    """
    n, found = len(trail.agents), edges(trail)
    if n_sources is None:
        n_sources = max(1, COST // max(len(found.count), 1))
    sources = None if n_sources >= n else _sample(n, n_sources)
    plain, traffic = _betweenness(n, found.sender, found.receiver, (None, found.count), sources)
    boxes = mailboxes(trail, found)
    return Bottlenecks(found, boxes, plain, traffic, n if sources is None else len(sources))


def order_of(trail, found):
    """Places of agents, the most traffic that passes them first: int64. Local."""
    return np.lexsort((trail.agents, -found.boxes.received, -found.traffic))


def agent_rows(trail, found, places):
    """What `bottlenecks` found of some agents, in words: list of dict. Local."""
    boxes = found.boxes
    counts = ("received", "sent", "lost", "fan_in", "fan_out", "queue", "queue_step")
    return [
        {
            "agent": trail.name_of(trail.agents[k]),
            "traffic": float(found.traffic[k]),
            "betweenness": float(found.betweenness[k]),
            **{name: int(getattr(boxes, name)[k]) for name in counts},
        }
        for k in places
    ]


def _sample(n, k):
    """k of n places, scattered, the same each time: int64."""
    return np.sort(np.argsort(mix64(np.arange(n)), kind="stable")[:k])
