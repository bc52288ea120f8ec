"""Checkpoints of a run in a folder: raw rows of each rank, and a record that is written last.

    FOLDER/step-000000000120/part-00003.bin    rows of rank 3, one column after the other
    FOLDER/step-000000000120/commit.json       {"crc": ..., "record": what they are, with a CRC-32 of every block}

All is written into a folder with a name that nobody can guess, which gets its own
name when everything is on the disk: a checkpoint that has a name is whole. Rows
say themselves which they are, so that any number of ranks can read them. Parts
are written by a thread and without MPI, so that a run goes on meanwhile.
"""

import contextlib
import errno
import json
import os
import re
import shutil
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpcmp import __version__, pulse
from hpcmp.comm import block_bounds, on_rank_0, raise_together
from hpcmp.errors import FileError, FormatError
from hpcmp.io.free import refuse_more_than_is_free
from hpcmp.io.nested import parse_json
from hpcmp.io.whole_file import flush_folder, new_part_folder, parts_of, usable_folder, write_error, write_errors
from hpcmp.workers import Workers

FORMAT, VERSION = "hpcmp-run-checkpoint", 1
RECORD = "commit.json"
NAME = re.compile(r"step-(\d{12})\Z")
PLAIN = re.compile(r"([<|])([iufcbS])([1-9]\d{0,5})\Z")  # dtypes of columns
BLOCK_BYTES = 1 << 22  # of one CRC
KEPT = 2  # checkpoints
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # not through a link; a pipe is empty and does not let us wait
MAX_RECORD_BYTES = 1 << 28
MAX_WIDTH = 1 << 24  # values of a row


def path_of(folder, step):
    """Where the checkpoint of a step lies. Local."""
    return Path(folder) / f"step-{step:012d}"


def steps_in(folder):
    """Steps of which a folder holds a checkpoint, ascending: list of int. Local."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FileError(f"{folder} cannot be read: {error.strerror}") from error
    return sorted(int(found[1]) for found in map(NAME.match, names) if found)


# ---------------------------------------------------------------- writing


class Writer:
    """Writes checkpoints, one after the other. Collective to make.

    Parameters
    ----------
    folder : path
        Made if it is missing.

    Attributes
    ----------
    n_written, n_bytes : int
        Checkpoints that were committed, and their bytes on all ranks.
    seconds : float
        That the thread of this rank has worked.
    step : int or None
        What is being written.
    """

    def __init__(self, comm, folder):
        self.comm, self.folder = comm, Path(folder)
        self.n_written, self.n_bytes, self.seconds, self.step = 0, 0, 0.0, None
        self._on_rank_0(lambda: _prepare(self.folder))
        self._thread = Workers()

    def _on_rank_0(self, work):
        return on_rank_0(self.comm, write_errors(self.folder)(work))

    def begin(self, step, facts, tables):
        """Begin to write; arrays must stay as they are until `commit`. Collective.

        Parameters
        ----------
        step : int
        facts : dict
            What json can hold; rank 0's counts.
        tables : dict of str to dict of str to (n, ...) array
            This rank's rows of each table, the same columns on all ranks.

        Raises
        ------
        FileError
            The folder cannot be written. Raised on every rank.
        """
        self._part = Path(self._on_rank_0(lambda: new_part_folder(path_of(self.folder, step))))
        self.step, self._facts, self._tables = step, facts, tables
        self._written = self._thread.submit(self._write, self._part / _part_name(self.comm.rank), tables)

    def _write(self, path, tables):
        start = time.perf_counter()
        try:
            return _write_part(path, tables)
        finally:
            self.seconds += time.perf_counter() - start

    @property
    def is_written(self):
        """Whether this rank's part is on the disk, or failed."""
        return self._written.done()

    def commit(self):
        """Give the checkpoint its name, once all parts are on the disk. Collective.

        Raises
        ------
        FileError
            A part or the record could not be written; nothing is left of it,
            and older checkpoints are as they were. Raised on every rank.
        """
        step, self.step, error, crc = self.step, None, None, None
        try:
            with pulse.slow():
                crc = self._written.result()
        except (OSError, MemoryError) as caught:
            error = write_error(path_of(self.folder, step), caught)
        rows = {name: _n_rows(columns) for name, columns in self._tables.items()}
        try:
            raise_together(self.comm, error)
            parts = self.comm.gather({"rows": rows, "crc": crc})
            self._on_rank_0(lambda: self._name(step, parts))
        except BaseException:
            if self.comm.rank == 0:
                shutil.rmtree(self._part, ignore_errors=True)
            raise
        finally:
            n_bytes = sum(a.nbytes for columns in self._tables.values() for a in columns.values())
            self._tables = self._facts = None
        self.n_written += 1
        self.n_bytes += self.comm.allreduce(n_bytes)

    def _name(self, step, parts):
        columns = [
            [table, [[name, a.dtype.str, list(a.shape[1:])] for name, a in columns.items()]]
            for table, columns in self._tables.items()
        ]
        record = {"format": FORMAT, "version": VERSION, "hpcmp": __version__, "step": step}
        record |= {"facts": self._facts, "tables": columns, "parts": parts}
        text = json.dumps(record)
        text = f'{{"crc": {zlib.crc32(text.encode())}, "record": {text}}}'
        with open(self._part / RECORD, "x") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        flush_folder(self._part)
        target = path_of(self.folder, step)
        if target.exists():  # one that could not be read
            aside = Path(new_part_folder(path_of(self.folder, step)))
            os.rename(target, aside)
            os.rename(self._part, target)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.rename(self._part, target)
        flush_folder(self.folder)
        older = [s for s in steps_in(self.folder) if s <= step]
        for s in set(steps_in(self.folder)) - set(older[-KEPT:]):  # later ones are of a run that was left
            shutil.rmtree(path_of(self.folder, s), ignore_errors=True)

    def close(self):
        """Let the thread go. Local."""
        self._thread.close()


