"""One plain HDF5 file, written and read by all ranks, without a parallel HDF5.

Rank 0 creates the datasets in one piece each, allocated early and not filled,
and tells where in the file they begin; every rank then writes its rows there
by MPI-IO. The file appears under its name only when it is complete.
"""

import contextlib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from hpcmp import pulse
from hpcmp.comm import exclusive_sum, on_rank_0, raise_together
from hpcmp.errors import FileError, HpcmpError
from hpcmp.io import h5
from hpcmp.io.whole_file import new_part, put, why, write_errors

MAX_BYTES = 1 << 30  # of one MPI-IO call; counts are C ints
PIECE_BYTES = 1 << 22  # of rows that are made or used a piece at a time; they stay in the last cache


@dataclass(frozen=True)
class Made:
    """Numbers that are made when they are written, a piece at a time."""

    n: int
    dtype: np.dtype
    make: object  # (lo, hi) -> (hi - lo,) array of dtype

    def __len__(self):
        return self.n

    @property
    def shape(self):
        return (self.n,)


@dataclass(frozen=True)
class Slab:
    """This rank's rows of a dataset that lies on all ranks."""

    rows: object  # (m, ...) array, or `Made`
    first: int  # number of the first of them
    n_rows: int  # of all ranks
    attrs: dict = field(default_factory=dict)
    dtype: object = None  # HDF5 type where it is not that of rows (text)


def write_file(comm, path, slabs, attrs, finish=None):
    """Write a file of slabs. Collective.

    Parameters
    ----------
    slabs : dict of str to Slab
        The same names on all ranks.
    attrs : dict
        Attributes of the file.
    finish : callable (h5py.File), optional
        Rank 0 completes the file with it (small tables, scales).

    Raises
    ------
    FileError
        The file cannot be written. Raised on every rank; what was at ``path``
        before is untouched.
    """
    path = Path(path)
    with _part_of(comm, path) as part:
        offsets = _on_rank_0(comm, path, lambda: _create(part, path, slabs, attrs))
        _write_slabs(comm, part, path, slabs, offsets)
        _on_rank_0(comm, path, lambda: _complete(part, path, finish))


def write_text(comm, path, text):
    """Write the ranks' bytes one after the other. Collective.

    Parameters
    ----------
    text : bytes or uint8 array
        This rank's share.
    """
    rows = np.frombuffer(text, np.uint8)
    before, total = exclusive_sum(comm, len(rows))
    path = Path(path)
    slab = {"": Slab(rows, before, total)}
    with _part_of(comm, path) as part:
        _on_rank_0(comm, path, lambda: _check_room(path, total))
        _write_slabs(comm, part, path, slab, {"": 0})
        _on_rank_0(comm, path, lambda: put(part, path))


def check_writable(comm, path, *inputs):
    """Refuse an output that could not be written, before any work. Collective.

    Parameters
    ----------
    inputs : path or None
        What the command reads; the output must not replace any of it.

    Raises
    ------
    FileError
        Its folder is missing or closed, or it is a folder. Raised on every
        rank.
    """
    path, error = Path(path), None
    if comm.rank == 0:
        if path.is_dir():
            error = FileError(f"{path} is a folder; name a file to write")
        elif not path.parent.is_dir():
            error = FileError(f"the folder {path.parent} of {path} does not exist; make it first")
        elif not os.access(path.parent, os.W_OK):
            error = FileError(f"the folder {path.parent} of {path} cannot be written: permission denied")
        elif any(_is_same_file(path, other) for other in inputs if other is not None):
            error = FileError(f"{path} is an input of this command; write to another file")
    raise_together(comm, error)


def _is_same_file(path, other):
    try:
        return os.path.samefile(path, other)
    except OSError:  # one of them is not there
        return False


