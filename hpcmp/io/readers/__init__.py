"""Inputs that other programs wrote, as tables spread over the ranks.

Each format is one file with one function ``read(comm, path, options)``; this
one chooses the format and joins several inputs.
"""

import importlib
import os
from dataclasses import dataclass, replace

import numpy as np

from hpcmp.comm import collective, together
from hpcmp.dtypes import MAX_RELATIONS, RELATION
from hpcmp.errors import InputError
from hpcmp.io.table import EdgeTable

FORMATS = {  # name -> endings of file names, before an optional .gz
    "edgelist": (".tsv", ".csv", ".txt", ".edges", ".el", ".wel"),
    "ldbc": (".e", ".v", ".properties"),
    "matrixmarket": (".mtx", ".mm"),
    "metis": (".graph", ".metis"),
    "graphml": (".graphml", ".xml"),
    "npz": (".npz",),
    "ntriples": (".nt", ".ntriples"),
}


@dataclass(frozen=True)
class Options:
    """What a caller says about a text; formats that say it themselves refuse it."""

    columns: tuple | str | None = None  # "name" or "name:dtype" for each; None: src, dst and, of three, weight
    names: bool = False  # whether endpoints are names rather than integers
    header: bool | None = None  # whether the first row names columns; None: look
    separator: str | bytes | None = None  # None: look
    comments: str | bytes = "#%"  # a line that starts with one of these is left out
    relation_names: tuple | None = None  # relations in the order that numbers them; None: sorted


@collective
def read_edges(
    comm,
    inputs,
    *,
    format=None,
    columns=None,
    names=False,
    header=None,
    separator=None,
    comments="#%",
    relation_names=None,
):
    """Edges of one or several files as one table. Collective.

    Parameters
    ----------
    comm : MPI.Comm
    inputs : str or sequence of str
        Paths; ``NAME=PATH`` gives the edges of a file the relation NAME.
    format : str or None
        One of `FORMATS`, for all inputs; None: `guess_format` of each.
    columns, names, header, separator, comments, relation_names
        See `Options`. Columns called ``src`` and ``dst`` are the endpoints,
        ``relation`` a label, ``_`` is skipped, all others are edge fields.

    Returns
    -------
    EdgeTable

    Raises
    ------
    FileError, FormatError, InputError
        What is wrong, with file and line. On every rank.
    """
    options = Options(columns, names, header, separator, comments, tuple(relation_names) if relation_names else None)
    jobs = comm.bcast(_jobs(inputs, format) if comm.rank == 0 else None)  # rank 0 looks which files exist
    with together(comm):
        if isinstance(jobs, InputError):
            raise jobs
        for _, path, kind in jobs:
            _check_options(path, kind, options)
    tables = []
    for relation, path, kind in jobs:
        reader = importlib.import_module(f"hpcmp.io.readers.{kind}")
        tables.append(_with_relation(comm, reader.read(comm, path, options), relation, path))
    is_named = jobs[0][0] is not None
    if len(tables) == 1 and not (is_named and options.relation_names):
        return tables[0]
    return _joined(comm, tables, options.relation_names)


@collective
def read_vertices(comm, path, *, names=False, separator=None, comments="#%"):
    """Fields of vertices, from a table or a GraphML file. Collective.

    A table is lines of columns under a header with one column ``id`` (or
    ``name``, with ``names``). See `hpcmp.io.readers.tables.read_vertices`.

    Returns
    -------
    VertexTable
    """
    from hpcmp.io.readers import graphml, tables

    if guess_format(path) == "graphml":
        return graphml.read_vertices(comm, path, names=names)
    return tables.read_vertices(comm, path, Options(names=names, separator=separator, comments=comments))


@collective
def read_features(comm, path, *, names=False, separator=None, comments="#%"):
    """Sparse features: lines of vertex, column, value. Collective.

    See `hpcmp.io.readers.tables.read_features`.

    Returns
    -------
    FeatureTable
    """
    from hpcmp.io.readers import tables

    return tables.read_features(comm, path, Options(names=names, separator=separator, comments=comments))


@collective
def read_labels(comm, files, *, key, label, format=None, names=False, separator=None, comments="#%"):
    """Labels and splits of some of the vertices. Collective.

    See `hpcmp.io.readers.labels.read_labels`.

    Parameters
    ----------
    files : dict of str to str
        Path for each split, such as train.
    key, label : str
        Names of columns.
    format : str or None
        Of the edges; with ntriples, keys may be IRIs without brackets.

    Returns
    -------
    LabelTable
    """
    from hpcmp.io.readers import labels, ntriples

    table = labels.read_labels(comm, files, key, label, Options(names=names, separator=separator, comments=comments))
    return replace(table, key=ntriples.as_names(table.key)) if format == "ntriples" else table


