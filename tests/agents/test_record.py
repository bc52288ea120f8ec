"""The trail of a simulation: the same records on any ranks, whole when it ends, and readable when it fails."""

import agent_models as models
import numpy as np
import pytest
from agent_models import RING, Note, stage
from building import agreed_error, build
from graphs import sample
from mpi4py import MPI

from hpcmp import agents, analysis
from hpcmp.agents import record
from hpcmp.agents.post import Post
from hpcmp.agents.run import Run
from hpcmp.analysis import flow
from hpcmp.errors import FileError, MemoryLimitError, ProgramError
from hpcmp.hashing import is_sampled
from hpcmp.io import trail as files
from hpcmp.io import trail_ranks, whole_file
from hpcmp.io.trail_segment import COLUMNS, STORED, read_columns


def run(graph, folder, level="full", **more):
    told = {"steps": 20, "seed": 7, "params": {"fade": 0.9}, "joins": "arrives"}
    return agents.simulate(graph, models.everything(), trace=level, trail=folder, **told, **more)


def records(folder):
    """All records by (step, sender, number), checked, payload too."""
    trail = analysis.open(folder)
    trail.check()
    columns = read_columns(folder, files.read_head(folder), [*COLUMNS, "payload"])
    by_name = np.lexsort((columns["number"], columns["sender"], columns["step_sent"]))
    return {name: columns[name][by_name] for name in COLUMNS if name != "payload_offset"}


@pytest.mark.parametrize("level", ["headers", "full"])
@pytest.mark.parametrize("due", [{}, {"ROWS": 300}, {"SECONDS": 0}])
def test_a_trail_is_the_same_on_any_ranks_and_in_any_segments(comm, shared_tmp, monkeypatch, level, due):
    alone = run(stage(MPI.COMM_SELF), None, level)
    for name, value in ({"SECONDS": 1e9} | due).items():
        monkeypatch.setattr(trail_ranks, name, value)
    found = run(stage(comm), shared_tmp / "many", level)
    assert found.trail_digest == alone.trail_digest and found.step_digests == alone.step_digests
    if comm.rank == 0:
        head, rows = files.read_head(shared_tmp / "many"), records(shared_tmp / "many")
        assert (len(np.unique(head["segments"]["first_step"])) > 1) == bool(due)
        assert head["last_step"] == 19 and len(rows["sender"]) == sum(c["sent"] for c in found.counts)
        assert len(set(zip(rows["sender"].tolist(), rows["number"].tolist(), strict=True))) == len(rows["sender"])
        ended = np.bincount(rows["status"], minlength=8)
        assert ended[files.IN_FLIGHT] == found.counts[-1]["in_flight"]
        assert ended[files.DELIVERED] == sum(c["delivered"] for c in found.counts)
        assert set(np.flatnonzero(ended).tolist()) == {0, 1, 2, 3, 4, 6}  # every fate but none and expired


def test_every_message_names_its_cause_and_conversation(comm, shared_tmp):
    graph = build(comm, RING)
    found = agents.simulate(graph, [models.flood()], steps=20, trace="full", trail=shared_tmp / "flood")
    assert found.trace.back(7, 0).tolist() == list(range(7, -1, -1))  # on every rank
    untold = agents.simulate(graph, [models.flood()], steps=2, trace="full")
    with pytest.raises(ProgramError, match="no records were kept"):
        untold.trace.back(7, 0)
    if comm.rank == 0:
        rows = records(shared_tmp / "flood")
        assert (rows["sender"] == np.arange(12)).all() and (rows["number"] == 0).all()
        assert (rows["cause_sender"][1:] == np.arange(11)).all() and rows["cause_number"][0] == -1
        assert (rows["conversation_sender"] == 0).all() and (rows["conversation_number"] == 0).all()


def test_a_run_that_fails_leaves_a_trail_of_its_closed_steps(comm, shared_tmp):
    cell = agents.Agent("cell", {"n": "int64"})

    @cell.on(Note)
    def hear(me, msg, out, ctx):
        if ctx.step == 6 and me.id == 3:
            raise ValueError("broken")

    @cell.each_step
    def tell(me, out, ctx):
        out.to_neighbours(Note, 1)

    graph = build(comm, RING)
    error = agreed_error(
        comm,
        ProgramError,
        lambda: agents.simulate(graph, [cell], steps=20, trace="headers", trail=shared_tmp / "failed"),
    )
    assert "step 6: agent 3 (cell), reading message 5 of agent 2" in error and "broken" in error
    if comm.rank == 0:
        assert files.read_head(shared_tmp / "failed")["last_step"] == 4  # what was sent in 5 was never read
        analysis.open(shared_tmp / "failed").check()


