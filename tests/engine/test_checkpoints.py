"""A run that leaves and goes on, on any ranks and parts, ends with the bits of one that never stopped."""

import os
import signal
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import programs as p
import pytest
from building import agreed_error, build
from graphs import GRAPHS, ZOO

import hpcmp
from hpcmp.comm import together
from hpcmp.engine import checkpoints as policy
from hpcmp.engine.partners import Partners
from hpcmp.errors import FileError, ProgramError, Suspended
from hpcmp.io import snapshot

PROGRAMS = {
    "everybody sends": replace(p.AGGREGATES["sum"], steps=7),
    "changed ones send": p.SPREAD,
    "what is sent when counts": p.FROM_SOME,
    "some wait in buckets": p.NEAR,
    "values of two steps": replace(p.REDUCED, steps=7),
}
COUNTED = ("step", "active", "messages")


def same(run, other):
    """State, steps and global values."""
    assert (run.digest, run.n_steps, run.converged) == (other.digest, other.n_steps, other.converged)
    assert repr(run.values) == repr(other.values)
    names = [*COUNTED, *(name for name in other.steps if name.startswith("value_"))]
    assert {name: run.steps[name].tolist() for name in names} == {name: other.steps[name].tolist() for name in names}


def leaves_after(monkeypatch, last):
    """Every run is told to leave after a step."""
    monkeypatch.setattr(policy.Wishes, "of_step", lambda self, step: (0, int(step == last)))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_run_that_goes_on_ends_as_one_that_never_stopped(comm, shared_tmp, name, monkeypatch):
    program, whole = PROGRAMS[name], hpcmp.run(PROGRAMS[name], build(comm, ZOO, method="hash"))
    asked = hpcmp.Checkpoints(shared_tmp / "ck", resume=True)
    few = comm.Split(color=int(comm.rank >= 1), key=comm.rank)
    for stop in (1, 2, whole.n_steps - 1):
        leaves_after(monkeypatch, stop)
        ranks = few if stop == 2 else comm  # of the two groups of ranks, the first alone
        if ranks is comm or comm.rank == 0:
            with pytest.raises(Suspended):
                hpcmp.run(program, build(ranks, ZOO, method="block"), checkpoints=asked)
        comm.Barrier()
        assert snapshot.steps_in(shared_tmp / "ck")[-1] == stop
    leaves_after(monkeypatch, None)
    run = hpcmp.run(program, build(comm, ZOO, method="hash"), checkpoints=asked)
    assert run.checkpoints["resumed_from"] == whole.n_steps - 1
    same(run, whole)


def test_it_goes_on_in_another_mode_with_the_same_end(comm, shared_tmp):
    graph = build(comm, GRAPHS["undirected"], method="hash")
    whole = hpcmp.run(p.NEAR, graph)
    hpcmp.run(p.NEAR, graph, 3, mode="auto", checkpoints=hpcmp.Checkpoints(shared_tmp / "ck", every=2))
    for mode in ("step", "frontier", "auto"):
        asked = hpcmp.Checkpoints(shared_tmp / "ck", resume=True)
        assert hpcmp.run(p.NEAR, graph, mode=mode, checkpoints=asked).digest == whole.digest


def test_one_thread_writes_the_checkpoints_of_all_runs(comm, shared_tmp):
    graph, threads_after = build(comm, GRAPHS["undirected"]), []
    for number in range(3):
        hpcmp.run(p.NEAR, graph, checkpoints=hpcmp.Checkpoints(shared_tmp / str(number), every=1))
        threads_after.append(set(os.listdir("/proc/self/task")))
    assert threads_after[2] == threads_after[1] <= threads_after[0]  # a timer of another test may end meanwhile


