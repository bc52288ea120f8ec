"""The graph as one rank holds it: owned rows, their in-edges, ghosts, halo.

All in-edges of a vertex live with its owner, sorted by (relation, `order` of
the source, edge fields): the canonical order of every sum. Rows are owned
first, ghosts after. `from_columns` builds it from edges that lie anywhere,
`from_sorted` from sorted ones; `both_ways` adds every edge's reverse.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from hpcmp import edges
from hpcmp import halo as halo_plan
from hpcmp.comm import owner_of, raise_together
from hpcmp.dtypes import GID, LID, MAX_LOCAL_ROWS, PTR, RELATION
from hpcmp.errors import GraphError
from hpcmp.halo import Halo
from hpcmp.hashing import GRAPH_SEEDS, graph_digest, hash_sum, words
from hpcmp.kernels import building, csr
from hpcmp.kernels import hashing as hash_kernels

BUILT_IN = ("id", "in_degree", "out_degree")  # vertex fields every graph has
WORKED_OUT = ("in_degree", "is_boundary", "interior", "boundary", "out_edges", "ghost_edges")  # of the edges, and kept
EDGES_AT_ONCE = 1 << 18  # hashed together: 2 MB, which stay in the second cache
BUILT_IN_EDGE = ("sender", "relation")  # edge fields every graph has: id of the source, number of the relation


@dataclass(frozen=True)
class Graph:
    """One rank's share of a graph. Collective to build, local to read."""

    comm: object
    n_vertices: int  # of all ranks
    n_edges: int  # directed edges stored on all ranks; an undirected edge counts twice
    directed: bool  # if not, every edge is there both ways with the same relation and fields
    part_start: np.ndarray  # int64 (n_parts + 1,) gids; the same on all ranks
    rank_parts: np.ndarray  # int64 (size + 1,) rank p owns the parts [rank_parts[p], rank_parts[p + 1])
    id: np.ndarray  # int64 (n_local,) the user's number of each row
    order: np.ndarray  # int64 (n_owned,) position among all ids, ascending
    ghosts: np.ndarray  # int64 (n_ghost,) gids, by owner, then gid
    in_ptr: np.ndarray  # uint64 (n_owned + 1,)
    in_src: np.ndarray  # uint32 (n_in,) local rows
    out_degree: np.ndarray  # int64 (n_owned,)
    halo: Halo
    relation: np.ndarray | None = None  # uint16 (n_in,); None: one relation
    relations: tuple = ()  # names of the relations
    edge_fields: dict = field(default_factory=dict)  # name -> (n_in,)
    vertex_fields: dict = field(default_factory=dict)  # name -> (n_owned,) or (n_owned, width)
    categories: dict = field(default_factory=dict)  # vertex field -> tuple of the texts its codes stand for
    name: np.ndarray | None = None  # 'S' (n_owned,) UTF-8 names of the vertices
    sources: tuple = ()  # provenance: files the graph came from
    unread: tuple = ()  # fields of the file that were not asked for
    digest: str | None = None

    @property
    def n_owned(self):
        return len(self.order)

    @property
    def n_ghost(self):
        return len(self.ghosts)

    @property
    def n_local(self):
        return len(self.id)

    @property
    def n_in(self):
        return len(self.in_src)

    @property
    def n_parts(self):
        return len(self.part_start) - 1

    @property
    def gid_bounds(self):
        """Rank p owns the gids [gid_bounds[p], gid_bounds[p + 1])."""
        return self.part_start[self.rank_parts]

    @property
    def first_gid(self):
        return int(self.gid_bounds[self.comm.rank])

    @cached_property
    def in_degree(self):
        """In-edges of each owned row: int64 (n_owned,)."""
        return np.diff(self.in_ptr.view(np.int64))

    @cached_property
    def is_boundary(self):
        """Whether an owned row hears a ghost: bool (n_owned,)."""
        is_boundary = np.zeros(self.n_owned, np.bool_)
        if self.n_ghost:
            building.mark_boundary(self.in_ptr, self.in_src, self.n_owned, is_boundary)
        return is_boundary

    @cached_property
    def interior(self):
        """Owned rows without a ghost in-neighbour: uint32."""
        return np.flatnonzero(~self.is_boundary).astype(LID)

    @cached_property
    def boundary(self):
        """Owned rows with a ghost in-neighbour: uint32."""
        return np.flatnonzero(self.is_boundary).astype(LID)

    @cached_property
    def out_edges(self):
        """The edges that end on this rank, by source: `OutEdges`."""
        return OutEdges(*csr.transpose(self.in_ptr, self.in_src, self.n_local))

    @cached_property
    def ghost_edges(self):
        """Those of `out_edges` whose source is a ghost: `OutEdges`."""
        return OutEdges(*csr.transpose(self.in_ptr, self.in_src, self.n_local, self.n_owned))

    @property
    def heard_by(self):
        """Rows that hear each owned row, perhaps ghosts among them: (ptr, rows)."""
        return (self.out_edges.ptr, self.out_edges.dst) if self.directed else (self.in_ptr, self.in_src)

    @property
    def ghosts_heard_by(self):
        """Owned rows that hear each ghost: (ptr, rows)."""
        edges = self.out_edges if self.directed else self.ghost_edges
        return edges.ptr, edges.dst

    def work_out(self):
        """Work out now what graphs `with_vertex_field` of this one will need. Local."""
        return self.interior, self.boundary, self.heard_by, self.ghosts_heard_by

    def local_gids(self):
        """Gid of every local row: int64 (n_local,). Local."""
        return np.concatenate((np.arange(self.first_gid, self.first_gid + self.n_owned, dtype=GID), self.ghosts))

    def part_of_rows(self):
        """Part of every owned row: int64 (n_owned,). Local."""
        return owner_of(self.part_start, np.arange(self.first_gid, self.first_gid + self.n_owned))

    def in_rows(self):
        """Owned row that each in-edge ends in: int64 (n_in,). Local."""
        return np.repeat(np.arange(self.n_owned), self.in_degree)

    def local_order(self):
        """`order` of every local row, ghosts too: int64 (n_local,). Collective."""
        order = np.empty(self.n_local, np.int64)
        order[: self.n_owned] = self.order
        self.halo.forward(order)
        return order

    def rows_of(self, ids):
        """Local rows of ids that this rank owns, the others left out. Local."""
        by_id = np.argsort(self.id[: self.n_owned])
        sorted_ids = self.id[: self.n_owned][by_id]
        ids = np.asarray(ids, np.int64)
        at = np.minimum(np.searchsorted(sorted_ids, ids), max(self.n_owned - 1, 0))
        return by_id[at[sorted_ids[at] == ids]] if self.n_owned else by_id

    def close(self):
        """Free the halo's MPI objects. Local."""
        self.halo.close()


