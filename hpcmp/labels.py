"""The vertex fields `label` and `split`, from tables that name some vertices.

Learning reads both: `label` is what is to be found, `split` says what a
vertex may be used for. The texts of `split` are numbered in sorted order, as
those of a column of a table of all vertices are: both give the same bits.
"""

import numpy as np

from hpcmp.comm import Route, owner_of, raise_together, together
from hpcmp.dtypes import ID
from hpcmp.errors import InputError

FIELDS = ("label", "split")
NO_LABEL = -1  # of vertices in no table
NO_SPLIT = "none"  # the same


def attach(comm, labels, directory, fields, categories):
    """Add the two fields and their categories to those of vertices. Collective.

    Parameters
    ----------
    labels : hpcmp.io.table.LabelTable
    directory : hpcmp.directory.Directory
    fields : dict of str to (n_here,) array
        Vertex fields in directory order. Gets ``label`` (int64, -1 in no
        table) and ``split`` (int32, the code of ``none`` in no table).
    categories : dict of str to tuple of str

    Raises
    ------
    InputError
        A key is no vertex, a vertex is there twice, or there are such fields
        already. On every rank.
    """
    with together(comm):
        for name in FIELDS:
            if name in fields:
                raise InputError(
                    f"the vertex table has a field {name!r}, which the tables with labels give too; leave out one"
                )
    order = directory.order_of(labels.key)
    _raise_first(comm, _unknown(labels, order))
    route = Route(comm, owner_of(directory.bounds, order))
    row = route.there(order) - directory.bounds[comm.rank]
    file, line = route.there(labels.file), route.there(labels.line)
    _raise_first(comm, _repeated(labels, directory.keys, row, file, line))
    is_for_all = comm.allreduce(len(row)) == directory.n
    texts = sorted([*labels.splits, *([] if is_for_all else [NO_SPLIT])])
    label, split = np.full(len(directory.keys), NO_LABEL, ID), np.zeros(len(directory.keys), np.int32)
    if not is_for_all:
        split[:] = texts.index(NO_SPLIT)
    label[row] = route.there(labels.label)
    split[row] = np.array([texts.index(text) for text in labels.splits], np.int32)[file]
    fields |= {"label": label, "split": split}
    categories["split"] = tuple(texts)
    if labels.classes is not None:
        categories["label"] = labels.classes


def _unknown(labels, order):
    """The first row here whose key is no vertex: ((file, line), text) or None. Local."""
    unknown = np.flatnonzero(order < 0)
    if not len(unknown):
        return None
    at = unknown[np.lexsort((labels.line[unknown], labels.file[unknown]))[0]]
    place = int(labels.file[at]), int(labels.line[at])
    shown = f"{_shown_key(labels.key[at])} is not in the graph ({_shown_place(labels, *place)})"
    return place, f"{shown}; take the row out, or call it as the edges do"


def _repeated(labels, keys, row, file, line):
    """The first row whose vertex an earlier one had: ((file, line), text) or None. Local."""
    by_vertex = np.lexsort((line, file, row))
    is_again = row[by_vertex[1:]] == row[by_vertex[:-1]]
    before, again = by_vertex[:-1][is_again], by_vertex[1:][is_again]
    if not len(again):
        return None
    k = np.lexsort((line[again], file[again]))[0]
    places = [(int(file[at]), int(line[at])) for at in (before[k], again[k])]
    return places[1], (
        f"{_shown_key(keys[row[again[k]]])} is there twice ({', and '.join(_shown_place(labels, *p) for p in places)}); "
        "a vertex belongs to one split, once"
    )


def _shown_place(labels, file, line):
    return f"{labels.sources[file]['name']}, line {line}"


def _shown_key(key):
    """A vertex as the user calls it, in words. Local."""
    return f"vertex {key.decode(errors='replace') if isinstance(key, bytes) else int(key)}"


def _raise_first(comm, finding):
    """Raise the finding of the earliest place in the files, if there is any. Collective."""
    found = [one for one in comm.allgather(finding) if one is not None]
    raise_together(comm, InputError(min(found)[1]) if found else None)