def test_a_signal_to_one_rank_ends_all_with_a_checkpoint(comm, shared_tmp):
    graph, program = build(comm, ZOO, method="hash"), replace(p.AGGREGATES["sum"], steps=50)
    until = lambda ctx: os.kill(os.getpid(), signal.SIGUSR1) if ctx.step == 5 else None  # noqa: E731  rank 0 asks
    asked = hpcmp.Checkpoints(shared_tmp / "ck")
    with pytest.raises(Suspended, match="checkpointed after step") as caught:
        hpcmp.run(replace(program, until=until), graph, checkpoints=asked)
    assert caught.value.exit_code == 85
    (step,) = snapshot.steps_in(shared_tmp / "ck")
    assert step in (5, 6)
    comm.Barrier()
    again = replace(program, until=lambda ctx: None)
    run = hpcmp.run(again, graph, checkpoints=replace(asked, resume=True, changed_code=True))
    assert run.digest == hpcmp.run(program, graph).digest
    assert policy.heard.number is None and signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


@pytest.mark.parametrize("how", ["time", "file"])
def test_it_leaves_before_its_time_is_over_and_when_told_by_a_file(comm, shared_tmp, how, monkeypatch):
    monkeypatch.setattr(policy, "LOOK_S", 0.0)
    graph, program = build(comm, ZOO), replace(p.AGGREGATES["sum"], steps=10**9)
    if comm.rank == 0 and how == "file":
        program = replace(program, until=lambda ctx: (shared_tmp / "ck" / "stop").touch() if ctx.step == 3 else None)
    elif how == "file":
        program = replace(program, until=lambda ctx: None)
    walltime = time.monotonic() - policy._process_began() + 1.5 if how == "time" else None
    with pytest.raises(Suspended):
        hpcmp.run(program, graph, checkpoints=hpcmp.Checkpoints(shared_tmp / "ck", max_walltime=walltime))
    assert len(snapshot.steps_in(shared_tmp / "ck")) == 1
    assert not (shared_tmp / "ck" / "stop").exists()


