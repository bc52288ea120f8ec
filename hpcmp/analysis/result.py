"""A result file: rows in ascending id, and the tables of steps and ranks."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from hpcmp.analysis.frame import PROVENANCE, as_text, blocks, check_field, columns_of, field_of, pandas
from hpcmp.errors import FormatError, GraphError, require
from hpcmp.hashing import combine_blocks, digest_blocks
from hpcmp.io import h5, result_file


@dataclass(frozen=True)
class ResultFile:
    """A result on disk. ``result[field]`` reads a field of all vertices, by ascending id."""

    path: Path
    n_vertices: int
    n_edges: int
    n_steps: int
    program: str
    params: dict
    values: dict  # global answers
    converged: bool | None  # None: the program has no rule to end by
    seconds: dict  # phase -> wall seconds
    halo: dict  # rows, bytes, wait_s: sums over ranks and steps
    size: int  # ranks that ran it
    threads: int  # of each rank
    peak_rss_bytes: int  # sum over ranks
    mpi_library: str
    sources: list  # files the graph came from: {"name":, "bytes":, "sha256":}
    digest: str  # of (id, fields), as the run computed it
    graph_digest: str
    has_names: bool
    fields: dict  # name -> Field
    step_columns: tuple
    rank_columns: tuple
    attrs: dict  # all attributes of the file

    @classmethod
    def read_frame(cls, handle, path):
        """All but the rows, from an open file. Local.

        Raises
        ------
        FormatError
            It is not a complete result file.
        """
        head = result_file.read_head(handle, path)
        return cls(
            path=Path(path),
            fields={name: field_of(*found) for name, found in head.pop("fields").items()},
            step_columns=_in_reading_order(head.pop(h5.STEPS), "step"),
            rank_columns=_in_reading_order(head.pop(h5.RANKS), "rank"),
            **head,
        )

    # ------------------------------------------------------------ rows

    def __getitem__(self, name):
        """A field of all vertices, (n,) or (n, width); read anew each time. Local."""
        check_field(name, self.fields, self.path)
        with h5.opened(self.path, h5.RESULT) as handle:
            return h5.read(self._dataset(handle, name), self.path)

    @cached_property
    def id(self):
        """Vertex ids, ascending: int64 (n,)."""
        with h5.opened(self.path, h5.RESULT) as handle:
            return h5.read(self._dataset(handle, h5.ID), self.path)

    @cached_property
    def name(self):
        """Vertex names: str (n,); None where vertices have only ids."""
        if not self.has_names:
            return None
        with h5.opened(self.path, h5.RESULT) as handle:
            return as_text(h5.read(self._dataset(handle, h5.NAME), self.path))

    def row_blocks(self, names, block_rows=None):
        """Rows block by block, in ascending id. Local.

        Parameters
        ----------
        names : sequence of str
            Fields; ``id`` and ``name`` too (names as UTF-8 bytes).

        Yields
        ------
        dict of str to array
        """
        with h5.opened(self.path, h5.RESULT) as handle:
            columns = {name: self._dataset(handle, name) for name in names}
            for lo, hi in blocks(self.n_vertices, block_rows):
                yield {name: h5.read(column, self.path, lo, hi) for name, column in columns.items()}

    def top(self, field, k):
        """The k vertices with the largest values of a field. Local.

        Returns
        -------
        ids : int64 (k,)
            By descending value, then ascending id; fewer where there are
            fewer vertices. NaN comes last.
        values : (k,)
        """
        check_field(field, self.fields, self.path)
        if self.fields[field].width is not None:
            raise GraphError(
                f"{field} has {self.fields[field].width} channels; top needs a field of one value a vertex"
            )
        ids, values = np.empty(0, np.int64), np.empty(0, self.fields[field].dtype)
        for rows in self.row_blocks([h5.ID, field]):
            ids, values = np.concatenate((ids, rows[h5.ID])), np.concatenate((values, rows[field]))
            kept = _largest(_comparable(values), k)
            ids, values = ids[kept], values[kept]
        # Stable from the back, then turned round: equal values stay in ascending id.
        falling = len(ids) - 1 - np.argsort(_comparable(values)[::-1], kind="stable")[::-1]
        return ids[falling], values[falling]

    def names_of(self, ids):
        """Names of some vertices: str (len(ids),); None where there are none. Local."""
        return None if self.name is None else self.name[np.searchsorted(self.id, ids)]

    def compute_digest(self):
        """Digest of the rows as they are in the file: 64 hex digits. Local.

        Needs memory for a block of rows, not for the result.
        """
        hashes = []
        for rows in self.row_blocks([h5.ID, *self.fields]):
            ids = rows.pop(h5.ID)
            hashes.append(digest_blocks(ids, rows))
        layout = {name: np.empty((0,) if f.width is None else (0, f.width), f.dtype) for name, f in self.fields.items()}
        return combine_blocks(self.n_vertices, layout, b"".join(hashes))

    def verify_digest(self):
        """Check that the rows are those the run wrote; the digest. Local.

        Raises
        ------
        FormatError
            The rows have another digest than the file says.
        """
        found = self.compute_digest()
        if found != self.digest:
            raise FormatError(
                f"{self.path}: the rows have the digest {found[:16]}..., the file says {self.digest[:16]}...; "
                "it was changed after it was written: restore it or run the program again"
            )
        return found

    # ------------------------------------------------------------ tables

    @cached_property
    def steps(self):
        """One row a step: dict of column to array (n_steps,)."""
        return self._table(h5.STEPS, self.step_columns)

    @cached_property
    def ranks(self):
        """One row a rank: dict of column to array (size,)."""
        return self._table(h5.RANKS, self.rank_columns)

    @property
    def provenance(self):
        """Where the file came from: version, time, command, sources."""
        return {**{name: self.attrs[name] for name in PROVENANCE if name in self.attrs}, "sources": self.sources}

    # ------------------------------------------------------------ views

    def to_pandas(self):
        """Fields as a pandas frame by id, one column a channel. Local."""
        columns = {} if self.name is None else {h5.NAME: self.name}
        for name in self.fields:
            columns |= columns_of(name, self[name])
        return pandas().DataFrame(columns, index=pandas().Index(self.id, name=h5.ID))

    def steps_frame(self):
        """The table of steps as a pandas frame. Local."""
        return _frame(self.steps, "step")

    def ranks_frame(self):
        """The table of ranks as a pandas frame. Local."""
        return _frame(self.ranks, "rank")

    def to_xarray(self):
        """Fields as an xarray dataset with the dimension ``id``. Local.

        ``xarray.open_dataset(path, engine="h5netcdf")`` shows the same, read
        when it is used and with names as bytes.
        """
        xarray = require("xarray", "xarray", "an xarray dataset")
        variables = {}
        for name, field in self.fields.items():
            dims = (h5.ID,) if field.width is None else (h5.ID, f"{name}_channel")
            variables[name] = (dims, self[name])
        channels = {f"{name}_channel": np.arange(f.width) for name, f in self.fields.items() if f.width is not None}
        names = {} if self.name is None else {h5.NAME: (h5.ID, self.name)}
        return xarray.Dataset(variables, coords={h5.ID: self.id, **channels, **names}, attrs=self.attrs)

    # ------------------------------------------------------------ private

    def _dataset(self, handle, name):
        """A dataset; the file may have been replaced since its frame was read."""
        found = h5.dataset(handle, name, path=self.path, rows=self.n_vertices)
        if name in self.fields and field_of(found.shape, found.dtype) != self.fields[name]:
            raise FormatError(f"{self.path}: {name} changed while it was being read; open the file again")
        return found

    def _table(self, group, columns):
        with h5.opened(self.path, h5.RESULT) as handle:
            table = {
                name: h5.read(h5.dataset(handle, f"{group}/{name}", path=self.path, ndim=1), self.path)
                for name in columns
            }
        return {name: as_text(column) if column.dtype.kind == "S" else column for name, column in table.items()}


def _in_reading_order(columns, dimension):
    """Columns with the dimension first, then counts, seconds and values."""

    def place(name):
        is_value = name.startswith("value_")
        return name != dimension, is_value, not is_value and name.endswith("_s"), name

    return tuple(sorted(columns, key=place))


def _comparable(values):
    """Values with NaN as the smallest."""
    return np.where(np.isnan(values), -np.inf, values) if values.dtype.kind == "f" else values


def _largest(values, k):
    """Rows of the k largest values, ascending; of equal values the first rows."""
    if k <= 0:
        return np.empty(0, np.int64)
    if k >= len(values):
        return np.arange(len(values))
    least = np.partition(values, len(values) - k)[len(values) - k]
    above = np.flatnonzero(values > least)
    equal = np.flatnonzero(values == least)[: k - len(above)]
    return np.sort(np.concatenate((above, equal)))


def _frame(table, dimension):
    columns = dict(table)
    index = columns.pop(dimension, np.empty(0, np.int64))
    return pandas().DataFrame(columns, index=pandas().Index(index, name=dimension))
