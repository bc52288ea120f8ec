"""Runs of agents that go on from a checkpoint: the history of one that nothing disturbed, on any ranks and parts."""

import shutil
import signal

import agent_models as models
from agent_models import stage
from building import agreed_error
from mpi4py import MPI

from hpcmp import Checkpoints, agents, analysis
from hpcmp.agents.post import Post
from hpcmp.analysis.trail_diff import compare_trails
from hpcmp.errors import FileError, ProgramError, Suspended
from hpcmp.io import snapshot, trail_ranks

STEPS = 25
CUTS = {"hash": {"n_parts": 13, "method": "hash"}, "plain": {}}
_PARTS_OF: dict = {}  # communicators of the first ranks of others, kept as `build` keeps what was built on them


def simulate(graph, steps=STEPS, trail=None, **more):
    told = {"seed": 7, "params": {"fade": 0.9}, "joins": "arrives", "trace": "full"} | more
    return agents.simulate(graph, models.everything(), steps=steps, trail=trail, **told)


def history(run):
    measures = {name: values.tolist() for name, values in run.measures.items()}
    return run.digest, run.trail_digest, run.step_digests, run.counts, measures, run.steps, run.ended


def on_ranks(comm, n, work):
    """Let the first n ranks do work(communicator); what it gave, on all ranks. Collective."""
    key = id(comm), min(n, comm.size)
    if key not in _PARTS_OF:
        _PARTS_OF[key] = comm.Split(color=int(comm.rank >= n), key=comm.rank)
    return comm.bcast(work(_PARTS_OF[key]) if comm.rank < n else None)


def check_trail(folder, alone):
    """All that a trail tells is as in that of an undisturbed run, and its folder holds nothing else."""
    a, b = (analysis.open(path) for path in (folder, alone))
    a.check()
    assert compare_trails(a, b) is None and (a.n, a.steps) == (b.n, b.steps)
    segments = a.head["segments"]
    assert len(list(folder.glob("segment-*.h5"))) == len(segments["rank"])
    assert sorted(set(a.timing["step"].tolist())) == list(range(STEPS))


def test_a_run_that_goes_on_has_the_history_of_an_undisturbed_one(comm, shared_tmp, monkeypatch):
    alone = simulate(stage(MPI.COMM_SELF), trail=shared_tmp / f"alone-{comm.rank}")
    monkeypatch.setattr(trail_ranks, "ROWS", 400)  # segments of a few steps
    trail, folder = shared_tmp / "trail", shared_tmp / "saved"

    def start(steps, cut, **more):
        asked = Checkpoints(folder, 5, **more)
        return lambda comm: history(simulate(stage(comm, **CUTS[cut]), steps, trail, checkpoints=asked))

    on_ranks(comm, 1, start(9, "plain"))  # that of step 5 is the last, and the trail tells of 9
    on_ranks(comm, 2, start(23, "hash", resume=True))
    assert on_ranks(comm, comm.size, start(STEPS, "plain", resume=True)) == history(alone)
    if comm.size == 1:
        assert start(STEPS, "hash", resume=True)(comm) == history(alone)  # from the end
    if comm.rank == 0:
        check_trail(trail, alone.trail)
        assert snapshot.steps_in(folder) == [20, 25]


def test_a_run_that_is_told_to_leave_goes_on_later(comm, shared_tmp, monkeypatch):
    alone, deliver, leaves = history(simulate(stage(MPI.COMM_SELF))), Post.deliver, [6, 7]  # and timers last till 9
    folder, trail = shared_tmp / "saved", shared_tmp / "trail"

    def told(self, boxes, error, step):
        if step in leaves and comm.rank == comm.size - 1:
            signal.raise_signal(signal.SIGUSR1)
        return deliver(self, boxes, error, step)

    monkeypatch.setattr(Post, "deliver", told)
    asked = Checkpoints(folder, resume=True)
    for step in leaves:
        text = agreed_error(comm, Suspended, lambda: simulate(stage(comm), trail=trail, checkpoints=asked))
        assert f"checkpointed after step {step + 1}" in text
        if comm.rank == 0:
            analysis.open(trail).check()
    found = simulate(stage(comm, **CUTS["hash"]), trail=trail, checkpoints=asked, threads=2)
    assert history(found) == alone and found.result.checkpoints["resumed_from"] == 8