@dataclass(frozen=True)
class OutEdges:
    """Edges of a rank once more, by source."""

    ptr: np.ndarray  # uint64 (n_local + 1,)
    dst: np.ndarray  # uint32 (n,) owned rows, ascending per source
    edge: np.ndarray  # uint32 or uint64 (n,) which in-edge each is
    kept: dict = field(default_factory=dict)  # name -> (a field by in-edge, the same by out-edge)

    def field(self, name, values):
        """A field (n_in,) of in-edges in this order; kept for the next who asks. Local."""
        if name not in self.kept or self.kept[name][0] is not values:
            self.kept[name] = values, values[self.edge]
        return self.kept[name][1]


@dataclass(frozen=True)
class Rows:
    """Vertices of this rank, ascending by gid."""

    id: np.ndarray  # int64 (n_owned,)
    order: np.ndarray  # int64 (n_owned,)
    fields: dict = field(default_factory=dict)  # name -> (n_owned, ...)
    name: np.ndarray | None = None  # 'S' (n_owned,)


def from_columns(comm, rows, columns, *, part_start, rank_parts, **more):
    """Build the graph from own rows, and edges that lie anywhere. Collective.

    Parameters
    ----------
    rows : Rows
    columns : dict of str to (m,) array
        ``src`` (order of the source), ``dst`` (gid), perhaps ``relation``,
        and the fields of the edges. Emptied.
    part_start : int64 (n_parts + 1,)
    rank_parts : int64 (size + 1,)
    more
        ``directed, relations, categories, sources`` of `Graph`.
    """
    bounds, n_vertices = part_start[rank_parts], int(part_start[-1])
    first, end = int(bounds[comm.rank]), int(bounds[comm.rank + 1])
    mine = edges.deliver(comm, bounds, columns)
    in_degree, mine = edges.SortedEdges(comm, mine, first, end - first, n_vertices).columns()
    by_order = edges.gids_by_order(comm, rows.order, np.arange(first, end), n_vertices)
    in_ptr = edges.pointers(in_degree)
    return from_sorted(
        comm, rows, in_ptr, mine, by_order=by_order, part_start=part_start, rank_parts=rank_parts, **more
    )


