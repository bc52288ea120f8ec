"""What `hpcmp check` does in a process of its own: one file or folder, read whole.

A kind of file has a row in `CHECKS`; a kind of folder one in `FOLDERS` too. A check reads all there is, raises an HpcmpError
where something is wrong, and gives what is worth telling: a dict.
"""

import json
import os
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

from hpcmp.errors import FileError, FormatError, HpcmpError, MemoryLimitError

BEGIN_BYTES = 4096  # by which a kind is told
TEXT_SPARE = 1 << 29  # bytes that MPI and the compiled loops of text readers may take besides
HDF5_MARK, ZIP_MARKS, GZIP_MARK, UTF8_MARK = (
    b"\x89HDF\r\n\x1a\n",
    (b"PK\x03\x04", b"PK\x05\x06"),
    b"\x1f\x8b",
    b"\xef\xbb\xbf",
)
LOG_COLUMNS = "sender,receiver,time"


@dataclass(frozen=True)
class Asked:
    """What a caller says of files that do not say it themselves."""

    format: str | None = None  # a key of `CHECKS`; None: by the content, else by the name
    columns: str | None = None  # of edge lists and logs
    names: bool = False  # whether vertices have names


def check(path, asked=None):
    """Read a file or folder whole and check it: dict of what it is. Local.

    Raises
    ------
    HpcmpError
        It breaks a rule.
    """
    asked = asked or Asked()
    kind = asked.format or kind_of(path)
    return {"kind": kind, **CHECKS[kind](path, asked)}


# ---------------------------------------------------------------- what a file is


def kind_of(path):
    """Kind of a file or folder: a key of `CHECKS`. Local.

    By its content; of texts that look alike, by its name.
    """
    path = Path(path)
    if path.is_dir():
        kind = next((kind for kind, is_one in FOLDERS.items() if is_one(path)), None)
        if kind is None:
            raise FileError(f"{path} is a folder of nothing that hpcmp knows")
        return kind
    from hpcmp.io.h5 import check_is_file

    check_is_file(path)
    with open(path, "rb") as file:
        begin = file.read(BEGIN_BYTES)
    if begin.startswith(HDF5_MARK) or path.suffix in (".h5", ".hdf5"):
        return "hdf5"
    if begin.startswith(ZIP_MARKS):
        return "npz"
    if begin[8:9] == b"{" and int.from_bytes(begin[:8], "little") <= path.stat().st_size - 8:
        return "safetensors"
    return _kind_of_text(path, _unpacked(begin).removeprefix(UTF8_MARK).lstrip())


def _unpacked(begin):
    if not begin.startswith(GZIP_MARK):
        return begin
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(begin, BEGIN_BYTES)
    except zlib.error:
        return b""  # whoever reads it will say so


def _kind_of_text(path, text):
    from hpcmp.io.readers import guess_format

    if path.suffix == ".toml":
        return "config"
    if text.lower().startswith(b"%%matrixmarket"):
        return "matrixmarket"
    if text.startswith((b"<?xml", b"<!--", b"<!DOCTYPE", b"<graphml")):
        return "graphml"
    if text.startswith(b"{"):
        return "log"
    rows = [line for line in text.splitlines() if line.strip() and not line.startswith(b"#")]
    if rows and rows[0].startswith((b"<", b"_:")) and rows[0].rstrip().endswith(b"."):
        return "ntriples"
    return guess_format(path)


# ---------------------------------------------------------------- checks


def _hdf5(path, asked):
    from hpcmp import analysis
    from hpcmp.analysis.check import check_graph, check_result
    from hpcmp.io import h5

    with h5.opened(path) as handle:
        kind = h5.attribute(handle, "format", str, path=path)
    if kind in (h5.SEGMENT, h5.TRAIL_AGENTS, h5.TRAIL_TIMING):
        raise FormatError(f"{path} is a part of a trail; check the folder {Path(path).parent}")
    found = analysis.open(path)
    if isinstance(found, analysis.GraphFile):
        check_graph(found)
        return {"kind": kind, "n_vertices": found.n_vertices, "n_edges": found.n_edges}
    if isinstance(found, analysis.ResultFile):
        check_result(found)
        for _ in found.row_blocks([h5.NAME] if found.has_names else []):
            pass
        return {"kind": kind, "n_vertices": found.n_vertices, "program": found.program}
    if isinstance(found, analysis.Trail):
        return {"kind": kind, **_trail(path, asked)}
    found.check()
    return {"kind": kind, "n_epochs": found.facts()["n_epochs"]}


