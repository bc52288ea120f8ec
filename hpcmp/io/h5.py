"""hpcmp's HDF5 files: names of things, and opening them without trust.

Needs neither MPI nor numba. A file is opened only when it is a plain HDF5
file that says it is ours; links to other files, external storage and virtual
datasets are refused, sizes are checked before memory is allocated.
"""

import contextlib
import json
import os
from pathlib import Path

import h5py
import numpy as np

from hpcmp.errors import FileError, FormatError

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
MAX_PACKING = 1032  # deflate makes data at most so much smaller (zlib's technical notes)


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
    except OSError as error:
        raise FormatError(
            f"{path} is not an HDF5 file that can be read ({_first_line(error)}); hpcmp convert makes one"
        ) from error
    with handle:
        try:
            _check_format(handle, path, (expect,) if isinstance(expect, str) else expect or FORMATS)
            yield handle
        except (OSError, RuntimeError, KeyError) as error:
            if isinstance(error, FileError):
                raise
            raise FormatError(f"{path} is damaged: {_first_line(error)}") from error


def is_ours(path):
    """Whether a file says that hpcmp wrote it, in whatever version. Local."""
    try:
        with h5py.File(path, "r") as handle:
            said = _settled(handle.attrs.get("format"))
    except (OSError, RuntimeError, KeyError):  # no HDF5, or damaged
        return False
    return isinstance(said, str) and said in FORMATS


def check_is_file(path):
    """Refuse what is missing, a folder, or unreadable. Local."""
    path = Path(path)
    if not path.exists():
        raise FileError(f"{path} does not exist")
    if path.is_dir():
        raise FileError(f"{path} is a folder; a file is needed")
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
        raise FormatError(
            f"{path} has no dataset {name}; it is not a complete {_settled(handle.attrs.get('format'))} file"
        )
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
    n_bytes = int(np.prod(found.shape, dtype=np.float64) * dtype.itemsize)
    limit = os.path.getsize(path) * (MAX_PACKING if plist.get_layout() == h5py.h5d.CHUNKED else 1)
    if n_bytes > max(limit, 1):
        raise FormatError(
            f"{path}: {name} declares {n_bytes} bytes, the file has {os.path.getsize(path)}; it is truncated or lies"
        )
    return found


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
        raise FormatError(
            f"{path} has no group {name}; it is not a complete {_settled(handle.attrs.get('format'))} file"
        )
    return found


def attribute(holder, name, kind, *, path):
    """An attribute of a given Python type. Local."""
    if name not in holder.attrs:
        raise FormatError(f"{path}: the attribute {name} of {holder.name} is missing")
    value = _settled(holder.attrs[name])
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise FormatError(f"{path}: the attribute {name} of {holder.name} is {value!r}; {kind.__name__} is needed")
    return value


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


def attributes(holder):
    """All attributes, texts as str: dict. Local."""
    return {name: _settled(value) for name, value in holder.attrs.items()}


def fixed_texts(texts):
    """Texts as an array of UTF-8 of one length. Local."""
    encoded = [text.encode() for text in texts]
    return np.array(encoded, h5py.string_dtype("utf-8", max([len(e) for e in encoded] + [1])))


def texts(found, path):
    """The texts of a dataset of fixed length: tuple of str. Local."""
    try:
        return tuple(text.decode() for text in found[:].tolist())
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: {found.name} holds bytes that are no UTF-8; the file is damaged") from error


def _settled(value):
    value = value.item() if isinstance(value, np.generic) else value
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def json_attribute(holder, name, kind, *, path):
    """An attribute that holds JSON text, as a Python value of a type. Local."""
    text = attribute(holder, name, str, path=path)
    try:
        value = json.loads(text)
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
    names = [name for name in group(handle, group_name, path=path) if name not in taken]
    for name in names:
        dataset(handle, f"{group_name}/{name}", path=path, ndim=(1, 2), kinds="biuf", rows=rows)
    return names


def contiguous_offset(found, path):
    """Where in the file the dataset's bytes begin; None if it has none. Local."""
    if found.size == 0:
        return None
    offset = found.id.get_offset()
    if offset is None or found.id.get_create_plist().get_layout() != h5py.h5d.CONTIGUOUS:
        raise FormatError(
            f"{path}: {found.name} is not stored in one piece (was the file repacked?); h5repack -l CONTI mends it"
        )
    return int(offset)


def _check_format(handle, path, expect):
    said = _settled(handle.attrs.get("format"))
    if not isinstance(said, str) or said not in FORMATS:
        raise FormatError(f"{path} is an HDF5 file but not one of hpcmp's (its attribute format is {said!r})")
    if said not in expect:
        raise FormatError(f"{path} is a {said} file; {' or '.join(expect)} is needed")
    version = attribute(handle, "version", int, path=path)
    if version != version_of(said):
        raise FormatError(f"{path} has version {version} of {said}, this hpcmp reads version {version_of(said)}")


def _refuse_links(holder, leaf, name, path):
    link = holder.get(leaf, getlink=True) if leaf in _raw_names(holder) else None
    if isinstance(link, h5py.ExternalLink | h5py.SoftLink):
        raise FormatError(f"{path}: {name} is a link to {getattr(link, 'filename', link.path)}; hpcmp follows no links")


def _raw_names(holder):
    return [n.decode(errors="replace") if isinstance(n, bytes) else n for n in holder.id]


def _first_line(error):
    return str(error).splitlines()[0] if str(error) else type(error).__name__
