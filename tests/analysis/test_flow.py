"""Traffic, bottlenecks and patterns: against counts in plain Python, and networkx."""

from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest
import trails

from hpcmp import analysis
from hpcmp.analysis import flow, patterns
from hpcmp.analysis.trail_diff import compare_trails
from hpcmp.errors import GraphError
from hpcmp.io.log import import_log

STEPS = 15


@pytest.fixture(scope="module", params=[(0, (1,)), (1, (1, 2, 4))], ids=["next step", "late"])
def case(request, tmp_path_factory):
    seed, delays = request.param
    records = trails.simulate(n_agents=6, n_steps=STEPS, seed=seed, chance=0.4, delays=delays, goes_on=0.95)
    folder = trails.write(tmp_path_factory.mktemp("t") / "t", records, STEPS, n_ranks=2, every=4)
    return analysis.open(folder), trails.in_order(records)


def by_agent(trail, counts):
    return {int(agent): int(k) for agent, k in zip(trail.agents, counts, strict=True) if k}


def test_traffic_by_pair_step_type_and_fate(case):
    trail, records = case
    found = flow.edges(trail)
    pairs = zip(trail.agents[found.sender].tolist(), trail.agents[found.receiver].tolist(), strict=True)
    assert dict(zip(pairs, found.count.tolist(), strict=True)) == Counter((r["sender"], r["receiver"]) for r in records)
    first, counts = flow.by_step(trail, 4)
    assert first.tolist() == [0, 4, 8, 12]
    expected = Counter((r["step_sent"] // 4, r["type"]) for r in records)
    assert {(k, t): n for (k, t), n in np.ndenumerate(counts) if n} == expected
    assert flow.by_step(trail)[1].tolist() == trail.head["steps"]["sent"].tolist()
    fates = flow.by_status(trail)
    assert {(s, t): n for (s, t), n in np.ndenumerate(fates) if n} == Counter((r["status"], r["type"]) for r in records)


def test_mailboxes(case):
    trail, records = case
    boxes = flow.mailboxes(trail)
    got = [r for r in records if r["status"] == 0]
    assert by_agent(trail, boxes.received) == Counter(r["receiver"] for r in got)
    assert by_agent(trail, boxes.sent) == Counter(r["sender"] for r in records)
    assert by_agent(trail, boxes.lost) == Counter(r["receiver"] for r in records if r["status"] == trails.DROPPED)
    senders, receivers, depth = defaultdict(set), defaultdict(set), Counter()
    for r in got:
        senders[r["receiver"]].add(r["sender"])
        depth[r["receiver"], r["step_delivered"]] += 1
    for r in records:
        receivers[r["sender"]].add(r["receiver"])
    assert by_agent(trail, boxes.fan_in) == {a: len(s) for a, s in senders.items()}
    assert by_agent(trail, boxes.fan_out) == {a: len(s) for a, s in receivers.items()}
    for k, agent in enumerate(trail.agents.tolist()):
        queues = {step: n for (a, step), n in depth.items() if a == agent}
        most = max(queues.values(), default=0)
        assert boxes.queue[k] == most
        assert boxes.queue_step[k] == min([s for s, n in queues.items() if n == most], default=-1)


def random_graph(seed, n=40, m=130):
    rng = np.random.default_rng(seed)
    edges = sorted({(int(u), int(v)) for u, v in rng.integers(n, size=(m, 2))})  # loops too
    return n, *np.array(edges).T, rng.integers(1, 5, len(edges))


def naive_betweenness(n, edges):
    """By listing all shortest ways; an edge may have several messages, each another way."""
    out = defaultdict(list)
    for (u, v), times in edges.items():
        if u != v:
            out[u].append((v, times))
    total = np.zeros(n)
    for source in range(n):
        ways, distance, front = {source: [((source,), 1)]}, {source: 0}, [source]
        while front:
            after = []
            for u in front:
                for v, times in out[u]:
                    if v not in distance:
                        distance[v], ways[v] = distance[u] + 1, []
                        after.append(v)
                    if distance[v] == distance[u] + 1:
                        ways[v] += [((*way, v), count * times) for way, count in ways[u]]
            front = after
        for target, found in ways.items():
            every = sum(count for _, count in found)
            for way, count in found:
                for v in way[1:-1] if target != source else ():
                    total[v] += count / every
    return total / ((n - 1) * (n - 2))


@pytest.mark.parametrize("seed", range(3))
def test_betweenness_is_that_of_all_shortest_ways(seed):
    n, sender, receiver, count = random_graph(seed)
    for weight in (None, count):
        times = np.ones(len(sender), int) if weight is None else weight
        edges = dict(zip(zip(sender.tolist(), receiver.tolist(), strict=True), times.tolist(), strict=True))
        np.testing.assert_allclose(
            flow.betweenness(n, sender, receiver, weight), naive_betweenness(n, edges), atol=1e-12
        )


def test_betweenness_from_all_sources_by_name_is_the_whole():
    n, sender, receiver, count = random_graph(5)
    whole = flow.betweenness(n, sender, receiver, count)
    np.testing.assert_array_equal(flow.betweenness(n, sender, receiver, count, np.arange(n)), whole)
    some = np.mean([flow.betweenness(n, sender, receiver, count, [k]) for k in range(n)], axis=0)
    np.testing.assert_allclose(some, whole, atol=1e-12)


def test_as_many_sources_as_can_be_afforded(case, monkeypatch):
    trail, _ = case
    assert flow.bottlenecks(trail).n_sources == len(trail.agents)
    monkeypatch.setattr(flow, "COST", 2 * len(flow.edges(trail).count))
    some = flow.bottlenecks(trail)
    assert some.n_sources == 2
    np.testing.assert_array_equal(some.traffic, flow.bottlenecks(trail, 2).traffic)
    assert flow.bottlenecks(trail, 99).n_sources == len(trail.agents)


# ---------------------------------------------------------------- patterns


def chain_of(records, r):
    by_name = {(x["sender"], x["number"]): x for x in records}
    while r["cause"]:
        r = by_name[r["cause"]]
        yield r


def test_unanswered_queries(case):
    trail, records = case
    answered = set()
    for r in records:
        if r["type"] == 1 and r["status"] == 0:
            asked = next((q for q in chain_of(records, r) if q["type"] == 0 and q["sender"] == r["receiver"]), None)
            answered |= {(asked["sender"], asked["number"])} if asked else set()
    queries = [k for k, r in enumerate(records) if r["type"] == 0]
    expected = [k for k in queries if (records[k]["sender"], records[k]["number"]) not in answered]
    rows, n = patterns.unanswered(trail, "query", "reply")
    assert (rows.tolist(), n) == (expected, len(queries))
    assert 0 < len(rows) < n
    with pytest.raises(GraphError, match="'question' is no message type"):
        patterns.unanswered(trail, "question", "reply")


def test_answers_without_recorded_causes_go_by_order(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text(
        "a b 1 query\na b 2 query\nb a 2 reply\nb c 3 query\nc b 3 reply\nb a 9 reply\nb a 9 reply\na c 9 query\n"
    )
    import_log(log, tmp_path / "t", "sender,receiver,time,type")
    trail = analysis.open(tmp_path / "t")
    rows, n = patterns.unanswered(trail, "query", "reply")
    assert n == 4
    assert [trail.called(row) for row in rows] == ["1:1", "0:2"]  # c cannot answer in the time it is asked


@pytest.mark.parametrize("shortest", [1, 2, 3])
def test_loops(case, shortest):
    trail, records = case
    expected = {}
    for row, r in enumerate(records):
        if r["status"] == 0:
            chain = [r, *chain_of(records, r)]
            length = next((k for k, x in enumerate(chain, 1) if x["sender"] == r["receiver"]), 0)
            if length >= shortest:
                expected[row] = length
    found = patterns.loops(trail, shortest)
    assert dict(zip(found.rows.tolist(), found.length.tolist(), strict=True)) == expected
    assert expected
    assert not len(patterns.loops(trail, 3, longest=2).rows)


def test_repeats(case, tmp_path):
    trail, records = case
    kinds = defaultdict(list)
    for row, r in enumerate(records):
        kinds[r["sender"], r["receiver"], r["type"], r["payload"]].append(row)
    expected = sorted(((rows[0], len(rows)) for rows in kinds.values() if len(rows) > 1), key=lambda x: (-x[1], x[0]))
    found = patterns.repeats(trail)
    assert list(zip(found.rows.tolist(), found.count.tolist(), strict=True)) == expected
    assert expected
    headers = analysis.open(trails.write(tmp_path / "t", records, STEPS, level="headers"))
    with pytest.raises(GraphError, match="headers only"):
        patterns.repeats(headers)


@pytest.mark.parametrize("steps", [1, 4, STEPS])
def test_starving_agents(case, steps):
    trail, records = case
    expected = []
    for agent in trail.agents.tolist():
        got = sorted({r["step_delivered"] for r in records if r["receiver"] == agent and r["status"] == 0})
        gaps = [(b - a - 1, a + 1) for a, b in pairwise([-1, *got, STEPS])]
        longest = max(gap for gap, _ in gaps)
        if longest >= steps:
            expected.append((agent, longest, next(since for gap, since in gaps if gap == longest)))
    found = patterns.starving(trail, steps)
    assert list(zip(found.agents, found.steps, found.since, strict=True)) == sorted(
        expected, key=lambda x: (-x[1], x[0])
    )


# ---------------------------------------------------------------- two runs


def test_the_same_messages_on_other_ranks_do_not_differ(case, tmp_path):
    trail, records = case
    assert compare_trails(trail, analysis.open(trails.write(tmp_path / "t", records, STEPS, 3, 2))) is None
    headers = analysis.open(trails.write(tmp_path / "h", records, STEPS, level="headers"))
    assert compare_trails(trail, headers) is None  # payloads are compared where both have them


@pytest.mark.parametrize("change", ["receiver", "payload", "gone", "more"])
def test_the_first_difference_is_found(case, tmp_path, change):
    trail, records = case
    row = len(records) // 2
    other, r = [dict(x) for x in records], records[row]
    if change == "receiver":
        other[row]["receiver"] += 10
        expected = (None, {"receiver": (r["receiver"], r["receiver"] + 10)})
    elif change == "payload":
        row = next(k for k in range(row, len(records)) if records[k]["type"] == 0)
        r = records[row]
        value = int(np.frombuffer(r["payload"], "i8")[0])
        other[row]["payload"] = np.int64(value + 1).tobytes()
        expected = (None, {"payload": ({"id": value}, {"id": value + 1})})
    elif change == "gone":
        del other[row]
        expected = (0, {})
    else:
        extra = dict(r, number=r["number"] + 1000)
        other.append(extra)
        r, expected = extra, (1, {})
    other[-1] = dict(other[-1])
    found = compare_trails(trail, analysis.open(trails.write(tmp_path / "t", other, STEPS, 2)))
    assert (found.step, found.sender, found.number) == (r["step_sent"], r["sender"], r["number"])
    assert (found.only_in, found.columns) == expected


def test_a_longer_run_is_no_difference(case, tmp_path):
    trail, records = case
    late = next(k for k, r in enumerate(records) if r["step_sent"] < 8 <= r["step_delivered"])
    records = [r | {"step_delivered": -1, "status": 7} if k == late else r for k, r in enumerate(records)]
    trail = analysis.open(
        trails.write(tmp_path / "whole", records, STEPS, 2)
    )  # one expires after the short run has ended
    short = []
    for r in records:
        if r["step_sent"] < 8:
            is_open = r["step_delivered"] >= 8 or r["status"] == 7
            short.append(r | ({"step_delivered": -1, "status": 1} if is_open else {}))
    assert compare_trails(analysis.open(trails.write(tmp_path / "t", short, 8)), trail) is None
