"""hpcmp's HDF5 files: names of things, and opening them without trust.

Needs neither MPI nor numba. A file is opened only when it is a plain HDF5
file that says it is ours. Links, external storage, virtual datasets and
filters that would load a plugin are refused, attributes of varying length are
not read, sizes are checked before memory is allocated.
"""

import contextlib
import os
from pathlib import Path

import h5py
import numpy as np

from hpcmp.dtypes import field_dtype
from hpcmp.errors import FileError, FormatError, HpcmpError, MemoryLimitError
from hpcmp.io.free import refuse_more_than_is_free
from hpcmp.io.nested import parse_json

GRAPH, RESULT = "hpcmp-graph", "hpcmp-result"
CHECKPOINT, HISTORY = "hpcmp-checkpoint", "hpcmp-history"  # of training
TRAIL, SEGMENT = "hpcmp-trail", "hpcmp-trail-segment"  # of the messages of agents; TRAIL is the head of a folder
TRAIL_AGENTS, TRAIL_TIMING = "hpcmp-trail-agents", "hpcmp-trail-timing"
VERSION = 1
TRAIL_VERSION = 2  # of heads, segments and timing: columns in the fewest bytes, seconds of phases
FORMATS = (GRAPH, RESULT, CHECKPOINT, HISTORY, TRAIL, SEGMENT, TRAIL_AGENTS, TRAIL_TIMING)

ID, ORDER, NAME = "id", "order", "name"
VERTICES, EDGES, PARTS, RELATIONS = "vertices", "in_edges", "parts", "relations"
STEPS, RANKS = "steps", "ranks"
CATEGORIES = "categories"  # attribute of a vertex field: the texts its codes stand for
HDF5_MARK = b"\x89HDF\r\n\x1a\n"
MAX_PACKING = 1032  # deflate makes data at most so much smaller (zlib's technical notes), lzf less
PACKING = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_LZF}
FILTERS = {*PACKING, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}  # those that h5py has in itself
SPARE_CHUNK = 1 << 24  # bytes; a chunk may be larger than its dataset by no more
PLAIN = {h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.STRING, h5py.h5t.ENUM}  # classes of attributes that are read
HEX = set("0123456789abcdef")
SHOWN = 60  # characters of a value in a message
DAMAGE = (OSError, RuntimeError, KeyError)  # what h5py raises on what HDF5 cannot make sense of


def version_of(kind):
    """Version of a kind of file that is written and read. Local."""
    return TRAIL_VERSION if kind in (TRAIL, SEGMENT, TRAIL_TIMING) else VERSION


@contextlib.contextmanager
def opened(path, expect=None):
    """Open an hpcmp file to read it. Local.

    Parameters
    ----------
    expect : str or tuple of str, optional
        Some of `FORMATS`; default: any.

    Raises
    ------
    FileError
        There is no such file, or it cannot be opened.
    FormatError
        It is not a file of ours, or its kind or version is another.
    """
    check_is_file(path)
    try:
        handle = h5py.File(path, "r")
    except DAMAGE as error:
        raise FormatError(
            f"{path} is not an HDF5 file that can be read ({_first_line(error)}){_hint(path, expect)}"
        ) from error
    with reading(path), handle:
        _check_format(handle, path, (expect,) if isinstance(expect, str) else expect or FORMATS)
        yield handle


def _hint(path, expect):
    with open(path, "rb") as file:
        is_hdf5 = file.read(len(HDF5_MARK)) == HDF5_MARK
    may_be_graph = expect is None or GRAPH in expect
    return "; hpcmp convert makes a graph file of a text" if may_be_graph and not is_hdf5 else ""


@contextlib.contextmanager
def reading(path):
    """Turn what h5py says of a file that is read into hpcmp's errors. Local."""
    try:
        yield
    except HpcmpError:
        raise
    except DAMAGE as error:
        raise FormatError(f"{path} is damaged: {_first_line(error)}") from error
    except MemoryError as error:
        raise MemoryLimitError(f"{path} takes more memory than this process may have") from error


