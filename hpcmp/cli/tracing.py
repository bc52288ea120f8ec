"""The answers of `hpcmp trace`, in lines and in JSON."""

import numpy as np

from hpcmp import analysis
from hpcmp.analysis import causes, flow, lookup, patterns
from hpcmp.cli.common import parse_range
from hpcmp.cli.diff import EXIT_DIFFERENT
from hpcmp.cli.output import table
from hpcmp.cli.reading import emit, emit_json, remark
from hpcmp.cli.trace import DEFAULT_PAIR
from hpcmp.errors import GraphError
from hpcmp.io import h5
from hpcmp.io.trail import PHASES, STATUSES


def answer(args):
    """Answer what is asked; the exit code. Local."""
    if args.asked == "import":
        return _import(args)
    trail = analysis.open(args.trail, h5.TRAIL)
    if trail.is_sample:  # on standard error: what is exported goes to standard output
        remark(f"note: {args.trail} is a sample of {100 * trail.sample:g} % of conversations")
    return ANSWERS[args.asked](trail, args)


# ---------------------------------------------------------------- arguments


def message_of(trail, text):
    """Row of the message that S:N means. Local."""
    sender, colon, number = text.rpartition(":")
    if not colon or not number.isdecimal():
        raise GraphError(f"{text!r} names no message; write SENDER:NUMBER, such as 17:3")
    return trail.row(trail.agent(sender), int(number))


def cone_of(trail, args):
    """Rows of the cone that arguments name; None where they name none. Local."""
    if args.message and args.agent:
        raise GraphError("--message and --agent both name a cone; leave one of them out")
    if args.message:
        if args.step is not None:
            raise GraphError("--step goes with --agent; a message has its own step")
        return causes.cone_of_message(trail, message_of(trail, args.message), args.by)
    if args.agent:
        step = trail.steps[1] if args.step is None else _step_of(trail, args.step)
        return causes.cone_of_agent(trail, trail.agent(args.agent), step, args.by)
    if args.step is not None:
        raise GraphError("--step goes with --agent: the step at whose end its state is asked for")
    return None


def _agents_of(trail, text):
    return [trail.agent(name) for name in text.split(",")] if text else None


def _steps_of(trail, text):
    """First and last step of A:B, or of one step; None without."""
    found = parse_range("--steps", text)
    return found and (_step_of(trail, found[0]), _step_of(trail, found[1]))


def _step_of(trail, step):
    """A step, refused where the trail has none such."""
    first, last = trail.steps
    if not first <= step <= last:
        has = f"steps {first} to {last}" if first <= last else "no step"
        raise GraphError(f"step {step} is outside of {trail.path}, which has {has}")
    return step


def _cut(rows, limit):
    return rows if limit <= 0 else rows[:limit]


# ---------------------------------------------------------------- messages


def line_of(message):
    """A message in one line. Local."""
    to = "-" if message["step_delivered"] is None else message["step_delivered"]
    text = f"step {message['step_sent']} > {to}  {message['message']}  {message['sender']} > {message['receiver']}  "
    text += message["type"]
    if message.get("payload"):
        text += " " + " ".join(f"{k}={v}" for k, v in message["payload"].items())
    if message["status"] != STATUSES[0]:
        text += f"  ({message['status']})"
    return text + (f"  caused by {message['cause']}" if message["cause"] else "")


def _say_messages(trail, args, rows, heads, facts):
    """Lines of a head and of messages, or JSON of facts and messages."""
    limit = getattr(args, "limit", 0)
    shown = [trail.message(row) for row in _cut(rows, limit)]
    if args.json:
        _emit_facts(trail, {**facts, "messages": shown, "left_out": len(rows) - len(shown)})
        return
    emit(*heads, *map(line_of, shown))
    if len(shown) < len(rows):
        emit(f"... and {len(rows) - len(shown)} more (--limit 0 shows all)")


def _emit_facts(trail, facts):
    """JSON of an answer, with the share of conversations that it is from."""
    emit_json(facts | ({"sample": trail.sample} if trail.is_sample else {}))


def _import(args):
    from hpcmp.io.log import import_log

    found = import_log(args.log, args.output, args.columns, args.separator)
    if args.json:
        emit_json({**found, "output": args.output})
        return
    emit(f"{args.output}: {found['records']} messages of {found['agents']} agents at {found['steps']} distinct times")
    emit(*(f"note: {note}" for note in found["notes"]))


def _find(trail, args):
    steps, agents = _steps_of(trail, args.steps), _agents_of(trail, args.agents)
    rows = lookup.select(trail, steps, agents, args.type, args.status)
    _say_messages(trail, args, rows, [f"{len(rows)} of {trail.n} messages"], {"n": len(rows), "of": trail.n})


