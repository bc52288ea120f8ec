"""A page on a trail: one file of HTML that needs no network.

Everything that comes from the trail lies in the page as JSON, in which ``<``,
``>`` and ``&`` are escapes, and is put on the screen as text, never as HTML: a
name such as ``<script>`` is shown as it is. What a page holds is bounded,
whatever the trail: so many agents, edges and messages, and texts cut short.
"""

import html
import json
import re
from importlib import resources

import numpy as np

from hpcmp.analysis import flow
from hpcmp.analysis.layout import layout
from hpcmp.io.trail import IN_FLIGHT, STATUSES

MAX_AGENTS = 2000
MAX_EDGES = 6000
MAX_MESSAGES = 20_000  # that can be clicked through
MAX_BINS = 160  # of the flow over time
SLOW_STEPS = 10  # shown, where the run was timed
MAX_TEXT = 200  # characters of a name or a payload
EXACT = 1 << 53  # larger numbers than this a browser rounds
PARTS = ("trail_report.html", "trail_report.css", "trail_drawings.js", "trail_messages.js")


def report(trail, top=MAX_AGENTS):
    """The page: str. Local.

    Parameters
    ----------
    top : int
        Agents that are drawn and listed, at most `MAX_AGENTS`.
    """
    names = _Names(trail)
    found = flow.bottlenecks(trail)
    agents = _foremost(found, min(top, MAX_AGENTS))
    first, counts = flow.by_step(trail, MAX_BINS)
    data = {
        "trail": trail.path.name,
        "types": [_short(name) for name in trail.types],
        "statuses": list(STATUSES),
        "status": [int(n) for n in flow.by_status(trail).sum(axis=1)],
        "flow": {"first": exact(first), "last": trail.steps[1], "counts": counts.T.tolist()},
        "graph": _graph(trail, found.edges, agents, names),
        "load": _columns(flow.agent_rows(trail, found, agents)),
        "slow": flow.slow_steps(trail, SLOW_STEPS),
        "sources": [found.n_sources, len(trail.agents)],
        "messages": _messages(trail, names),
        "n_messages": trail.n,
        "facts": {name: _plain(value) for name, value in trail.facts().items() if value not in (None, "", [], {})},
    }
    data["names"] = names.texts()
    page, style, *script = (resources.files("hpcmp.analysis").joinpath(part).read_text("utf-8") for part in PARTS)
    title = html.escape(f"Trail {_short(trail.path.name)}")
    parts = {"@TITLE@": title, "@STYLE@": style, "@SCRIPT@": "".join(script), "@DATA@": as_json(data)}
    return re.sub("|".join(parts), lambda found: parts[found[0]], page)  # once: what is put in is not looked at again


