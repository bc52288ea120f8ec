"""One rank fails inside a step: all ranks end soon, with a code that is not 0, and say who and why."""

import os
import shutil
import signal
import subprocess
import time
import uuid

import jobs
import launch as launching
import learning
import pytest
from thorough import IS_LONG

RANKS = 3
RANKS_OF_A_RUN = (1, 2, 4) if IS_LONG else (1, 4)
END_S = 10  # all ranks have ended so long after one failed
START_S = 60  # a job has started, on a loaded machine

PROGRAM = """import hpcmp


def burn(vertex, total, ctx):
    if vertex.id == 37 and ctx.step == 2:
        raise ValueError("too hot")
    return total / 2


def spread(vertex, smallest, ctx):
    if vertex.id == 37 and smallest < 20:
        raise ValueError("too hot")
    return min(vertex.x, smallest)


heat = hpcmp.Program(
    state={"x": "float64"}, init=lambda vertex, ctx: 1.0, update=burn, steps=1000000
)
labels = hpcmp.Program(
    state={"x": "int64"},
    init=lambda vertex, ctx: vertex.id,
    update=spread,
    aggregate="min",
    only_changed=True,
    monotone=True,
)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ring")
    path = folder / "ring.h5"
    jobs.run_commands(1, [["generate", "ring", "--vertices", 50, "--parts", 8, "-o", path]], folder)
    return path


@pytest.fixture
def ring(made, tmp_path):
    (tmp_path / "burn.py").write_text(PROGRAM)
    return shutil.copy(made, tmp_path / "ring.h5")


@pytest.mark.parametrize("check", [False, True], ids=["compiled", "check"])
@pytest.mark.parametrize("ranks", RANKS_OF_A_RUN, ids=lambda ranks: f"P{ranks}")
def test_function_that_raises_on_one_vertex_ends_all_ranks(launch, ring, tmp_path, ranks, check):
    argv = ["run", "burn.py:heat", ring, "-o", "out.h5", *(["--check"] if check else [])]
    done = launch(None if ranks == 1 else ranks, *argv)
    assert not launching.still_running(done, END_S)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    (message,) = [line for line in done.stderr.splitlines() if line.startswith("hpcmp:")]
    assert message.startswith("hpcmp: error:")
    for part in ("ValueError", "too hot", "step 2", *(["burn.py", "line 6"] if check else [])):
        assert part in message, f"the message lacks {part!r}: {message}"
    if ranks > 1:
        assert f"first seen on rank {owner(ranks)} of {ranks}" in message
    assert sorted(path.name for path in tmp_path.glob("*.h5")) == ["ring.h5"]


@pytest.mark.parametrize("ranks", RANKS_OF_A_RUN, ids=lambda ranks: f"P{ranks}")
def test_function_that_raises_in_a_run_without_steps_ends_all_ranks(launch, ring, tmp_path, ranks):
    argv = ["run", "burn.py:labels", ring, "-o", "out.h5", "--mode", "async"]
    done = launch(None if ranks == 1 else ranks, *argv)
    assert not launching.still_running(done, END_S)
    assert done.returncode == 2
    (message,) = [line for line in done.stderr.splitlines() if line.startswith("hpcmp:")]
    assert message.startswith("hpcmp: error:") and "ValueError" in message and "too hot" in message
    if ranks > 1:
        assert f"first seen on rank {owner(ranks)} of {ranks}" in message
    assert sorted(path.name for path in tmp_path.glob("*.h5")) == ["ring.h5"]


def owner(ranks):
    """Rank of vertex 37 of 50 in 8 even parts dealt to so many ranks."""
    part = next(q for q in range(8) if 50 * (q + 1) / 8 > 37)
    return part * ranks // 8


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_unforeseen_exception_on_one_rank_ends_the_others(failing):
    done = jobs.run_script(RANKS, "failing_job.py", failing, "raises")
    assert not launching.still_running(done, END_S)
    assert done.returncode == 1
    assert f"hpcmp: rank {failing} of {RANKS} failed, ending all ranks" in done.stderr
    assert "RuntimeError: the lights went out" in done.stderr
    assert "failing_job.py" in done.stderr  # the trace shows where
    others = [f"hpcmp: rank {rank} " for rank in range(RANKS) if rank != failing]
    assert not any(other in done.stderr for other in others)


def test_error_that_ranks_did_not_agree_on_ends_the_others():
    done = jobs.run_script(RANKS, "failing_job.py", 1, "refuses")
    assert not launching.still_running(done, END_S)
    assert done.returncode == 2
    assert f"hpcmp: rank 1 of {RANKS}: row 7 is not what it was" in done.stderr
    assert "Traceback" not in done.stderr


def test_rank_that_leaves_ends_the_others():
    done = jobs.run_script(RANKS, "failing_job.py", 1, "exits")
    assert not launching.still_running(done, END_S)
    assert done.returncode != 0
    assert f"rank 1 of {RANKS}" in done.stderr


@pytest.mark.parametrize("kind", ["endless", "unsettled"])
@pytest.mark.parametrize("killed", [0, 1])
def test_killed_rank_ends_the_others(killed, kind):
    job = uuid.uuid4().hex
    argv = launching.command(RANKS, jobs.TESTS / "failing_job.py", -1, kind)
    env = launching.environment({launching.JOB: job})
    process = subprocess.Popen(
        argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        pids = read_pids(process)
        time.sleep(0.5)  # into the steps
        os.kill(pids[killed], signal.SIGKILL)
        start = time.monotonic()
        text, _ = process.communicate(timeout=END_S)
        assert time.monotonic() - start < END_S
        assert not launching.still_running_of(job, END_S)
    finally:
        launching.kill(job)
    assert process.returncode != 0
    assert "9" in text or "Kill" in text, f"the launcher does not say why: {text}"


FAULTY = """from hpcmp import nn


