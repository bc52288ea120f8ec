"""The frame of a graph file: what it holds and where, checked.

Needs neither MPI nor numba, so that `hpcmp.analysis` can use it.
"""

import os

import numpy as np

from hpcmp.dtypes import GID, RELATION
from hpcmp.errors import FormatError
from hpcmp.io import h5

OWN_VERTEX = ("id", "order", "out_degree", "name")
OWN_EDGE = ("ptr", "src", "relation")


def read_head(handle, path, vertex_fields=None, edge_fields=None):
    """The frame of an opened graph file, checked: sizes, parts, fields: dict. Local."""
    n = h5.attribute(handle, "n_vertices", int, path=path)
    m = h5.attribute(handle, "n_edges", int, path=path)
    if n < 0 or m < 0:
        raise FormatError(f"{path}: n_vertices = {n} and n_edges = {m} must not be negative")
    found = {}

    def plan(name, **rules):
        d = h5.dataset(handle, name, path=path, **rules)
        found[name] = (h5.contiguous_offset(d, path), d.dtype, d.shape)
        return d

    for name in OWN_VERTEX[:3]:
        _int64(plan(f"vertices/{name}", ndim=1, kinds="i", rows=n), path)
    _int64(plan("in_edges/ptr", ndim=1, kinds="i", rows=n + 1), path)
    _int64(plan("in_edges/src", ndim=1, kinds="i", rows=m), path)
    fields, unread = {}, []
    for group, own, asked in (("vertices", OWN_VERTEX, vertex_fields), ("in_edges", OWN_EDGE, edge_fields)):
        names = h5.fields_of(handle, group, own, path=path, rows=n if group == "vertices" else m)
        fields[group] = [name for name in names if asked is None or name in asked]
        unread += [name for name in names if name not in fields[group]]
        for name in fields[group]:
            plan(f"{group}/{name}")
    vertices = h5.group(handle, "vertices", path=path)
    has_names, has_relation = "name" in vertices, "relation" in handle["in_edges"]
    if has_names:
        plan("vertices/name", ndim=1, kinds="S", rows=n)
    if has_relation and plan("in_edges/relation", ndim=1, kinds="u", rows=m).dtype != RELATION:
        raise FormatError(f"{path}: in_edges/relation must be {RELATION}")
    part_start = h5.dataset(handle, "parts/start", path=path, ndim=1, kinds="i")
    part_start = h5.read(part_start, path).astype(GID)
    if len(part_start) < 2 or part_start[0] != 0 or part_start[-1] != n or np.any(part_start[1:] < part_start[:-1]):
        raise FormatError(f"{path}: parts/start must rise from 0 to n_vertices = {n}")
    edge_start = _points(path, found["in_edges/ptr"][0], np.unique(part_start)) if n else np.zeros(1, np.int64)
    if n and (edge_start[0] != 0 or edge_start[-1] != m) or (n == 0 and m != 0):
        raise FormatError(f"{path}: in_edges/ptr must rise from 0 to n_edges = {m}; the file is damaged")
    if np.any(edge_start < 0) or np.any(edge_start > m) or np.any(np.diff(edge_start) < 0):
        raise FormatError(f"{path}: in_edges/ptr goes back or leaves [0, {m}]; the file is damaged")
    relations = ()
    if "relations" in handle:
        relations = h5.texts(h5.dataset(handle, "relations/name", path=path, ndim=1, kinds="S"), path)
    categories = {
        name: _categories(vertices[name], path) for name in fields["vertices"] if h5.CATEGORIES in vertices[name].attrs
    }
    return {
        "n_vertices": n,
        "n_edges": m,
        "directed": bool(h5.attribute(handle, "directed", bool, path=path)),
        "digest": h5.digest(handle, "digest", path=path),
        "sources": tuple(h5.json_attribute(handle, "sources", list, path=path)),
        "datasets": found,
        "vertex_fields": fields["vertices"],
        "edge_fields": fields["in_edges"],
        "unread": tuple(unread),
        "has_names": has_names,
        "has_relation": has_relation,
        "part_start": part_start,
        "edge_start": edge_start[np.searchsorted(np.unique(part_start), part_start)]
        if n
        else np.zeros(len(part_start), np.int64),
        "relations": relations,
        "categories": categories,
    }


def _categories(found, path):
    """The texts that the codes of a field stand for: tuple of str."""
    texts = h5.json_attribute(found, h5.CATEGORIES, list, path=path)
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise FormatError(f"{path}: {found.name} has categories but no codes for them; the file is damaged")
    if not all(isinstance(text, str) for text in texts):
        raise FormatError(f"{path}: the categories of {found.name} are not all texts; the file is damaged")
    return tuple(texts)


def _points(path, offset, rows):
    """Some rows of an int64 dataset (of one piece; h5py takes a millisecond for every few of them). Local."""
    with open(path, "rb", buffering=0) as file:
        read = (os.pread(file.fileno(), 8, offset + 8 * int(row)) for row in rows)
        return np.frombuffer(b"".join(read), np.int64)


def _int64(found, path):
    if found.dtype != np.int64:
        raise FormatError(f"{path}: {found.name} has dtype {found.dtype}; int64 is needed")
    return found
