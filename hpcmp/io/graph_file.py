"""Graph files: a `Graph` on disk, part after part, for any number of ranks.

vertices/  id, order, out_degree, [name], one dataset a field   rows by gid
parts/     start                                                gids
in_edges/  ptr, src (gid), [relation], one dataset a field      rows in canonical order
relations/ name
"""

import json

import h5py
import numpy as np

from hpcmp import partition
from hpcmp.comm import Route, block_bounds, collective, exclusive_sum, owner_of, raise_together
from hpcmp.dtypes import GID, RELATION
from hpcmp.errors import FileError, FormatError, HpcmpError
from hpcmp.graph import Edges, Rows, digest_of, from_sorted
from hpcmp.io import h5
from hpcmp.io.parallel import Slab, read_rows, write_file
from hpcmp.io.provenance import provenance

OWN_VERTEX = ("id", "order", "out_degree", "name")
OWN_EDGE = ("ptr", "src", "relation")


@collective
def write_graph(graph, path, command=None):
    """Write a graph file. Collective.

    Raises
    ------
    FileError
        The file cannot be written. Raised on every rank.
    """
    comm, n, m = graph.comm, graph.n_vertices, graph.n_edges
    first = graph.first_gid
    first_edge, _ = exclusive_sum(comm, graph.n_in)
    ptr = graph.in_ptr.astype(np.int64) + first_edge
    is_last = first + graph.n_owned == n and (graph.n_owned > 0 or (n == 0 and comm.rank == 0))
    owned = graph.id[: graph.n_owned]
    slabs = {
        "vertices/id": Slab(owned, first, n),
        "vertices/order": Slab(graph.order, first, n),
        "vertices/out_degree": Slab(graph.out_degree, first, n),
        "in_edges/ptr": Slab(ptr if is_last else ptr[:-1], first, n + 1),
        "in_edges/src": Slab(graph.local_gids()[graph.in_src], first_edge, m),
    }
    if graph.name is not None:
        text = h5py.string_dtype("utf-8", graph.name.dtype.itemsize)
        slabs["vertices/name"] = Slab(graph.name, first, n, dtype=text)
    if graph.relation is not None:
        slabs["in_edges/relation"] = Slab(graph.relation, first_edge, m)
    for name, a in graph.vertex_fields.items():
        texts = {h5.CATEGORIES: json.dumps(graph.categories[name])} if name in graph.categories else {}
        slabs[f"vertices/{name}"] = Slab(np.ascontiguousarray(a), first, n, texts)
    for name, a in graph.edge_fields.items():
        slabs[f"in_edges/{name}"] = Slab(a, first_edge, m)
    digest = graph.digest if graph.digest and not graph.unread else digest_of(graph)
    attrs = {
        "format": h5.GRAPH,
        "version": h5.VERSION,
        "directed": graph.directed,
        "n_vertices": n,
        "n_edges": m,
        "digest": digest,
        **provenance(command, graph.sources),
    }

    def finish(handle):
        handle["parts/start"] = graph.part_start
        if graph.relations:
            handle["relations/name"] = h5.fixed_texts(graph.relations)

    write_file(comm, path, slabs, attrs, finish)


@collective
def open_graph(comm, path, *, vertex_fields=None, edge_fields=None):
    """Open a graph file on any number of ranks. Collective.

    Parameters
    ----------
    vertex_fields, edge_fields : collection of str, optional
        Read only these fields; default: all.

    Returns
    -------
    Graph

    Raises
    ------
    FileError, FormatError
        It cannot be read or breaks a rule of graph files. Raised on every rank.
    """
    head = _broadcast_head(comm, path, vertex_fields, edge_fields)
    part_start = head["part_start"]

    def rows(name, first, count):
        offset, dtype, shape = head["datasets"][name]
        return read_rows(comm, path, offset, dtype, shape, first, count)

    # Parts are dealt by work, known from the pointers at their starts.
    work = np.diff(part_start) + partition.ALPHA * np.diff(head["edge_start"])
    rank_parts = partition.deal(work, comm.size)
    first, end = (int(g) for g in part_start[rank_parts[comm.rank : comm.rank + 2]])
    ptr = rows("in_edges/ptr", first, end - first + 1)
    error = _wrong_ptr(path, ptr, first, head["n_edges"])
    raise_together(comm, error)
    first_edge, n_in = int(ptr[0]), int(ptr[-1] - ptr[0])
    src = rows("in_edges/src", first_edge, n_in).astype(GID, copy=False)
    mine = {name: rows(f"vertices/{name}", first, end - first) for name in (*OWN_VERTEX[:3], *head["vertex_fields"])}
    name = rows("vertices/name", first, end - first) if head["has_names"] else None
    edges = {name: rows(f"in_edges/{name}", first_edge, n_in) for name in head["edge_fields"]}
    relation = rows("in_edges/relation", first_edge, n_in) if head["has_relation"] else None
    raise_together(comm, _wrong_rows(path, src, mine, relation, first, first_edge, head))
    _check_order(comm, path, mine["order"], mine["id"], head["n_vertices"])
    out_degree = mine.pop("out_degree")
    ids, order = mine.pop("id"), mine.pop("order")
    return from_sorted(
        comm,
        Rows(np.arange(first, end), ids, order, mine, name),
        np.diff(ptr),
        Edges(src, src, src, relation, edges),
        part_start=part_start,
        rank_parts=rank_parts,
        directed=head["directed"],
        out_degree=out_degree,
        relations=head["relations"],
        categories=head["categories"],
        sources=head["sources"],
        unread=head["unread"],
        digest=head["digest"],
    )


