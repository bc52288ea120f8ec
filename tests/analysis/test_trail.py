"""Trails: what was written comes back, on any ranks, and what is wrong is found."""

import contextlib

import h5py
import numpy as np
import pytest
import trails

from hpcmp import analysis
from hpcmp.analysis import flow, patterns, trace, trail_report
from hpcmp.analysis.trail_diff import compare_trails
from hpcmp.errors import FileError, FormatError, GraphError, HpcmpError
from hpcmp.io import h5, whole_file
from hpcmp.io import trail as files
from hpcmp.io.trail_digest import step_sums
from hpcmp.io.trail_segment import COLUMNS, STORED, SegmentWriter, segment_name

STEPS = 12
NAMES = tuple(STORED)


@pytest.fixture(scope="module")
def records():
    return trails.simulate(n_steps=STEPS, delays=(1, 1, 3))


@pytest.fixture
def folder(records, tmp_path):
    return trails.write(tmp_path / "trail", records, STEPS, n_ranks=2, every=5)


def change(path, name, row, value):
    with h5py.File(path, "r+") as handle:
        handle[name][row] = value


def segments(folder):
    return sorted(folder.glob("segment-*.h5"))


@pytest.mark.parametrize("n_ranks, every", [(1, None), (1, 4), (3, 5)])
def test_records_come_back_in_order_whatever_the_ranks(records, tmp_path, n_ranks, every):
    trail = analysis.open(trails.write(tmp_path / "t", records, STEPS, n_ranks, every))
    expected = trails.in_order(records)
    columns, _ = trails.columns_of(expected)
    for name in COLUMNS:
        if name != "payload_offset":
            np.testing.assert_array_equal(trail[name], columns[name], name)
    for number, (name, dtype) in enumerate(trails.TYPES):
        rows, values = trail.payloads(name)
        assert rows.tolist() == [k for k, r in enumerate(expected) if r["type"] == number]
        assert values.dtype == dtype
        assert [v.tobytes() for v in values] == [expected[row]["payload"] for row in rows]
    trail.check()
    assert trail.n == len(records) > 50
    assert {r["status"] for r in records} == {0, 1, 2}  # the simulation covers what it should


def test_steps_have_the_same_digest_on_any_ranks(records, tmp_path):
    heads = [
        files.read_head(trails.write(tmp_path / str(n), records, STEPS, n, every)) for n, every in ((1, None), (3, 2))
    ]
    np.testing.assert_array_equal(heads[0]["steps"]["digest"], heads[1]["steps"]["digest"])
    columns, payload = trails.columns_of(records)
    halves = [{k: v[rows] for k, v in columns.items()} for rows in (slice(0, 20), slice(20, None))]
    parts = [step_sums(half, payload, 0, STEPS) for half in halves]
    np.testing.assert_array_equal(parts[0] + parts[1], heads[0]["steps"]["digest"])  # sums of ranks are added


def test_messages_are_found_by_name(records, folder):
    trail = analysis.open(folder)
    expected = trails.in_order(records)
    for row, r in enumerate(expected):
        assert trail.row(r["sender"], r["number"]) == row
        assert trail.cause[row] == (trail.n if r["cause"] is None else trail.row(*r["cause"]))
        assert trail.back(r["sender"], r["number"])[0] == row == trail.forward(r["sender"], r["number"])[0]
    assert trail.rows([5, 0, 990], [0, 10**9, 0]).tolist() == [trail.n] * 3
    with pytest.raises(GraphError, match="has no message 0:99999"):
        trail.row(0, 99999)


@pytest.mark.parametrize("far_number", [10**12, 2**63 - 1])
def test_one_far_number_does_not_overflow(records, tmp_path, far_number):
    two = [dict(records[0], number=0, cause=None), dict(records[0], number=far_number, cause=None)]
    trail = analysis.open(trails.write(tmp_path / "t", two, STEPS))
    sender = records[0]["sender"]
    assert [trail.row(sender, 0), trail.row(sender, far_number)] == [0, 1]
    assert trail.rows([sender], [5]).tolist() == [2]


