"""How tests start ranks: one command line, one environment, nothing left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HANG_S = 280  # no job takes so long on a slow machine that has other work, unless its test says so
JOB = "HPCMP_TEST_JOB"  # in the environment of every process of one launch, so that each can be found again

# What launchers leave in the environment: a rank that starts a new job must not pass its own identity on, nor one of
# several test processes.
LAUNCHER_PREFIXES = ("PMI_", "PMIX_", "OMPI_", "PRTE_", "HYDRA_", "HYDI_", "MPI_LOCAL", "SLURM_", "PYTEST_XDIST_")

# More ranks than cores: a rank of MPICH that waits polls and yields, and takes its share of a core all the same. Told so, it
# sleeps a moment after so many polls in vain. Measured with 4 ranks on 2 cores, a folder of tests: 35 to 40 s of processor
# time as it is, 33 with MPICH's own 4096 polls, 21 with 256. (Sleeping at every yield, MPIR_CVAR_ENABLE_HEAVY_YIELD=1, makes
# a message take 130 instead of 8 us, and tests slower.) Open MPI yields by itself once it is told --oversubscribe.
WAITING = {"MPIR_CVAR_CH4_PROGRESS_THROTTLE": "1", "MPIR_CVAR_CH4_PROGRESS_THROTTLE_NO_PROGRESS_COUNT": "256"}


def mpiexec(python=sys.executable):
    """The launcher of the MPI that ``python`` uses, or None. Local."""
    given = os.environ.get("HPCMP_MPIEXEC")
    if given and python == sys.executable:
        return given
    folders = [str(Path(python).parent), *os.environ.get("PATH", "").split(os.pathsep)]
    paths = (Path(folder) / name for folder in folders for name in ("mpiexec", "mpirun"))
    return next((str(path) for path in paths if os.access(path, os.X_OK)), None)


def command(n, *args, python=sys.executable):
    """Command line of ``python args`` on n ranks; ``n=None``: alone, without a launcher. Local."""
    if n is None:
        return [python, *map(str, args)]
    launcher = mpiexec(python)
    flags = subprocess.run(
        ["bash", ROOT / "scripts" / "mpi_flags.sh", launcher], capture_output=True, text=True, check=True
    )
    return [launcher, *flags.stdout.split(), "-n", str(n), python, *map(str, args)]


def environment(extra=None):
    """Environment of a new job: ours, less what a launcher left in it. Local."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHER_PREFIXES)}
    paths = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    kept.update(OMP_NUM_THREADS="1", PYTHONFAULTHANDLER="1", PYTHONPATH=os.pathsep.join(paths))
    return WAITING | kept | {name: str(value) for name, value in (extra or {}).items()}


def run(argv, cwd=None, env=None, timeout=HANG_S):
    """Run a command to its end, or to ``timeout`` seconds and kill all it started. Local.

    Returns
    -------
    subprocess.CompletedProcess
        With ``job``, the mark of its processes; see ``still_running``.

    Raises
    ------
    AssertionError
        The time was over; the text holds the stacks of all ranks.
    """
    job = uuid.uuid4().hex
    env = {**(os.environ if env is None else env), JOB: job}
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        print_stacks(job)
        kill(job)
        stdout, stderr = process.communicate()
        raise AssertionError(
            f"not done after {timeout} s: {' '.join(map(str, argv))}\n"
            f"--- stdout\n{stdout[-4000:]}\n--- stderr\n{stderr[-8000:]}"
        ) from None
    except BaseException:
        kill(job)
        raise
    done = subprocess.CompletedProcess(argv, process.returncode, stdout, stderr)
    done.job = job
    return done


def still_running(done, within=10):
    """Processes of a finished job that still live after ``within`` seconds: list of pids. Local."""
    return still_running_of(done.job, within)


def still_running_of(job, within):
    """The same by the mark of its processes. Local."""
    end = time.monotonic() + within
    while (left := processes(job)) and time.monotonic() < end:
        time.sleep(0.1)
    return left


def kill(job):
    """End every process of a job at once. Local."""
    while _signal(job, signal.SIGKILL):  # until none is found: one may start another meanwhile
        time.sleep(0.05)


def print_stacks(job):
    """Let every rank of a job print where it is, and end. Local."""
    # PYTHONFAULTHANDLER prints a stack at SIGABRT. The launcher is stopped meanwhile: it would end the others at the first.
    _signal(job, signal.SIGSTOP, lambda name: "python" not in name)
    _signal(job, signal.SIGABRT, lambda name: "python" in name)
    time.sleep(1)
    _signal(job, signal.SIGCONT)
    time.sleep(1)  # to pass on what was printed


def _signal(job, number, chosen=lambda name: True):
    found = [pid for pid in processes(job) if chosen(name_of(pid))]
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return found


def name_of(pid):
    """What a process runs, or nothing. Local."""
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


def processes(job):
    """Living processes whose environment carries the mark of a job: list of pids. Local."""
    mark, found = f"{JOB}={job}".encode(), []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if (
                    mark in (folder / "environ").read_bytes().split(b"\0")
                    and " Z " not in (folder / "stat").read_text()
                ):
                    found.append(int(folder.name))
            except OSError:
                continue
    return found