def _history(trail, args):
    if (args.agent is None) == (args.conversation is None):
        raise GraphError("name an agent, or a conversation with --conversation S:N")
    if args.conversation:
        row = message_of(trail, args.conversation)
        rows = causes.conversation(trail, row)
        root = trail.message(row)["conversation"]
        _say_messages(
            trail, args, rows, [f"conversation {root}: {len(rows)} messages"], {"conversation": root, "n": len(rows)}
        )
        return
    agent = trail.agent(args.agent)
    rows, is_sent = causes.history(trail, agent)
    n_sent = int(is_sent.sum())
    name, n_to = trail.name_of(agent), len(rows) - n_sent
    facts = {"agent": agent, "name": name, "sent": n_sent, "addressed": n_to}
    _say_messages(trail, args, rows, [f"agent {name}: {n_to} messages to it, {n_sent} from it"], facts)


def _back(trail, args):
    rows = causes.back(trail, message_of(trail, args.message))
    head = f"{len(rows)} messages, from {args.message} back to its root"
    _say_messages(trail, args, rows, [head], {"message": trail.called(rows[0]), "length": len(rows)})


def _forward(trail, args):
    given = [name for name in ("message", "agent", "step") if getattr(args, name) is not None]
    if len(given) != 1:
        raise GraphError("name one of: a message S:N, --agent A, --step T")
    if args.message:
        start, what = np.array([message_of(trail, args.message)]), f"message {args.message}"
    elif args.agent:
        start, what = causes.sent_by(trail, trail.agent(args.agent)), f"the messages of agent {args.agent}"
    else:
        start, what = causes.sent_in(trail, _step_of(trail, args.step)), f"the messages of step {args.step}"
    rows = causes.forward(trail, start)
    agents = causes.agents_reached(trail, rows)
    facts = {"start": len(start), "n": len(rows), "agents": [trail.name_of(agent) for agent in agents]}
    head = f"{what}: {len(start)} messages, {len(rows)} with all that they caused; they reached {len(agents)} agents"
    _say_messages(trail, args, rows, [head], facts)


def _cone(trail, args):
    rows = cone_of(trail, args)
    if rows is None:
        raise GraphError("name what the cone is of: --message S:N, or --agent A --step T")
    n_senders = len(np.unique(trail["sender"][rows]))
    head = f"{len(rows)} of {trail.n} messages, of {n_senders} senders, could have led there (by {args.by})"
    _say_messages(trail, args, rows, [head], {"n": len(rows), "of": trail.n, "senders": n_senders, "by": args.by})


# ---------------------------------------------------------------- the whole


def _diff(a, args):
    from hpcmp.analysis.trail_diff import compare_trails

    b = analysis.open(args.other, h5.TRAIL)
    found = compare_trails(a, b)
    if args.json:
        facts = {"a": args.trail, "b": args.other, "equal": found is None}
        if found is not None:
            only = None if found.only_in is None else (args.trail, args.other)[found.only_in]
            facts |= {"step": found.step, "agent": found.sender, "message": f"{found.sender}:{found.number}"}
            facts |= {"only_in": only, "columns": found.columns}
        emit_json(facts)
    elif found is None:
        first, last = max(a.steps[0], b.steps[0]), min(a.steps[1], b.steps[1])
        same = f"the same messages up to step {last}" if first <= last else "they have no step in common"
        emit(f"{args.trail} and {args.other}: {same}")
    else:
        emit(
            f"first difference: step {found.step}, agent {a.name_of(found.sender)}, message {found.sender}:{found.number}"
        )
        if found.only_in is not None:
            emit(f"only in {(args.trail, args.other)[found.only_in]}")
        emit(*(f"{name}: {x} and {y}" for name, (x, y) in found.columns.items()))
    return 0 if found is None else EXIT_DIFFERENT


def _bottlenecks(trail, args):
    if args.sources is not None and args.sources < 1:
        raise GraphError(f"--sources {args.sources} is no number of agents; write 1 or more")
    found = flow.bottlenecks(trail, args.sources)
    rows = flow.agent_rows(trail, found, _cut(flow.order_of(trail, found), args.top))
    if args.json:
        _emit_facts(trail, {"agents": len(trail.agents), "sources": found.n_sources, "top": rows})
        return
    if found.n_sources < len(trail.agents):
        emit(f"betweenness estimated from {found.n_sources} of {len(trail.agents)} agents")
    spec = {k: ".6f" if k in ("betweenness", "traffic") else "" for k in (rows[0] if rows else {"agent": ""})}
    emit(*table(rows, spec))


def _flow(trail, args):
    first, counts = flow.by_step(trail, args.bins or None)
    fates = flow.by_status(trail).sum(axis=1)
    pairs = flow.edges(trail)
    top = _cut(np.argsort(-pairs.count, kind="stable"), args.top)
    edges = [
        {
            "sender": trail.name_of(trail.agents[pairs.sender[k]]),
            "receiver": trail.name_of(trail.agents[pairs.receiver[k]]),
            "messages": int(pairs.count[k]),
        }
        for k in top
    ]
    status = {name: int(n) for name, n in zip(STATUSES, fates, strict=True) if n}
    steps = [
        {"step": int(step), **dict(zip(trail.types, row.tolist()))} for step, row in zip(first, counts, strict=True)
    ]
    slow = flow.slow_steps(trail, args.top)
    if args.json:
        facts = {"messages": trail.n, "pairs": len(pairs.count), "status": status, "steps": steps, "edges": edges}
        _emit_facts(trail, facts | {"slow_steps": slow})
        return
    emit(f"{trail.n} messages between {len(pairs.count)} pairs: {', '.join(f'{n} {k}' for k, n in status.items())}", "")
    emit(*table(steps, dict.fromkeys(("step", *trail.types), ""), trail.types), "")
    emit(*table(edges, dict.fromkeys(("sender", "receiver", "messages"), "")))
    if slow:
        emit("", "the slowest steps, by their slowest rank, in seconds")
        emit(*table(slow, {"step": "", "rank": "", **dict.fromkeys(("seconds", *PHASES), ".3g")}))


