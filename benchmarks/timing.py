"""Timing: processes that stay loaded, asked in turn, and medians of what they answer.

All contestants of a row are loaded and warmed up first. Then each is asked for
one repetition, one after the other, round by round, so that a machine that
slows down slows all of them. Those that are not asked sleep.
"""

import contextlib
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rows import FILES

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # this checkout is measured, whatever is installed
LAUNCHER_PREFIXES = ("PMI_", "PMIX_", "OMPI_", "PRTE_", "HYDRA_", "HYDI_", "MPI_LOCAL", "SLURM_")


class MissingError(Exception):
    """A contestant is not there: not installed, or not written yet."""


class Worker:
    """A contestant's process, or job of ranks; see worker.py for the other side."""

    def __init__(self, contestant, job):
        self.limit_s = job["limit_s"]
        spec = {**job, **vars(contestant), "options": dict(contestant.options)}
        argv = [*launcher(contestant.ranks), sys.executable, str(HERE / "worker.py"), json.dumps(spec)]
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=environment(contestant.threads),
            bufsize=0,
            start_new_session=True,
        )
        self.loaded = self._answer()

    def ask(self, k):
        """Do the k-th repetition and tell its figure. Local."""
        self.process.stdin.write(b"%d\n" % k)
        return self._answer()["value"]

    def close(self):
        """End the process. Local."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, 9)
            self.process.wait()
        self.process.stdout.close()
        self.log.close()

    def _answer(self):
        line = b""
        if select.select([self.process.stdout], [], [], self.limit_s)[0]:
            line = self.process.stdout.readline()
        if not line:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, 9)
            self.log.seek(0)
            said = self.log.read()[-2000:].decode(errors="replace").strip()
            raise RuntimeError(said or f"no answer in {self.limit_s} s")
        answer = json.loads(line)
        if "missing" in answer:
            raise MissingError(answer["missing"])
        return answer


class Pool:
    """Workers that stay loaded from row to row while a later row needs them."""

    def __init__(self, rows, folder, scale, limit_s):
        self.folder, self.scale, self.limit_s = folder, scale, limit_s
        self.workers = {}
        self.left = [c for row in rows for c in row.contestants.values()]

    def start(self, contestant):
        """A new worker. Local."""
        return Worker(contestant, {"path": str(self.file(contestant.file)), "limit_s": self.limit_s})

    def get(self, contestant):
        """The worker of a contestant, started where need be. Local."""
        if contestant not in self.workers:
            self.workers[contestant] = self.start(contestant)
        return self.workers[contestant]

    def file(self, name):
        """Path of one of `FILES`, made where it is missing. Local."""
        path, how = (text.format(scale=self.scale, less=self.scale - 2, learn=self.scale - 3) for text in FILES[name])
        path = self.folder / path
        if not path.exists():
            argv = [sys.executable, "-m", "hpcmp", "generate", *how.split(), "-o", str(path)]
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, env=environment())
        return path

    def done_with(self, row, is_broken=False):
        """Let go of what no later row needs, or of all the row's workers. Local."""
        for contestant in row.contestants.values():
            self.left.remove(contestant)
            if contestant in self.workers and (is_broken or contestant not in self.left):
                self.workers.pop(contestant).close()


def measure(row, pool, repeat, at_most=None):
    """Medians of a row's contestants: {label: figure}. Local.

    Raises
    ------
    MissingError
        A contestant is not installed, or not written yet.
    """
    repeat = min(row.repeat or repeat, at_most or 1 << 30)
    lasting = {label: pool.get(c) for label, c in row.contestants.items() if not c.is_fresh}
    found = {label: [] for label in row.contestants}
    for k in range(repeat):
        for label, contestant in row.contestants.items():
            if label in lasting:
                found[label].append(lasting[label].ask(k))
            else:
                worker = pool.start(contestant)
                found[label].append(worker.ask(k))
                worker.close()
    middle = statistics.fmean if row.keep.get("statistic") == "mean" else statistics.median
    return {label: middle(values) for label, values in found.items()}


def clock(call):
    """Seconds that a call takes. Local."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def launcher(ranks):
    """Words before the program that start so many ranks; none for one. Local."""
    if ranks == 1:
        return []
    folders = [str(Path(sys.executable).parent), *os.environ.get("PATH", "").split(os.pathsep)]
    names = [Path(folder) / name for folder in folders for name in ("mpiexec", "mpirun")]
    mpiexec = next((str(path) for path in names if os.access(path, os.X_OK)), "mpiexec")
    flags = subprocess.run(["bash", HERE.parent / "scripts" / "mpi_flags.sh", mpiexec], capture_output=True, text=True)
    return [mpiexec, *flags.stdout.split(), "-n", str(ranks)]


def environment(threads=1):
    """Environment of a contestant: this checkout, so many threads. Local."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHER_PREFIXES)}
    paths = [str(HERE.parent), *filter(None, [kept.get("PYTHONPATH")])]
    counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    return kept | counts | {"PYTHONPATH": os.pathsep.join(paths)}
