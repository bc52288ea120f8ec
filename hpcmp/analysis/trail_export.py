"""Trails for other programs: timelines, spans, event logs, and graphs of causes.

Every writer gives pieces of text, one after the other. A step is a
millisecond in spans, and in timelines of runs without timing; what an agent does in a step is spread over
it in the order of the messages. Times of a log are kept as attributes.
"""

import json
from datetime import datetime, timedelta, timezone
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from hpcmp.errors import GraphError
from hpcmp.hashing import mix64
from hpcmp.io import trail as files

MAX_MESSAGES = 200_000  # of one file: what the programs that show them still load
STEP_US = 1000  # microseconds of a step that was not timed
NO_RANK = 1 << 30  # process of agents of which no rank is known
SPANS_A_LINE = 500
LAST_DATE = 253_402_300_799  # of the year 9999, in seconds since 1970
MASK = (1 << 64) - 1


def refuse_many(rows):
    """Refuse to write more messages than other programs load. Local.

    Raises
    ------
    GraphError
        There are more than `MAX_MESSAGES`.
    """
    if len(rows) > MAX_MESSAGES:
        raise GraphError(
            f"{len(rows)} messages are too many for one file (at most {MAX_MESSAGES}); choose some with --steps A:B, "
            "--agents X,Y, or a cone"
        )


# ---------------------------------------------------------------- timeline


def chrome(trail, rows):
    """Trace Event Format, for Perfetto and chrome://tracing. Local.

    A process for each rank, a thread for each of its agents; a slice where
    an agent reads or sends a message, and an arrow between the two. Steps are
    as long as the slowest rank took where the run was timed, else a
    millisecond.
    """
    began, ended = _times_us(trail, rows)
    yield '{"displayTimeUnit":"ms","traceEvents":[\n'
    places, ranks = np.union1d(trail.sender[rows], trail.receiver[rows]).tolist(), _ranks_of_agents(trail)
    names = {rank: f"rank {rank}" for rank in sorted({ranks[place] for place in places})}
    if NO_RANK in names:
        names[NO_RANK] = "agents that got nothing"
    heads = [{"ph": "M", "name": "process_name", "pid": k, "args": {"name": name}} for k, name in names.items()]
    heads += [
        {"ph": "M", "name": "thread_name", "pid": ranks[place], "tid": place, "args": {"name": trail.name_of(agent)}}
        for place, agent in zip(places, trail.agents[places], strict=True)
    ]
    yield ",\n".join(map(json.dumps, heads))
    for k, row in enumerate(rows.tolist()):
        message = trail.message(row)
        sender, receiver = int(trail.sender[row]), int(trail.receiver[row])
        sent = {"cat": message["type"], "pid": ranks[sender], "tid": sender, "ts": began[k][0]}
        slices = [sent | {"ph": "X", "name": f"send {message['type']}", "dur": began[k][1], "args": message}]
        if message["step_delivered"] is not None:
            got = sent | {"pid": ranks[receiver], "tid": receiver, "ts": ended[k][0]}
            arrow = {"name": message["type"], "id": row}
            slices += [
                got | {"ph": "X", "name": message["type"], "dur": ended[k][1], "args": message},
                sent | arrow | {"ph": "s"},
                got | arrow | {"ph": "f", "bp": "e"},
            ]
        yield "".join(",\n" + json.dumps(piece) for piece in slices)
    yield "\n]}\n"


def _ranks_of_agents(trail):
    """The rank that recorded what each agent got, by place in trail.agents: list."""
    ranks = np.full(len(trail.agents), NO_RANK, np.int64)
    ranks[trail.receiver[::-1]] = trail.rank[::-1]
    return ranks.tolist()


def _steps_us(trail):
    """Where steps begin and how long they are, in microseconds: two float64, from the first step on."""
    first, last = trail.steps
    n_steps = max(last - first + 1, int(trail["step_delivered"].max(initial=last)) - first + 1)
    if not trail.timing:
        return (first + np.arange(n_steps)) * float(STEP_US), np.full(n_steps, float(STEP_US))
    length, step = np.zeros(n_steps), trail.timing["step"] - first
    inside = (step >= 0) & (step < n_steps)
    seconds = sum(trail.timing[name] for name in files.PHASES)
    np.maximum.at(length, step[inside], 1e6 * seconds[inside])
    return np.cumsum(length) - length, length