def _unanswered(trail, args):
    found, rows = [], []
    for pair in args.pair or [DEFAULT_PAIR]:
        query, colon, reply = pair.partition(":")
        if not colon:
            raise GraphError(f"--pair {pair!r} has no colon; write QUERY:REPLY, names of message types")
        left, n = patterns.unanswered(trail, query, reply)
        found.append({"query": query, "reply": reply, "queries": n, "unanswered": len(left)})
        rows.append(left)
    heads = [f"{f['unanswered']} of {f['queries']} messages {f['query']} have no {f['reply']}" for f in found]
    _say_messages(trail, args, np.concatenate(rows), heads, {"pairs": found})


def _patterns(trail, args):
    loops = patterns.loops(trail, args.loops)
    starving = None if trail.is_sample else patterns.starving(trail, args.starving)
    repeats = patterns.repeats(trail) if trail.level == "full" else None
    facts = {
        "loops": {
            "n": len(loops.rows),
            "by_length": {str(k): int(n) for k, n in zip(*np.unique(loops.length, return_counts=True), strict=True)},
            "top": [
                {"length": int(loops.length[k]), **trail.message(loops.rows[k])}
                for k in _cut(np.argsort(-loops.length, kind="stable"), args.top)
            ],
        },
        "starving": starving
        and {
            "n": len(starving.agents),
            "top": [
                {"agent": trail.name_of(agent), "steps": int(steps), "since": int(since)}
                for agent, steps, since in _cut([*zip(starving.agents, starving.steps, starving.since)], args.top)
            ],
        },
        "repeats": repeats
        and {
            "n": len(repeats.rows),
            "top": [
                {"times": int(repeats.count[k]), **trail.message(repeats.rows[k])}
                for k in range(len(_cut(repeats.rows, args.top)))
            ],
        },
    }
    if args.json:
        _emit_facts(trail, facts)
        return
    emit(f"{len(loops.rows)} loops of {args.loops} messages or more")
    emit(*(f"  {found['length']} messages, closed by {line_of(found)}" for found in facts["loops"]["top"]))
    if starving is None:
        emit("agents that got nothing are not told: the trail is a sample")
    else:
        emit(f"{len(starving.agents)} agents that got nothing for {args.starving} steps or more")
        emit(*(f"  {s['agent']}: {s['steps']} steps, since step {s['since']}" for s in facts["starving"]["top"]))
    if repeats is None:
        emit("repeated messages are not told: the trail has headers only")
        return
    emit(f"{len(repeats.rows)} messages were sent again with the same payload")
    emit(*(f"  {found['times']} times {line_of(found)}" for found in facts["repeats"]["top"]))


def _reach(trail, args):
    from hpcmp.analysis.reach import reach

    found = reach(trail)
    best = found.best and {"agent": trail.name_of(found.best[0]), "reaches": found.best[1]}
    if best and trail.names is None:
        best["agent"] = found.best[0]
    if args.json:
        _emit_facts(trail, {"pairs": found.pairs, "best": best, "none": found.none})
        return
    emit(f"{found.pairs} ordered pairs of agents, of {len(found.agents)}; {found.none} agents reach none")
    top = _cut(np.argsort(-found.counts, kind="stable"), args.top)
    rows = [{"agent": trail.name_of(found.agents[k]), "reaches": int(found.counts[k])} for k in top]
    emit(*table(rows, {"agent": "", "reaches": ""}))


def _export(trail, args):
    from hpcmp.analysis.trail_export import FORMATS, refuse_many
    from hpcmp.cli.writing import write_lines

    rows = lookup.select(
        trail, _steps_of(trail, args.steps), _agents_of(trail, args.agents), among=cone_of(trail, args)
    )
    if args.format != "edges":  # which are few, however many messages they stand for
        refuse_many(rows)
    write_lines(args, FORMATS[args.format](trail, rows))
    if args.json and args.output:
        _emit_facts(trail, {"messages": len(rows), "format": args.format, "output": args.output})


def _report(trail, args):
    from hpcmp.analysis.trail_report import report
    from hpcmp.cli.writing import write_lines

    write_lines(args, [report(trail, args.top)])
    if args.json:
        _emit_facts(trail, {"messages": trail.n, "output": args.output})


ANSWERS = {
    "find": _find,
    "history": _history,
    "back": _back,
    "forward": _forward,
    "cone": _cone,
    "diff": _diff,
    "bottlenecks": _bottlenecks,
    "flow": _flow,
    "unanswered": _unanswered,
    "patterns": _patterns,
    "reach": _reach,
    "export": _export,
    "report": _report,
}
