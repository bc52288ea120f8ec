"""Kills random ranks at random moments of runs, and goes on with them: python tests/kill_test.py --kills 200

Runs of programs, trainings and agents are started again after each kill, on
another number of ranks, and must end with the digest of a run that nothing
disturbed. Moments are drawn over the whole life of a job, so that they fall into
starting, reading, stepping and writing. The exit code is 1 if a run hangs, does
not go on, or ends with other bits. A seed repeats the draws, not what the machine
does meanwhile.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import jobs
import launch as launching
import learning

from hpcmp import analysis
from hpcmp.errors import HpcmpError

HANG_S = 60  # a job has ended so long after one of its ranks
RANKS = (1, 2, 3)
SCALE = 12
EVERY = 3  # steps between two checkpoints
SERVICES = launching.ROOT / "examples" / "services.py"
KINDS = {  # {n}: steps, {half}: half as many
    "program": "run pagerank kron.h5 --steps {n} --checkpoint ck",
    "training": "train config.toml g.h5 -o ck --set train.epochs={half}",
    "agents": f"simulate {SERVICES}:model shop.h5 --steps {{n}} --set broken=4900 --set at=20 --trace full --trail trail "
    "--checkpoint ck",
}


@dataclass
class Kind:
    """Runs of one kind, and what became of them."""

    name: str
    folder: Path
    n_steps: int = 300
    digest: str = ""
    lasts_s: float = 0.0
    n_kills: int = 0
    n_went_on: int = 0
    n_ended: int = 0

    @property
    def command(self):
        words = KINDS[self.name].format(n=self.n_steps, half=self.n_steps // 2).split()
        return [*words, "--checkpoint-every", EVERY, "--json"]


class Wrong(Exception):
    """A promise is broken."""


def prepare(folder):
    """Graphs and configurations of all kinds. Local."""
    learning.make(folder)
    kron = ["generate", "kronecker", "--scale", SCALE, "-o", folder / "kron.h5"]
    shop = ["generate", "erdos-renyi", "--vertices", 5000, "--edges", 15000, "--parts", 7, "-o", folder / "shop.h5"]
    jobs.run_commands(1, [kron, shop], folder)


def undisturbed(kind):
    """The digest of a run that nothing disturbs, and how long a warm one takes. Local."""
    for _ in range(2):
        start = time.monotonic()
        done = launching.run(launching.command(2, "-m", "hpcmp", *kind.command), kind.folder, launching.environment())
        kind.lasts_s = time.monotonic() - start
        if done.returncode:
            raise Wrong(f"{kind.name}: exit code {done.returncode}\n{done.stderr[-3000:]}")
        kind.digest = digest_of(done.stdout)
        clear(kind)


def clear(kind):
    """Remove what runs of a kind have left. Local."""
    for name in ("ck", "trail"):
        shutil.rmtree(kind.folder / name, ignore_errors=True)


def digest_of(stdout):
    found = json.loads(stdout.splitlines()[-1])
    return found["digest"], found.get("trail_digest")


def start(folder, argv):
    """A job: the process, and the mark of its ranks. Local."""
    job = uuid.uuid4().hex
    process = subprocess.Popen(
        argv,
        cwd=folder,
        env=launching.environment({launching.JOB: job}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    return process, job


def kill_one(job, rng):
    """SIGKILL a random rank; whether there was one. Local."""
    ranks = sorted(pid for pid in launching.processes(job) if "python" in launching.name_of(pid))
    if not ranks:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(rng.choice(ranks), signal.SIGKILL)
    return True


def wait_for_a_moment(kind, process, rng):
    """Any of a job's life; or, of two jobs in three, one soon after it began to write checkpoints. Local."""

    def written():
        return {path: path.stat().st_mtime_ns for path in (kind.folder / "ck").glob("[!.]*") if path.exists()}

    before, end = written(), time.monotonic() + rng.uniform(0.1, 1.0) * kind.lasts_s
    if rng.random() < 2 / 3:
        after = rng.uniform(0.0, 0.3)
        with contextlib.suppress(FileNotFoundError):  # it goes while it is looked at
            while process.poll() is None and written() == before:
                time.sleep(0.002)
        end = time.monotonic() + after
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, end - time.monotonic()))


def once(kind, n_ranks, rng, kills):
    """Start, perhaps kill, and wait for the end; whether the run has ended. Local."""
    process, job = start(kind.folder, launching.command(n_ranks, "-m", "hpcmp", *kind.command, "--resume"))
    is_killed = False
    try:
        if kills:
            wait_for_a_moment(kind, process, rng)
            is_killed = process.poll() is None and kill_one(job, rng)
        try:
            stdout, stderr = process.communicate(timeout=HANG_S + 10 * kind.lasts_s)
        except subprocess.TimeoutExpired:
            raise Wrong(f"{kind.name} on {n_ranks} ranks hangs") from None
    finally:
        launching.kill(job)
    kind.n_went_on += "going on from" in stderr
    if "begins anew" in stderr:
        raise Wrong(f"{kind.name} on {n_ranks} ranks finds no good checkpoint\n{stderr[-3000:]}")
    if process.returncode == 0:
        if digest_of(stdout) != kind.digest:
            raise Wrong(f"{kind.name} on {n_ranks} ranks ends with other bits: {digest_of(stdout)}, not {kind.digest}")
        if kind.digest[1]:
            check_trail(kind)
        kind.n_ended += 1
        return True
    if not is_killed:
        raise Wrong(f"{kind.name} on {n_ranks} ranks: exit code {process.returncode}\n{stderr[-3000:]}")
    kind.n_kills += 1
    return False


def check_trail(kind):
    """Refuse a trail that breaks a law, or has files that it does not tell of. Local."""
    try:
        found = analysis.open(kind.folder / "trail")
        found.check()
    except HpcmpError as error:
        raise Wrong(f"{kind.name}: {error}") from error
    n_files, n = len(list((kind.folder / "trail").iterdir())), len(found.head["segments"]["rank"])
    if n_files != n + 3:
        raise Wrong(f"{kind.name}: the trail has {n_files} files; its {n} segments and 3 more are needed")


def run_kind(kind, n_kills, rng, say=print):
    """Kill so often, then let the run end. Local."""
    undisturbed(kind)
    n_ranks, is_over = RANKS[0], True
    while kind.n_kills < n_kills or not is_over:
        if is_over:
            clear(kind)
        n_ranks = rng.choice([n for n in RANKS if n != n_ranks])
        is_over = once(kind, n_ranks, rng, kills=kind.n_kills < n_kills)
    say(
        f"{kind.name}: {kind.n_kills} ranks killed, {kind.n_ended} runs ended with the right digest, "
        f"{kind.n_went_on} starts went on from a checkpoint"
    )


def main(argv=None):
    """Kill ranks of all kinds of runs. Local."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200, help="of all kinds together (default 200)")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--steps", type=int, default=Kind.n_steps, help="of a run (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    rng, n = random.Random(args.seed), len(args.kinds)
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        for k, name in enumerate(args.kinds):
            try:
                run_kind(Kind(name, Path(folder), args.steps), args.kills * (k + 1) // n - args.kills * k // n, rng)
            except Wrong as error:
                print(error)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
