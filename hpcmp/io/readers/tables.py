"""Tables of vertices, and sparse features.

A vertex table is text with a header; one column is ``id`` (or ``name``, if
vertices have names), every other is a field:

    id  label  split
    0   3      train

A column of integers is int64, one of numbers float64; any other holds labels,
which are numbered in sorted order (`VertexTable.categories`).
"""

import numpy as np

from hpcmp.comm import together
from hpcmp.errors import InputError
from hpcmp.io.readers import columns as c
from hpcmp.io.readers import rows as r
from hpcmp.io.readers.edgelist import NAMES_HINT, as_bytes
from hpcmp.io.table import FeatureTable, VertexTable
from hpcmp.io.text import lines_together, open_text

KEYS = ("id", "name")
FEATURE_COLUMNS = 3  # vertex, column, value


def read_vertices(comm, path, options):
    """A table of vertex fields. Collective.

    Parameters
    ----------
    comm : MPI.Comm
    path : str
    options : hpcmp.io.readers.Options
        ``names``: the column ``id`` holds names too.

    Returns
    -------
    VertexTable

    Raises
    ------
    FileError, FormatError, InputError
        What is wrong, with file and line. On every rank.
    """
    share = open_text(comm, path)
    comments = as_bytes(options.comments)
    first = r.first_row(comm, share, comments)
    with together(comm):
        separator = r.check_separator(options.separator) or r.guess_separator(first.text, True)
        columns, dtypes = _header(share.name, first, separator)
        key = _key_column(share.name, columns)
    rows = r.read_rows(comm, share, len(columns), separator, comments, skip=first)
    fields, categories = {}, {}
    for k, (name, dtype) in enumerate(zip(columns, dtypes, strict=True)):
        if k != key and name != "_":
            fields[name], labels = _field(comm, rows, k, name, dtype)
            categories |= {} if labels is None else {name: labels}
    keys = _keys(comm, rows, key, columns[key], options.names or columns[key] == "name")
    return VertexTable(keys, fields, categories, (share.source,))


def _header(name, first, separator):
    if first.offset < 0:
        raise InputError(f"{name} has no header: all of its lines are blank or comments")
    return c.parse_columns([token.decode("utf-8", "replace") for token in r.split_line(first.text, separator)])


def _key_column(name, columns):
    keys = [column for column in columns if column in KEYS]
    if len(keys) != 1:
        has = "both id and name" if keys else "neither id nor name"
        raise InputError(
            f"the header of {name} ({c.listed(columns)}) has {has}; call exactly one column so, "
            "by which vertices are found"
        )
    return columns.index(keys[0])


def _keys(comm, rows, column, what, names):
    if names:
        return c.texts(comm, rows, column, what)
    with lines_together(comm, rows.share):
        return c.integers(rows, column, what, NAMES_HINT)


def _field(comm, rows, column, name, dtype):
    """A column as (values, None) or as (int32 codes, labels). Collective."""
    if dtype is not None or c.are_numbers(comm, rows, column):
        return c.numbers(comm, rows, column, name, dtype), None
    labels = c.texts(comm, rows, column, name, may_be_empty=True)
    codes, categories = c.label_codes(comm, labels, what=name)
    return codes.astype(np.int32), categories


def read_features(comm, path, options):
    """Lines of vertex, feature column and value. Collective.

    A first row whose column and value are no integers is a header. A column
    is 0 or more; ``n_columns`` is one more than the largest on any rank.

    Parameters, raises: as for `read_vertices`.

    Returns
    -------
    FeatureTable
    """
    share = open_text(comm, path)
    comments = as_bytes(options.comments)
    first = r.first_row(comm, share, comments)
    with together(comm):
        if first.offset < 0:
            raise InputError(f"{share.name} holds no feature: all of its lines are blank or comments")
        separator = r.check_separator(options.separator) or r.guess_separator(first.text, options.names)
        tokens = r.split_line(first.text, separator)
    has_header = len(tokens) > 1 and not tokens[1].isdigit() and tokens[1][:1].isalpha()
    rows = r.read_rows(comm, share, FEATURE_COLUMNS, separator, comments, skip=first if has_header else None)
    key = _keys(comm, rows, 0, "vertex", options.names)
    with lines_together(comm, share):
        column = c.integers(rows, 1, "column")
        if (column < 0).any():
            raise r.row_error(rows, (column < 0).argmax(), 1, "column", "is negative; columns count from 0")
    value = c.numbers(comm, rows, 2, "value", np.dtype(np.float32))
    n_columns = 1 + max(comm.allgather(int(column.max()) if len(column) else -1))
    notes = (r.header_note(share.name, first),) if has_header else ()
    return FeatureTable(key, column, value, n_columns, (share.source,), notes)


def read_parts(comm, path, options):
    """A part number for every vertex: one a line, or lines ``id part``. Collective.

    Parameters, raises: as for `read_vertices`.

    Returns
    -------
    ids : int64 (v,) or None
        None: the lines are in the order of the ids.
    part : int64 (v,)
        This rank's share, in the order of the file.
    """
    share = open_text(comm, path)
    comments = as_bytes(options.comments)
    first = r.first_row(comm, share, comments)
    with together(comm):
        if first.offset < 0:
            raise InputError(f"{share.name} names no part: all of its lines are blank or comments")
        separator = r.check_separator(options.separator) or r.guess_separator(first.text, False)
        n_columns = min(len(r.split_line(first.text, separator)), 2)
    rows = r.read_rows(comm, share, n_columns, separator, comments)
    with lines_together(comm, share):
        ids = c.integers(rows, 0, "id") if n_columns == 2 else None
        part = c.integers(rows, n_columns - 1, "part")
    return ids, part