def is_ours(path):
    """Whether a file says that hpcmp wrote it, in whatever version. Local."""
    try:
        with h5py.File(path, "r") as handle:
            said = _said(handle, path)
    except (FormatError, *DAMAGE):  # no HDF5, or damaged
        return False
    return isinstance(said, str) and said in FORMATS


def is_damaged(path):
    """Whether a file begins as HDF5, and cannot be opened. Local."""
    with open(path, "rb") as file:
        if file.read(len(HDF5_MARK)) != HDF5_MARK:
            return False
    try:
        with h5py.File(path, "r"):
            return False
    except DAMAGE:
        return True


def check_is_file(path):
    """Refuse what is missing, no regular file, or unreadable. Local."""
    path = Path(path)
    if not path.exists():
        raise FileError(f"{path} does not exist")
    if path.is_dir():
        raise FileError(f"{path} is a folder; a file is needed")
    if not path.is_file():  # a pipe would let us wait for ever
        raise FileError(f"{path} is not a regular file; save the stream to a file first")
    if not os.access(path, os.R_OK):
        raise FileError(f"{path} cannot be read: permission denied")


def dataset(handle, name, *, path, ndim=None, kinds=None, rows=None):
    """A dataset that is plain, and of the shape and type it should have. Local.

    Raises
    ------
    FormatError
        It is absent, linked from elsewhere, stored elsewhere, or of another
        shape or type.
    """
    holder, leaf = handle, name
    if "/" in name:
        group_name, leaf = name.rsplit("/", 1)
        holder = group(handle, group_name, path=path)
    _refuse_links(holder, leaf, name, path)
    if leaf not in holder:
        raise FormatError(f"{path} has no dataset {name}; it is not a complete {_said(handle, path)} file")
    found = holder[leaf]
    if not isinstance(found, h5py.Dataset):
        raise FormatError(f"{path}: {name} is a group; a dataset is needed")
    plist = found.id.get_create_plist()
    if found.is_virtual or plist.get_external_count():
        raise FormatError(f"{path}: {name} is stored in another file; hpcmp reads only what is in this one")
    if found.shape is None:
        raise FormatError(f"{path}: {name} holds nothing, not even no rows; the file is damaged")
    if ndim is not None and found.ndim not in (ndim if isinstance(ndim, tuple) else (ndim,)):
        raise FormatError(f"{path}: {name} has {found.ndim} dimensions, {ndim} are needed")
    dtype = _dtype_of(found, name, path)
    if kinds is not None and dtype.kind not in kinds:
        raise FormatError(f"{path}: {name} has dtype {dtype}, one of kind {'/'.join(kinds)} is needed")
    if rows is not None and found.shape[:1] != (rows,):
        raise FormatError(f"{path}: {name} has {found.shape[0] if found.ndim else 'no'} rows, {rows} are needed")
    _check_size(found, plist, dtype, name, path)
    return found


def read(found, path, lo=0, hi=None):
    """Rows of a dataset, once it is known that there is room for them. Local.

    Parameters
    ----------
    hi : int, optional
        Default: all rows from ``lo`` on.
    """
    if not found.ndim:
        return found[()]
    hi = found.shape[0] if hi is None else hi
    n_bytes = (hi - lo) * found.dtype.itemsize * int(np.prod(found.shape[1:], dtype=object))
    refuse_more_than_is_free(n_bytes, f"{path}: {found.name}")
    return found[lo:hi]


