"""Trails for other programs: what they would read back."""

import json
import re

import numpy as np
import pytest
import trails

from hpcmp import analysis
from hpcmp.analysis import causes, trail_export
from hpcmp.analysis.lookup import select
from hpcmp.errors import GraphError
from hpcmp.io import trail as files

STEPS = 12
EVIL = ['<script>alert("1")</script>', "</script><b>", "\u2028&amp;", 'quote"\\', "é <!--", "a]]>b", "x\x01y"]


@pytest.fixture(scope="module")
def records():
    return trails.in_order(trails.simulate(n_agents=7, n_steps=STEPS, seed=2, delays=(1, 3)))


@pytest.fixture(scope="module")
def trail(records, tmp_path_factory):
    folder = trails.write(tmp_path_factory.mktemp("t") / "t<r>&il", records, STEPS, 2)
    files.write_agents(folder, np.arange(7) * 10, names=EVIL)
    return analysis.open(folder)


def written(trail, form, rows=None):
    rows = np.arange(trail.n) if rows is None else rows
    return "".join(trail_export.FORMATS[form](trail, rows))


def delivered(records):
    return [row for row, r in enumerate(records) if r["status"] == 0]


def test_a_timeline_has_an_arrow_for_each_delivery(trail, records):
    events = json.loads(written(trail, "chrome"))["traceEvents"]
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert [names[k] for k in range(7)] == EVIL
    slices = [e for e in events if e["ph"] == "X"]
    assert len(slices) == len(records) + len(delivered(records))
    begin, end = ({e["id"]: e for e in events if e["ph"] == ph} for ph in "sf")
    assert sorted(begin) == sorted(end) == delivered(records)
    assert all(e["bp"] == "e" and e["ts"] > begin[k]["ts"] for k, e in end.items())
    for row in delivered(records):
        r = records[row]
        assert (begin[row]["tid"], end[row]["tid"]) == (r["sender"] // 10, r["receiver"] // 10)
        assert begin[row]["ts"] // 1000 == r["step_sent"]
        assert end[row]["ts"] // 1000 == r["step_delivered"]
    spans = sorted((e["tid"], e["ts"], e["ts"] + e["dur"]) for e in slices)
    for (tid, _, ends), (other, starts, _) in zip(spans, spans[1:]):
        assert tid != other or ends <= starts  # of one agent, nothing overlaps


def test_a_timeline_has_ranks_as_processes_and_real_times_where_they_are_known(records, tmp_path):
    folder = trails.write(tmp_path / "t", records, STEPS, 2)
    step, rank = np.repeat(np.arange(STEPS), 2), np.tile([0, 1], STEPS)
    seconds = {"act": 0.001 * (1 + step) * (1 + rank), "exchange": 0 * step, "record": 0 * step}
    files.write_timing(folder, step, rank, seconds)
    trail = analysis.open(folder)
    recorded = dict(zip(trail["sender"].tolist(), trail.rank.tolist()))  # of these trails, the sender's rank records
    assert recorded == {agent: agent // 10 % 2 for agent in recorded}
    events = json.loads(written(trail, "chrome"))["traceEvents"]
    names = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert names == {0: "rank 0", 1: "rank 1"}
    first = dict(zip(trail["receiver"][::-1].tolist(), trail.rank[::-1].tolist()))
    starts = np.cumsum(2000.0 * np.arange(STEPS + 1))  # a step takes as long as its slowest rank
    for event in (e for e in events if e["ph"] == "X"):
        args, is_sent = event["args"], event["name"].startswith("send ")
        step = args["step_sent" if is_sent else "step_delivered"]
        assert starts[step] <= event["ts"] + 1e-6 and event["ts"] + event["dur"] <= starts[step + 1] + 1e-6
        assert event["pid"] == first[int(args["sender" if is_sent else "receiver"])]


def test_spans_form_traces(trail, records):
    lines = [json.loads(line) for line in written(trail, "otel").splitlines()]
    spans = [s for line in lines for s in line["resourceSpans"][0]["scopeSpans"][0]["spans"]]
    assert len({s["spanId"] for s in spans}) == len(spans) == len(records)
    by_id = {s["spanId"]: s for s in spans}
    for r, span in zip(records, spans):
        assert re.fullmatch("[0-9a-f]{32}", span["traceId"]) and int(span["traceId"], 16)
        assert re.fullmatch("[0-9a-f]{16}", span["spanId"]) and int(span["spanId"], 16)
        assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
        assert (r["cause"] is None) == ("parentSpanId" not in span)
        if r["cause"]:
            parent = by_id[span["parentSpanId"]]
            assert parent["traceId"] == span["traceId"] == span["links"][0]["traceId"]
    assert len({s["traceId"] for s in spans}) == len({r["conversation"] for r in records})
    negative = trail_export.trace_id(-1, 2**63 - 1)
    assert re.fullmatch("[0-9a-f]{32}", negative)


def test_an_event_log_names_only_what_it_declares(trail, records):
    log = json.loads(written(trail, "ocel"))
    objects = {o["id"]: o["type"] for o in log["objects"]}
    kinds = {t["name"]: {a["name"]: a["type"] for a in t["attributes"]} for t in log["eventTypes"]}
    python = {"string": str, "integer": int, "float": float, "boolean": bool, "time": str}  # the types that there are
    assert len(log["events"]) == len(records)
    assert len({e["id"] for e in log["events"]}) == len(records)
    for event in log["events"]:
        for attribute in event["attributes"]:
            assert type(attribute["value"]) is python[kinds[event["type"]][attribute["name"]]]
        assert {x["qualifier"] for x in event["relationships"]} == {"sender", "receiver", "conversation"}
        assert all(x["objectId"] in objects for x in event["relationships"])
        assert re.fullmatch(r"1970-01-01T00:00:\d\d\.000Z", event["time"])
    assert set(objects.values()) == {t["name"] for t in log["objectTypes"]}


def test_graphs_of_causes(trail, records):
    networkx = pytest.importorskip("networkx")
    row = max(range(len(records)), key=lambda k: len(causes.back(trail, k)))
    rows = causes.cone_of_message(trail, row, "cause")
    graph = networkx.parse_graphml(written(trail, "graphml", rows))
    assert [trail.called(k) for k in rows] == networkx.dag_longest_path(graph)
    assert graph.nodes[trail.called(row)]["sender"] == trail.name_of(trail["sender"][row]).replace("\x01", "?")
    whole = networkx.parse_graphml(written(trail, "graphml"))
    assert (len(whole), whole.size()) == (len(records), sum(r["cause"] is not None for r in records))
    text = written(trail, "dot", rows)
    assert text.count("->") == len(rows) - 1
    assert text.count('"') % 2 == text.count('\\"') % 2


def test_messages_are_chosen_by_steps_agents_types_fates_and_cone(trail, records, monkeypatch):
    def expected(keep):
        return [k for k, r in enumerate(records) if keep(r)]

    assert select(trail, (2, 4)).tolist() == expected(lambda r: 2 <= r["step_sent"] <= 4)
    chosen = select(trail, agents=[20, 30]).tolist()
    assert chosen == expected(lambda r: {r["sender"], r["receiver"]} & {20, 30})
    assert select(trail, (0, 0), among=[0, len(records) - 1]).tolist() == [0]
    assert select(trail, kind="reply").tolist() == expected(lambda r: r["type"] == 1)
    lost = expected(lambda r: r["status"] == 2)
    assert select(trail, status="dropped").tolist() == select(trail, status="dropped new").tolist() == lost != []
    with pytest.raises(GraphError, match="'lost' is no status of messages .delivered, in flight"):
        select(trail, status="lost")
    monkeypatch.setattr(trail_export, "MAX_MESSAGES", 5)
    with pytest.raises(GraphError, match="are too many for one file .at most 5.; choose some with --steps"):
        trail_export.refuse_many(select(trail))