def _trail(path, asked):
    from hpcmp import analysis

    found = analysis.open(path)
    found.check()
    return {
        "records": found.n,
        "agents": len(found.agents),
        "named": found.names is not None,
        "timed": bool(found.timing),
    }


def _training(path, asked):
    from hpcmp.io.checkpoint import files_in

    files = files_in(path)
    for file in files:
        _hdf5(file, asked)
    return {"files": len(files)}


def _snapshots(path, asked):
    """The checkpoints of a run, or one of them."""
    from hpcmp.io.snapshot import RECORD, open_snapshot, path_of, steps_in

    path = Path(path)
    steps = [path] if (path / RECORD).exists() else [path_of(path, step) for step in steps_in(path)]
    for one in steps:
        open_snapshot(one).check()
    return {"checkpoints": len(steps)}


def _edges(path, asked):
    """A text or npz that holds edges."""
    from mpi4py import MPI

    from hpcmp.io.readers import guess_format, read_edges, read_vertices

    kind = asked.format or kind_of(path)
    table = read_edges(MPI.COMM_SELF, os.fspath(path), format=kind, columns=asked.columns, names=asked.names)
    if kind == "graphml" and guess_format(path) == kind:
        read_vertices(MPI.COMM_SELF, os.fspath(path), names=asked.names)
    return {"n_edges": len(table.src)}


def _vertices(path, asked):
    from mpi4py import MPI

    from hpcmp.io.readers import read_vertices

    return {"n_vertices": len(read_vertices(MPI.COMM_SELF, os.fspath(path), names=asked.names).key)}


def _log(path, asked):
    from hpcmp.io.log import import_log

    found = import_log(path, None, asked.columns or LOG_COLUMNS)
    return {"records": found["records"], "agents": found["agents"]}


def _safetensors(path, asked):
    from hpcmp.nn.weights import read_file

    return {"arrays": len(read_file(path))}


def _config(path, asked):
    from hpcmp.cli.learning import read_config

    read_config(path)
    return {}


def _is_trail(path):
    from hpcmp.io.trail import is_trail

    return is_trail(path)


def _is_training(path):
    from hpcmp.io.checkpoint import files_in

    return bool(files_in(path))


def _has_snapshots(path):
    from hpcmp.io.snapshot import RECORD, steps_in

    return bool(steps_in(path)) or (path / RECORD).exists()


FOLDERS = {"hpcmp-trail": _is_trail, "training": _is_training, "hpcmp-run-checkpoint": _has_snapshots}
TEXTS = ("edgelist", "ldbc", "matrixmarket", "metis", "graphml", "ntriples")
CHECKS = {
    "hdf5": _hdf5,
    "hpcmp-trail": _trail,
    "training": _training,
    "hpcmp-run-checkpoint": _snapshots,
    **dict.fromkeys((*TEXTS, "npz"), _edges),
    "vertices": _vertices,
    "log": _log,
    "safetensors": _safetensors,
    "config": _config,
}


# ---------------------------------------------------------------- the process


def main():
    """Check what the command line says; JSON in and out. Local."""
    told = json.loads(sys.argv[1])
    asked, path = Asked(**told["asked"]), told["path"]
    try:
        kind = asked.format or kind_of(path)
        _limit(told["memory"] + (TEXT_SPARE if CHECKS[kind] in (_edges, _vertices) else 0), told["seconds"])
        answer = {"ok": True, **check(path, asked)}
    except HpcmpError as error:
        answer = {"ok": False, "says": str(error), "limit": isinstance(error, MemoryLimitError)}
    except MemoryError:
        answer = {"ok": False, "says": "it takes more memory than it may have", "limit": True}
    sys.stdout.write(json.dumps(answer) + "\n")


def _limit(n_bytes, seconds):
    """Take no more memory than that besides what was taken, and no more time of a core."""
    import resource

    import hpcmp.io.h5  # noqa: F401  (what libraries take is no part of it)

    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, soft + 2))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name, n_taken in (("RLIMIT_DATA", _taken_bytes("VmData")), ("RLIMIT_AS", _taken_bytes("VmSize"))):
        if n_taken is not None:
            hard = resource.getrlimit(getattr(resource, name))[1]
            wanted = n_taken + n_bytes if name == "RLIMIT_DATA" else n_taken + 2 * n_bytes + TEXT_SPARE
            wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(getattr(resource, name), (wanted, hard))


def _taken_bytes(name):
    """Bytes that this process has, by a line of its status; None: the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:")), None)
