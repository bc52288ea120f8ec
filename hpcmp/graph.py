"""The graph as one rank holds it: owned rows, their in-edges, ghosts, halo.

All in-edges of a vertex live with its owner, sorted by (relation, `order` of
the source, edge fields): the canonical order of every sum. Rows are owned
first, ghosts after. `from_rows` builds it from vertices and edges that lie
anywhere; `both_ways` adds every edge's reverse.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from hpcmp import halo as halo_plan
from hpcmp.comm import Route, owner_of, raise_together
from hpcmp.dtypes import GID, LID, MAX_LOCAL_ROWS, PTR, RELATION
from hpcmp.errors import GraphError
from hpcmp.halo import Halo
from hpcmp.hashing import GRAPH_SEEDS, graph_digest, hash_sum

BUILT_IN = ("id", "in_degree", "out_degree")  # vertex fields every graph has
BUILT_IN_EDGE = ("sender", "relation")  # edge fields every graph has: id of the source, number of the relation


@dataclass(frozen=True)
class Graph:
    """One rank's share of a graph. Collective to build, local to read."""

    comm: object
    n_vertices: int  # of all ranks
    n_edges: int  # directed edges stored on all ranks; an undirected edge counts twice
    directed: bool
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
        return np.diff(self.in_ptr.astype(np.int64))

    @cached_property
    def is_boundary(self):
        """Whether an owned row hears a ghost: bool (n_owned,)."""
        if self.n_ghost == 0:
            return np.zeros(self.n_owned, np.bool_)
        n_ghosts_before = np.concatenate(([0], np.cumsum(self.in_src >= self.n_owned)))
        at = n_ghosts_before[self.in_ptr.astype(np.int64)]
        return at[1:] > at[:-1]

    @cached_property
    def interior(self):
        """Owned rows without a ghost in-neighbour: uint32."""
        return np.flatnonzero(~self.is_boundary).astype(LID)

    @cached_property
    def boundary(self):
        """Owned rows with a ghost in-neighbour: uint32."""
        return np.flatnonzero(self.is_boundary).astype(LID)

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
class Rows:
    """Vertices on their way to their owners."""

    gid: np.ndarray  # int64 (v,)
    id: np.ndarray  # int64 (v,)
    order: np.ndarray  # int64 (v,)
    fields: dict = field(default_factory=dict)  # name -> (v, ...)
    name: np.ndarray | None = None  # 'S' (v,)


@dataclass(frozen=True)
class Edges:
    """Edges on their way to the owner of their destination."""

    src: np.ndarray  # int64 (m,) gid
    src_order: np.ndarray  # int64 (m,) order of the source
    dst: np.ndarray  # int64 (m,) gid
    relation: np.ndarray | None = None  # uint16 (m,)
    fields: dict = field(default_factory=dict)  # name -> (m,)


def from_rows(comm, rows, edges, *, part_start, rank_parts, directed, **more):
    """Build the graph from vertices and edges that lie on any rank. Collective.

    Parameters
    ----------
    rows : Rows
        Every gid of [0, part_start[-1]) once, over all ranks.
    edges : Edges
    part_start : int64 (n_parts + 1,)
    rank_parts : int64 (size + 1,)
    more
        ``relations, categories, sources`` of `Graph`.
    """
    bounds = part_start[rank_parts]
    rows = deliver_rows(comm, rows, bounds)
    edges = sort_edges(deliver_edges(comm, edges, bounds), int(bounds[comm.rank]), int(part_start[-1]))
    in_degree = np.bincount(edges.dst - bounds[comm.rank], minlength=len(rows.gid))
    return from_sorted(
        comm,
        rows,
        in_degree,
        edges,
        part_start=part_start,
        rank_parts=rank_parts,
        directed=directed,
        **more,
    )