def test_it_leaves_while_two_steps_and_checkpoints_fit_in_its_time(comm, tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(policy, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(policy, "_process_began", lambda: 1000.0)
    wishes = policy.Wishes(comm, hpcmp.Checkpoints(tmp_path, max_walltime=100))
    wishes.written(5.0)  # a checkpoint takes 5 s, a step 10 s
    for passed_s in (10, 20, 60, 69):
        now[0], wishes._step_at = 1000.0 + passed_s, 990.0 + passed_s
        assert wishes.of_step(1) == (0, 0)
    now[0] = 1070.0
    assert wishes.of_step(1) == (0, int(comm.rank == 0))


def test_a_run_that_is_done_need_not_leave_and_an_old_file_tells_nothing(comm, shared_tmp, monkeypatch):
    monkeypatch.setattr(policy, "LOOK_S", 0.0)
    (shared_tmp / "ck").mkdir(exist_ok=True)
    comm.Barrier()
    (shared_tmp / "ck" / "stop").touch()
    comm.Barrier()
    graph, program = build(comm, ZOO), replace(p.AGGREGATES["sum"], steps=3)
    assert hpcmp.run(program, graph, checkpoints=hpcmp.Checkpoints(shared_tmp / "ck")).n_steps == 3
    leaves_after(monkeypatch, 3)
    again = hpcmp.Checkpoints(shared_tmp / "ck", force=True)
    assert hpcmp.run(program, graph, checkpoints=again).n_steps == 3


def test_where_no_checkpoint_can_be_read_the_run_begins_anew_and_keeps_them(comm, shared_tmp):
    graph, folder, said = build(comm, GRAPHS["undirected"]), shared_tmp / "ck", []
    whole = hpcmp.run(p.NEAR, graph, checkpoints=hpcmp.Checkpoints(folder, every=1))
    if comm.rank == 0:
        steps = snapshot.steps_in(folder)
        for step in steps:
            (snapshot.path_of(folder, step) / "commit.json").write_text("{")
    comm.Barrier()
    asked = hpcmp.Checkpoints(folder, every=1, resume=True)
    run = hpcmp.run(p.NEAR, graph, checkpoints=asked, progress=said.append)
    assert run.digest == whole.digest and run.checkpoints["resumed_from"] is None
    if comm.rank == 0:
        assert len(said) >= 3 and "the run begins anew" in said[2]
        for step in steps:
            path = snapshot.path_of(folder, step)
            assert (folder / f"damaged-{path.name}" / "commit.json").read_text() == "{"
        assert snapshot.steps_in(folder) == steps


def test_the_clock_says_when_to_write(comm, shared_tmp, monkeypatch):
    graph, program, passed = build(comm, ZOO), p.AGGREGATES["sum"], [0.0]
    monkeypatch.setattr(policy, "time", SimpleNamespace(monotonic=lambda: passed[0], perf_counter=time.perf_counter))

    def a_step_takes_a_while(ctx):
        passed[0] += 0.05

    slow = replace(program, steps=6, until=a_step_takes_a_while)
    run = hpcmp.run(slow, graph, checkpoints=hpcmp.Checkpoints(shared_tmp / "ck", every="0.1s"))
    assert 1 <= run.checkpoints["written"] <= 3 and run.checkpoints["bytes"] > 0
    assert run.checkpoints["stall_s"] < 1
    run = hpcmp.run(slow, graph, checkpoints=hpcmp.Checkpoints(shared_tmp / "seldom", every="1000s"))
    assert (run.checkpoints["written"], run.checkpoints["bytes"]) == (0, 0)


def test_what_is_another_run_is_refused(comm, shared_tmp):
    graph = build(comm, ZOO)
    asked = hpcmp.Checkpoints(shared_tmp / "ck", every=1)
    hpcmp.run(p.NEAR, graph, 2, checkpoints=asked)

    def error(program=p.NEAR, graph=graph, kind=ProgramError, params=None, **more):
        call = lambda: hpcmp.run(program, graph, 4, params=params, checkpoints=replace(asked, **more))  # noqa: E731
        return agreed_error(comm, kind, call)

    assert "holds checkpoints of a run already" in error(kind=FileError)
    assert "params is {'width': '0.5'} there and {'width': '2.0'} here" in error(resume=True, params={"width": 2.0})
    assert "other code of this program" in error(replace(p.NEAR, update=p.take), resume=True)
    assert "graph is" in error(graph=build(comm, GRAPHS["random"]), resume=True)
    assert "program is 'program' there and 'other' here" in error(replace(p.NEAR, name="other"), resume=True)
    comm.Barrier()
    assert hpcmp.run(p.NEAR, graph, 1, checkpoints=replace(asked, force=True)).checkpoints["resumed_from"] is None
    assert snapshot.steps_in(shared_tmp / "ck") == [1]


@pytest.mark.parametrize("how", [{"mode": "async"}, {"trace": "headers"}])
def test_what_is_not_checkpointed_says_so(comm, shared_tmp, how):
    call = lambda: hpcmp.run(p.SPREAD, build(comm, ZOO), checkpoints=hpcmp.Checkpoints(shared_tmp / "ck"), **how)  # noqa: E731
    assert "checkpoint" in agreed_error(comm, ProgramError, call)


def raises(error):
    """A function that does nothing else."""

    def function(*_):
        raise error

    return function


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError()])
def test_a_checkpoint_that_fails_is_told_and_the_run_goes_on(comm, shared_tmp, monkeypatch, error):
    graph, said = build(comm, ZOO), []
    if comm.rank == comm.size - 1:
        monkeypatch.setattr(snapshot, "_write_part", raises(error))
    program = replace(p.AGGREGATES["sum"], steps=5)
    run = hpcmp.run(program, graph, checkpoints=hpcmp.Checkpoints(shared_tmp / "ck", every=2), progress=said.append)
    assert run.digest == hpcmp.run(program, graph).digest
    assert run.checkpoints["written"] == 0
    assert comm.rank > 0 or "no checkpoint of step 2" in said[0]
    comm.Barrier()
    assert list((shared_tmp / "ck").iterdir()) == []


