"""Arrays of numpy: sparse matrices of scipy, or ``src`` and ``dst``.

A matrix (csr, csc or coo, as `scipy.sparse.save_npz` writes it) has the edge
i -> j for its entry (i, j), and all n vertices 0..n - 1. Otherwise the file
holds ``edge_index`` (2, m), or ``src`` and ``dst`` (m,); every other array of
m numbers is an edge field.

Every rank reads its own rows of every array out of the zip file. Pickled
objects are refused: to read them is to run them.
"""

import contextlib
import os
import zipfile
import zlib

import numpy as np

from hpcmp.comm import block_bounds, together
from hpcmp.dtypes import ID, field_dtype
from hpcmp.errors import FormatError, InputError
from hpcmp.io.free import refuse_more_than_is_free
from hpcmp.io.readers import columns as c
from hpcmp.io.readers.matrixmarket import check_declared, declared
from hpcmp.io.table import EdgeTable
from hpcmp.io.text import describe_file, reading

INDEX_ARRAYS = {"coo": ("row", "col"), "csr": ("indptr", "indices"), "csc": ("indptr", "indices")}
READ_BYTES = 2**26  # unpacked at once
NARROWED = {np.dtype(np.float16): np.dtype(np.float32), np.dtype(np.uint64): np.dtype(np.int64)}


def read(comm, path, options):
    """Edges of an npz file, each rank its block of rows. Collective.

    Returns
    -------
    EdgeTable
        A matrix is ``directed`` and declares its vertices; arrays say neither.
    """
    source = describe_file(comm, path)
    with together(comm), reading(path), _opened(path) as arrays:
        if "format" in arrays.members or "indptr" in arrays.members:
            src, dst, fields, n = _matrix(arrays, comm.rank, comm.size)
            vertices, directed = declared(comm, 0, n), True
        else:
            src, dst, fields = _arrays(arrays, comm.rank, comm.size)
            vertices, directed = np.empty(0, ID), None
    return EdgeTable(src, dst, fields, vertices=vertices, directed=directed, sources=(source,))


# ---------------------------------------------------------------- rows of a zipped array


@contextlib.contextmanager
def _opened(path):
    name = os.path.basename(path)
    try:
        with zipfile.ZipFile(path) as file:
            yield _Arrays(name, file)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise FormatError(f"{name} is not an npz file, or a damaged one: {str(error)[: c.LISTED]}") from error


class _Arrays:
    """The arrays of an npz file, read by rows."""

    def __init__(self, name, file):
        self.name, self.file = name, file
        self.members = {
            one.filename.removesuffix(".npy"): one for one in file.infolist() if one.filename.endswith(".npy")
        }

    def shape(self, key):
        """Shape of an array. Local."""
        with self._at_data(key) as (_, shape, _, _):
            return shape

    def rows(self, key, lo, hi):
        """Rows lo to hi of an array (0-d: all of it). Local."""
        with self._at_data(key) as (stream, shape, dtype, is_fortran):
            if is_fortran and len(shape) > 1:
                raise InputError(
                    f"the array {key!r} of {self.name} is in Fortran order; save it with numpy.ascontiguousarray"
                )
            width = int(np.prod(shape[1:], dtype=object)) * dtype.itemsize
            n_rows = hi - lo if shape else 1
            refuse_more_than_is_free(n_rows * width, f"the array {key!r} of {self.name}")
            _skip(stream, lo * width)
            data = stream.read(n_rows * width)
            stream.read(1)  # at the end of a member zipfile compares its checksum: the last rank gets there
        if len(data) != n_rows * width:
            raise FormatError(f"the array {key!r} of {self.name} is cut short")
        return np.frombuffer(data, dtype).reshape((n_rows, *shape[1:]) if shape else ())

    @contextlib.contextmanager
    def _at_data(self, key):
        if key not in self.members:
            raise InputError(f"{self.name} has no array {key!r}; it holds {', '.join(self.members) or 'none'}")
        if self.members[key].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(
                f"the array {key!r} of {self.name} is packed by the method {self.members[key].compress_type} of zip; "
                "hpcmp reads what numpy.savez and savez_compressed write"
            )
        with self.file.open(self.members[key]) as stream:
            shape, is_fortran, dtype = self._header(key, stream)
            if any(n < 0 for n in shape):
                raise FormatError(f"the array {key!r} of {self.name} has the shape {shape}; the file is damaged")
            if dtype.hasobject or dtype.kind not in "biufSU":
                raise InputError(
                    f"the array {key!r} of {self.name} has the type {dtype}; "
                    "hpcmp reads plain numbers and unpickles nothing"
                )
            size = int(np.prod(shape, dtype=object)) * dtype.itemsize
            if stream.tell() + size != self.members[key].file_size:
                raise FormatError(
                    f"the array {key!r} of {self.name} says {size} bytes, "
                    f"the file holds {self.members[key].file_size - stream.tell()}"
                )
            yield stream, shape, dtype, is_fortran

    def _header(self, key, stream):
        try:
            version = np.lib.format.read_magic(stream)
            read_header = (
                np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            )
            return read_header(stream)
        except (ValueError, EOFError) as error:
            raise FormatError(f"the array {key!r} of {self.name} has no header of numpy: {error}") from error