def from_sorted(comm, rows, in_degree, edges, *, part_start, rank_parts, directed, out_degree=None, **more):
    """Build the graph from this rank's own rows and sorted in-edges. Collective.

    Parameters
    ----------
    rows : Rows
        This rank's, ascending by gid.
    in_degree : int64 (n_owned,)
    edges : Edges
        This rank's in-edges, row by row in canonical order; ``dst`` and
        ``src_order`` are not looked at.

    Raises
    ------
    GraphError
        More rows than 32 bits can number. Raised on every rank.
    """
    bounds = part_start[rank_parts]
    first, end = int(bounds[comm.rank]), int(bounds[comm.rank + 1])
    n_owned = end - first
    ghosts = _ghosts(edges.src, first, end, int(part_start[-1]))
    n_local = n_owned + len(ghosts)
    error = None
    if n_local > MAX_LOCAL_ROWS:
        error = GraphError(f"{n_local} local rows do not fit 32 bits; use more ranks")
    raise_together(comm, error)
    halo = halo_plan.build(comm, bounds, ghosts)
    in_src = _local_rows(edges.src, first, end, ghosts, int(part_start[-1]))
    if out_degree is None:
        heard = np.bincount(in_src, minlength=n_local).astype(np.int64)
        halo.reverse(heard)
        out_degree = heard[:n_owned]
    ids = np.empty(n_local, np.int64)
    ids[:n_owned] = rows.id
    halo.forward(ids)
    return Graph(
        comm=comm,
        n_vertices=int(part_start[-1]),
        n_edges=int(comm.allreduce(len(in_src))),
        directed=bool(directed),
        part_start=part_start,
        rank_parts=rank_parts,
        id=ids,
        order=rows.order,
        ghosts=ghosts,
        in_ptr=np.concatenate(([0], np.cumsum(in_degree))).astype(PTR),
        in_src=in_src,
        out_degree=np.ascontiguousarray(out_degree, np.int64),
        halo=halo,
        relation=edges.relation,
        edge_fields=edges.fields,
        vertex_fields=rows.fields,
        name=rows.name,
        **more,
    )


def deliver_rows(comm, rows, bounds):
    """Vertices at their owners, ascending by gid. Collective."""
    route = Route(comm, owner_of(bounds, rows.gid))
    gid = route.there(rows.gid)
    by_gid = np.argsort(gid)
    return Rows(
        gid[by_gid],
        route.there(rows.id)[by_gid],
        route.there(rows.order)[by_gid],
        {name: route.there(a)[by_gid] for name, a in rows.fields.items()},
        None if rows.name is None else route.there(rows.name)[by_gid],
    )


def deliver_edges(comm, edges, bounds):
    """Edges at the owners of their destinations. Collective."""
    route = Route(comm, owner_of(bounds, edges.dst))
    return Edges(
        route.there(edges.src),
        route.there(edges.src_order),
        route.there(edges.dst),
        None if edges.relation is None else route.there(edges.relation),
        {name: route.there(a) for name, a in edges.fields.items()},
    )


def sort_edges(edges, first, n_vertices):
    """Edges by (dst, relation, order of the source, fields). Local."""
    return take_edges(edges, canonical_order(edges, first, n_vertices))


def take_edges(edges, pick):
    """Some edges, by index or mask. Local."""
    return Edges(
        edges.src[pick],
        edges.src_order[pick],
        edges.dst[pick],
        None if edges.relation is None else edges.relation[pick],
        {name: a[pick] for name, a in edges.fields.items()},
    )


def canonical_order(edges, first, n_vertices):
    """Permutation that sorts edges canonically: intp (m,). Local."""
    n_relations = 1 if edges.relation is None or not len(edges.relation) else int(edges.relation.max()) + 1
    n_rows = int(edges.dst.max()) - first + 1 if len(edges.dst) else 1
    fields = [edges.fields[name] for name in sorted(edges.fields, reverse=True)]
    relation = np.zeros(1, np.int64) if edges.relation is None else edges.relation.astype(np.int64)
    if float(n_rows) * n_relations * max(n_vertices, 1) >= 2**63:
        keys = [edges.src_order, edges.dst] if edges.relation is None else [edges.src_order, relation, edges.dst]
        return np.lexsort(fields + keys)
    # One 64-bit key sorts several times faster than three.
    key = ((edges.dst - first) * n_relations + relation) * max(n_vertices, 1) + edges.src_order
    by_key = np.argsort(key)  # need not be stable: equal keys without fields are equal edges
    sorted_key = key[by_key]
    if fields and np.any(sorted_key[1:] == sorted_key[:-1]):
        return np.lexsort([*fields, key])
    return by_key


def both_ways(graph):
    """The graph in which every edge also runs backwards. Collective.

    An edge and its reverse are both kept, so a reciprocal neighbour is heard
    twice. An undirected graph is returned as it is.
    """
    if not graph.directed:
        return graph
    rows, edges, order = _as_rows(graph), as_edges(graph), graph.local_order()
    dst_order = graph.order[graph.in_rows()]
    twice = Edges(
        np.concatenate((edges.src, edges.dst)),
        np.concatenate((order[graph.in_src], dst_order)),
        np.concatenate((edges.dst, edges.src)),
        None if edges.relation is None else np.concatenate((edges.relation, edges.relation)),
        {name: np.concatenate((a, a)) for name, a in edges.fields.items()},
    )
    return _rebuilt(graph, rows, twice)


def reversed_edges(graph):
    """The graph in which every edge runs backwards. Collective."""
    if not graph.directed:
        return graph
    rows, edges = _as_rows(graph), as_edges(graph)
    dst_order = graph.order[graph.in_rows()]
    return _rebuilt(graph, rows, Edges(edges.dst, dst_order, edges.src, edges.relation, edges.fields))