@pytest.mark.parametrize("what", ["is told that there is none", "finds none"])
def test_where_a_rank_has_no_memory_for_a_copy_all_wait_for_the_checkpoint(comm, shared_tmp, monkeypatch, what):
    asked, said = hpcmp.Checkpoints(shared_tmp / "ck", every=2, partners=Partners()), []
    if what == "finds none" and comm.rank == comm.size - 1:
        monkeypatch.setattr(policy, "_kept", raises(MemoryError()))
    elif what != "finds none" and comm.rank == 0:
        monkeypatch.setattr(policy.room, "free_bytes", lambda: 1)
    keeper = policy.Keeper(comm, asked, {}, said.append)
    x = np.zeros(3)
    for step in range(1, 5):
        x[:] = step
        sums = {name: comm.allreduce(n) for name, n in keeper.of_step(step).items()}
        keeper.after_step(step, sums, lambda: ({}, {"rows": {"x": x}}))
        assert keeper.writer.step is None
    keeper.close()
    assert keeper.finish()["written"] == 2 and asked.partners.copies == []
    assert comm.rank > 0 or "the run waits for the checkpoint of step 2" in said[0]
    found = snapshot.load_newest(comm, shared_tmp / "ck", None)
    assert found.step == 4 and set(found.tables["rows"]["x"]) == {4}


def test_what_fails_by_the_clock_is_tried_again_by_the_clock(comm, shared_tmp, monkeypatch):
    said, asked = [], hpcmp.Checkpoints(shared_tmp / "ck", every="1h")
    keeper = policy.Keeper(comm, asked, {}, said.append)

    def full():
        with together(comm):
            if comm.rank == comm.size - 1:
                raise MemoryError

    for take in (full, lambda: ({}, {"rows": {"x": np.zeros(3)}})):
        keeper.wishes.last_at -= 3601
        monkeypatch.setattr(snapshot, "new_part_folder", raises(OSError(28, "No space left on device")))
        for step in (1, 2, 3):
            sums = {name: comm.allreduce(n) for name, n in keeper.of_step(step).items()}
            keeper.after_step(step, sums, take)
    keeper.close()
    assert [text.partition(":")[0] for text in said] == ["no checkpoint of step 1"] * 2 * (comm.rank == 0)


def test_one_that_must_be_written_and_cannot_ends_the_run_with_the_reason(comm, shared_tmp, monkeypatch):
    graph = build(comm, ZOO)
    program = replace(p.AGGREGATES["sum"], steps=10**9)
    hpcmp.run(program, graph, 4, checkpoints=hpcmp.Checkpoints(shared_tmp / "ck", every=2))
    if comm.rank == comm.size - 1:
        monkeypatch.setattr(snapshot.os, "fsync", raises(OSError(28, "No space left on device")))
    asked = hpcmp.Checkpoints(shared_tmp / "ck", resume=True, max_walltime=0.001)
    error = agreed_error(comm, FileError, lambda: hpcmp.run(program, graph, checkpoints=asked))
    assert "No space left on device" in error
    monkeypatch.undo()
    comm.Barrier()
    assert snapshot.steps_in(shared_tmp / "ck") == [2, 4]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), (90, 90), ("1.5s", 1.5), ("5m", 300), ("1:30:00", 5400), ("1-00:00:01", 86401)]
)
def test_times_are_read(text, seconds):
    assert policy.seconds_of("max_walltime", text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "0", "5 weeks", "1:2", "inf", "nan"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ProgramError, match="is no time"):
        hpcmp.Checkpoints("ck", max_walltime=text)


@pytest.mark.parametrize("every", [0, "0", "0s", "often"])
def test_what_is_no_interval_is_refused(every):
    with pytest.raises(ProgramError, match="a checkpoint every"):
        hpcmp.Checkpoints("ck", every=every)


def test_steps_of_a_resumed_run_are_all_told(comm, shared_tmp):
    graph, program = build(comm, ZOO), replace(p.AGGREGATES["sum"], steps=6)
    hpcmp.run(program, graph, 3, checkpoints=hpcmp.Checkpoints(shared_tmp / "ck", every=2), step_digests=True)
    asked = hpcmp.Checkpoints(shared_tmp / "ck", resume=True)
    run = hpcmp.run(program, graph, checkpoints=asked, step_digests=True)
    whole = hpcmp.run(program, graph, step_digests=True)
    assert np.array_equal(run.steps["digest"], whole.steps["digest"])