def test_a_folder_of_other_things_is_refused(comm, shared_tmp):
    if comm.rank == 0:
        (shared_tmp / "notes.txt").write_text("mine")
    comm.Barrier()
    agreed = agreed_error(comm, Exception, lambda: run(stage(comm), shared_tmp))
    assert "notes.txt" in agreed


def test_a_sample_is_of_whole_conversations_and_the_same_on_any_ranks(comm, shared_tmp):
    every = run(stage(comm), shared_tmp / "all", "headers")
    few = run(stage(comm), shared_tmp / "few", "full", sample=0.3)
    alone = run(stage(MPI.COMM_SELF), None, "full", sample=0.3)
    assert (few.trail_digest, few.step_digests, few.counts) == (alone.trail_digest, alone.step_digests, every.counts)
    if comm.rank == 0:
        whole, kept = records(shared_tmp / "all"), records(shared_tmp / "few")
        chosen = is_sampled(0.3, 7, whole["conversation_sender"], whole["conversation_number"])
        assert 0.2 < chosen.mean() < 0.4
        for name in STORED:
            np.testing.assert_array_equal(kept[name], whole[name][chosen], name)
        trail = analysis.open(shared_tmp / "few")
        assert (trail.sample, trail.facts()["sample"]) == (0.3, 0.3)
        assert trail.head["steps"]["sent"].sum() == len(whole["sender"])
        again = trail.cause[:-1][trail["cause_number"] >= 0]
        assert (again < trail.n).all()  # every cause is there


@pytest.mark.parametrize(
    "told, says", [({"sample": 0.0}, "is no share"), ({"sample": 0.5, "level": "off"}, "makes none")]
)
def test_a_sample_of_nothing_is_refused(comm, told, says):
    assert says in agreed_error(comm, ProgramError, lambda: run(stage(comm), None, **told))


def test_seconds_of_each_step_and_rank_are_kept_beside_the_records(comm, shared_tmp):
    found = run(stage(comm), shared_tmp / "timed", "headers")
    if comm.rank == 0:
        timing = found.trace.timing
        assert timing["step"].tolist() == np.repeat(np.arange(20), comm.size).tolist()
        assert timing["rank"].tolist() == np.tile(np.arange(comm.size), 20).tolist()
        assert all((timing[name] > 0).all() for name in files.PHASES)
        total = sum(timing[name] for name in files.PHASES)
        assert total[timing["rank"] == 0].sum() < found.result.seconds["run"]
        slow = flow.slow_steps(found.trace, 3)
        assert slow[0]["seconds"] == total.max() and len({row["step"] for row in slow}) == 3


def test_the_first_step_has_no_seconds_of_what_comes_before(comm, monkeypatch, shared_tmp):
    begin, passed = Run._begin, [0.0]

    def slowly(self):
        passed[0] += 1000
        begin(self)

    monkeypatch.setattr(Run, "_begin", slowly)
    monkeypatch.setattr(record, "_work_s", lambda: passed[0])
    found = run(stage(comm), shared_tmp / "late", "headers")
    assert passed == [1000] and not any(found.trace.timing[name].any() for name in files.PHASES)


def test_a_segment_that_cannot_be_written_ends_all_ranks(comm, shared_tmp, monkeypatch):
    replace = whole_file.os.replace

    def full(part, path):
        if comm.rank == comm.size - 1 and "segment-" in str(path):
            raise OSError(28, "No space left on device")
        replace(part, path)

    monkeypatch.setattr(whole_file.os, "replace", full)
    monkeypatch.setattr(trail_ranks, "ROWS", 300)
    says = agreed_error(comm, FileError, lambda: run(stage(comm), shared_tmp / "full", "headers"))
    assert "cannot be written: No space left on device" in says
    if comm.rank == 0:
        assert not files.is_trail(shared_tmp / "full")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError()])
