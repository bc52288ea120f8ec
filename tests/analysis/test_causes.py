"""Causes, effects and cones: against naive searches in the list of records."""

import numpy as np
import pytest
import trails

from hpcmp import analysis
from hpcmp.analysis import causes
from hpcmp.errors import FormatError, GraphError
from hpcmp.io.log import import_log

STEPS = 14


@pytest.fixture(scope="module", params=[(0, (1,)), (1, (1, 2, 4))], ids=["next step", "late"])
def case(request, tmp_path_factory):
    records = trails.simulate(n_agents=9, n_steps=STEPS, seed=request.param[0], chance=0.4, delays=request.param[1])
    folder = trails.write(tmp_path_factory.mktemp("t") / "t", records, STEPS, n_ranks=2, every=4)
    return analysis.open(folder), trails.in_order(records)


def name(record):
    return record["sender"], record["number"]


def naive_forward(records, start):
    marked = {name(records[row]) for row in start}
    grows = True
    while grows:
        more = {name(r) for r in records if r["cause"] in marked} - marked
        marked |= more
        grows = bool(more)
    return [row for row, r in enumerate(records) if name(r) in marked]


def naive_time_cone(records, agent, step):
    """Rows that could have reached an agent by a step: a fixed point over all pairs."""
    inside, grows = set(), True
    while grows:
        before = len(inside)
        for row, r in enumerate(records):
            if r["status"] != 0:
                continue
            if r["receiver"] == agent and r["step_delivered"] <= step:
                inside.add(row)
            if any(
                r["receiver"] == records[k]["sender"] and r["step_delivered"] <= records[k]["step_sent"] for k in inside
            ):
                inside.add(row)
        grows = len(inside) > before
    return sorted(inside)


def naive_ancestors(records, start):
    rows = {name(r): row for row, r in enumerate(records)}
    found, todo = set(), list(start)
    while todo:
        row = todo.pop()
        if row not in found:
            found.add(row)
            todo += [rows[records[row]["cause"]]] if records[row]["cause"] else []
    return sorted(found)


def test_back_ends_at_the_root(case):
    trail, records = case
    lengths = set()
    for row, r in enumerate(records):
        chain = causes.back(trail, row).tolist()
        assert chain[0] == row
        assert [name(records[k]) for k in chain[1:]] == [records[k]["cause"] for k in chain[:-1]]
        assert records[chain[-1]]["cause"] is None
        assert name(records[chain[-1]]) == r["conversation"]
        lengths.add(len(chain))
    assert len(lengths) > 3


def test_forward_is_all_that_was_caused(case):
    trail, records = case
    for row in range(0, len(records), 3):
        assert causes.forward(trail, [row]).tolist() == naive_forward(records, [row])
    for agent in (0, 50):
        rows = causes.sent_by(trail, agent)
        assert causes.forward(trail, rows).tolist() == naive_forward(records, rows)
    rows = causes.sent_in(trail, 3)
    assert [records[row]["step_sent"] for row in rows] == [3] * len(rows)
    reached = causes.forward(trail, rows)
    assert reached.tolist() == naive_forward(records, rows)
    got = sorted({records[row]["receiver"] for row in reached if records[row]["status"] == 0})
    assert causes.agents_reached(trail, reached).tolist() == got
    assert len(causes.forward(trail, causes.sent_by(trail, 12345))) == 0


@pytest.mark.parametrize("step", [0, 4, STEPS])
def test_the_cone_of_an_agent(case, step):
    trail, records = case
    for agent in (10, 40):
        assert causes.cone_of_agent(trail, agent, step).tolist() == naive_time_cone(records, agent, step)
        got = [k for k, r in enumerate(records) if r["receiver"] == agent and 0 <= r["step_delivered"] <= step]
        assert causes.cone_of_agent(trail, agent, step, "cause").tolist() == naive_ancestors(records, got)
    with pytest.raises(GraphError, match="is no agent"):
        causes.cone_of_agent(trail, 5, step)


def test_the_cone_of_a_message(case):
    trail, records = case
    for row in range(0, len(records), 5):
        r = records[row]
        expected = naive_time_cone(records, r["sender"], r["step_sent"])
        by_time = causes.cone_of_message(trail, row).tolist()
        assert by_time == sorted({row, *expected})
        by_cause = causes.cone_of_message(trail, row, "cause").tolist()
        assert by_cause == naive_ancestors(records, [row])
        assert set(by_cause) <= set(by_time)  # what is said to be a cause could have been one


def test_history_has_all_that_an_agent_did(case):
    trail, records = case
    rows, is_sent = causes.history(trail, 20)
    seen = [(int(row), bool(sent)) for row, sent in zip(rows, is_sent, strict=True)]
    expected = [(k, True) for k, r in enumerate(records) if r["sender"] == 20]
    expected += [(k, False) for k, r in enumerate(records) if r["receiver"] == 20]
    assert sorted(seen) == sorted(expected)
    steps = [
        records[k]["step_sent"] if sent or records[k]["status"] else records[k]["step_delivered"] for k, sent in seen
    ]
    assert steps == sorted(steps)


def test_a_conversation_is_one_tree(case):
    trail, records = case
    for row in (0, len(records) // 2):
        expected = [k for k, r in enumerate(records) if r["conversation"] == records[row]["conversation"]]
        assert causes.conversation(trail, row).tolist() == expected


def test_an_effect_of_the_same_time_may_lie_before_its_cause(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("9 1 5 a -\n1 2 5 b a\n2 3 6 c b\n4 4 6 d -\n")
    import_log(log, tmp_path / "t", "sender,receiver,time,id,cause")
    trail = analysis.open(tmp_path / "t")
    assert [trail.called(row) for row in trail.forward(9, 0)] == ["1:0", "9:0", "2:0"]
    assert [trail.called(row) for row in trail.back(2, 0)] == ["2:0", "1:0", "9:0"]


def test_circles_and_instant_messages_are_refused(case, tmp_path):
    _, records = case
    two = [dict(r) for r in records[:2]]
    two[0]["cause"], two[1]["cause"] = name(two[1]), name(two[0])
    trail = analysis.open(trails.write(tmp_path / "a", two, STEPS))
    for ask in (lambda: causes.back(trail, 0), lambda: causes.forward(trail, [0])):
        with pytest.raises(FormatError, match="go round in a circle"):
            ask()
    instant = [r | {"step_delivered": r["step_sent"]} if r["status"] == 0 else r for r in records]
    trail = analysis.open(trails.write(tmp_path / "b", instant, STEPS))
    with pytest.raises(FormatError, match="delivered no later than it was sent"):
        causes.cone_of_agent(trail, 10, 5)
    assert np.array_equal(trail.cause, case[0].cause)
