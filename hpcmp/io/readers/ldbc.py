"""LDBC Graphalytics: vertices in ``x.v``, edges in ``x.e``, ``x.properties``.

One id a line in ``x.v``; ``src dst`` and the edge properties in ``x.e``. The
properties file, where there is one, says whether the graph is directed and
what the edge properties are called. Its file names are not followed: the
three stand beside each other (a published test even names the wrong one).

Whether every endpoint is in ``x.v``, and each id only once, is checked where
the graph is built: here no rank knows all ids.
"""

import os

import numpy as np

from hpcmp.comm import together
from hpcmp.errors import InputError
from hpcmp.io.readers import columns as c
from hpcmp.io.readers import rows as r
from hpcmp.io.readers.edgelist import endpoints
from hpcmp.io.table import EdgeTable
from hpcmp.io.text import describe_file, lines_together, open_text, reading

ENDINGS = (".e", ".v", ".properties")
TYPES = {"real": np.dtype(np.float64), "integer": np.dtype(np.int64)}
MAX_PROPERTIES_BYTES = 2**20


def read(comm, path, options):
    """Vertices and edges of an LDBC data set. Collective.

    Parameters
    ----------
    path : str
        ``x.e``, ``x.v``, ``x.properties`` or ``x``.

    Returns
    -------
    EdgeTable
        ``vertices`` is all of ``x.v``; ``directed`` None without properties.
    """
    stem = next((path.removesuffix(ending) for ending in ENDINGS if path.endswith(ending)), path)
    properties, sources = read_properties(comm, f"{stem}.properties")
    with together(comm):
        for ending in (".v", ".e"):
            if not os.path.exists(stem + ending):
                raise InputError(
                    f"{stem}{ending} is missing: LDBC data are a pair x.v and x.e; "
                    "for an edge list alone pass --format edgelist"
                )
    vertices, vertex_source = _vertices(comm, f"{stem}.v")
    src, dst, fields, edge_source = _edges(comm, f"{stem}.e", properties)
    directed = properties.get("directed")
    with together(comm):
        if directed not in (None, "true", "false"):
            raise InputError(f"directed = {directed[: c.SHOWN]} is neither true nor false ({stem}.properties)")
    return EdgeTable(
        src,
        dst,
        fields,
        vertices=vertices,
        directed=None if directed is None else directed == "true",
        sources=(vertex_source, edge_source, *sources),
    )


def read_properties(comm, path):
    """``graph.NAME.key = value`` lines as a dict of key to value. Collective.

    Returns
    -------
    properties : dict of str to str
        Without ``graph.NAME.``; empty if there is no such file.
    sources : tuple of dict
    """
    if not comm.bcast(os.path.isfile(path) if comm.rank == 0 else None):
        return {}, ()
    source, properties = describe_file(comm, path), {}
    with together(comm), reading(path):
        if source["bytes"] > MAX_PROPERTIES_BYTES:
            raise InputError(
                f"{path} has {source['bytes']} bytes; a properties file has at most {MAX_PROPERTIES_BYTES}"
            )
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                key, equals, value = line.partition("=")
                key = key.strip().split(".", 2)
                if equals and key[0] == "graph" and len(key) == 3:
                    properties[key[2]] = value.strip()
    return properties, (source,)


def _vertices(comm, path):
    share = open_text(comm, path, may_be_empty=True)
    rows = r.read_rows(comm, share, 1, None, b"#")
    with lines_together(comm, share):
        return c.integers(rows, 0, "vertex"), share.source


def _edges(comm, path, properties):
    share = open_text(comm, path, may_be_empty=True)
    first = r.first_row(comm, share, b"#")
    with together(comm):
        names, dtypes = _edge_properties(path, first, properties)
    rows = r.read_rows(comm, share, 2 + len(names), None, b"#")
    src, dst = endpoints(comm, rows, 0, 1, names=False)
    fields = {
        name: c.numbers(comm, rows, 2 + k, name, dtype)
        for k, (name, dtype) in enumerate(zip(names, dtypes, strict=True))
    }
    return src, dst, fields, share.source


def _edge_properties(path, first, properties):
    """Names and dtypes of the columns after src and dst. Local."""
    names = [name.strip() for name in properties.get("edge-properties.names", "").split(",") if name.strip()]
    types = [name.strip() for name in properties.get("edge-properties.types", "").split(",") if name.strip()]
    n_columns = len(first.text.split()) if first.offset >= 0 else 2 + len(names)
    if not names and n_columns == 3:
        names = ["weight"]
    if n_columns != 2 + len(names):
        raise InputError(
            f"{path} has {n_columns} columns, its properties name {len(names)} after src and dst; "
            "mend edge-properties.names"
        )
    unknown = [kind for kind in types if kind not in TYPES]
    if unknown:
        raise InputError(
            f"the edge property type {unknown[0][: c.SHOWN]!r} is neither real nor integer ({os.path.basename(path)})"
        )
    for name in names:
        c.check_name(name)
    return names, [TYPES[kind] for kind in types] if len(types) == len(names) else [None] * len(names)