def from_sorted(
    comm, rows, in_ptr, columns, *, part_start, rank_parts, directed, by_order=None, heard=None, out_degree=None, **more
):
    """Build the graph from this rank's own rows and sorted in-edges. Collective.

    Parameters
    ----------
    rows : Rows
    in_ptr : uint64 (n_owned + 1,)
    columns : dict of str to (n_in,) array
        ``src``, perhaps ``relation``, and fields, row by row in canonical
        order. ``src`` is gids, or orders with ``by_order``. Emptied, so that
        ``src`` becomes the local rows where it lies.
    by_order : (bounds, gids) or None
        From `edges.gids_by_order`.
    heard : int64 (k,) or None
        The distinct numbers in ``src``, if they are known.

    Raises
    ------
    GraphError
        More rows than 32 bits can number. Raised on every rank.
    """
    bounds, n_vertices = part_start[rank_parts], int(part_start[-1])
    first, end = int(bounds[comm.rank]), int(bounds[comm.rank + 1])
    n_owned = end - first
    src, relation = columns.pop("src"), columns.pop("relation", None)
    heard = edges.distinct(src, n_vertices) if heard is None else heard
    gids = heard if by_order is None else edges.ask(comm, *by_order, heard)
    is_owned = (gids >= first) & (gids < end)
    ghosts = np.sort(gids[~is_owned])
    n_local = n_owned + len(ghosts)
    error = None
    if n_local > MAX_LOCAL_ROWS:
        error = GraphError(f"{n_local} local rows do not fit 32 bits; use more ranks")
    raise_together(comm, error)
    row = np.empty(len(gids), LID)
    row[is_owned] = gids[is_owned] - first
    row[~is_owned] = n_owned + np.searchsorted(ghosts, gids[~is_owned])
    in_src = _as_rows(src, heard, row, n_vertices)
    del src, heard, gids, row, is_owned
    halo = halo_plan.build(comm, bounds, ghosts)
    if out_degree is None:
        times = np.zeros(n_local, np.int64)
        building.count(in_src, times)
        halo.reverse(times)
        out_degree = times[:n_owned].copy()
    ids = np.empty(n_local, np.int64)
    ids[:n_owned] = rows.id
    halo.forward(ids)
    return Graph(
        comm=comm,
        n_vertices=n_vertices,
        n_edges=int(comm.allreduce(len(in_src))),
        directed=bool(directed),
        part_start=part_start,
        rank_parts=rank_parts,
        id=ids,
        order=rows.order,
        ghosts=ghosts,
        in_ptr=in_ptr,
        in_src=in_src,
        out_degree=np.ascontiguousarray(out_degree, np.int64),
        halo=halo,
        relation=relation,
        edge_fields=dict(columns),
        vertex_fields=rows.fields,
        name=rows.name,
        **more,
    )


def _as_rows(src, heard, row, n_vertices):
    """Local rows of sources: uint32, in the place of src where it is as wide."""
    out = src if src.dtype == LID else np.empty(len(src), LID)
    if n_vertices <= 8 * max(len(src), 1):
        table = np.zeros(n_vertices, LID)
        table[heard] = row
        building.translate(src, table, out)
    else:
        out[:] = row[np.searchsorted(heard, src)]
    return out


def both_ways(graph):
    """The graph in which every edge also runs backwards. Collective.

    An edge and its reverse are both kept, so a reciprocal neighbour is heard
    twice. An undirected graph is returned as it is.
    """
    if not graph.directed:
        return graph
    forward, backward = _columns(graph), _columns(graph, turned=True)
    return _rebuilt(graph, {name: np.concatenate((a, backward.pop(name))) for name, a in forward.items()})


def reversed_edges(graph):
    """The graph in which every edge runs backwards. Collective."""
    return _rebuilt(graph, _columns(graph, turned=True)) if graph.directed else graph


def _columns(graph, turned=False):
    """In-edges as `from_columns` takes them. Collective."""
    rows, dtype = graph.in_rows(), edges.number_dtype(graph.n_vertices)
    if turned:
        src, dst = graph.order.astype(dtype)[rows], graph.local_gids().astype(dtype)[graph.in_src]
    else:
        src, dst = graph.local_order().astype(dtype)[graph.in_src], (graph.first_gid + rows).astype(dtype)
    relation = {} if graph.relation is None else {"relation": graph.relation}
    return {"src": src, "dst": dst, **relation, **graph.edge_fields}


def simplified(graph):
    """The graph without loops, repeated edges, relations and fields. Collective."""
    rows = graph.in_rows()
    keep = graph.in_src != rows
    if graph.relation is not None:  # repeats of different relations are not neighbours in the row
        key = rows * graph.n_local + graph.in_src
        first = np.zeros(graph.n_in, np.bool_)
        first[np.unique(key, return_index=True)[1]] = True
        # the row is sorted by relation first; without relations it is sorted by order alone
        kept = _columns(graph)
        return _rebuilt(_plain(graph), {name: kept[name][keep & first] for name in ("src", "dst")})
    keep[1:] &= (rows[1:] != rows[:-1]) | (graph.in_src[1:] != graph.in_src[:-1])
    return only_edges(_plain(graph), keep)


def _plain(graph):
    return replace(graph, relations=(), relation=None, vertex_fields={}, edge_fields={}, categories={})


