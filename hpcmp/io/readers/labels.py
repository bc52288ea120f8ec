"""Tables that give labels to some of the vertices: one file for each split.

    person                 label_affiliation
    http://a.org/Ann       http://a.org/Group1

Text with a header, of which two columns are read: the key, by which vertices
are found, and the label. Labels that are whole numbers in all of the files
stay what they are; else they are texts, numbered in sorted order over all files.
"""

import numpy as np

from hpcmp.comm import together
from hpcmp.errors import InputError
from hpcmp.io.readers import columns as c
from hpcmp.io.readers import rows as r
from hpcmp.io.readers.edgelist import NAMES_HINT, as_bytes
from hpcmp.io.table import LabelTable
from hpcmp.io.text import lines_together, open_text

CLASS_HINT = "name the column of the classes"


def read_labels(comm, files, key, label, options):
    """Labels and splits of vertices. Collective.

    Parameters
    ----------
    comm : MPI.Comm
    files : dict of str to str
        Path for each split.
    key, label : str
        Names of columns.
    options : hpcmp.io.readers.Options
        ``names``: keys are names.

    Returns
    -------
    LabelTable

    Raises
    ------
    FileError, FormatError, InputError
        What is wrong, with file and line. On every rank.
    """
    opened = [_open(comm, path, (key, label), options) for path in files.values()]
    rows = [one for one, _ in opened]
    numbers, classes = _labels(comm, rows, [columns[1] for _, columns in opened], label)
    n_classes = len(classes) if classes is not None else _n_distinct(comm, numbers, label)
    counts = [comm.allreduce(one.n_rows) for one in rows]
    used = (f"{n} of {one.share.name} ({split})" for n, one, split in zip(counts, rows, files, strict=True))
    return LabelTable(
        key=np.concatenate([_keys(comm, one, columns[0], key, options.names) for one, columns in opened]),
        label=numbers,
        file=np.repeat(np.arange(len(rows)), [one.n_rows for one in rows]),
        line=np.concatenate([r.line_numbers(comm, one) for one in rows]),
        splits=tuple(files),
        classes=classes,
        sources=tuple(one.share.source for one in rows),
        notes=(f"rows used: {', '.join(used)}; classes in {label}: {n_classes}",),
    )


def _open(comm, path, wanted, options):
    """Rows of a file, and the numbers of the wanted columns. Collective."""
    share = open_text(comm, path)
    comments = as_bytes(options.comments)
    first = r.first_row(comm, share, comments)
    with together(comm):
        if first.offset < 0:
            raise InputError(f"{share.name} has no header: all of its lines are blank or comments")
        separator = r.check_separator(options.separator) or r.guess_separator(first.text, True)
        header = [token.decode("utf-8", "replace") for token in r.split_line(first.text, separator)]
        columns = [_column(share.name, header, name) for name in wanted]
    rows = r.read_rows(comm, share, len(header), separator, comments, skip=first)
    n_rows = comm.allreduce(rows.n_rows)
    with together(comm):
        if n_rows == 0:
            raise InputError(f"{share.name} has a header and no row below it; leave the file out")
    return rows, columns


def _column(name, header, wanted):
    if header.count(wanted) != 1:
        how = "two columns" if wanted in header else "no column"
        raise InputError(f"{name} has {how} {wanted!r} (its header: {c.listed(header)}); name one that is there once")
    return header.index(wanted)


def _keys(comm, rows, column, what, names):
    if names:
        return c.texts(comm, rows, column, what)
    with lines_together(comm, rows.share):
        return c.integers(rows, column, what, NAMES_HINT)


def _labels(comm, rows, columns, name):
    """Label of each row of all files, and the texts they number or None. Collective."""
    pairs = list(zip(rows, columns, strict=True))
    if not all(c.are_integers(comm, one, column) for one, column in pairs):
        texts = np.concatenate([c.texts(comm, one, column, name) for one, column in pairs])
        return c.label_codes(comm, texts, what=name, remedy=CLASS_HINT)
    numbers = []
    for one, column in pairs:
        with lines_together(comm, one.share):
            numbers.append(c.integers(one, column, name))
            if (numbers[-1] < 0).any():
                at = (numbers[-1] < 0).argmax()
                raise r.row_error(
                    one, at, column, name, "is negative", "number classes from 0, as -1 says that a vertex has none"
                )
    return np.concatenate(numbers), None


def _n_distinct(comm, numbers, name):
    own = np.unique(numbers)
    n_own = max(comm.allgather(len(own)))
    with together(comm):
        if n_own > c.MAX_LABELS:
            raise InputError(
                f"the column {name} holds more than {c.MAX_LABELS} different numbers, which is no set of labels; "
                f"{CLASS_HINT}"
            )
    return len(np.unique(np.concatenate(comm.allgather(own))))