def as_json(data):
    """JSON that cannot end the element it lies in. Local."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def exact(numbers):
    """Integers as a list; as texts where a browser would round one. Local."""
    values = np.asarray(numbers).tolist()
    return [str(v) for v in values] if any(abs(v) > EXACT for v in values) else values


def _short(text):
    text = str(text)
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def _plain(value):
    return value if isinstance(value, int | float) else _short(value if isinstance(value, str) else json.dumps(value))


class _Names:
    """Ids and names of those agents that the page speaks of, once each."""

    def __init__(self, trail):
        self.trail = trail
        self.number = np.full(len(trail.agents), -1, np.int64)
        self.n = 0

    def of(self, places):
        """Numbers of agents, by their places in trail.agents: list. Local."""
        places = np.asarray(places, np.int64)
        new = np.unique(places[self.number[places] < 0])
        self.number[new] = np.arange(self.n, self.n + len(new))
        self.n += len(new)
        return self.number[places].tolist()

    def texts(self):
        """Ids, and names or None, by number. Local."""
        places = np.argsort(self.number)[len(self.number) - self.n :]
        ids = [str(agent) for agent in self.trail.agents[places].tolist()]
        names = self.trail.names
        return {"id": ids, "name": None if names is None else [_short(name) for name in names[places]]}


def _foremost(found, top):
    """Places of agents, those first that lead in load or in traffic that passes them: int64."""
    load = found.boxes.received + found.boxes.sent
    rank = np.empty((2, len(load)), np.int64)
    for k, value in enumerate((load, found.traffic)):
        rank[k, np.argsort(-value, kind="stable")] = np.arange(len(load))
    return np.lexsort((rank[0], rank.min(axis=0)))[:top]


def _graph(trail, pairs, agents, names):
    """The chosen agents, where they are drawn, and the busiest ways among them."""
    place = np.full(len(trail.agents), -1, np.int64)
    place[agents] = np.arange(len(agents))
    a, b = place[pairs.sender], place[pairs.receiver]
    kept = np.flatnonzero((a >= 0) & (b >= 0) & (a != b))
    kept = kept[np.argsort(-pairs.count[kept], kind="stable")]
    # the busiest of each agent first, so that none stands alone that wrote to another
    _, first_out = np.unique(a[kept], return_index=True)
    _, first_in = np.unique(b[kept], return_index=True)
    leads = np.zeros(len(kept), np.bool_)
    leads[first_out] = leads[first_in] = True
    kept = np.concatenate((kept[leads], kept[~leads]))[:MAX_EDGES]
    a, b, count = a[kept], b[kept], pairs.count[kept]
    xy = np.round(1000 * layout(len(agents), a, b, count)).astype(np.int64)
    edges = {"from": a.tolist(), "to": b.tolist(), "count": exact(count)}
    return {"agent": names.of(agents), "x": xy[:, 0].tolist(), "y": xy[:, 1].tolist(), "edges": edges}


def _columns(rows):
    """A table by column: names, and a list for each."""
    names = [name for name in (rows[0] if rows else {}) if name != "agent"]
    return {"names": names, "columns": [[row[name] for row in rows] for name in names]}


def _messages(trail, names):
    """Messages to click through, by column; ``at``: the place of the cause, -1 none, -2 not among them."""
    rows = chosen(trail)
    place = np.full(trail.n + 1, -2, np.int64)
    place[trail.n] = -1
    place[rows] = np.arange(len(rows))
    found = {
        "sender": names.of(trail.sender[rows]),
        "receiver": names.of(trail.receiver[rows]),
        "number": exact(trail["number"][rows]),
        "type": trail["type"][rows].tolist(),
        "status": trail["status"][rows].tolist(),
        "sent": exact(trail["step_sent"][rows]),
        "delivered": exact(trail["step_delivered"][rows]),
        "at": place[trail.cause[rows]].tolist(),
    }
    if trail.has_time:
        found["time"] = [value if np.isfinite(value) else str(value) for value in trail["time"][rows].tolist()]
    if trail.level == "full":
        found["payload"] = _payloads(trail, rows)
    return found


def _payloads(trail, rows):
    """Payloads as short texts; empty where a type has none."""
    texts = np.full(len(rows), "", object)
    dtypes = [dtype for _, dtype in trail.head["message_types"]]
    for kind, (name, dtype) in enumerate(zip(trail.types, dtypes, strict=True)):
        of = np.flatnonzero(trail["type"][rows] == kind)
        if dtype.names and len(of):
            texts[of] = [
                _short(_in_words(record, dtype.names)) for record in trail.payloads(name, rows[of])[1].tolist()
            ]
    return texts.tolist()


def _in_words(record, names):
    decoded = (v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in record)
    return " ".join(f"{name}={value}" for name, value in zip(names, decoded, strict=True))


def chosen(trail, most=None):
    """Rows of messages for a page, ascending: whole conversations. Local.

    Those with losses come first and fill half of the room at most, then the
    largest; of one that is larger than what is left, the first messages.
    """
    most = MAX_MESSAGES if most is None else most
    if trail.n <= most:
        return np.arange(trail.n)
    root = trail.rows(trail["conversation_sender"], trail["conversation_number"])
    size = np.bincount(root, minlength=trail.n + 1)
    lost = np.bincount(root[trail["status"] > IN_FLIGHT], minlength=trail.n + 1) > 0
    by_root = np.argsort(root, kind="stable")
    start = np.cumsum(size) - size
    roots = np.flatnonzero(size)
    large = roots[np.argsort(-size[roots], kind="stable")]
    with_losses = large[lost[large]]
    first = with_losses[np.cumsum(size[with_losses]) - size[with_losses] < most // 2]
    shown, room = [], most
    for k in np.concatenate((first, large[~np.isin(large, first)])).tolist():
        if room <= 0:
            break
        shown.append(by_root[start[k] : start[k] + min(size[k], room)])
        room -= len(shown[-1])
    return np.sort(np.concatenate(shown))
