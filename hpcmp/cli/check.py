"""`hpcmp check`: are files sound, and safe to open."""

HELP = "read files whole, each in a process of its own with limits, and say whether they are sound"
EXAMPLES = (
    "hpcmp check web.h5 ranks.h5                                (graph, result, checkpoint and history files)",
    "hpcmp check trail run                                      (folders of trails and of trainings)",
    "hpcmp check edges.tsv.gz matrix.mtx people.graphml         (what convert reads)",
    "hpcmp check other.h5 --memory-limit 500M --time-limit 10",
)
TIME_S = 600
MOST_BYTES = 1 << 50  # that a limit of memory can be
START_S = 60  # that a process may take before it reads: it may have loops to compile
SIGNALS = {
    "SIGXCPU": "it took more than {seconds:g} s to read (--time-limit)",
    "SIGKILL": "the process that read it was killed; the machine may have run out of memory",
}
CRASHED = "the library that reads it crashed ({name}); it is damaged, or made to do harm: do not open it"


def add_arguments(parser):
    """Declare the arguments. Local."""
    from hpcmp.cli.checking import CHECKS

    parser.add_argument("files", nargs="+", metavar="FILE", help="files and folders, of hpcmp or for `hpcmp convert`")
    parser.add_argument("--format", choices=sorted(CHECKS), help="what they are (default: by content, else by name)")
    parser.add_argument("--names", action="store_true", help="vertices of edge lists and tables have names")
    parser.add_argument("--columns", metavar="A,B,...", help="columns of edge lists and of logs of messages")
    parser.add_argument(
        "--memory-limit", metavar="BYTES", help="that reading may take, such as 4G (default: what is free)"
    )
    parser.add_argument(
        "--time-limit", type=float, default=TIME_S, metavar="S", help=f"seconds for each file (default: {TIME_S})"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a file, each on a line of its own")


def run_on_rank_0(args):
    """Check each file. Local."""
    from hpcmp.cli.reading import emit, emit_json
    from hpcmp.errors import EXIT_DONE, EXIT_USER

    memory, asked = _memory(args.memory_limit), {"format": args.format, "columns": args.columns, "names": args.names}
    _check_time(args.time_limit)
    is_fine = True
    for path in args.files:
        found = outcome(path, asked, memory, args.time_limit)
        is_fine &= found["ok"]
        emit_json(found) if args.json else emit(_line(found))
    return EXIT_DONE if is_fine else EXIT_USER


def outcome(path, asked, memory, seconds):
    """What became of a file that a process of its own read: dict. Local.

    Parameters
    ----------
    asked : dict
        Arguments of `checking.Asked`.
    memory : int
        Bytes that reading may take.
    seconds : float
        Of time, and of time of a core.

    Returns
    -------
    dict
        ``file``, ``ok``, and ``kind`` and facts, or ``says``: what is wrong.
    """
    import json
    import signal
    import subprocess
    import sys

    told = json.dumps({"path": path, "asked": asked, "memory": memory, "seconds": seconds})
    argv = [sys.executable, "-c", _program(), told]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds + START_S,
            env=_environment(memory),
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        return {"file": path, "ok": False, "says": SIGNALS["SIGXCPU"].format(seconds=seconds)}
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        says = SIGNALS.get(name, CRASHED).format(seconds=seconds, name=name)
        return {"file": path, "ok": False, "says": says}
    try:
        return {"file": path, **json.loads(done.stdout.splitlines()[-1])}
    except (ValueError, IndexError):
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        return {"file": path, "ok": False, "says": f"reading it failed ({last[:200]}), which is a fault of hpcmp too"}


def _program():
    """What the process runs: with our own path, not the folder that it is started in."""
    import sys

    return f"import sys; sys.path[:] = {sys.path!r}; from hpcmp.cli.checking import main; main()"


def _environment(memory):
    """That of this process without what a launcher of MPI says to it; HDF5 loads no plugins."""
    import os

    launchers = ("PMI_", "PMIX_", "OMPI_", "PALS_", "MV2_", "SLURM_", "PRTE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(launchers)}
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    return kept | threads | {"HPCMP_MAX_MEMORY": str(memory), "HDF5_PLUGIN_PRELOAD": "::"}


def _memory(text):
    from hpcmp.errors import FileError
    from hpcmp.io.free import free_bytes, parsed_bytes

    n_bytes = parsed_bytes(text) if text is not None else free_bytes() or MOST_BYTES
    if not n_bytes:
        raise FileError(f"--memory-limit {text!r} is no number of bytes; write it as 8000000000, 500M or 4G")
    return min(n_bytes, MOST_BYTES)


def _check_time(seconds):
    from hpcmp.errors import FileError

    if not 0 < seconds < 1e7:
        raise FileError(f"--time-limit {seconds:g} must be above 0 and below 10000000 seconds")


def _line(found):
    if not found["ok"]:
        return f"{found['file']}: {found['says'].removeprefix(found['file'] + ': ')}"
    facts = (
        f"{name.removeprefix('n_')} {value}" for name, value in found.items() if name not in ("file", "ok", "kind")
    )
    return f"{found['file']}: {found['kind']}, ok" + "".join(f", {fact}" for fact in facts)