def simplified(graph):
    """The graph without loops, repeated edges, relations and fields. Collective."""
    edges, order = as_edges(graph), graph.local_order()
    rows = graph.in_rows()
    keep = graph.in_src != rows
    if graph.relation is not None:  # repeats of different relations are not neighbours in the row
        key = rows * graph.n_local + graph.in_src
        first = np.zeros(graph.n_in, np.bool_)
        first[np.unique(key, return_index=True)[1]] = True
        keep &= first
    else:
        keep[1:] &= (rows[1:] != rows[:-1]) | (graph.in_src[1:] != graph.in_src[:-1])
    edges = Edges(edges.src[keep], order[graph.in_src[keep]], edges.dst[keep])
    plain = replace(graph, relations=(), vertex_fields={}, categories={})
    return _rebuilt(plain, _as_rows(plain), edges)


def with_vertex_field(graph, name, values):
    """The graph with one more field of its owned vertices. Local."""
    more = replace(graph, vertex_fields={**graph.vertex_fields, name: values}, digest=None)
    known = ("in_degree", "is_boundary", "interior", "boundary")  # what was worked out of the edges still holds
    more.__dict__.update({key: graph.__dict__[key] for key in known if key in graph.__dict__})
    return more


def only_relations(graph, names):
    """The graph with the edges of some relations only; numbers stay. Collective."""
    numbers = [graph.relations.index(name) for name in names]
    relation = np.zeros(graph.n_in, RELATION) if graph.relation is None else graph.relation
    edges, order = as_edges(graph), graph.local_order()
    edges = replace(edges, src_order=order[graph.in_src])
    return _rebuilt(graph, _as_rows(graph), take_edges(edges, np.isin(relation, numbers)))


def as_edges(graph):
    """All in-edges of this rank as `Edges`, without orders. Local."""
    gids = graph.local_gids()
    dst = graph.first_gid + graph.in_rows()
    return Edges(gids[graph.in_src], np.empty(0, np.int64), dst, graph.relation, graph.edge_fields)


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
    edge_columns = [owned[graph.in_rows()], graph.id[graph.in_src]]
    edge_columns += [] if graph.relation is None else [graph.relation]
    edge_columns += [graph.edge_fields[name] for name in sorted(graph.edge_fields)]
    sums = np.array([hash_sum(c, seed) for seed in GRAPH_SEEDS for c in (columns, edge_columns)], np.uint64)
    total = np.empty_like(sums)
    graph.comm.Allreduce(sums, total)  # wraps around, and so commutes
    return graph_digest(graph, total)


def _as_rows(graph):
    gid = np.arange(graph.first_gid, graph.first_gid + graph.n_owned, dtype=GID)
    return Rows(gid, graph.id[: graph.n_owned], graph.order, graph.vertex_fields, graph.name)


def _rebuilt(graph, rows, edges):
    return from_rows(
        graph.comm,
        rows,
        edges,
        part_start=graph.part_start,
        rank_parts=graph.rank_parts,
        directed=graph.directed,
        relations=graph.relations,
        categories=graph.categories,
        sources=graph.sources,
    )


def _ghosts(src, first, end, n_vertices):
    """Distinct gids outside [first, end), ascending."""
    if n_vertices <= 8 * max(len(src), 1):  # a table of all gids is no larger than the edges themselves
        is_heard = np.zeros(n_vertices, np.bool_)
        is_heard[src] = True
        is_heard[first:end] = False
        return np.flatnonzero(is_heard).astype(GID)
    return np.unique(src[(src < first) | (src >= end)])


def local_rows_of_gids(graph, gids):
    """Local rows of gids, and which of them are local at all. Local."""
    first, end = graph.first_gid, graph.first_gid + graph.n_owned
    is_local = (gids >= first) & (gids < end)
    at = np.minimum(np.searchsorted(graph.ghosts, gids), max(graph.n_ghost - 1, 0))
    if graph.n_ghost:
        is_local |= graph.ghosts[at] == gids
    return np.where((gids >= first) & (gids < end), gids - first, graph.n_owned + at).astype(LID), is_local


def _local_rows(src, first, end, ghosts, n_vertices):
    n_owned = end - first
    if n_vertices <= 8 * max(len(src), 1):
        row = np.zeros(n_vertices, LID)
        row[first:end] = np.arange(n_owned, dtype=LID)
        row[ghosts] = np.arange(n_owned, n_owned + len(ghosts), dtype=LID)
        return row[src]
    is_owned = (src >= first) & (src < end)
    return np.where(is_owned, src - first, n_owned + np.searchsorted(ghosts, src)).astype(LID)