def _check_size(found, plist, dtype, name, path):
    """Refuse a dataset that says it is larger than its file can hold, or needs what is not here to be unpacked."""
    n_bytes = int(np.prod(found.shape, dtype=object)) * dtype.itemsize
    size = limit = os.path.getsize(path)
    if plist.get_layout() == h5py.h5d.CHUNKED:
        filters = {plist.get_filter(k)[0] for k in range(plist.get_nfilters())}
        if filters - FILTERS:
            raise FormatError(
                f"{path}: {name} is packed by the filter {min(filters - FILTERS)}, which hpcmp does not load; "
                "h5repack -f NONE unpacks it where the filter is"
            )
        limit *= MAX_PACKING if filters & PACKING else 1
        n_chunk = int(np.prod(plist.get_chunk(), dtype=object)) * dtype.itemsize
        if n_chunk > max(n_bytes, SPARE_CHUNK):
            raise FormatError(f"{path}: {name} has {n_bytes} bytes in chunks of {n_chunk}; it is damaged or lies")
    if n_bytes > max(limit, 1):
        raise FormatError(f"{path}: {name} declares {n_bytes} bytes, the file has {size}; it is truncated or lies")


def _dtype_of(found, name, path):
    try:
        return found.dtype
    except (TypeError, ValueError) as error:  # a type that numpy has not
        raise FormatError(f"{path}: {name} has a type that cannot be read ({_first_line(error)})") from error


def group(handle, name, *, path):
    """A group of the file itself. Local."""
    _refuse_links(handle, name, name, path)
    found = handle.get(name)
    if not isinstance(found, h5py.Group):
        raise FormatError(f"{path} has no group {name}; it is not a complete {_said(handle, path)} file")
    return found


def names_of(holder, path):
    """Names in a group: list of str. Local."""
    names = list(holder)
    for name in names:
        if isinstance(name, bytes) or not name.isprintable() or "/" in name or name in ("", ".", ".."):
            raise FormatError(f"{path}: {holder.name} holds something called {name[:SHOWN]!a}; the file is damaged")
    return names


def attribute(holder, name, kind, *, path):
    """An attribute of a given Python type. Local."""
    if name not in holder.attrs:
        raise FormatError(f"{path}: the attribute {name} of {holder.name} is missing")
    value = _value(holder, name, path)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise FormatError(
            f"{path}: the attribute {name} of {holder.name} is {repr(value)[:SHOWN]}; {kind.__name__} is needed"
        )
    return value


def digest(holder, name, *, path):
    """An attribute that holds the hex digits of a digest, or is empty: str. Local."""
    text = attribute(holder, name, str, path=path)
    if set(text) - HEX:
        raise FormatError(
            f"{path}: the attribute {name} of {holder.name} is {repr(text)[:SHOWN]}; hex digits are needed"
        )
    return text


def _value(holder, name, path):
    """Value of an attribute that is there, of a fixed length."""
    if not _is_plain(holder, name):
        raise FormatError(
            f"{path}: the attribute {name} of {holder.name} is of varying length, or no number and no text; "
            "hpcmp writes and reads none of those"
        )
    try:
        return _settled(holder.attrs[name])
    except (TypeError, ValueError) as error:  # a type that numpy has not
        raise FormatError(
            f"{path}: the attribute {name} of {holder.name} cannot be read ({_first_line(error)})"
        ) from error


def _is_plain(holder, name):
    kind = h5py.h5a.open(holder.id, name.encode("utf-8", "surrogateescape")).get_type()
    is_text = kind.get_class() == h5py.h5t.STRING
    return kind.get_class() in PLAIN and not (is_text and kind.is_variable_str())


def _said(handle, path):
    """The format that a file says it has; None: it says none in a way of ours."""
    return _value(handle, "format", path) if "format" in handle.attrs and _is_plain(handle, "format") else None


def set_attributes(holder, attrs):
    """Set attributes, texts with a fixed length. Local.

    Texts of varying length would lie in a heap of the file; one wrong byte in it
    can make the HDF5 library loop forever while it reads them.
    """
    for name, value in attrs.items():
        if isinstance(value, str):
            encoded = value.encode("utf-8", "backslashreplace")  # a path may hold bytes that are no text
            kind = h5py.string_dtype("utf-8", max(len(encoded), 1))
            holder.attrs.create(name, encoded, dtype=kind)
        else:
            holder.attrs[name] = value