@collective
def read_parts(comm, path, *, separator=None, comments="#%"):
    """Part numbers of vertices. Collective.

    See `hpcmp.io.readers.tables.read_parts`.
    """
    tables = importlib.import_module("hpcmp.io.readers.tables")
    return tables.read_parts(comm, path, Options(separator=separator, comments=comments))


def guess_format(path):
    """Format of a file by its name: a key of `FORMATS`. Local.

    A name without a known ending is the common beginning of an LDBC pair if
    ``path.v`` exists, else an edge list.
    """
    path = os.fspath(path)
    plain = path.removesuffix(".gz").lower()
    for name, endings in FORMATS.items():
        if plain.endswith(endings):
            return name
    return "ldbc" if os.path.isfile(path + ".v") else "edgelist"


def _jobs(inputs, format):
    """(relation or None, path, format) of each input, or what is wrong with them. Local."""
    if isinstance(inputs, (str, os.PathLike)):
        inputs = [inputs]
    if not inputs:
        return InputError("there is no input to read; name at least one file")
    if format is not None and format not in FORMATS:
        return InputError(f"the format {format!r} is none of {', '.join(FORMATS)}")
    jobs = []
    for one in inputs:
        relation, path = None, os.fspath(one)
        if isinstance(one, str) and "=" in path and not os.path.exists(path):
            relation, path = path.split("=", 1)
            if not relation:
                return InputError(f"the input {one!r} names no relation before '='; write NAME=PATH")
        jobs.append((relation, path, format or guess_format(path)))
    if len({relation is None for relation, _, _ in jobs}) > 1:
        return InputError("some inputs have a relation (NAME=PATH) and some have none; name all or none")
    return jobs


def _check_options(path, kind, options):
    """Refuse what a caller says about a file whose format says it itself. Local."""
    default = Options()
    for name in ("columns", "names", "header", "separator"):
        is_given = getattr(options, name) != getattr(default, name)
        if is_given and kind != "edgelist" and (name, kind) != ("names", "graphml"):
            raise InputError(f"{name} belongs to edge lists, {path} is read as {kind}; leave it out")


def _with_relation(comm, table, relation, path):
    if relation is None:
        return table
    with together(comm):
        if table.relation is not None:
            raise InputError(
                f"{path} has a relation column, so the input cannot be called {relation}={path}; leave out {relation}="
            )
    return replace(table, relation=np.zeros(len(table.src), RELATION), relations=(relation,))


# ---------------------------------------------------------------- joining inputs


def _joined(comm, tables, relation_names):
    with together(comm):
        _check_alike(tables)
    relations = relation_names or tuple(sorted(set().union(*(table.relations for table in tables))))
    fields = {name: np.concatenate([table.fields[name] for table in tables]) for name in tables[0].fields}
    directed = {table.directed for table in tables}
    return EdgeTable(
        src=np.concatenate([table.src for table in tables]),
        dst=np.concatenate([table.dst for table in tables]),
        fields=fields,
        relation=_joined_relation(comm, tables, relations),
        relations=relations,
        vertices=np.concatenate(
            [table.vertices for table in tables if table.vertices.dtype.kind == tables[0].src.dtype.kind]
        ),
        directed=directed.pop() if len(directed) == 1 else None,
        sources=sum((table.sources for table in tables), ()),
        notes=sum((table.notes for table in tables), ()),
    )


def _joined_relation(comm, tables, relations):
    if tables[0].relation is None:
        return None
    with together(comm):
        check_relations(relations)
        missing = [name for table in tables for name in table.relations if name not in relations]
        if missing:
            raise InputError(f"the relation {missing[0]!r} is none of {', '.join(relations)}; add it to relation_names")
    numbers = [np.array([relations.index(name) for name in table.relations], RELATION) for table in tables]
    return np.concatenate([number[table.relation] for number, table in zip(numbers, tables, strict=True)])


def check_relations(relations):
    """Refuse more relations than their index can number. Local."""
    if len(relations) > MAX_RELATIONS:
        raise InputError(f"there are {len(relations)} relations, hpcmp numbers at most {MAX_RELATIONS}")


def _check_alike(tables):
    first, name = tables[0], tables[0].sources[0]["name"]
    for table in tables[1:]:
        other = table.sources[0]["name"]
        if table.src.dtype.kind != first.src.dtype.kind:
            raise InputError(f"the vertices of {name} and {other} are not both ids or both names")
        if set(table.fields) != set(first.fields):
            raise InputError(
                f"{name} has the edge fields ({', '.join(first.fields)}) and {other} ({', '.join(table.fields)}); "
                "inputs that are joined need the same"
            )
        if (table.relation is None) != (first.relation is None):
            raise InputError(f"only one of {name} and {other} has relations")
        if table.directed is not first.directed:
            raise InputError(
                f"one of {name} and {other} is directed, the other is not or does not say; convert them apart"
            )
