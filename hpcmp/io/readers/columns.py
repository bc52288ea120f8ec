"""Columns of a text that is spread over the ranks: numbers, texts, labels.

What a column is called, which type all ranks agree on for it, and its values
as one array: integers and floats by the kernels, texts as numpy 'S'.
"""

import keyword

import numpy as np

from hpcmp.comm import together
from hpcmp.dtypes import field_dtype
from hpcmp.errors import InputError
from hpcmp.io.free import refuse_more_than_is_free
from hpcmp.io.readers import rows as r
from hpcmp.io.text import LineError, lines_together
from hpcmp.kernels import text as kernels

MAX_NAME_BYTES = 4096  # all names of a column are stored as wide as the longest
LEFT_BYTES = 2**26  # of numbers handed to numpy at once


MAX_LABELS = 2**16  # all ranks keep all labels
SHOWN = 60  # characters of a name in a message
LISTED = 200  # of all names of a header
SKIP_HINT = "call it _ in the header to skip it"

# ---------------------------------------------------------------- numbers and texts


def integers(rows, column, what, remedy=""):
    """A column as int64; inside `lines_together`. Local."""
    values, bad = _integers(rows, column)
    if bad:
        part, row, reason = bad
        rule = "is beyond int64" if reason == kernels.TOO_LARGE else "is not an integer"
        raise r.token_error(rows, part, row, column, what, rule, remedy)
    return values


def _integers(rows, column):
    values, at = np.empty(rows.n_rows, np.int64), 0
    for part in rows.parts:
        out = values[at : at + part.n_rows]
        row, reason = kernels.parse_integers(part.block.data, part.start, part.end, column, rows.n_columns, out)
        if row >= 0:
            return None, (part, row, reason)
        at += part.n_rows
    return values, None


def floats(rows, column, what, remedy=""):
    """A column as float64, correctly rounded; inside `lines_together`. Local."""
    values, at = np.empty(rows.n_rows, np.float64), 0
    for part in rows.parts:
        data, start, end = part.block.data, part.start, part.end
        out, is_left = values[at : at + part.n_rows], np.empty(part.n_rows, np.bool_)
        row, reason, n_left = kernels.parse_floats(data, start, end, column, rows.n_columns, out, is_left)
        if row >= 0:
            rule = "is longer than a number may be" if reason == kernels.TOO_LONG else "is not a number"
            raise r.token_error(rows, part, row, column, what, rule, remedy)
        if n_left:
            left = np.flatnonzero(is_left)
            out[left] = _numpy_floats(part, left * rows.n_columns + column)
        if np.isnan(out).any():
            raise r.token_error(rows, part, np.isnan(out).argmax(), column, what, "is not a number", remedy)
        at += part.n_rows
    return values


