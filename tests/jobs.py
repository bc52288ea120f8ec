"""Scripts of this folder as jobs of several ranks, and what they print."""

import json
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import launch as launching

TESTS = launching.ROOT / "tests"


def run_script(n, name, *args, env=None, timeout=launching.HANG_S, cwd=None):
    """``python tests/NAME ARGS`` on n ranks to its end: CompletedProcess. Local."""
    return launching.run(launching.command(n, TESTS / name, *args), cwd, launching.environment(env), timeout)


def outcomes_of(n, commands, folder, timeout=launching.HANG_S):
    """What each of many commands did, in a job of n ranks that is kept for the next. Local.

    Parameters
    ----------
    commands : list of lists
        Arguments of `hpcmp`.
    folder : Path
        Where they run.
    timeout : number
        Seconds for all of them.

    Returns
    -------
    list of dict
        ``code``, ``stdout`` and ``stderr`` (one text a rank) as
        tests/commands_job.py tells them. A command that ended its job has the
        code None and the job's standard error; the next begins another job.
    """
    commands = [[str(argument) for argument in command] for command in commands]
    outcomes = []
    while len(outcomes) < len(commands):
        found, said = _job_of(n).run(commands[len(outcomes) :], folder, timeout)
        outcomes += found
        if len(outcomes) < len(commands):
            outcomes.append({"code": None, "stdout": "", "stderr": [f"the job ended in this command:\n{said[-3000:]}"]})
    return outcomes


AT_START = ("HPCMP_CACHE_DIR", "NUMBA", "XDG_CACHE_HOME", "HOME", "PATH")  # what a process looks at when it begins
_JOBS: dict = {}  # number of ranks, and what of the environment a job began with -> `_Job`


def _job_of(n):
    """The job of n ranks that waits for commands. Local."""
    environ = launching.environment()
    key = n, tuple(sorted((name, value) for name, value in environ.items() if name.startswith(AT_START)))
    if key not in _JOBS or _JOBS[key].process.poll() is not None:
        _JOBS[key] = _Job(n)
    return _JOBS[key]


class _Job:
    """A running tests/commands_job.py; it ends when this process does."""

    def __init__(self, n):
        self.folder, self.mark, self.n_asked = Path(tempfile.mkdtemp(prefix="hpcmp-job-")), uuid.uuid4().hex, 0
        environ = launching.environment({launching.JOB: self.mark})
        argv = launching.command(n, TESTS / "commands_job.py", self.folder, os.getpid())
        with open(self.folder / "stderr", "wb") as stderr:
            self.process = subprocess.Popen(
                argv,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )

    def run(self, commands, cwd, timeout):
        """What the commands did, and what was said on standard error if the job ended in one. Local."""
        asked, done = (self.folder / f"{self.n_asked}.{end}" for end in ("json", "jsonl"))
        self.n_asked += 1
        before = (self.folder / "stderr").stat().st_size
        asked.with_suffix(".part").write_text(
            json.dumps({"commands": commands, "cwd": str(cwd), "environ": launching.environment()})
        )
        done.touch()
        asked.with_suffix(".part").rename(asked)
        end, found, late = time.monotonic() + timeout, [], ""
        while len(found) < len(commands) and self.process.poll() is None:
            if time.monotonic() > end:
                launching.print_stacks(self.mark)
                launching.kill(self.mark)
                self.process.wait()
                late = f"not done after {timeout} s\n"
            time.sleep(0.005)
            found = whole_lines(done)
        found = [json.loads(line) for line in whole_lines(done)]
        said = late + (self.folder / "stderr").read_bytes()[before:].decode(errors="replace")
        if self.process.poll() is not None:
            shutil.rmtree(self.folder)
        return found, said


def whole_lines(path):
    """Lines of a file that another process writes, without one that is not yet whole. Local."""
    return path.read_text().rpartition("\n")[0].splitlines()


def run_commands(n, commands, folder, timeout=launching.HANG_S):
    """Standard output of each of many commands that must succeed. Local."""
    outcomes = outcomes_of(n, commands, folder, timeout)
    for command, outcome in zip(commands, outcomes, strict=True):
        shown = f"$ hpcmp {' '.join(map(str, command))}\n{''.join(outcome['stderr'])}"
        assert outcome["code"] == 0, f"exit code {outcome['code']}\n{shown[-4000:]}"
    return [outcome["stdout"] for outcome in outcomes]


def read_ldbc(path):
    """Lines ``id value``: dict of int to text. Local."""
    pairs = [line.split() for line in path.read_text().splitlines() if line.strip()]
    assert len({int(i) for i, _ in pairs}) == len(pairs), f"{path} names a vertex twice"
    return {int(i): value for i, value in pairs}