class Net(nn.Module):
    def __init__(self, n_in, n_out):
        self.only, self.n_calls = nn.GCN(n_in, n_out), 0

    def __call__(self, graph, x):
        self.n_calls += 1
        if self.n_calls == 11 and graph.comm.rank == 1:  # the sixth epoch: each goes forward twice
            raise RuntimeError("the lights went out")
        return self.only(graph, x)
"""


def test_model_that_fails_on_one_rank_ends_all_and_keeps_its_checkpoint(launch, tmp_path):
    learning.make(tmp_path)
    (tmp_path / "faulty.py").write_text(FAULTY)
    done = launch(RANKS, "train", "config.toml", "g.h5", "-o", "run", "--set", "model.kind=faulty.py:Net")
    assert not launching.still_running(done, END_S)
    assert done.returncode == 1
    assert f"hpcmp: rank 1 of {RANKS} failed, ending all ranks" in done.stderr
    assert "RuntimeError: the lights went out" in done.stderr and "faulty.py" in done.stderr
    assert launch(None, "info", "run/checkpoint-0.h5").returncode == 0  # of the fourth epoch


@pytest.mark.parametrize("call", ["epoch", "evaluate"])
def test_model_that_fails_on_one_rank_of_a_users_loop_ends_all(call):
    done = jobs.run_script(RANKS, "failing_job.py", 1, call)
    assert not launching.still_running(done, END_S)
    assert done.returncode == 1
    assert f"hpcmp: rank 1 of {RANKS} failed, ending all ranks" in done.stderr
    assert "RuntimeError: the lights went out" in done.stderr and "failing_job.py" in done.stderr


def read_pids(process):
    """Rank -> pid, as the ranks of failing_job.py say."""
    pids, end = {}, time.monotonic() + START_S
    while len(pids) < RANKS and time.monotonic() < end:
        line = process.stdout.readline()
        assert line, f"the job ended early, code {process.wait()}"
        if line.startswith("pid "):
            _, pid, _, _, rank = line.split()
            pids[int(rank)] = int(pid)
    return pids
