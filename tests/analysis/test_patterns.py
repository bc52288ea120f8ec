"""Trouble in a log made by hand, whose answers are known."""

import numpy as np
import pytest
import trails

from hpcmp import analysis
from hpcmp.analysis import patterns

ANN, BOB, CID, DAN = 0, 10, 20, 30
QUERY, REPLY, PING = range(3)  # of trails.TYPES
# (step sent, step delivered or None for dropped, sender, receiver, type, what is in it, place of its cause in this list)
LOG = (
    (0, 1, ANN, BOB, QUERY, 1, None),  # 0: bob asks cid before he replies
    (1, 2, BOB, CID, QUERY, 2, 0),  # 1
    (2, 3, CID, BOB, REPLY, 3, 1),  # 2: answers 1, and comes back to bob: a loop of two
    (3, 4, BOB, ANN, REPLY, 4, 2),  # 3: answers 0, through 2 and 1: a loop of four, 0 1 2 3
    (4, 5, ANN, CID, QUERY, 5, None),  # 4: nobody answers
    (4, None, CID, BOB, QUERY, 6, None),  # 5: lost
    (5, 6, ANN, BOB, PING, 7, None),  # 6: again and again, with nothing in it
    (5, 6, ANN, BOB, PING, 7, None),  # 7
    (6, 7, ANN, CID, QUERY, 5, None),  # 8: 4 once more
    (6, 7, ANN, ANN, PING, 0, None),  # 9: to herself, a loop of one
    (8, 9, DAN, CID, QUERY, 9, None),  # 10: the reply to it is lost
    (9, None, CID, DAN, REPLY, 9, 10),  # 11
)
STEPS = 12


@pytest.fixture(scope="module")
def trail(tmp_path_factory):
    sent, records = {}, []
    for step, delivered, sender, receiver, kind, value, cause in LOG:
        number = sent[sender] = sent.get(sender, -1) + 1
        payload = np.array((value, b"")[: len(trails.TYPES[kind][1])], trails.TYPES[kind][1]).tobytes()
        name = (sender, number)
        records.append(
            {
                "step_sent": step,
                "step_delivered": -1 if delivered is None else delivered,
                "sender": sender,
                "number": number,
                "receiver": receiver,
                "type": kind,
                "cause": None if cause is None else (records[cause]["sender"], records[cause]["number"]),
                "conversation": name if cause is None else records[cause]["conversation"],
                "status": trails.DROPPED if delivered is None else 0,
                "payload": payload,
            }
        )
    trail = analysis.open(trails.write(tmp_path_factory.mktemp("t") / "t", records, STEPS, 2))
    assert [trail.row(r["sender"], r["number"]) for r in records] == list(
        range(len(LOG))
    )  # rows are places in the list
    trail.check()
    return trail


def test_queries_without_a_reply(trail):
    rows, n = patterns.unanswered(trail, "query", "reply")
    assert (rows.tolist(), n) == ([4, 5, 8, 10], 6)


def test_loops_of_causes(trail):
    found = patterns.loops(trail, 1)
    assert dict(zip(found.rows.tolist(), found.length.tolist(), strict=True)) == {2: 2, 3: 4, 9: 1}
    assert patterns.loops(trail, 3).rows.tolist() == [3]


def test_messages_sent_again(trail):
    found = patterns.repeats(trail)
    assert list(zip(found.rows.tolist(), found.count.tolist(), strict=True)) == [(4, 2), (6, 2)]


def test_agents_that_got_nothing(trail):
    found = patterns.starving(trail, 1)
    assert list(zip(found.agents, found.steps, found.since, strict=True)) == [
        (DAN, 12, 0),  # never
        (BOB, 5, 7),  # got some in 1, 3 and 6
        (ANN, 4, 0),  # in 4 and 7: the first of two as long
        (CID, 2, 0),  # in 2, 5, 7 and 9
    ]
    assert patterns.starving(trail, 5).agents.tolist() == [DAN, BOB]