def _skip(stream, n):
    while n > 0:
        n -= len(stream.read(min(n, READ_BYTES))) or n


# ---------------------------------------------------------------- the two layouts


def _matrix(arrays, rank, size):
    """This rank's entries of a sparse matrix, and its number of rows. Local."""
    kind = _kind_of(arrays)
    if kind not in INDEX_ARRAYS:
        raise InputError(
            f"{arrays.name} is a {kind} matrix; hpcmp reads {', '.join(INDEX_ARRAYS)} (matrix.tocsr() converts)"
        )
    shape = _as_ids(arrays.name, "shape", arrays.rows("shape", 0, _length(arrays, "shape", 2))).tolist()
    if shape[0] != shape[1]:
        raise InputError(f"{arrays.name} has the shape {tuple(shape)}: only a square matrix is a graph")
    n = int(shape[0])
    check_declared(arrays.name, n, size)
    lines, across = INDEX_ARRAYS[kind]
    n_entries = _length(arrays, across)
    if _length(arrays, "data") != n_entries:
        raise InputError(f"{arrays.name} has {n_entries} {across} but {_length(arrays, 'data')} data")
    if kind == "coo":
        lo, hi = (int(bound) for bound in block_bounds(n_entries, size)[rank : rank + 2])
        line = _ids(arrays, lines, lo, hi, n)
    else:
        line, lo, hi = _unfolded(arrays, rank, size, n, n_entries)
    other = _ids(arrays, across, lo, hi, n)
    src, dst = (other, line) if kind == "csc" else (line, other)
    return src, dst, {"weight": _field(arrays, "data", lo, hi)}, n


def _kind_of(arrays):
    """Which sparse matrix a file says it holds: str. Local."""
    if "format" not in arrays.members:
        return "csr"
    if arrays.shape("format"):
        raise InputError(
            f"the array 'format' of {arrays.name} has the shape {arrays.shape('format')}; one text is needed"
        )
    try:
        kind = arrays.rows("format", 0, 1).item()
    except ValueError as error:  # numbers that are no characters
        raise FormatError(f"the array 'format' of {arrays.name} is no text: {error}") from error
    return kind.decode(errors="replace") if isinstance(kind, bytes) else str(kind)


def _unfolded(arrays, rank, size, n, n_entries):
    """Row of every entry in this rank's block of rows, and which entries. Local."""
    if _length(arrays, "indptr") != n + 1:
        raise InputError(
            f"indptr of {arrays.name} has {_length(arrays, 'indptr')} numbers for {n} rows; it needs one more than rows"
        )
    first, last = (int(bound) for bound in block_bounds(n, size)[rank : rank + 2])
    ptr = arrays.rows("indptr", first, last + 1).astype(np.int64)
    ends = (first > 0 or ptr[0] == 0) and (last < n or ptr[-1] == n_entries)
    if not ends or (ptr[1:] < ptr[:-1]).any() or ptr[0] < 0 or ptr[-1] > n_entries:
        raise InputError(f"indptr of {arrays.name} does not rise from 0 to its {n_entries} entries")
    return np.repeat(np.arange(first, last, dtype=ID), np.diff(ptr)), int(ptr[0]), int(ptr[-1])