def clear(folder):
    """Remove all checkpoints of a folder, and what killed runs left. Local."""
    for step in steps_in(folder):
        shutil.rmtree(path_of(folder, step), ignore_errors=True)
    _remove_unfinished(Path(folder))


def _prepare(folder):
    usable_folder(folder, "checkpoints")
    _remove_unfinished(folder)


def _remove_unfinished(folder):
    for path in parts_of(folder, "step-*"):
        shutil.rmtree(path, ignore_errors=True)


def _part_name(rank):
    return f"part-{rank:05d}.bin"


def _write_part(path, tables):
    """Write the rows of all tables; the CRCs of their blocks, by table and column."""
    found, at = {}, 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    try:
        for table, columns in tables.items():
            found[table] = {}
            for name, a in columns.items():
                found[table][name] = crc = []
                once = _rows_of_block(a.dtype, a.shape[1:])
                for lo in range(0, len(a), once):
                    block = memoryview(np.ascontiguousarray(a[lo : lo + once]).reshape(-1).view(np.uint8))
                    crc.append(zlib.crc32(block))
                    _write_all(descriptor, block)
                    if hasattr(os, "posix_fadvise"):  # begin to bring it to the disk while the next is summed
                        os.posix_fadvise(descriptor, at, len(block), os.POSIX_FADV_DONTNEED)
                    at += len(block)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return found


def _write_all(descriptor, block):
    while block:
        n = os.write(descriptor, block)
        if n == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        block = block[n:]