@pytest.mark.parametrize("scale", [1, 10**15])
def test_messages_are_found_by_name_where_numbers_are_sparse(records, tmp_path, scale):
    def far(name):
        return None if name is None else (name[0] * scale - 3, name[1] * 10**12)

    sparse = []
    for r in records:
        sender, number = far((r["sender"], r["number"]))
        moved = {"sender": sender, "number": number, "receiver": r["receiver"] * scale - 3}
        sparse.append(r | moved | {"cause": far(r["cause"]), "conversation": far(r["conversation"])})
    trail = analysis.open(trails.write(tmp_path / "t", sparse, STEPS, 2))
    for row, r in enumerate(trails.in_order(sparse)):
        assert trail.row(r["sender"], r["number"]) == row
        assert trail.agents[trail.receiver[row]] == r["receiver"]
    trail.check()


def test_a_message_says_all_there_is(records, folder):
    trail = analysis.open(folder)
    row = next(k for k in range(trail.n) if trail["type"][k] == 1 and trail["status"][k] == 0)
    r = trails.in_order(records)[row]
    assert trail.message(row) == {
        "message": f"{r['sender']}:{r['number']}",
        "sender": str(r["sender"]),
        "receiver": str(r["receiver"]),
        "type": "reply",
        "step_sent": r["step_sent"],
        "step_delivered": r["step_delivered"],
        "status": "delivered",
        "cause": "{}:{}".format(*r["cause"]) if r["cause"] else None,
        "conversation": "{}:{}".format(*r["conversation"]),
        "payload": {"value": np.frombuffer(r["payload"][:8])[0], "tag": "ab"},
    }


def test_one_payload_is_read_by_itself_where_there_are_many(records, folder, monkeypatch):
    whole = analysis.open(folder)
    monkeypatch.setattr(trace, "MANY_BYTES", 0)
    single = analysis.open(folder)
    for row in range(whole.n):
        assert single.payload(row) == whole.payload(row)
    assert "payload_bytes" not in single.__dict__


def test_a_killed_run_leaves_the_trail_up_to_its_head(records, tmp_path):
    early = [r for r in records if r["step_sent"] < 6]
    folder = trails.write(tmp_path / "t", early, STEPS, 2)
    writer = SegmentWriter(folder, 0)  # a segment more, and half of another, without a head that lists them
    late = [r for r in records if r["step_sent"] >= 6]
    writer.append(len(late), *trails.columns_of(late))
    writer.close_segment()
    (folder / ".segment-00000009-00001.h5.0123456789abcdef.part").write_bytes(b"half")
    trail = analysis.open(folder)
    assert trail.n == len(early)
    trail.check()


def test_headers_only(records, tmp_path):
    trail = analysis.open(trails.write(tmp_path / "t", records, STEPS, level="headers"))
    trail.check()
    assert trail.payload(0) is None
    with pytest.raises(GraphError, match="has headers only"):
        trail.payloads("query")


def test_an_empty_trail(tmp_path):
    trail = analysis.open(trails.write(tmp_path / "t", [], 3))
    trail.check()
    assert (trail.n, len(trail.agents), len(trail.cause)) == (0, 0, 1)
    of_no_step = analysis.open(
        trails.write(tmp_path / "none", [], 0)
    )  # as a run leaves it that fails in its first step
    assert [a.shape for a in flow.by_step(of_no_step)] == [(0,), (0, len(trails.TYPES))]
    assert "<html" in trail_report.report(of_no_step)


