"""A page on a trail: one file of HTML that needs no network.

Everything that comes from the trail lies in the page as JSON, in which ``<``,
``>`` and ``&`` are escapes, and is put on the screen as text, never as HTML: a
name such as ``<script>`` is shown as it is.
"""

import html
import json
import re
from importlib import resources

import numpy as np

from hpcmp.analysis import flow
from hpcmp.io.trail import IN_FLIGHT, STATUSES

MAX_SHOWN = 3000  # messages that can be clicked through
MAX_BINS = 120  # of the flow over time
SLOW_STEPS = 10  # shown, where the run was timed
LAYOUT_TURNS = 200


def report(trail, rows_of, top=40):
    """The page: str. Local.

    Parameters
    ----------
    rows_of : callable (trail, Bottlenecks, k) -> list of dict
        Rows of the table of bottlenecks.
    top : int
        Agents that are drawn.
    """
    pairs = flow.edges(trail)
    found = flow.bottlenecks(trail)
    first, counts = flow.by_step(trail, MAX_BINS)
    data = {
        "graph": _graph(trail, pairs, found.boxes, top),
        "flow": {"first": first.tolist(), "types": list(trail.types), "counts": counts.T.tolist()},
        "bottlenecks": rows_of(trail, found, top),
        "slow": flow.slow_steps(trail, SLOW_STEPS),
        "sources": [found.n_sources, len(trail.agents)],
        "status": {name: int(n) for name, n in zip(STATUSES, flow.by_status(trail).sum(axis=1), strict=True) if n},
        "messages": _messages(trail),
        "facts": {name: _plain(value) for name, value in trail.facts().items() if value not in (None, "", [], {})},
    }
    page = resources.files("hpcmp.analysis").joinpath("trail_report.html").read_text(encoding="utf-8")
    parts = {"@TITLE@": html.escape(f"Trail {trail.path.name}"), "@DATA@": _as_json(data)}
    return re.sub("@TITLE@|@DATA@", lambda found: parts[found[0]], page)  # once: what is put in is not looked at again


def _as_json(data):
    """JSON that cannot end the element it lies in."""
    text = json.dumps(data, allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _plain(value):
    return value if isinstance(value, str | int | float) else json.dumps(value)


def _graph(trail, pairs, boxes, top):
    """The agents of most load, where they are drawn, and the traffic among them."""
    load = boxes.received + boxes.sent
    shown = np.argsort(-load, kind="stable")[:top]
    place = np.full(len(trail.agents), -1, np.int64)
    place[shown] = np.arange(len(shown))
    a, b = place[pairs.sender], place[pairs.receiver]
    kept = np.flatnonzero((a >= 0) & (b >= 0) & (a != b))
    kept = kept[np.argsort(-pairs.count[kept], kind="stable")][: 12 * top]
    xy = layout(len(shown), a[kept], b[kept], pairs.count[kept])
    return {
        "agents": [
            {"name": trail.name_of(trail.agents[k]), "load": int(load[k]), "queue": int(boxes.queue[k]), "x": x, "y": y}
            for k, (x, y) in zip(shown.tolist(), np.round(xy, 4).tolist(), strict=True)
        ],
        "edges": np.stack((a[kept], b[kept], pairs.count[kept]), axis=1).tolist(),
    }


def layout(n, a, b, count):
    """Places of vertices in the unit square, by springs: float64 (n, 2). Local.

    Fruchterman and Reingold (1991), from a circle: the same each time.
    """
    turn = 2 * np.pi * np.arange(n) / max(n, 1)
    xy = np.stack((np.cos(turn), np.sin(turn)), axis=1)
    pull = np.zeros((n, n))
    np.add.at(pull, (a, b), np.log1p(count))
    pull = (pull + pull.T) / max(pull.max(initial=0), 1)
    k = np.sqrt(4 / max(n, 1))
    for cooled in range(LAYOUT_TURNS):
        apart = xy[:, None] - xy[None]
        distance = np.sqrt((apart**2).sum(axis=2)) + 1e-9
        force = k * k / distance**2 - pull * distance / k - 0.05  # the last keeps parts without edges together
        step = (apart * force[:, :, None]).sum(axis=1)
        length = np.sqrt((step**2).sum(axis=1, keepdims=True)) + 1e-9
        xy = xy + step / length * np.minimum(length, 0.1 * (1 - cooled / LAYOUT_TURNS))
    low, high = xy.min(axis=0, initial=0), xy.max(axis=0, initial=0)
    return (xy - low) / np.maximum(high - low, 1e-9)


def _messages(trail):
    """Messages to click through: conversations, those with lost messages and then the largest first."""
    shown = _chosen(trail)
    place = {row: k for k, row in enumerate(shown)}
    cause = trail.cause[shown]
    return [{**trail.message(row), "at": place.get(int(c), -1)} for row, c in zip(shown, cause.tolist(), strict=True)]


def _chosen(trail):
    if trail.n <= MAX_SHOWN:
        return list(range(trail.n))
    root = trail.rows(trail["conversation_sender"], trail["conversation_number"])
    size = np.bincount(root, minlength=trail.n + 1)
    lost = np.bincount(root[trail["status"] > IN_FLIGHT], minlength=trail.n + 1) > 0
    by_root = np.argsort(root, kind="stable")
    start = np.cumsum(size) - size
    shown = []
    roots = np.flatnonzero(size)
    # those that lost messages may fill half of the room, the largest get the rest
    large = roots[np.argsort(-size[roots], kind="stable")]
    for chosen, room in ((large[lost[large]], MAX_SHOWN // 2), (large, MAX_SHOWN)):
        for k in chosen.tolist():
            if len(shown) >= room:
                break
            # whole but for the last one, of which the first messages
            shown += by_root[start[k] : start[k] + min(size[k], room - len(shown))].tolist()
    return sorted(set(shown))