def _numpy_floats(part, tokens):
    width = int((part.end[tokens] - part.start[tokens]).max())
    n_once = max(1, LEFT_BYTES // width)
    pieces = [tokens[lo : lo + n_once] for lo in range(0, len(tokens), n_once)]
    return np.concatenate([copied(part, piece, width).astype(np.float64) for piece in pieces])


def texts(comm, rows, column, what, may_be_empty=False):
    """A column as UTF-8 texts, 'S' of one width on all ranks. Collective."""
    with lines_together(comm, rows.share):
        width = max([1, *(_text_width(rows, part, column, what, may_be_empty) for part in rows.parts)])
    width = max(comm.allgather(width))
    with together(comm):
        refuse_more_than_is_free(2 * width * rows.n_rows, f"{what}: {rows.n_rows} texts of {width} bytes each")
    columns = [copied(part, np.arange(part.n_rows) * rows.n_columns + column, width) for part in rows.parts]
    return np.concatenate([np.empty(0, f"S{width}"), *columns])


def _text_width(rows, part, column, what, may_be_empty):
    if part.block.data.max(initial=0) > 127:  # comments too, and where a rank has no rows: on any ranks alike
        try:
            str(part.block.data, "utf-8")
        except UnicodeDecodeError as error:
            raise LineError("text that is not UTF-8", "run: iconv -t UTF-8", part.block, error.start) from error
    if part.n_rows == 0:
        return 1
    widths = (part.end - part.start)[column :: rows.n_columns]
    if widths.max() > MAX_NAME_BYTES:
        raise LineError(
            f"{what} has {widths.max()} bytes, more than {MAX_NAME_BYTES}",
            "",
            *r.where(rows, part, widths.argmax(), column),
        )
    if not may_be_empty and widths.min() == 0:
        raise LineError(f"{what} is empty", "", *r.where(rows, part, widths.argmin(), column))
    return int(widths.max())


def copied(part, tokens, width):
    """Some tokens of a part as 'S<width>'. Local."""
    out = np.empty((len(tokens), width), np.uint8)
    kernels.copy_tokens(part.block.data, part.start, part.end, tokens, out)
    return out.reshape(-1).view(f"S{width}")


def numbers(comm, rows, column, name, dtype=None):
    """A column of numbers as an edge or vertex field. Collective.

    Parameters
    ----------
    dtype : numpy dtype or None
        None: int64 if all tokens on all ranks are integers, else float64.

    Raises
    ------
    InputError
        A token is no number, is nan, or does not fit the dtype. On every rank.
    """
    if dtype is None:
        values, bad = _integers(rows, column)
        if min(comm.allgather(bad is None)):
            return values
        dtype = np.dtype(np.float64)
    with lines_together(comm, rows.share):
        wide = (floats if dtype.kind == "f" else integers)(rows, column, name)
        with np.errstate(over="ignore"):
            values = wide.astype(dtype)
        changed = np.isinf(values) != np.isinf(wide) if dtype.kind == "f" else values != wide
        if changed.any():
            part, row = r.place(rows, changed.argmax())
            raise r.token_error(rows, part, row, column, name, f"does not fit in {dtype}", "choose a wider type")
    return values


def are_integers(comm, rows, column):
    """Whether a column holds integers within int64 only, on all ranks. Collective."""
    return min(comm.allgather(_integers(rows, column)[1] is None))


def are_numbers(comm, rows, column):
    """Whether a column holds numbers only, on all ranks. Collective."""
    try:
        floats(rows, column, "")
    except LineError:
        return not max(comm.allgather(True))
    return not max(comm.allgather(False))


# ---------------------------------------------------------------- names of columns, labels


def parse_columns(columns):
    """Names and dtypes from ``("src", "time:int64", ...)``. Local.

    Returns
    -------
    names : tuple of str
    dtypes : tuple of numpy dtype or None

    Raises
    ------
    InputError
        A name cannot be read as ``edge.NAME``, is there twice, or its dtype
        is none of `hpcmp.dtypes.FIELD_DTYPES`.
    """
    if isinstance(columns, str):
        columns = columns.split(",")
    names, dtypes = {}, []
    for column in columns:
        name, _, kind = (part.strip() for part in column.partition(":"))
        dtype = field_dtype(kind) if kind else None
        if kind and dtype is None:
            raise InputError(
                f"the type {kind[:SHOWN]!r} of column {name[:SHOWN]!r} is none of bool, int8 to int64, uint8 to uint32, float32, "
                "float64"
            )
        check_name(name)
        if name in names and name != "_":
            raise InputError(
                f"the column {name[:SHOWN]!r} is there twice; every column needs a name of its own ('_' skips one)"
            )
        names[name if name != "_" else len(dtypes)] = name
        dtypes.append(dtype)
    return tuple(names.values()), tuple(dtypes)


def listed(names):
    """Names for a message, not too many: str. Local."""
    text = ", ".join(names)
    return text if len(text) <= LISTED else text[:LISTED] + "..."


def check_name(name):
    """Refuse a field that a program could not read as ``edge.NAME``. Local."""
    if not name.isidentifier() or keyword.iskeyword(name):
        raise InputError(
            f"the column {name[:SHOWN]!r} is not a name that a program can use; name the columns, "
            "such as columns='src,dst,weight'"
        )


def label_codes(comm, labels, known=None, what="label", remedy=SKIP_HINT):
    """Number the labels of all ranks in sorted order. Collective.

    Parameters
    ----------
    labels : 'S' (n,)
    known : sequence of str or None
        Labels in the order that numbers them, instead of the sorted one.
    remedy : str
        What to do about a column that holds too many.

    Returns
    -------
    codes : int64 (n,)
    all_labels : tuple of str
    """
    own, codes = np.unique(labels, return_inverse=True)
    n_own = max(comm.allgather(len(own)))
    with together(comm):
        if n_own > MAX_LABELS:
            raise InputError(
                f"the column {what} holds more than {MAX_LABELS} different texts, which is no set of labels; {remedy}"
            )
    found = np.unique(np.concatenate(comm.allgather(own)))
    if known is None:
        return np.searchsorted(found, own)[codes], _decoded(found)
    unknown = sorted(set(_decoded(found)) - set(known))
    with together(comm):
        if unknown:
            raise InputError(
                f"the {what} {unknown[0]!r} is none of the {len(known)} given; add it, "
                "or give none to number all that occur"
            )
    number = np.array([known.index(label) for label in _decoded(own)], np.int64)
    return number[codes], tuple(known)


def _decoded(labels):
    return tuple(label.decode() for label in labels.tolist())