def test_a_segment_that_is_lost_is_followed_by_none(comm, shared_tmp, monkeypatch, error):
    replace, written = whole_file.os.replace, []

    def full(part, path):
        written.append("segment-" in str(path))  # numba's cache replaces files too
        if comm.rank == comm.size - 1 and written[-1] and sum(written) == 3:
            raise error
        replace(part, path)

    monkeypatch.setattr(whole_file.os, "replace", full)
    monkeypatch.setattr(trail_ranks, "ROWS", 200)
    agreed_error(comm, FileError, lambda: run(stage(comm), shared_tmp / "full", "headers"))
    if comm.rank == 0:
        trail = analysis.open(shared_tmp / "full")
        trail.check()
        assert 0 <= trail.head["last_step"] < 19


def test_a_rank_without_room_for_what_came_ends_all_and_the_trail_stays(comm, shared_tmp, monkeypatch):
    if comm.size == 1:
        return  # nothing comes
    take_in, n = Post._take_in, []

    def small(post, words):
        n.append(len(words))
        if comm.rank == comm.size - 1 and len(n) == 9:
            raise MemoryLimitError("no room")
        take_in(post, words)

    monkeypatch.setattr(Post, "_take_in", small)
    assert "no room" in agreed_error(comm, MemoryLimitError, lambda: run(stage(comm), shared_tmp / "t", "headers"))
    if comm.rank == 0:
        trail = analysis.open(shared_tmp / "t")
        trail.check()
        assert trail.head["last_step"] >= 0


def test_no_agents_leave_an_empty_trail(comm, shared_tmp):
    nobody = build(comm, sample([], []))
    found = agents.simulate(nobody, [models.flood()], steps=3, trace="full", trail=shared_tmp / "empty")
    assert (found.ended, found.counts[-1]["sent"]) == ("goal", 0)
    if comm.rank == 0:
        found.trace.check()


def calling(far):
    """Agents that write to one another, some to ids that nobody has, at once or later; who hears it answers."""
    caller = agents.Agent("caller", {"n": "int64"})

    @caller.each_step
    def call(me, out, ctx):
        if ctx.step < 3:
            out.send(Note, (me.id * 5 + 3) % 12, 1)
            out.send(Note, far - me.id if me.id % 2 else me.id + 1, 1)
            if me.id == 4:
                out.send_later(3, Note, -far, 7)

    @caller.on(Note)
    def hear(me, msg, out, ctx):
        me.n += 1
        if msg.x == 1:
            out.send(Note, -5 if me.id == 7 else msg.sender, 2)

    return caller


def test_what_cannot_be_dropped_is_refused(comm):
    for told, says in (
        ({"unknown": "drop"}, "is for any_receiver=True"),
        ({"unknown": "keep"}, "is none of error, drop"),
    ):
        assert says in agreed_error(comm, ProgramError, lambda: run(stage(comm), None, **told))  # noqa: B023


@pytest.mark.parametrize("far", [50, 2**62])
def test_messages_to_nobody_are_dropped_counted_and_recorded_where_that_is_asked(comm, shared_tmp, far):
    def told(graph, **more):
        return agents.simulate(graph, [calling(far)], steps=7, any_receiver=True, **more)

    graph, alone = build(comm, RING), told(build(MPI.COMM_SELF, RING), unknown="drop", trace="full")
    found = told(graph, unknown="drop", trace="full", trail=shared_tmp / "trail")
    quiet = told(graph, unknown="drop", threads=2)
    assert (found.trail_digest, found.digest, found.counts) == (alone.trail_digest, alone.digest, alone.counts)
    assert (quiet.digest, quiet.counts) == (found.digest, found.counts)
    assert "does not exist" in agreed_error(comm, ProgramError, lambda: told(graph))
    if comm.rank == 0:
        rows = records(shared_tmp / "trail")
        lost = rows["status"] == files.STATUSES.index("no such receiver")
        assert lost.sum() == sum(c["dropped"] for c in found.counts) > 20
        assert (rows["step_delivered"][lost] == -1).all()
        nobody = {far - k for k in range(1, 12, 2)} | {-far, -5}
        assert set(rows["receiver"][lost].tolist()) <= nobody and {-far, -5} <= set(rows["receiver"][lost].tolist())
        assert not set(rows["receiver"][~lost].tolist()) & nobody
        per_step = np.bincount(rows["step_sent"][lost], minlength=7)
        assert per_step.tolist() == [c["dropped"] for c in found.counts]  # in the step in which they were sent