def _rows_of_block(dtype, shape):
    return max(1, BLOCK_BYTES // max(_row_bytes(dtype, shape), 1))


def _row_bytes(dtype, shape):
    return dtype.itemsize * int(np.prod(shape, dtype=np.int64))


def _n_rows(columns):
    return len(next(iter(columns.values()), ()))


# ---------------------------------------------------------------- reading


@dataclass(frozen=True)
class Snapshot:
    """One checkpoint as its record tells, with the places of its columns; nothing of its rows is read yet."""

    path: Path
    step: int
    facts: dict
    tables: dict  # name -> {column: (dtype, shape of a row)}
    parts: tuple  # of {"rows": {table: n}, "crc": {table: {column: list}}}

    def n_rows(self, table):
        """Rows of a table on all ranks. Local."""
        return sum(part["rows"][table] for part in self.parts)

    def read(self, table, lo, hi):
        """Rows [lo, hi) of a table, whose CRCs must hold: dict of str to array. Local.

        Raises
        ------
        FileError, FormatError
            They cannot be read, or are not what was written.
        """
        pieces, before = [], 0
        for rank, part in enumerate(self.parts):
            n = part["rows"][table]
            first, last = max(lo - before, 0), min(hi - before, n)
            if first < last:
                pieces.append(self._read_part(rank, table, first, last))
            before += n
        return {
            name: np.concatenate([np.empty((0, *shape), dtype), *(piece[name] for piece in pieces)])
            for name, (dtype, shape) in self.tables[table].items()
        }

    def _read_part(self, rank, table, lo, hi):
        with self._part(rank) as (file, columns):
            return {c.name: c.read(file, lo, hi) for c in columns if c.table == table}

    @contextlib.contextmanager
    def _part(self, rank):
        """The file of a rank, and its columns."""
        path, part, columns, at = self.path / _part_name(rank), self.parts[rank], [], 0
        for table, kinds in self.tables.items():
            n = part["rows"][table]
            for name, (dtype, shape) in kinds.items():
                columns.append(_Column(path, table, name, at, n, dtype, shape, part["crc"][table][name]))
                at += n * _row_bytes(dtype, shape)
        try:
            with open(os.open(path, READ), "rb") as file:
                yield file, columns
        except OSError as error:
            raise FileError(f"{path} cannot be read: {error.strerror or error}") from error

    def check(self):
        """Read all rows, block by block. Local.

        Raises
        ------
        FileError, FormatError
            As of `read`.
        """
        for rank in range(len(self.parts)):
            with self._part(rank) as (file, columns):
                for c in columns:
                    once = _rows_of_block(c.dtype, c.shape)
                    for lo in range(0, c.n, once):
                        c.read(file, lo, min(lo + once, c.n))


@dataclass(frozen=True)
class _Column:
    """A column in the file of a rank."""

    path: Path
    table: str
    name: str
    start: int  # byte
    n: int  # rows
    dtype: np.dtype
    shape: tuple  # of a row
    crc: list

    def read(self, file, lo, hi):
        """Rows [lo, hi), by the blocks that hold them. Local."""
        once, row_bytes = _rows_of_block(self.dtype, self.shape), _row_bytes(self.dtype, self.shape)
        first, last = lo // once * once, min(-(-hi // once) * once, self.n)
        what = f"{self.path}: {self.table}/{self.name}"
        refuse_more_than_is_free((last - first) * row_bytes, what)
        rows = np.empty((last - first, *self.shape), self.dtype)
        view = memoryview(rows.reshape(-1).view(np.uint8))
        file.seek(self.start + first * row_bytes)
        for at in range(first, last, once):
            end = min(at + once, last)
            block = view[(at - first) * row_bytes : (end - first) * row_bytes]
            if file.readinto(block) != len(block):
                raise FormatError(f"{what} ends before its last row; the checkpoint is truncated")
            pulse.beat()
            if zlib.crc32(block) != self.crc[at // once]:
                raise FormatError(f"{what}, rows {at} to {end - 1} are not what was written; it is damaged")
        return rows[lo - first : hi - first]


def open_snapshot(path):
    """A checkpoint, its record checked, and the lengths of its parts. Local.

    Raises
    ------
    FileError, FormatError
        There is none, or it breaks a rule of the format.
    """
    path = Path(path)
    record = _read_record(path / RECORD)
    try:
        tables = {
            table: {name: (_plain_dtype(kind, path), tuple(map(int, shape))) for name, kind, shape in columns}
            for table, columns in record["tables"]
        }
        made = Snapshot(path, int(record["step"]), dict(record["facts"]), tables, tuple(record["parts"]))
        for rank in range(len(made.parts)):
            _check_part(made, rank)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{path / RECORD} is no record of a checkpoint: {type(error).__name__} {error}") from error
    return made


def _read_record(path):
    try:
        with open(os.open(path, READ), "rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_RECORD_BYTES:
                raise FormatError(f"{path} has over {MAX_RECORD_BYTES} bytes; no record of a checkpoint has")
            text = file.read()
    except FileNotFoundError as error:
        raise FileError(f"{path.parent} is no checkpoint: it has no {path.name}") from error
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        outer = parse_json(text)
        record, crc = outer["record"], outer["crc"]
        said = record["format"], record["version"]
        is_whole = zlib.crc32(json.dumps(record).encode()) == crc
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path} is no record of a checkpoint; it is damaged") from error
    if said != (FORMAT, VERSION):
        raise FormatError(f"{path} is of format {said[0]!r}, version {said[1]!r}; {FORMAT}, {VERSION} is needed")
    if not is_whole:
        raise FormatError(f"{path} is not what was written; it is damaged")
    return record


def _plain_dtype(text, path):
    if not PLAIN.match(text):
        raise FormatError(f"{path}: a column has the type {text!r}, which no checkpoint has")
    return np.dtype(text)


def _check_part(snapshot, rank):
    """Refuse counts that do not fit each other or the file."""
    part, path, needed = snapshot.parts[rank], snapshot.path / _part_name(rank), 0
    for table, columns in snapshot.tables.items():
        n = part["rows"][table]
        for name, (dtype, shape) in columns.items():
            width = int(np.prod(shape, dtype=object)) if shape else 1
            if not isinstance(n, int) or n < 0 or min(shape, default=0) < 0 or width > MAX_WIDTH:
                raise FormatError(f"{path}: {table}/{name} has {n} rows of {shape} values, which cannot be")
            needed += n * dtype.itemsize * width
            if len(part["crc"][table][name]) != -(-n // _rows_of_block(dtype, shape)):
                raise FormatError(f"{path}: {table}/{name} has not one CRC for each block; the record is damaged")
    try:
        there = os.stat(path, follow_symlinks=False).st_size
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error
    if there != needed:
        raise FormatError(f"{path} has {there} bytes, {needed} were written; the checkpoint is damaged")


@dataclass(frozen=True)
class Loaded:
    """A checkpoint as this rank got it: an even share of the rows of each table."""

    step: int
    facts: dict
    tables: dict  # name -> {column: (n, ...) array}

    def whole(self, comm, table):
        """All rows of a table, in the order of writing, on every rank. Collective."""
        return {name: np.concatenate(comm.allgather(column)) for name, column in self.tables[table].items()}


def load_newest(comm, folder, say):
    """The newest good checkpoint of a folder; None without one. Collective.

    Parameters
    ----------
    say : callable (text)
        Called on rank 0 for each that cannot be used.

    Raises
    ------
    FileError
        The folder cannot be read. Raised on every rank.
    MemoryLimitError
        There is no room for its rows: an older one has as many. Raised on
        every rank.
    """
    for step in reversed(on_rank_0(comm, lambda: steps_in(folder))):
        found, error = None, None
        try:
            snapshot = comm.bcast(_opened(folder, step) if comm.rank == 0 else None)
            if isinstance(snapshot, Exception):
                raise snapshot
            found = {}
            for table in snapshot.tables:
                bounds = block_bounds(snapshot.n_rows(table), comm.size).tolist()
                found[table] = snapshot.read(table, bounds[comm.rank], bounds[comm.rank + 1])
        except (FileError, FormatError, MemoryError) as caught:
            error = caught
        try:
            raise_together(comm, error)
        except (FileError, FormatError) as agreed:
            if comm.rank == 0:
                say(f"the checkpoint of step {step} cannot be used: {agreed}")
            continue
        return Loaded(snapshot.step, snapshot.facts, found)
    return None


def _opened(folder, step):
    try:
        return open_snapshot(path_of(folder, step))
    except (FileError, FormatError) as error:
        return error
