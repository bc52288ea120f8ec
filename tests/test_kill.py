"""Whole commands that are told to leave, are killed, or find the disk full; see `kill_test`."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import kill_test
import launch as launching
import pytest
from thorough import IS_LONG

RUN = ("run", "pagerank", "kron.h5", "--steps", 2000, "--checkpoint", "ck", "--json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("kill")
    kill_test.prepare(made)
    return made


@pytest.fixture
def here(folder, tmp_path):
    for name in ("kron.h5", "g.h5", "config.toml"):
        shutil.copy(folder / name, tmp_path / name)
    return tmp_path


@pytest.mark.limit(1900)
def test_killed_runs_go_on_and_end_with_the_right_digest():
    done = subprocess.run(
        [sys.executable, kill_test.__file__, "--kills", "20", "--steps", "150" if IS_LONG else "60"],
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(int(line.split()[1]) for line in done.stdout.splitlines()) == 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_any_rank_ends_all_with_85_and_the_next_start_goes_on(launch, here, number):
    argv = launching.command(3, "-m", "hpcmp", *RUN, "--checkpoint-every", 1)
    process, job = kill_test.start(here, argv)
    try:
        while not list((here / "ck").glob("step-*")) and process.poll() is None:
            time.sleep(0.02)
        ranks = [pid for pid in launching.processes(job) if "python" in launching.name_of(pid)]
        os.kill(sorted(ranks)[1], number)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        launching.kill(job)
    assert process.returncode == 85, stderr
    assert "hpcmp: checkpointed after step" in stderr and "Traceback" not in stderr
    alone = launch(None, *RUN[:-3], "--json")
    again = launch(2, *RUN, "--resume")
    assert "going on from the checkpoint of step" in again.stderr
    assert json.loads(again.stdout)["digest"] == json.loads(alone.stdout)["digest"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_costs_checkpoints_and_not_the_run(launch, here, small_disk):
    run = ("run", "pagerank", "kron.h5", "--steps", 9, "--checkpoint", small_disk / "ck", "--json")
    alone = launch(None, *run[:-3], "--json")
    assert launch(2, *run, "--checkpoint-every", 4).returncode == 0
    kept = sorted(path.name for path in (small_disk / "ck").iterdir())
    (small_disk / "filler").write_bytes(bytes((os.statvfs(small_disk).f_bfree - 2) * os.statvfs(small_disk).f_frsize))
    full = launch(2, *run, "--checkpoint-every", 1, "--resume")
    assert full.returncode == 0, full.stderr
    assert "no checkpoint of step 9" in full.stderr and "No space left on device" in full.stderr
    assert sorted(path.name for path in (small_disk / "ck").iterdir()) == kept
    assert json.loads(full.stdout)["digest"] == json.loads(alone.stdout)["digest"]
    must = launch(2, *run, "--resume", "--max-walltime", 0.001, "--steps", 30)
    assert must.returncode == 2 and "No space left on device" in must.stderr
    assert sorted(path.name for path in (small_disk / "ck").iterdir()) == kept
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    closed = launch(2, *run, "--resume")
    assert closed.returncode == 2 and "permission denied" in closed.stderr or "Read-only" in closed.stderr
