"""Runs commands of `hpcmp` as it is asked to: mpiexec -n P python tests/commands_job.py FOLDER PID

Started by `jobs.outcomes_of`, which writes FOLDER/0.json, 1.json, ...: ``commands``
(argument lists), ``cwd`` and ``environ``. For each command rank 0 appends a line to
FOLDER/0.jsonl, ...: a JSON object with ``code``, ``stdout`` (of rank 0) and ``stderr``
(a list, one text a rank). A launch costs seconds of processor time and a command a few
hundredths, so one job serves all tests of a process, until that process, PID, is gone.
"""

import contextlib
import io
import itertools
import json
import os
import shutil
import sys
import time
import traceback
from pathlib import Path

from launch import LAUNCHER_PREFIXES

from hpcmp.cli import main
from hpcmp.comm import ends_all_ranks, world

LOOK_S, LONGEST_LOOK_S = 0.005, 0.05


class Tee(io.StringIO):
    """Keeps what is written, and passes it on: an abort would leave nothing else."""

    def write(self, text):
        sys.__stderr__.write(text)
        return super().write(text)


def run(argv):
    """Exit code, standard output and standard error of one command. Collective."""
    out, err = io.StringIO(), Tee()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(argv)
        except SystemExit as end:
            code = end.code
        except Exception:  # as Python itself would end
            traceback.print_exc()
            code = 1
    return code, out.getvalue(), err.getvalue()


def run_all(comm, asked, done):
    """Run the commands of one request and write what they did. Collective."""
    os.chdir(asked["cwd"])
    for name in [n for n in os.environ if n not in asked["environ"] and not n.startswith(LAUNCHER_PREFIXES)]:
        del os.environ[name]
    os.environ.update(asked["environ"])
    for argv in asked["commands"]:
        outcomes = comm.gather(run(argv))
        if comm.rank == 0:
            code, stdout, _ = outcomes[0]
            codes = {c for c, _, _ in outcomes}
            line = {
                "code": code if len(codes) == 1 else sorted(map(str, codes)),
                "stdout": stdout,
                "stderr": [err for _, _, err in outcomes],
            }
            with open(done, "a") as file:
                file.write(json.dumps(line) + "\n")


def wait_for(path, pid):
    """Whether a file came before the process that would write it was gone. Local."""
    begin = time.monotonic()
    while not path.exists():
        # Not in MPI, where a rank that waits takes a core.
        time.sleep(min(LOOK_S + (time.monotonic() - begin) / 20, LONGEST_LOOK_S))
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True


if __name__ == "__main__":
    comm, folder, pid = world(), Path(sys.argv[1]), int(sys.argv[2])
    with ends_all_ranks(comm):
        for k in itertools.count():
            if not wait_for(folder / f"{k}.json", pid):
                break
            run_all(comm, json.loads((folder / f"{k}.json").read_text()), folder / f"{k}.jsonl")
    comm.Barrier()
    if comm.rank == 0:
        shutil.rmtree(folder, ignore_errors=True)