def test_agents_and_timing(records, folder):
    files.write_agents(folder, np.arange(10) * 10, np.zeros(10), [f"a{k}" for k in range(10)])
    files.write_timing(folder, [0, 0], [0, 1], {"act": [0.5, 0.25], "exchange": [0, 0.5], "record": [0, 0.25]})
    trail = analysis.open(folder)
    assert trail.agents.tolist() == list(range(0, 100, 10))
    assert (trail.name_of(30), trail.agent("a3"), trail.agent("30")) == ("a3", 30, 30)
    assert trail.timing["act"].tolist() == [0.5, 0.25]
    assert trail.facts()["rank_seconds"] == 1.5
    slow = {"step": 0, "rank": 1, "seconds": 1.0, "act": 0.25, "exchange": 0.5, "record": 0.25}
    assert flow.slow_steps(trail, 3) == [slow]
    with pytest.raises(GraphError, match="'bob' is no agent"):
        trail.agent("bob")


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "name, row, value, says",
    [
        ("receiver", 3, 7, "records of step .* have another digest"),
        ("payload", 5, 77, "records of step .* have another digest"),
        ("type", 0, 9, r"type\[.*\] = 9 of the segments must be at least 0 and under 3"),
        ("type", slice(None), 2, "has a payload of another length than its types have"),
        ("base", NAMES.index("status"), 8, "must be at least 0 and under 8"),
        ("step_sent", 0, 99, "must be at least 0 and under 12"),
        ("base", NAMES.index("number"), -1, r"number\[.*\] = -1 of the segments must be at least 0;"),
        ("base", NAMES.index("type"), 2**16, "uint16 is needed"),
        ("base", NAMES.index("status"), -1, "uint8 is needed"),
        ("width", 0, 3, "a column of 3 bytes"),
        ("width", 0, 8, "unsigned of 8 bytes is needed"),
        ("width", 0, 0, "records of step|were sent in step"),
        ("step_delivered", slice(None), 0, "delivered no later than|does not fit its status"),
        ("conversation_number", slice(None), 77, "another message as the root"),
    ],
)
def test_a_changed_record_is_found(folder, name, row, value, says):
    change(segments(folder)[0], name, row, value)
    with pytest.raises(FormatError, match=says):
        analysis.open(folder).check()


@pytest.mark.parametrize(
    "name, says",
    [("sent", "were sent in step 2 by the records"), ("delivered", "were delivered in step 2"), ("dropped", "were dropped"),
     ("in_flight", "in step 2, sent = delivered"), ("digest", "records of step 2")],
)  # fmt: skip
def test_a_changed_count_is_found(folder, name, says):
    change(folder / "trail.h5", f"steps/{name}", (2, 1), 999)
    with pytest.raises(FormatError, match=says):
        analysis.open(folder).check()


def test_two_messages_of_one_name_are_refused(records, tmp_path):
    twice = [*records, records[0]]
    with pytest.raises(FormatError, match="has two messages"):
        analysis.open(trails.write(tmp_path / "t", twice, STEPS)).row(0, 0)


def test_a_head_that_lies_about_sizes_is_refused_before_memory_is_taken(folder):
    change(folder / "trail.h5", "segments/n_records", 0, 2**60)
    with pytest.raises(FormatError, match="too few for the 1152921504606846976 records"):
        analysis.open(folder)


def test_a_trail_goes_on_in_its_folder(records, tmp_path):
    early, late = ([r for r in records if (r["step_sent"] < 6) == is_early] for is_early in (True, False))
    folder = trails.write(tmp_path / "t", early, STEPS, 2)
    writer = SegmentWriter(folder, 0)
    writer.append(len(late), *trails.columns_of(late))
    segments = [*files.segments_of(files.read_head(folder)), writer.close_segment(), None]
    files.write_head(folder, trails.head_of(records, STEPS, segments=segments))
    trail = analysis.open(folder)
    assert trail.n == len(records)
    trail.check()


def test_a_file_with_any_byte_changed_is_read_or_refused_with_a_reason(folder, tmp_path):
    rng = np.random.default_rng(0)
    for path in [folder / "trail.h5", segments(folder)[0]]:
        content = path.read_bytes()
        for _ in range(40):
            changed = bytearray(content)
            changed[rng.integers(min(len(content), 3000))] ^= 1 << rng.integers(8)  # where HDF5 keeps its own
            path.write_bytes(changed)
            with contextlib.suppress(HpcmpError):
                analysis.open(folder).check()
        path.write_bytes(content)
    analysis.open(folder).check()