def _times_us(trail, rows):
    """Start and length, in microseconds, of sending and of reading each message: two lists of (start, length)."""
    m = len(rows)
    step = np.concatenate((trail["step_sent"][rows], trail["step_delivered"][rows]))
    who = np.concatenate((trail.sender[rows], trail.receiver[rows]))
    sends = np.arange(2 * m) < m
    order = np.lexsort((np.concatenate((rows, rows)), sends, who, step))  # what is read comes before what is sent
    new = np.ones(2 * m, np.bool_)
    new[1:] = (step[order][1:] != step[order][:-1]) | (who[order][1:] != who[order][:-1])
    first = np.flatnonzero(new)
    count = np.diff(np.append(first, 2 * m))
    place, total = np.empty(2 * m, np.int64), np.empty(2 * m, np.int64)
    place[order] = np.arange(2 * m) - np.repeat(first, count)
    total[order] = np.repeat(count, count)
    begin, length = _steps_us(trail)
    at = np.maximum(step - trail.steps[0], 0)  # of what was never delivered, any
    share = length[at] / np.maximum(total, 1)
    times = list(zip((begin[at] + place * share).tolist(), (0.9 * share).tolist(), strict=True))
    return times[:m], times[m:]


# ---------------------------------------------------------------- spans


def otel(trail, rows):
    """OpenTelemetry spans, as its file exporter writes them: JSON lines. Local.

    A message is a span from sending to delivery, of the trace of its
    conversation; its cause is its parent and a link.
    """
    for lo in range(0, len(rows), SPANS_A_LINE):
        spans = [_span(trail, row) for row in rows[lo : lo + SPANS_A_LINE].tolist()]
        resource = {"attributes": [_attribute("service.name", "hpcmp")]}
        scopes = [{"scope": {"name": "hpcmp.trace"}, "spans": spans}]
        yield json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": scopes}]}) + "\n"


def span_id(sender, number):
    """16 hex digits for a message. Local."""
    return f"{_hash(sender, number):016x}"


def trace_id(sender, number):
    """32 hex digits for a conversation: the name of its root, never 0. Local."""
    return f"{int(sender) & MASK:016x}{(int(number) + 1) & MASK:016x}"


def _hash(sender, number):
    first = int(mix64(np.array([int(sender) & MASK], np.uint64))[0])
    return int(mix64(np.array([(first + int(number) + 1) & MASK], np.uint64))[0]) or 1


def _span(trail, row):
    message = trail.message(row)
    sent, delivered = message["step_sent"], message["step_delivered"]
    sender, number = trail["sender"][row], trail["number"][row]
    own = trace_id(trail["conversation_sender"][row], trail["conversation_number"][row])
    unix = {"startTimeUnixNano": sent, "endTimeUnixNano": sent if delivered is None else delivered}
    shown = {k: v for k, v in message.items() if k not in ("payload", "cause") and v is not None}
    shown |= {f"payload.{k}": v for k, v in message.get("payload", {}).items()}
    span = {
        "traceId": own,
        "spanId": span_id(sender, number),
        "name": message["type"],
        "kind": 4,  # producer
        **{name: str(step * STEP_US * 1000) for name, step in unix.items()},
        "attributes": [_attribute(f"hpcmp.{name}", value) for name, value in shown.items()],
        "status": {"code": 1} if message["status"] == files.STATUSES[0] else {"code": 2, "message": message["status"]},
    }
    if message["cause"]:
        parent = span_id(trail["cause_sender"][row], trail["cause_number"][row])
        span |= {"parentSpanId": parent, "links": [{"traceId": own, "spanId": parent}]}
    return span


def _attribute(name, value):
    if isinstance(value, bool):
        kind = {"boolValue": value}
    elif isinstance(value, int):
        kind = {"intValue": str(value)}
    elif isinstance(value, float) and np.isfinite(value):
        kind = {"doubleValue": value}
    else:
        kind = {"stringValue": str(value)}
    return {"key": name, "value": kind}


# ---------------------------------------------------------------- event log


