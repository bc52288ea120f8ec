"""Files of training: checkpoints, and the history of all epochs.

    FOLDER/checkpoint-SEED.h5           of each seed
    FOLDER/checkpoint-SEED.before.h5    the one before it, taken where the newest is damaged
    FOLDER/history.h5                   one row an epoch and seed

In a checkpoint:

    weights/NAME          a parameter              best/NAME   the same in the best epoch
    optimizer/KIND/NAME   what the optimiser keeps of a parameter
    places/NAME           of rows of vertices and relations: order of the id * relations + relation, ascending
    history/COLUMN        (epoch)

A history file has its columns at the top, along ``row``: an epoch of a seed.
Rows of vertices lie by ascending id. Rank 0 writes and reads both files; one appears under its name
only when it is complete and on the disk.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np

from hpcmp.comm import on_rank_0
from hpcmp.errors import FormatError
from hpcmp.io import h5
from hpcmp.io.parallel import write_file
from hpcmp.io.provenance import provenance
from hpcmp.io.whole_file import stream_of, write_errors

HISTORY = "history.h5"
WEIGHTS, BEST, OPTIMIZER, PLACES, EPOCHS = "weights", "best", "optimizer", "places", "history"
ROW = "row"
COUNTS = (
    "seed",
    "n_epochs",
    "n_in",
    "n_out",
    "n_relations",
    "n_vertices",
)  # attributes of a checkpoint; those of both kinds:
TEXTS = ("graph_digest", "digest", "mpi_library")


def path_of(folder, seed):
    """Where the checkpoint of a seed lies. Local."""
    return Path(folder) / f"checkpoint-{seed}.h5"


def before(path):
    """Where the checkpoint before a checkpoint lies. Local."""
    return path.with_suffix(".before.h5")


def seeds_in(folder):
    """Seeds of which a folder holds a checkpoint, ascending: list of int. Local."""
    names = (path.name.removeprefix("checkpoint-").removesuffix(".h5") for path in files_in(folder))
    return sorted(int(name) for name in names if name.isdigit())


def files_in(folder):
    """Files of a training in a folder: list of Path. Local."""
    return sorted([*Path(folder).glob("checkpoint-*.h5"), *Path(folder).glob(HISTORY)])


def write_checkpoint(comm, path, attrs, arrays, columns, sources=()):
    """Write a checkpoint; an older file stays until it is whole. Collective.

    Parameters
    ----------
    attrs : dict
        `COUNTS`, `TEXTS`, ``rows_digest``, ``code`` and ``config`` as tables.
    arrays : dict of str to array
        By name in the file, the same on all ranks.
    columns : dict of str to (epochs,) array

    Raises
    ------
    FileError
        It cannot be written. Raised on every rank.
    """
    attrs = attrs | {"content": content_of(arrays, columns, attrs)}

    def finish(handle):
        for name, a in arrays.items():
            handle.create_dataset(name, data=a)
        _write_columns(handle.create_group(EPOCHS), columns, "epoch")

    write_file(comm, path, {}, _attributes(h5.CHECKPOINT, attrs, sources), finish)


def write_history(comm, path, attrs, columns, sources=()):
    """Write a history file, of columns of one length. Collective."""
    n = len(next(iter(columns.values()), ()))
    table = {ROW: np.arange(n)} | columns
    attrs = attrs | {"n_rows": n}
    write_file(
        comm, path, {}, _attributes(h5.HISTORY, attrs, sources), lambda handle: _write_columns(handle, table, ROW)
    )


def keep_one_before(comm, path):
    """Let a checkpoint be the one `before` too, whatever was that. Collective.

    It stays under its own name until another takes that.

    Raises
    ------
    FileError
        It cannot. Raised on every rank.
    """

    def keep():
        if not path.exists():
            return
        with write_errors(other := before(path)):
            other.unlink(missing_ok=True)
            try:
                os.link(path, other)
            except OSError:  # a file system without links
                with stream_of(other) as out, open(path, "rb") as file:
                    shutil.copyfileobj(file, out)

    on_rank_0(comm, keep)


def read_checkpoint(comm, path):
    """What a checkpoint holds, on all ranks: (attrs, arrays, columns). Collective.

    Raises
    ------
    FileError, FormatError
        It cannot be read or is damaged. Raised on every rank.
    """
    return on_rank_0(comm, lambda: load_checkpoint(path))


def load_checkpoint(path):
    """What a checkpoint holds: (attrs, arrays, columns). Local."""
    with h5.opened(path, h5.CHECKPOINT) as handle:
        head = checkpoint_head(handle, path)
        arrays = {name: _read(handle, name, path) for name in head["arrays"]}
        columns = {name: _read(handle, f"{EPOCHS}/{name}", path) for name in head["columns"]}
    if content_of(arrays, columns, head) != head["content"]:
        raise FormatError(f"{path} holds other bytes than were written; it is damaged, an older copy is needed")
    return head, arrays, columns


def checkpoint_head(handle, path):
    """What a checkpoint says of itself, datasets checked, not read: dict. Local."""
    head = {name: h5.attribute(handle, name, int, path=path) for name in COUNTS}
    head |= {name: h5.attribute(handle, name, str, path=path) for name in (*TEXTS, "content", "rows_digest", "code")}
    head["config"] = h5.json_attribute(handle, "config", dict, path=path)
    head["sources"] = h5.json_attribute(handle, "sources", list, path=path)
    head["arrays"] = {}
    for holder in (WEIGHTS, BEST, OPTIMIZER, PLACES):
        if holder in handle or holder == WEIGHTS:
            head["arrays"] |= _arrays_of(handle, holder, path)
    head["columns"] = _columns_of(handle, EPOCHS, path, head["n_epochs"])
    return head


def history_head(handle, path):
    """What a history file says of itself: dict. Local."""
    n = h5.attribute(handle, "n_rows", int, path=path)
    head = {name: h5.attribute(handle, name, str, path=path) for name in ("graph_digest", "mpi_library")}
    head["config"] = h5.json_attribute(handle, "config", dict, path=path)
    head["sources"] = h5.json_attribute(handle, "sources", list, path=path)
    return head | {"n_rows": n, "columns": _columns_of(handle, "", path, n)}


def content_of(arrays, columns, head):
    """SHA-256 of what a checkpoint says of itself and holds. Local."""
    h = hashlib.sha256()
    for name in (*COUNTS, *TEXTS, "rows_digest", "code"):
        h.update(f"{name} {head[name]}\n".encode())
    h.update(json.dumps(head["config"], sort_keys=True).encode())
    for table in (arrays, columns):
        for name in sorted(table):
            a = np.ascontiguousarray(table[name])
            h.update(f"{name} {a.dtype.str} {a.shape}\n".encode())
            h.update(a.tobytes())
    return h.hexdigest()


def _attributes(kind, attrs, sources):
    settled = {k: json.dumps(v) if isinstance(v, dict | list) else v for k, v in attrs.items()}
    return {"format": kind, "version": h5.VERSION, **settled, **provenance(sources=sources)}


def _write_columns(group, columns, dimension):
    """Columns along a dimension, whose scale is set so that xarray knows it."""
    for name, values in columns.items():
        made = group.create_dataset(name, data=values)
        if name.endswith("_s"):
            h5.set_attributes(made, {"units": "s"})
        elif name.endswith("_bytes"):
            h5.set_attributes(made, {"units": "bytes"})
        if name == dimension:
            made.make_scale(name)
        else:
            made.dims[0].attach_scale(group[dimension])


def _arrays_of(handle, holder, path):
    """Datasets of a group, two levels deep: name -> (shape, dtype)."""
    found = {}
    for name in h5.names_of(h5.group(handle, holder, path=path), path):
        full = f"{holder}/{name}"
        if holder == OPTIMIZER:
            for leaf in h5.names_of(h5.group(handle, full, path=path), path):
                found[f"{full}/{leaf}"] = _shape_of(h5.dataset(handle, f"{full}/{leaf}", path=path, kinds="f"))
        else:
            found[full] = _shape_of(h5.dataset(handle, full, path=path, kinds="i" if holder == PLACES else "f"))
    return found


def _columns_of(handle, holder, path, n):
    group = h5.group(handle, holder, path=path) if holder else handle
    names = (f"{holder}/{name}" if holder else name for name in h5.names_of(group, path))
    return {
        name.rpartition("/")[2]: _shape_of(h5.dataset(handle, name, path=path, ndim=1, kinds="iuf", rows=n))
        for name in names
    }


def _read(handle, name, path):
    return h5.read(h5.dataset(handle, name, path=path), path)


def _shape_of(found):
    return found.shape, found.dtype