class Reader:
    """Datasets of one file, of which every rank reads a run of rows. Collective to open and close.

    A rank's rows are one stretch of the file, so ranks read on their own.
    """

    def __init__(self, comm, path):
        from mpi4py import MPI

        self.comm, self.path, self.status = comm, path, MPI.Status()
        self.failed = _Failures(comm, f"{path} cannot be read")
        self.handle = _open(comm, path, MPI.MODE_RDONLY, self.failed)

    def rows(self, plan, first, n_rows):
        """Rows [first, first + n_rows) of a dataset. Collective.

        Parameters
        ----------
        plan : (offset, dtype, shape)
            Of the whole dataset; the offset is from `h5.contiguous_offset`.
        """
        rows = np.empty((n_rows, *plan[2][1:]), plan[1])
        with self.failed:
            self._fill(rows, plan, first, MAX_BYTES)
        self.failed.raise_together()
        return rows

    def pieces(self, plan, first, n_rows, use):
        """Hand rows to ``use(at, rows)`` a piece at a time. Collective.

        The next piece overwrites them. What ``use`` raises is raised on all ranks, after the last piece.
        """
        row_bytes = plan[1].itemsize * int(np.prod(plan[2][1:], dtype=np.int64))
        n_once = max(1, PIECE_BYTES // row_bytes)
        buffer = np.empty((min(n_once, n_rows), *plan[2][1:]), plan[1])
        with self.failed:
            for at in range(0, n_rows, n_once):
                rows = buffer[: min(n_once, n_rows - at)]
                self._fill(rows, plan, first + at, MAX_BYTES)
                use(at, rows)
        self.failed.raise_together()

    def _fill(self, rows, plan, first, n_once):
        from mpi4py import MPI

        flat = rows.reshape(-1).view(np.uint8)
        start = (plan[0] or 0) + first * (rows.nbytes // max(len(rows), 1))
        for at in range(0, len(flat), n_once):
            piece = flat[at : at + n_once]
            with pulse.slow():
                self.handle.Read_at(start + at, piece, self.status)
            if self.status.Get_count(MPI.BYTE) != len(piece):
                raise FileError(f"{self.path} ends within a dataset; it is truncated")

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None or getattr(error, "agreed", False):
            self.handle.Close()


@contextlib.contextmanager
def _part_of(comm, path):
    """A new file for what will be ``path``; it goes when the block fails. Collective."""
    part = _on_rank_0(comm, path, lambda: new_part(path))
    try:
        yield part
    except BaseException:
        if comm.rank == 0:
            part.unlink(missing_ok=True)
        raise


def _create(part, path, slabs, attrs):
    """Datasets without data; where each begins."""
    _check_room(path, sum(_bytes_of(s) for s in slabs.values()))
    with h5py.File(part, "w", libver=("v110", "v110")) as handle:
        h5.set_attributes(handle, attrs)
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.CONTIGUOUS)
        plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
        links.set_create_intermediate_group(True)
        offsets = {}
        for name, slab in slabs.items():
            shape = (slab.n_rows, *slab.rows.shape[1:])
            kind = h5py.h5t.py_create(np.dtype(slab.dtype or slab.rows.dtype), logical=True)
            made = h5py.h5d.create(handle.id, name.encode(), kind, h5py.h5s.create_simple(shape), plist, lcpl=links)
            h5.set_attributes(handle[name], slab.attrs)
            offsets[name] = made.get_offset() if np.prod(shape) else None
    return offsets


def _write_slabs(comm, part, path, slabs, offsets):
    from mpi4py import MPI

    failed = _Failures(comm, f"{path} cannot be written")
    handle = _open(comm, part, MPI.MODE_WRONLY, failed)
    for name, slab in slabs.items():
        if offsets[name] is None:
            continue
        row_bytes = _bytes_of(slab) // max(slab.n_rows, 1)
        start = offsets[name] + slab.first * row_bytes
        for at, piece in _pieces(comm, slab.rows, row_bytes):
            with failed, pulse.slow():  # a rank that fails stays with the others to the last piece
                handle.Write_at_all(start + at, piece)
    with failed, pulse.slow():
        handle.Close()
    failed.raise_together()


def _open(comm, path, mode, failed):
    from mpi4py import MPI

    handle = None
    with failed:
        handle = MPI.File.Open(comm, str(path), mode)
    failed.raise_together()
    return handle


class _Failures:
    """Remembers this rank's first failure of several collective calls, to be raised by all after the last."""

    def __init__(self, comm, what):
        self.comm, self.what, self.error = comm, what, None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, Exception):
            found = error if isinstance(error, HpcmpError) else FileError(f"{self.what}: {why(error)}")
            self.error = self.error or found
        return isinstance(error, Exception)

    def raise_together(self):
        """Raise the first failure of any rank, on all. Collective."""
        raise_together(self.comm, self.error)


def _pieces(comm, rows, row_bytes):
    """(byte offset, bytes) of rows in pieces; every rank has equally many."""
    n_once = max(1, (PIECE_BYTES if isinstance(rows, Made) else MAX_BYTES) // max(row_bytes, 1))
    make = rows.make if isinstance(rows, Made) else lambda lo, hi: np.ascontiguousarray(rows[lo:hi])
    for k in range(max([1, *comm.allgather(-(-len(rows) // n_once))])):
        lo, hi = min(k * n_once, len(rows)), min((k + 1) * n_once, len(rows))
        yield lo * row_bytes, make(lo, hi).reshape(-1).view(np.uint8)


def _complete(part, path, finish):
    with h5py.File(part, "r+") as handle:
        if finish is not None:
            finish(handle)
    put(part, path)


def _check_room(path, needed):
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise FileError(f"{path} needs {needed} bytes, {path.parent} has {free} free; make room or write elsewhere")


def _on_rank_0(comm, path, work):
    """Do work on rank 0; its result, or its error, on all ranks."""
    return on_rank_0(comm, write_errors(path, (OSError, RuntimeError))(work))


def _bytes_of(slab):
    return slab.n_rows * slab.rows.dtype.itemsize * int(np.prod(slab.rows.shape[1:], dtype=np.int64))