def attributes(holder, path):
    """All attributes of a fixed length, texts as str: dict. Local."""
    return {name: _value(holder, name, path) for name in holder.attrs if _is_plain(holder, name)}


def fixed_texts(texts):
    """Texts as an array of UTF-8 of one length. Local."""
    encoded = [text.encode() for text in texts]
    return np.array(encoded, h5py.string_dtype("utf-8", max([len(e) for e in encoded] + [1])))


def texts(found, path):
    """The texts of a dataset of fixed length: tuple of str. Local."""
    try:
        return tuple(text.decode() for text in read(found, path).tolist())
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: {found.name} holds bytes that are no UTF-8; the file is damaged") from error


def _settled(value):
    value = value.item() if isinstance(value, np.generic | np.ndarray) and value.ndim == 0 else value
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def json_attribute(holder, name, kind, *, path):
    """An attribute that holds JSON text, as a Python value of a type. Local."""
    text = attribute(holder, name, str, path=path)
    try:
        value = parse_json(text)
    except ValueError as error:
        raise FormatError(
            f"{path}: the attribute {name} of {holder.name} is no JSON ({error}); the file is damaged"
        ) from error
    if not isinstance(value, kind):
        raise FormatError(
            f"{path}: the attribute {name} of {holder.name} holds {text[:40]}; {getattr(kind, '__name__', kind)} is needed"
        )
    return value


def fields_of(handle, group_name, taken, *, path, rows):
    """Names of the datasets of a group that are fields: list. Local."""
    names = [name for name in names_of(group(handle, group_name, path=path), path) if name not in taken]
    for name in names:
        found = dataset(handle, f"{group_name}/{name}", path=path, ndim=(1, 2), kinds="biuf", rows=rows)
        if field_dtype(found.dtype) is None:
            raise FormatError(f"{path}: {group_name}/{name} has dtype {found.dtype}, which no field has")
    return names


def is_scale(found, path):
    """Whether a dataset is a scale, such as the numbers of channels. Local."""
    return "CLASS" in found.attrs and _value(found, "CLASS", path) == "DIMENSION_SCALE"


def contiguous_offset(found, path):
    """Where in the file the dataset's bytes begin; None if it has none. Local."""
    if found.size == 0:
        return None
    offset = found.id.get_offset()
    if offset is None or found.id.get_create_plist().get_layout() != h5py.h5d.CONTIGUOUS:
        raise FormatError(
            f"{path}: {found.name} is not stored in one piece (was the file repacked?); h5repack -l CONTI mends it"
        )
    end, size = offset + found.size * found.dtype.itemsize, os.path.getsize(path)
    if end > size:
        raise FormatError(f"{path}: {found.name} ends at byte {end}, the file has {size}; it is truncated or lies")
    return int(offset)


def _check_format(handle, path, expect):
    said = _said(handle, path)
    if not isinstance(said, str) or said not in FORMATS:
        what = "it has no attribute format of a fixed length" if said is None else f"its format is {repr(said)[:SHOWN]}"
        raise FormatError(f"{path} is an HDF5 file but not one of hpcmp's ({what})")
    if said not in expect:
        raise FormatError(f"{path} is a {said} file; {' or '.join(expect)} is needed")
    version = attribute(handle, "version", int, path=path)
    if version != version_of(said):
        raise FormatError(f"{path} has version {version} of {said}, this hpcmp reads version {version_of(said)}")


def _refuse_links(holder, leaf, name, path):
    links, raw = holder.id.links, leaf.encode("utf-8", "surrogateescape")
    if not links.exists(raw) or links.get_info(raw).type == h5py.h5l.TYPE_HARD:
        return
    link = holder.get(leaf, getlink=True)
    raise FormatError(f"{path}: {name} is a link to {getattr(link, 'filename', link.path)}; hpcmp follows no links")


def _first_line(error):
    return str(error).splitlines()[0] if str(error) else type(error).__name__
