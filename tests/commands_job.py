"""Runs many commands in one launch: mpiexec -n P python tests/commands_job.py COMMANDS.json DONE

COMMANDS.json is a list of argument lists of `hpcmp`. For each command rank 0
appends a line to DONE: a JSON object with ``code``, ``stdout`` (of rank 0) and
``stderr`` (a list, one text a rank). A launch costs a second and a command a
few hundredths, so that a test may run hundreds.
"""

import contextlib
import io
import json
import sys
import traceback

from hpcmp.cli import main
from hpcmp.comm import ends_all_ranks, world


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


if __name__ == "__main__":
    comm = world()
    with ends_all_ranks(comm), open(sys.argv[1]) as commands, open(sys.argv[2], "a") as done:
        for argv in json.load(commands):
            outcomes = comm.gather(run(argv))
            if comm.rank == 0:
                code, stdout, _ = outcomes[0]
                codes = {c for c, _, _ in outcomes}
                line = {
                    "code": code if len(codes) == 1 else sorted(map(str, codes)),
                    "stdout": stdout,
                    "stderr": [err for _, _, err in outcomes],
                }
                done.write(json.dumps(line) + "\n")
                done.flush()
