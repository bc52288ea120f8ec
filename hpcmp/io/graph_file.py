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
from hpcmp.comm import block_bounds, collective, exclusive_sum, raise_together
from hpcmp.dtypes import GID, PTR
from hpcmp.edges import deliver, number_dtype
from hpcmp.errors import FileError, FormatError, HpcmpError
from hpcmp.graph import Rows, digest_of, from_sorted
from hpcmp.io import h5
from hpcmp.io.graph_head import OWN_VERTEX, read_head
from hpcmp.io.parallel import Made, Reader, Slab, write_file
from hpcmp.io.provenance import provenance
from hpcmp.io.room import bytes_to_open, refuse_what_cannot_fit
from hpcmp.kernels import building


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
    ptr = graph.in_ptr.view(np.int64) + first_edge

    def sources(lo, hi):
        gids = np.empty(hi - lo, GID)
        building.gather_gids(graph.in_src[lo:hi], first, graph.n_owned, graph.ghosts, gids)
        return gids

    is_last = first + graph.n_owned == n and (graph.n_owned > 0 or (n == 0 and comm.rank == 0))
    owned = graph.id[: graph.n_owned]
    slabs = {
        "vertices/id": Slab(owned, first, n),
        "vertices/order": Slab(graph.order, first, n),
        "vertices/out_degree": Slab(graph.out_degree, first, n),
        "in_edges/ptr": Slab(ptr if is_last else ptr[:-1], first, n + 1),
        "in_edges/src": Slab(Made(graph.n_in, GID, sources), first_edge, m),
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
def open_graph(comm, path, *, vertex_fields=None, edge_fields=None, row_bytes=0):
    """Open a graph file on any number of ranks. Collective.

    Parameters
    ----------
    vertex_fields, edge_fields : collection of str, optional
        Read only these fields; default: all.
    row_bytes : int
        Bytes of each owned vertex that what follows will take, to be counted
        where a graph is refused that cannot fit.

    Returns
    -------
    Graph

    Raises
    ------
    FileError, FormatError
        It cannot be read or breaks a rule of graph files. Raised on every rank.
    MemoryLimitError
        It cannot fit in the memory that is free. Raised on every rank.
    """
    head = _broadcast_head(comm, path, vertex_fields, edge_fields)
    part_start, plans = head["part_start"], head["datasets"]
    # Parts are dealt by work, known from the pointers at their starts.
    work = np.diff(part_start) + partition.ALPHA * np.diff(head["edge_start"])
    rank_parts = partition.deal(work, comm.size)
    first, end = (int(g) for g in part_start[rank_parts[comm.rank : comm.rank + 2]])
    needed = bytes_to_open(head, rank_parts, row_bytes)[comm.rank]
    refuse_what_cannot_fit(comm, f"{'running on' if row_bytes else 'opening'} {path} takes at least", needed)
    with Reader(comm, path) as reader:

        def rows(group, names):
            of = (first, end - first) if group == "vertices" else (first_edge, n_in)
            return {name: reader.rows(plans[f"{group}/{name}"], *of) for name in names}

        ptr = reader.rows(plans["in_edges/ptr"], first, end - first + 1)
        raise_together(comm, _wrong_ptr(path, ptr, first, head["n_edges"]))
        first_edge, n_in = int(ptr[0]), int(ptr[-1] - ptr[0])
        ptr -= first_edge
        mine = rows("vertices", (*OWN_VERTEX[:3], *head["vertex_fields"], *(("name",) if head["has_names"] else ())))
        _check_rows(comm, path, mine, first, head["n_vertices"])
        _check_codes(comm, path, mine, first, head["categories"])
        src, heard = _read_sources(reader, plans["in_edges/src"], first_edge, n_in, head["n_vertices"])
        columns = {"src": src, **rows("in_edges", (("relation",) if head["has_relation"] else ()))}
        del src
        columns |= rows("in_edges", head["edge_fields"])
    _check_relation(comm, path, columns.get("relation"), first_edge, head)
    out_degree, name = mine.pop("out_degree"), mine.pop("name", None)
    ids, order = mine.pop("id"), mine.pop("order")
    return from_sorted(
        comm,
        Rows(ids, order, mine, name),
        ptr.view(PTR),
        columns,
        heard=heard,
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


def _read_sources(reader, plan, first, n_rows, n_vertices):
    """Gids of sources in as few bytes as hold them, and the distinct ones if they could be marked. Collective."""
    src = np.empty(n_rows, number_dtype(n_vertices))
    is_seen = np.zeros(n_vertices if n_vertices <= 8 * max(n_rows, 1) else 0, np.bool_)

    def use(at, piece):
        wrong = building.narrow(piece, n_vertices, src[at : at + len(piece)], is_seen)
        if wrong >= 0:
            raise _outside(reader.path, "in_edges/src", first + at + wrong, piece[wrong], n_vertices)

    reader.pieces(plan, first, n_rows, use)
    return src, np.flatnonzero(is_seen) if len(is_seen) else None


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


def _check_rows(comm, path, mine, first, n):
    """Every order occurs once, ids ascend with it, degrees are none below zero. Collective."""
    order, error = mine["order"], None
    wrong = np.flatnonzero((order < 0) | (order >= n))
    if len(wrong):
        error = _outside(path, "vertices/order", first + wrong[0], order[wrong[0]], n)
    elif np.any(mine["out_degree"] < 0):
        error = FormatError(f"{path}: vertices/out_degree has a negative value; the file is damaged")
    raise_together(comm, error)
    bounds = block_bounds(n, comm.size)
    got = deliver(comm, bounds, {"order": order, "id": mine["id"]}, by="order")
    place = got["order"] - bounds[comm.rank]
    by_order = np.empty(bounds[comm.rank + 1] - bounds[comm.rank], np.int64)
    times = np.bincount(place, minlength=len(by_order))
    wrong = np.flatnonzero(times != 1)
    if len(wrong):
        row = int(wrong[0] + bounds[comm.rank])
        error = FormatError(f"{path}: vertices/order holds {row} {times[wrong[0]]} times; the file is damaged")
    raise_together(comm, error)
    by_order[place] = got["id"]
    ends = [end for end in comm.allgather(by_order[[0, -1]].tolist() if len(by_order) else None)[: comm.rank] if end]
    run = np.concatenate(([ends[-1][1]] if ends else [], by_order)).astype(np.int64)
    back = np.flatnonzero(run[1:] <= run[:-1])
    if len(back):
        pair = f"{run[back[0] + 1]} after {run[back[0]]}"
        error = FormatError(f"{path}: vertices/id has {pair} in the order of ids; the file is damaged")
    raise_together(comm, error)


def _check_codes(comm, path, mine, first, categories):
    """Codes stand for one of the texts of their field, or are -1. Collective."""
    error = None
    for name, texts in categories.items():
        wrong = np.flatnonzero((mine[name] < -1) | (mine[name] >= len(texts)))
        if len(wrong):
            error = error or _outside(path, f"vertices/{name}", first + wrong[0], mine[name][wrong[0]], len(texts), -1)
    raise_together(comm, error)


def _check_relation(comm, path, relation, first_edge, head):
    limit, error = max(len(head["relations"]), 1), None
    if relation is not None and relation.max(initial=0) >= limit:
        wrong = int((relation >= limit).argmax())
        error = _outside(path, "in_edges/relation", first_edge + wrong, relation[wrong], limit)
    raise_together(comm, error)


def _outside(path, name, row, value, limit, low=0):
    return FormatError(f"{path}: {name}[{row}] = {value} is outside [{low}, {limit}); the file is damaged")


def _wrong_ptr(path, ptr, first, n_edges):
    back = building.first_fall(ptr)
    if back >= 0:
        row, pair = first + back - 1, f"{ptr[back - 1]} then {ptr[back]}"
        return FormatError(f"{path}: in_edges/ptr goes back at row {row} ({pair}); the file is damaged")
    if ptr[0] < 0 or ptr[-1] > n_edges:
        return FormatError(f"{path}: in_edges/ptr leaves [0, {n_edges}] near row {first}; the file is damaged")
    return None