def only_relations(graph, names):
    """The graph with the edges of some relations only; numbers stay. Collective."""
    numbers = [graph.relations.index(name) for name in names]
    relation = np.zeros(graph.n_in, RELATION) if graph.relation is None else graph.relation
    return only_edges(graph, np.isin(relation, numbers))


def only_edges(graph, keep):
    """The graph with some of its in-edges, rows as they are. Collective.

    Parameters
    ----------
    keep : bool (n_in,)
        Of an undirected graph, the same of both directions of an edge.
    """
    kept_before = np.concatenate(([0], np.cumsum(keep)))
    in_ptr = kept_before[graph.in_ptr.view(np.int64)].astype(PTR)
    dtype = edges.number_dtype(graph.n_vertices)
    columns = {"src": graph.local_gids().astype(dtype)[graph.in_src[keep]]}
    if graph.relation is not None:
        columns["relation"] = graph.relation[keep]
    columns |= {name: a[keep] for name, a in graph.edge_fields.items()}
    return from_sorted(graph.comm, _rows(graph), in_ptr, columns, **_kept(graph))


def with_vertex_field(graph, name, values):
    """The graph with one more field of its owned vertices. Local."""
    more = replace(graph, vertex_fields={**graph.vertex_fields, name: values}, digest=None)
    more.__dict__.update({key: graph.__dict__[key] for key in WORKED_OUT if key in graph.__dict__})
    return more


def with_edge_field(graph, name, values):
    """The graph with one more field of its in-edges: (n_in,), as they lie. Local.

    Of an undirected graph both directions of an edge may differ in it, so the
    graph counts as directed from here on.
    """
    more = replace(graph, edge_fields={**graph.edge_fields, name: values}, digest=None, directed=True)
    known = (key for key in WORKED_OUT if key in graph.__dict__)
    more.__dict__.update({key: graph.__dict__[key] for key in known})
    return more


def with_digest(graph):
    """The graph with its digest, which no partition changes. Collective."""
    return replace(graph, digest=digest_of(graph))


def digest_of(graph):
    """Fingerprint of vertices, edges and fields: 64 hex digits. Collective.

    A sum of hashes, so that it depends neither on the partition nor on the
    order of the edges.
    """
    owned = graph.id[: graph.n_owned]
    columns = [owned, *([graph.name] if graph.name is not None else [])]
    columns += [graph.vertex_fields[name] for name in sorted(graph.vertex_fields)]
    sums = []
    for seed in GRAPH_SEEDS:
        sums += [hash_sum(columns, seed), _edge_sum(graph, np.uint64(seed))]
    total = np.empty(len(sums), np.uint64)
    graph.comm.Allreduce(np.array(sums, np.uint64), total)  # wraps around, and so commutes
    return graph_digest(graph, total)


def _edge_sum(graph, seed):
    """`hash_sum` of (id of the destination, id of the source, relation, fields)."""
    columns = [] if graph.relation is None else [graph.relation]
    columns += [graph.edge_fields[name] for name in sorted(graph.edge_fields)]
    if not columns:
        return hash_kernels.sum_of_ends(graph.in_ptr, graph.in_src, graph.id, seed)
    total, rows = 0, np.arange(0, graph.n_in, EDGES_AT_ONCE, dtype=np.uint64)
    cuts = np.unique(np.concatenate((np.searchsorted(graph.in_ptr, rows), [0, graph.n_owned])))
    for lo, hi in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        e = slice(int(graph.in_ptr[lo]), int(graph.in_ptr[hi]))
        h = np.empty(e.stop - e.start, np.uint64)
        hash_kernels.hash_ends(graph.in_ptr, graph.in_src, graph.id, seed, lo, h)
        for column in columns:
            for word in words(column[e]):
                hash_kernels.hash_words(h, word)
        total += int(h.sum(dtype=np.uint64))
    return total % 2**64


def _rows(graph):
    return Rows(graph.id[: graph.n_owned], graph.order, graph.vertex_fields, graph.name)


def _kept(graph):
    """What a graph with other edges takes over."""
    return {
        "part_start": graph.part_start,
        "rank_parts": graph.rank_parts,
        "directed": graph.directed,
        "relations": graph.relations,
        "categories": graph.categories,
        "sources": graph.sources,
    }


def _rebuilt(graph, columns):
    return from_columns(graph.comm, _rows(graph), columns, **_kept(graph))


def local_rows_of_gids(graph, gids):
    """Local rows of gids, and which of them are local at all. Local."""
    first, end = graph.first_gid, graph.first_gid + graph.n_owned
    is_local = (gids >= first) & (gids < end)
    at = np.minimum(np.searchsorted(graph.ghosts, gids), max(graph.n_ghost - 1, 0))
    if graph.n_ghost:
        is_local |= graph.ghosts[at] == gids
    return np.where((gids >= first) & (gids < end), gids - first, graph.n_owned + at).astype(LID), is_local