def _broadcast_head(comm, path, vertex_fields, edge_fields):
    """What rank 0 reads of the file's frame, on all ranks."""
    head, error = None, None
    if comm.rank == 0:
        try:
            with h5.opened(path, h5.GRAPH) as handle:
                head = read_head(handle, path, vertex_fields, edge_fields)
        except HpcmpError as caught:
            error = caught
        except OSError as caught:
            error = FileError(f"{path} cannot be read: {caught}")
    raise_together(comm, error)
    return comm.bcast(head)


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
    ptr = _int64(plan("in_edges/ptr", ndim=1, kinds="i", rows=n + 1), path)
    _int64(plan("in_edges/src", ndim=1, kinds="i", rows=m), path)
    fields, unread = {}, []
    for group, own, asked in (("vertices", OWN_VERTEX, vertex_fields), ("in_edges", OWN_EDGE, edge_fields)):
        names = h5.fields_of(handle, group, own, path=path, rows=n if group == "vertices" else m)
        fields[group] = [name for name in names if asked is None or name in asked]
        unread += [name for name in names if name not in fields[group]]
        for name in fields[group]:
            plan(f"{group}/{name}")
    has_names, has_relation = "name" in handle["vertices"], "relation" in handle["in_edges"]
    if has_names:
        plan("vertices/name", ndim=1, kinds="S", rows=n)
    if has_relation and plan("in_edges/relation", ndim=1, kinds="u", rows=m).dtype != RELATION:
        raise FormatError(f"{path}: in_edges/relation must be {RELATION}")
    part_start = h5.dataset(handle, "parts/start", path=path, ndim=1, kinds="i")[:].astype(GID)
    if len(part_start) < 2 or part_start[0] != 0 or part_start[-1] != n or np.any(np.diff(part_start) < 0):
        raise FormatError(f"{path}: parts/start must rise from 0 to n_vertices = {n}")
    edge_start = ptr[np.unique(part_start)] if n else np.zeros(1, np.int64)
    if n and (edge_start[0] != 0 or edge_start[-1] != m) or (n == 0 and m != 0):
        raise FormatError(f"{path}: in_edges/ptr must rise from 0 to n_edges = {m}; the file is damaged")
    if np.any(edge_start < 0) or np.any(edge_start > m) or np.any(np.diff(edge_start) < 0):
        raise FormatError(f"{path}: in_edges/ptr goes back or leaves [0, {m}]; the file is damaged")
    relations = ()
    if "relations" in handle:
        relations = h5.texts(h5.dataset(handle, "relations/name", path=path, ndim=1, kinds="S"), path)
    categories = {
        name: tuple(h5.json_attribute(handle["vertices"][name], h5.CATEGORIES, list, path=path))
        for name in fields["vertices"]
        if h5.CATEGORIES in handle["vertices"][name].attrs
    }
    return {
        "n_vertices": n,
        "n_edges": m,
        "directed": bool(h5.attribute(handle, "directed", bool, path=path)),
        "digest": h5.attribute(handle, "digest", str, path=path),
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


def _check_order(comm, path, order, ids, n):
    """Every order occurs once, and ids ascend with it. Collective."""
    bounds = block_bounds(n, comm.size)
    route = Route(comm, owner_of(bounds, order))
    place, error = route.there(order) - bounds[comm.rank], None
    by_order = np.empty(bounds[comm.rank + 1] - bounds[comm.rank], np.int64)
    times = np.bincount(place, minlength=len(by_order))
    wrong = np.flatnonzero(times != 1)
    if len(wrong):
        row = int(wrong[0] + bounds[comm.rank])
        error = FormatError(f"{path}: vertices/order holds {row} {times[wrong[0]]} times; the file is damaged")
    raise_together(comm, error)
    by_order[place] = route.there(ids)
    ends = [end for end in comm.allgather(by_order[[0, -1]].tolist() if len(by_order) else None)[: comm.rank] if end]
    run = np.concatenate(([ends[-1][1]] if ends else [], by_order)).astype(np.int64)
    back = np.flatnonzero(run[1:] <= run[:-1])
    if len(back):
        pair = f"{run[back[0] + 1]} after {run[back[0]]}"
        error = FormatError(f"{path}: vertices/id has {pair} in the order of ids; the file is damaged")
    raise_together(comm, error)


def _int64(found, path):
    if found.dtype != np.int64:
        raise FormatError(f"{path}: {found.name} has dtype {found.dtype}; int64 is needed")
    return found


def _wrong_ptr(path, ptr, first, n_edges):
    back = np.flatnonzero(np.diff(ptr) < 0)
    if len(back):
        row = first + int(back[0])
        return FormatError(
            f"{path}: in_edges/ptr goes back at row {row} ({ptr[back[0]]} then {ptr[back[0] + 1]}); the file is damaged"
        )
    if ptr[0] < 0 or ptr[-1] > n_edges:
        return FormatError(f"{path}: in_edges/ptr leaves [0, {n_edges}] near row {first}; the file is damaged")
    return None


def _wrong_rows(path, src, mine, relation, first_gid, first_edge, head):
    """The first value that a kernel must not see, as an error."""
    n = head["n_vertices"]
    rules = [("in_edges/src", src, first_edge, n), ("vertices/order", mine["order"], first_gid, n)]
    if relation is not None:
        rules.append(("in_edges/relation", relation, first_edge, max(len(head["relations"]), 1)))
    for name, values, first, limit in rules:
        wrong = np.flatnonzero((values < 0) | (values >= limit))
        if len(wrong):
            row = int(wrong[0]) + first
            return FormatError(
                f"{path}: {name}[{row}] = {values[wrong[0]]} is outside [0, {limit}); the file is damaged"
            )
    if np.any(mine["out_degree"] < 0):
        return FormatError(f"{path}: vertices/out_degree has a negative value; the file is damaged")
    return None