def _arrays(arrays, rank, size):
    """This rank's rows of edge_index or src and dst, and of the rest. Local."""
    if "edge_index" in arrays.members:
        shape = arrays.shape("edge_index")
        if len(shape) != 2 or shape[0] != 2:
            raise InputError(f"edge_index of {arrays.name} has the shape {shape}, not (2, edges)")
        n_edges, ends = shape[1], ("edge_index",)
    else:
        n_edges, ends = _length(arrays, "src"), ("src", "dst")
    lo, hi = (int(bound) for bound in block_bounds(n_edges, size)[rank : rank + 2])
    fields = {}
    for key in arrays.members:
        if key not in ends:
            c.check_name(key)
        if key != "edge_index" and _length(arrays, key) != n_edges:
            raise InputError(
                f"the array {key!r} of {arrays.name} has {_length(arrays, key)} numbers for {n_edges} edges"
            )
        if key not in ends:
            fields[key] = _field(arrays, key, lo, hi)
    if len(ends) == 2:
        src, dst = (_ids(arrays, end, lo, hi) for end in ends)
    else:
        src, dst = _edge_index(arrays, lo, hi, n_edges)
    return src, dst, fields


def _edge_index(arrays, lo, hi, n_edges):
    """Columns lo to hi of edge_index, seen as one long row. Local."""
    with arrays._at_data("edge_index") as (stream, _, dtype, is_fortran):
        refuse_more_than_is_free(2 * (hi - lo) * dtype.itemsize, f"edge_index of {arrays.name}")
        if is_fortran:
            _skip(stream, 2 * lo * dtype.itemsize)
            pairs = np.frombuffer(stream.read(2 * (hi - lo) * dtype.itemsize), dtype).reshape(-1, 2).T
        else:
            _skip(stream, lo * dtype.itemsize)
            src = stream.read((hi - lo) * dtype.itemsize)
            _skip(stream, (n_edges - hi + lo) * dtype.itemsize)
            pairs = np.frombuffer(src, dtype), np.frombuffer(stream.read((hi - lo) * dtype.itemsize), dtype)
        stream.read(1)
    return (_as_ids(arrays.name, "edge_index", end) for end in pairs)


def _length(arrays, key, wanted=None):
    shape = arrays.shape(key)
    if len(shape) != 1 or wanted not in (None, shape[0]):
        rule = "it should have one axis" if wanted is None else f"it should be ({wanted},)"
        raise InputError(f"the array {key!r} of {arrays.name} has the shape {shape}; {rule}")
    return shape[0]


def _ids(arrays, key, lo, hi, n=None):
    ids = _as_ids(arrays.name, key, arrays.rows(key, lo, hi))
    outside = np.zeros(0, bool) if n is None else (ids < 0) | (ids >= n)
    if outside.any():
        k = int(outside.argmax())
        raise InputError(f"{key}[{lo + k}] = {ids[k]} is outside [0, {n}) ({arrays.name})")
    return ids


def _as_ids(name, key, values):
    if values.dtype.kind not in "iu" or (values.dtype == np.uint64 and len(values) and values.max() > np.iinfo(ID).max):
        raise InputError(f"{key} of {name} has the type {values.dtype}; ids are integers below 2**63")
    return values.astype(ID)


def _field(arrays, key, lo, hi):
    values = arrays.rows(key, lo, hi)
    native = values.dtype.newbyteorder("=")
    dtype = NARROWED.get(native, field_dtype(native))
    if dtype is None:
        raise InputError(
            f"the array {key!r} of {arrays.name} has the type {native}, which no edge field has; convert it"
        )
    if native == np.uint64 and len(values) and values.max() > np.iinfo(np.int64).max:
        raise InputError(f"the array {key!r} of {arrays.name} holds {values.max()}, beyond int64")
    if native.kind == "f" and np.isnan(values).any():
        raise InputError(f"{key}[{lo + int(np.isnan(values).argmax())}] is nan ({arrays.name}); a field holds numbers")
    return values.astype(dtype)