def ocel(trail, rows):
    """OCEL 2.0 in JSON: a message is an event of agents and a conversation. Local.

    The time of an event is that of the log, if its times can be seconds since
    1970, else a second a step.
    """
    names = ("status", "step_sent", "step_delivered", *(("time",) if trail.has_time else ()))
    kinds = {"status": "string", "time": "float"}
    attributes = [{"name": name, "type": kinds.get(name, "integer")} for name in names]
    events, objects = [], {}
    for row in rows.tolist():
        message = trail.message(row)
        related = [("agent", message["sender"], "sender"), ("agent", message["receiver"], "receiver")]
        related.append(("conversation", message["conversation"], "conversation"))
        for kind, name, _ in related:
            objects[f"{kind} {name}"] = {"id": f"{kind} {name}", "type": kind, "attributes": [], "relationships": []}
        event = {"id": message["message"], "type": message["type"], "time": _date(message)}
        event["attributes"] = [{"name": name, "value": message[name]} for name in names if message[name] is not None]
        event["relationships"] = [{"objectId": f"{kind} {name}", "qualifier": how} for kind, name, how in related]
        events.append(event)
    log = {
        "objectTypes": [{"name": name, "attributes": []} for name in ("agent", "conversation")],
        "eventTypes": [{"name": name, "attributes": attributes} for name in trail.types],
        "objects": [objects[name] for name in sorted(objects)],
        "events": events,
    }
    yield json.dumps(log) + "\n"


def _date(message):
    seconds = message.get("time", message["step_sent"])
    if isinstance(seconds, str) or not 0 <= seconds <= LAST_DATE:  # a text stands for infinity and NaN
        seconds = message["step_sent"] % LAST_DATE
    date = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=seconds)
    return date.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# ---------------------------------------------------------------- graphs of causes


def dot(trail, rows):
    """Graphviz: messages, and an edge from each cause to what it caused. Local."""
    yield "digraph causes {\n  rankdir=LR;\n  node [shape=box, fontname=sans];\n"
    for row in rows.tolist():
        m = trail.message(row)
        label = f"{m['type']} {m['message']}\n{m['sender']} > {m['receiver']}\nstep {m['step_sent']}"
        style = "" if m["status"] == files.STATUSES[0] else ", style=dashed"
        yield f"  {_quoted(m['message'])} [label={_quoted(label)}{style}];\n"
    for cause, row in _edges(trail, rows):
        yield f"  {_quoted(trail.called(cause))} -> {_quoted(trail.called(row))};\n"
    yield "}\n"


def graphml(trail, rows):
    """GraphML: messages, and an edge from each cause to what it caused. Local."""
    keys = dict.fromkeys(("sender", "receiver", "type", "status"), "string")
    keys |= dict.fromkeys(("step_sent", "step_delivered"), "long")
    yield '<?xml version="1.0" encoding="UTF-8"?>\n<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n'
    for name, kind in keys.items():
        yield f'  <key id="{name}" for="node" attr.name="{name}" attr.type="{kind}"/>\n'
    yield '  <graph id="causes" edgedefault="directed">\n'
    for row in rows.tolist():
        m = trail.message(row)
        data = "".join(f'<data key="{name}">{_xml(m[name])}</data>' for name in keys if m[name] is not None)
        yield f"    <node id={quoteattr(m['message'])}>{data}</node>\n"
    for cause, row in _edges(trail, rows):
        yield f"    <edge source={quoteattr(trail.called(cause))} target={quoteattr(trail.called(row))}/>\n"
    yield "  </graph>\n</graphml>\n"


def _edges(trail, rows):
    """(cause, effect) among rows."""
    inside = np.zeros(trail.n + 1, np.bool_)
    inside[rows] = True
    cause = trail.cause[rows]
    kept = inside[cause]
    return zip(cause[kept].tolist(), rows[kept].tolist(), strict=True)


def _quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _xml(value):
    """Text of an element, without the characters that XML has no way to write."""
    return escape("".join(c if c >= " " or c in "\t\n\r" else "?" for c in str(value)))


# ---------------------------------------------------------------- the graph of who wrote to whom


def edges(trail, rows):
    """Ids of sender and receiver and how many messages, for `hpcmp convert`. Local."""
    n = max(len(trail.agents), 1)
    pairs, counts = np.unique(trail.sender[rows] * n + trail.receiver[rows], return_counts=True)
    yield "src\tdst\tcount\n"
    for src, dst, count in zip(trail.agents[pairs // n], trail.agents[pairs % n], counts, strict=True):
        yield f"{src}\t{dst}\t{count}\n"


FORMATS = {"chrome": chrome, "otel": otel, "ocel": ocel, "dot": dot, "graphml": graphml, "edges": edges}
