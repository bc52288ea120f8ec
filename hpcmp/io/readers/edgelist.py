"""Edge lists: one edge a line, as SNAP, TSV and CSV files have them.

    # FromNodeId ToNodeId
    0   11342
    0   824020

Two columns are ``src dst``, a third is ``weight``; more are named by a header
or by the caller. Endpoints are int64 ids, or names if the caller says so.
"""

from dataclasses import replace

import numpy as np

from hpcmp.comm import together
from hpcmp.dtypes import RELATION
from hpcmp.errors import InputError
from hpcmp.io.readers import columns as c
from hpcmp.io.readers import rows as r
from hpcmp.io.table import EdgeTable
from hpcmp.io.text import lines_together, open_text

ALIASES = {
    "source": "src",
    "src": "src",
    "from": "src",
    "target": "dst",
    "dst": "dst",
    "to": "dst",
    "destination": "dst",
}
DEFAULT_COLUMNS = ("src", "dst", "weight")
NAMES_HINT = "pass --names if vertices have names"


def read(comm, path, options):
    """Edges of one text file. Collective.

    Parameters
    ----------
    comm : MPI.Comm
    path : str
    options : hpcmp.io.readers.Options

    Returns
    -------
    EdgeTable
        ``directed`` None and no declared vertices: the text does not say.
    """
    share = open_text(comm, path)
    comments = as_bytes(options.comments)
    first = r.first_row(comm, share, comments)
    with together(comm):
        columns, dtypes, has_header, separator = layout(share.name, first, options)
    skip = first if has_header else None
    notes = (r.header_note(share.name, first),) if has_header and options.header is None else ()
    if not options.names and "relation" not in columns and "_" not in columns and not any(dtypes):
        found = r.integer_rows(comm, share, len(columns), separator, comments, skip)
        if found is not None:
            named = dict(zip(columns, found, strict=True))
            src, dst = named.pop("src"), named.pop("dst")
            return EdgeTable(src, dst, named, sources=(share.source,), notes=notes)
    rows = r.read_rows(comm, share, len(columns), separator, comments, skip)
    return replace(edge_table(comm, rows, columns, dtypes, options), notes=notes)


def as_bytes(comments):
    """Comment characters as bytes. Local."""
    return comments.encode() if isinstance(comments, str) else bytes(comments)


def layout(name, first, options):
    """What the columns of a text are, by its first row. Local.

    Returns
    -------
    columns : tuple of str
    dtypes : tuple of numpy dtype or None
    has_header : bool
    separator : bytes or None

    Raises
    ------
    InputError
        There is no row, or too many columns without names.
    """
    if first.offset < 0:
        raise InputError(f"{name} holds no edge: all of its lines are blank or comments")
    separator = r.check_separator(options.separator) or r.guess_separator(first.text, options.names)
    tokens = r.split_line(first.text, separator)
    has_header = options.header
    if has_header is None:
        has_header = not options.names and len(tokens) > 1 and not (_is_number(tokens[0]) or _is_number(tokens[1]))
    if options.columns is not None:
        columns, dtypes = c.parse_columns(options.columns)
    elif has_header:
        columns, dtypes = c.parse_columns(_named_by(tokens))
    else:
        columns, dtypes = _default_columns(name, tokens), (None,) * len(tokens)
    _check_endpoints(name, columns)
    return columns, dtypes, has_header, separator


def _is_number(token):
    try:
        float(token)
    except ValueError:
        return False
    return True


def _named_by(tokens):
    names = [token.decode("utf-8", "replace").strip('"') for token in tokens]
    names = [ALIASES.get(name.lower(), name) for name in names]
    if "src" not in names and "dst" not in names:
        names[:2] = ["src", "dst"]  # such as id_1,id_2: the order says it
    return names


def _default_columns(name, tokens):
    n = len(tokens)
    if n == 1:
        raise InputError(
            f"{name} has 1 column ({tokens[0][: c.SHOWN].decode('utf-8', 'replace')!r} ...), an edge list has 2 or more; "
            "name its separator"
        )
    if n > len(DEFAULT_COLUMNS):
        raise InputError(
            f"{name} has {n} columns, which only two have known meanings; name them, "
            "such as columns='src,dst,weight,time' (_ skips one)"
        )
    return DEFAULT_COLUMNS[:n]


def _check_endpoints(name, columns):
    for end in ("src", "dst"):
        if end not in columns:
            raise InputError(
                f"the columns of {name} are {c.listed(columns)}, none of them is {end}; name the columns, "
                "such as columns='src,dst,weight'"
            )


def edge_table(comm, rows, columns, dtypes, options):
    """Rows as edges, each column by its name. Collective."""
    src, dst = endpoints(comm, rows, columns.index("src"), columns.index("dst"), options.names)
    fields, relation, relations = {}, None, ()
    for k, (name, dtype) in enumerate(zip(columns, dtypes, strict=True)):
        if name == "relation":
            labels = c.texts(comm, rows, k, name)
            relation, relations = numbered(comm, labels, options.relation_names)
        elif name not in ("src", "dst", "_"):
            fields[name] = c.numbers(comm, rows, k, name, dtype)
    vertices = np.empty(0, src.dtype)
    return EdgeTable(src, dst, fields, relation, relations, vertices, None, (rows.share.source,))


def endpoints(comm, rows, src, dst, names):
    """The two endpoint columns, as ids or names of one dtype. Collective."""
    if names:
        ends = [c.texts(comm, rows, column, what) for column, what in ((src, "src"), (dst, "dst"))]
        dtype = max(end.dtype for end in ends)
        return tuple(end.astype(dtype) for end in ends)
    ids = []
    for column, what in ((src, "src"), (dst, "dst")):
        with lines_together(comm, rows.share):
            ids.append(c.integers(rows, column, what, NAMES_HINT))
    return tuple(ids)


def numbered(comm, labels, known):
    """Relation of each label, and the names of all relations. Collective."""
    from hpcmp.io.readers import check_relations

    with together(comm):
        check_relations(known or ())
    codes, relations = c.label_codes(comm, labels, known, "relation")
    with together(comm):
        check_relations(relations)
    return codes.astype(RELATION), relations