def test_a_bad_checkpoint_is_told_and_the_one_before_is_used(comm, shared_tmp):
    if comm.size % 2 == 0:
        return  # 1 and 3 ranks tell it
    alone, said = simulate(stage(MPI.COMM_SELF), trail=shared_tmp / f"alone-{comm.rank}", sample=0.4), []
    folder, trail = shared_tmp / "saved", shared_tmp / "trail"
    simulate(stage(comm), 14, trail, sample=0.4, checkpoints=Checkpoints(folder, 4))
    if comm.rank == 0:
        part = snapshot.path_of(folder, 12) / "part-00000.bin"
        damaged = bytearray(part.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        part.write_bytes(damaged)
    comm.Barrier()
    asked = Checkpoints(folder, 4, resume=True)
    found = simulate(stage(comm), trail=trail, sample=0.4, checkpoints=asked, progress=said.append)
    assert history(found) == history(alone) and found.result.checkpoints["resumed_from"] == 8
    if comm.rank == 0:
        assert "checkpoint of step 12 cannot be used" in said[0]
        check_trail(trail, alone.trail)


def test_where_no_checkpoint_can_be_read_all_begins_anew_with_its_trail(comm, shared_tmp):
    if comm.size % 2 == 0:
        return  # 1 and 3 ranks tell it
    alone, said = simulate(stage(MPI.COMM_SELF), trail=shared_tmp / f"alone-{comm.rank}", sample=0.4), []
    folder, trail = shared_tmp / "saved", shared_tmp / "trail"
    simulate(stage(comm), 14, trail, sample=0.4, checkpoints=Checkpoints(folder, 4))
    if comm.rank == 0:
        for step in snapshot.steps_in(folder):
            (snapshot.path_of(folder, step) / snapshot.RECORD).write_text("{")
        (trail / "timing.h5").unlink()  # as of a run that was killed; a finished one's trail stays
    comm.Barrier()
    asked = Checkpoints(folder, 4, resume=True)
    found = simulate(stage(comm), trail=trail, sample=0.4, checkpoints=asked, progress=said.append)
    assert history(found) == history(alone) and found.result.checkpoints["resumed_from"] is None
    if comm.rank == 0:
        assert any("begins anew" in text for text in said)
        check_trail(trail, alone.trail)


def test_what_is_not_the_same_run_is_refused(comm, shared_tmp):
    if comm.size % 2 == 0:
        return
    graph, folder, trail = stage(comm), shared_tmp / "saved", shared_tmp / "trail"
    simulate(graph, 6, trail, checkpoints=Checkpoints(folder, 5))

    def refused(kind, trail, resume=True, **more):
        return agreed_error(
            comm, kind, lambda: simulate(graph, 9, trail, checkpoints=Checkpoints(folder, 5, resume=resume), **more)
        )

    assert "holds checkpoints of a run already" in refused(FileError, trail, resume=False)
    assert "seed is 7 there and 8 here" in refused(ProgramError, trail, seed=8)
    assert "joins is 'arrives' there and None here" in refused(ProgramError, trail, joins=None)
    assert "records is True there and False here" in refused(ProgramError, None)
    assert "holds no trail to go on with" in refused(FileError, shared_tmp / "nowhere")
    simulate(graph, 6, shared_tmp / "other", params={"fade": 0.5})
    assert "holds the trail of another run" in refused(FileError, shared_tmp / "other")
    comm.Barrier()
    if comm.rank == 0:
        shutil.rmtree(folder)
    comm.Barrier()
    assert "there is no checkpoint to go on with it from" in refused(FileError, trail)  # of a run that had ended
    if comm.rank == 0:
        analysis.open(trail).check()
        (trail / "timing.h5").unlink()  # as of a run that was killed
        (trail / ".segment-00000003-00000.h5.0123456789abcdef.part").write_text("")
    comm.Barrier()
    found = simulate(graph, 6, trail, checkpoints=Checkpoints(folder, 5, resume=True))
    assert found.steps == 6 and found.result.checkpoints["resumed_from"] is None