def test_a_head_that_cannot_be_written_leaves_the_one_before(records, folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(whole_file.os, "replace", full)
    with pytest.raises(FileError, match=r"trail\.h5 cannot be written: No space left"):
        files.write_head(folder, trails.head_of([], STEPS))
    assert not list(folder.glob(".*.part"))
    analysis.open(folder).check()


def test_links_and_missing_segments_are_refused(folder):
    first = segments(folder)[0]
    moved = folder / "elsewhere.h5"
    first.rename(moved)
    with pytest.raises(FileError, match="does not exist"):
        analysis.open(folder)["sender"]
    first.symlink_to(moved)
    with pytest.raises(FormatError, match="is a link"):
        analysis.open(folder)["sender"]


def test_a_segment_of_another_length_is_refused(folder):
    change(folder / "trail.h5", "segments/n_records", 0, 3)
    with pytest.raises(FormatError, match="3 are needed"):
        analysis.open(folder)["sender"]


@pytest.mark.parametrize(
    "types", ['[["a", "|O"]]', '[["a", [["x", "|O"]]]]', "[[3, []]]", '[["a", [["x", "f8", [9999999]]]]]', "[1]"]
)
def test_message_types_that_are_no_records_are_refused(folder, types):
    with h5py.File(folder / "trail.h5", "r+") as handle:
        del handle.attrs["message_types"]
        h5.set_attributes(handle, {"message_types": types})
    with pytest.raises(FormatError, match="message type"):
        analysis.open(folder)


def test_what_is_no_trail_is_said(tmp_path, folder):
    for expect in (h5.TRAIL, None):
        with pytest.raises(FileError, match=r"holds no trail"):
            analysis.open(tmp_path, expect)
    with pytest.raises(FormatError, match="is a hpcmp-trail-segment file"):
        analysis.open(segments(folder)[0])
    assert analysis.open(folder / "trail.h5").n == analysis.open(folder).n


def test_only_a_trail_is_cleared(folder):
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FileError, match=r"notes\.txt, which is no part of a trail"):
        files.clear(folder)
    (folder / "notes.txt").unlink()
    files.clear(folder)
    assert not list(folder.iterdir())


# ---------------------------------------------------------------- samples


def test_a_trail_is_cut_back_to_what_an_earlier_head_told(records, folder):
    now = files.read_head(folder)
    early = now | {"last_step": 4, "steps": {name: a[:5] for name, a in now["steps"].items()}}
    early["segments"] = [segment for segment in files.segments_of(now) if segment["first_step"] < 5]
    files.write_timing(folder, *np.zeros((2, 1), np.int64), dict.fromkeys(files.PHASES, np.zeros(1)))
    (folder / ".trail.h5.0123456789abcdef.part").write_text("")
    other = early | {"steps": early["steps"] | {"digest": early["steps"]["digest"] + np.uint64(1)}}
    for wrong in (early | {"seed": 8}, early | {"segments": [early["segments"][0] | {"n_records": 1}]}, other):
        with pytest.raises(FileError, match="the trail of another run"):
            files.cut_back(folder, wrong)
    files.cut_back(folder, early)
    names = {path.name for path in folder.iterdir()}
    assert names == {"trail.h5", *(segment_name(s["first_step"], s["rank"]) for s in early["segments"])}
    trail = analysis.open(folder)
    assert trail.steps == (0, 4) and trail.n == sum(r["step_sent"] < 5 for r in records)
    files.clear(folder)
    with pytest.raises(FileError, match="holds no trail to go on with"):
        files.cut_back(folder, early)


def test_a_sample_is_sound_and_nothing_is_concluded_from_what_is_missing(records, tmp_path):
    folder, kept = trails.write_sample(tmp_path / "few", records, STEPS, 0.5)
    few, every = analysis.open(folder), analysis.open(trails.write(tmp_path / "all", records, STEPS))
    few.check()
    assert 0 < few.n == len(kept) < every.n
    queries, n = patterns.unanswered(few, "query", "reply")
    called = {every.called(row) for row in patterns.unanswered(every, "query", "reply")[0]}
    own = {f"{r['sender']}:{r['number']}" for r in kept}
    assert {few.called(row) for row in queries} == called & own and n > 0
    with pytest.raises(GraphError, match="sample of 50 % of conversations; agents that got nothing"):
        patterns.starving(few, 3)
    with pytest.raises(GraphError, match="keep 50 and 100 % of conversations"):
        compare_trails(few, every)
    assert compare_trails(few, analysis.open(folder)) is None


def test_records_of_no_sampled_conversation_are_found(records, tmp_path):
    folder, _ = trails.write_sample(tmp_path / "few", records, STEPS, 0.5)
    with h5py.File(folder / "trail.h5", "r+") as handle:
        handle.attrs["sample"] = 0.1
    with pytest.raises(FormatError, match="is of a conversation that is not in a sample of 10 %"):
        analysis.open(folder).check()
    with h5py.File(folder / "trail.h5", "r+") as handle:
        handle.attrs["sample"] = 1.5
    with pytest.raises(FormatError, match=r"the sample 1\.5 is no share"):
        analysis.open(folder)
