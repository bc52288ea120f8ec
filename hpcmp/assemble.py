"""From tables that were read to a `Graph`, and from one partition to another.

1. Number the vertices: keys (ids or names) are sorted over all ranks, each
   rank keeping a run of them; the position of a key is its `order`.
2. Make the edges: endpoints by order, reverses of undirected ones, loops and
   duplicates counted and, when asked, dropped.
3. Cut parts (degree-balanced runs of ids) and deal them to ranks.
4. Deliver rows and edges to their owners, sorted canonically.

No step depends on how the input was spread over ranks.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from hpcmp import partition
from hpcmp.comm import Route, block_bounds, collective, exclusive_sum, owner_of, raise_together, together
from hpcmp.dtypes import GID, ID, field_dtype
from hpcmp.errors import GraphError, InputError, PartitionError
from hpcmp.graph import BUILT_IN, BUILT_IN_EDGE, Edges, Rows, from_rows, take_edges, with_digest

SAMPLES_PER_RANK = 256  # keys from which the splitters of the sort are chosen
METHODS = ("block", "degree", "hash", "metis", "file")


@dataclass(frozen=True)
class Report:
    """What was found while building a graph; the same on all ranks."""

    n_lines: int = 0  # edges given in the input
    n_loops: int = 0  # of them from a vertex to itself
    n_duplicates: int = 0  # of them repeating the endpoints and relation of another
    n_isolated: int = 0  # vertices without any edge
    dropped: tuple = field(default_factory=tuple)  # what was left out of the graph


@dataclass(frozen=True)
class Directory:
    """All keys of a graph in sorted order, a run on each rank."""

    comm: object
    splitters: np.ndarray  # (size - 1,) rank p keeps keys in [splitters[p - 1], splitters[p])
    keys: np.ndarray  # this rank's, ascending, distinct
    bounds: np.ndarray  # int64 (size + 1,) orders kept by each rank

    @property
    def n(self):
        return int(self.bounds[-1])

    def order_of(self, keys):
        """Position of each key among all, -1 where absent: int64. Collective."""
        distinct, inverse = unique_inverse(keys)
        route = Route(self.comm, np.searchsorted(self.splitters, distinct, side="right"))
        asked = route.there(distinct)
        at = np.minimum(np.searchsorted(self.keys, asked), max(len(self.keys) - 1, 0))
        found = self.keys[at] == asked if len(self.keys) else np.zeros(len(asked), np.bool_)
        return route.back(np.where(found, self.bounds[self.comm.rank] + at, -1))[inverse]


def number_vertices(comm, keys):
    """Sort the distinct keys of all ranks. Collective."""
    keys = unique(keys)
    step = max(len(keys) // SAMPLES_PER_RANK, 1)
    samples = np.sort(np.concatenate(comm.allgather(keys[::step])))
    at = block_bounds(len(samples), comm.size)[1:-1]
    splitters = samples[at] if len(samples) else np.zeros(comm.size - 1, keys.dtype)
    mine = unique(Route(comm, np.searchsorted(splitters, keys, side="right")).there(keys))
    bounds = np.concatenate(([0], np.cumsum(comm.allgather(len(mine))))).astype(np.int64)
    return Directory(comm, splitters, mine, bounds)


@collective
def build_graph(
    comm, table, *, vertices=None, features=None, directed=None, drop_loops=False, drop_duplicates=False, n_parts=None
):
    """Build a graph from tables that were read. Collective.

    Parameters
    ----------
    table : EdgeTable
    vertices : VertexTable or None
        Fields of vertices; then every vertex of the graph must be in it.
    features : FeatureTable or None
        Becomes the vertex field ``x``, float32 (n, n_columns).
    directed : bool or None
        None: as the input says, else directed.
    n_parts : int or None
        None: `partition.default_parts`.

    Returns
    -------
    graph : Graph
    report : Report

    Raises
    ------
    InputError, GraphError
        The tables contradict each other. Raised on every rank.
    """
    with together(comm):
        directed = _direction(table.directed, directed)
        if n_parts is not None:
            partition.check_parts(n_parts)
    table, vertices, features, names = _one_kind_of_key(comm, table, vertices, features)
    declared = [table.vertices] + ([vertices.key] if vertices is not None else [])
    directory = number_vertices(comm, np.concatenate([table.src, table.dst, *declared]))
    _check_declared(comm, table, vertices, directory)
    src, dst = directory.order_of(table.src), directory.order_of(table.dst)
    relation = table.relation if len(table.relations) > 1 else None
    fields = {name: _settled(a) for name, a in table.fields.items()}
    _check_names(comm, fields, (*BUILT_IN_EDGE, "src", "ptr"), "edge")  # src, ptr: what graph files keep beside fields
    edges, report = _make_edges(comm, src, dst, relation, fields, directory, directed, drop_loops, drop_duplicates)

    first, end = int(directory.bounds[comm.rank]), int(directory.bounds[comm.rank + 1])
    order = np.arange(first, end, dtype=np.int64)
    vertex_fields = {**_attached(comm, vertices, directory), **_dense_features(comm, features, directory)}
    _check_names(comm, vertex_fields, (*BUILT_IN, "order", "name"), "vertex")
    n_parts = n_parts or partition.default_parts(directory.n)
    # Parts are runs of the canonical order here, so gid and order agree.
    in_degree = np.zeros(end - first, np.int64)
    np.add.at(in_degree, edges.dst - first, 1)
    part = partition.degree_balanced(comm, order, in_degree, n_parts)
    sizes = comm.allreduce(np.bincount(part, minlength=n_parts))
    part_start = np.concatenate(([0], np.cumsum(sizes))).astype(GID)
    work = comm.allreduce(np.bincount(part, 1 + partition.ALPHA * in_degree, minlength=n_parts))
    rows = Rows(
        order, order if names else directory.keys.astype(ID), order, vertex_fields, directory.keys if names else None
    )
    graph = from_rows(
        comm,
        rows,
        edges,
        part_start=part_start,
        rank_parts=partition.deal(work, comm.size),
        directed=directed,
        relations=tuple(table.relations),
        categories={} if vertices is None else dict(vertices.categories),
        sources=_sources(table, vertices, features),
    )
    n_isolated = int(comm.allreduce(int(((graph.in_degree == 0) & (graph.out_degree == 0)).sum())))
    return with_digest(graph), replace(report, n_isolated=n_isolated)


@collective
def repartition(graph, method, n_parts=None, *, part=None):
    """The same graph cut into other parts. Collective.

    Parameters
    ----------
    method : str
        block, degree, hash, metis, or file (then ``part`` is given).
    n_parts : int or None
        None: as many as now, or for ``file`` as the numbers ask for.
    part : int64 (n_owned,), for method "file"

    Raises
    ------
    PartitionError
        An unknown method, or part numbers outside the range.
    """
    comm = graph.comm
    n_parts = n_parts or (graph.n_parts if method != "file" else None)
    if method == "file":
        n_parts = n_parts or 1 + comm.allreduce(int(part.max(initial=0)), op=_max())
    with together(comm):
        partition.check_parts(n_parts)
        if method not in METHODS:
            raise PartitionError(f"method {method!r} is not one of {', '.join(METHODS)}")
    if method == "block":
        part = partition.block(graph.order, graph.n_vertices, n_parts)
    elif method == "degree":
        part = partition.degree_balanced(comm, graph.order, graph.in_degree, n_parts)
    elif method == "hash":
        part = partition.hashed(graph.id[: graph.n_owned], n_parts)
    elif method == "metis":
        part = partition.metis(comm, graph, n_parts)
    return move_to_parts(graph, part, n_parts)


def move_to_parts(graph, part, n_parts):
    """Renumber rows by (part, order) and move them. Collective.

    Parameters
    ----------
    part : int64 (n_owned,)

    Raises
    ------
    PartitionError
        A part lies outside [0, n_parts). Raised on every rank.
    """
    comm = graph.comm
    error = None
    wrong = np.flatnonzero((part < 0) | (part >= n_parts))
    if len(wrong):
        error = PartitionError(f"vertex {graph.id[wrong[0]]} has part {part[wrong[0]]}, outside [0, {n_parts})")
    raise_together(comm, error)
    part_start, gid = _number_by_part(comm, graph.order, graph.n_vertices, part, n_parts)
    local_gid = np.empty(graph.n_local, GID)
    local_gid[: graph.n_owned] = gid
    graph.halo.forward(local_gid)
    rows = Rows(gid, graph.id[: graph.n_owned], graph.order, graph.vertex_fields, graph.name)
    edges = Edges(
        local_gid[graph.in_src],
        graph.local_order()[graph.in_src],
        gid[graph.in_rows()],
        graph.relation,
        graph.edge_fields,
    )
    work = comm.allreduce(np.bincount(part, 1 + partition.ALPHA * graph.in_degree, minlength=n_parts))
    return from_rows(
        comm,
        rows,
        edges,
        part_start=part_start,
        rank_parts=partition.deal(work, comm.size),
        directed=graph.directed,
        relations=graph.relations,
        categories=graph.categories,
        sources=graph.sources,
        digest=None if graph.unread else graph.digest,
    )


@collective
def part_of_rows(graph, ids, part, source="the part file"):
    """Part of each owned vertex from lines that lie on any rank. Collective.

    Parameters
    ----------
    ids : int64 (v,) or None
        None: the lines are in the order of the ids, over all ranks.
    part : int64 (v,)

    Raises
    ------
    InputError
        A vertex has no line or several. Raised on every rank.
    """
    comm = graph.comm
    first, n_lines = exclusive_sum(comm, len(part))
    error = None
    if n_lines != graph.n_vertices:
        error = InputError(
            f"{source} has {n_lines} lines, the graph {graph.n_vertices} vertices; give each vertex one part"
        )
    raise_together(comm, error)
    order = np.arange(first, first + len(part))
    if ids is not None:
        directory = number_vertices(comm, ids)
        order = directory.order_of(ids)
        owned = graph.id[: graph.n_owned]
        missing = owned[directory.order_of(owned) < 0]
        if len(missing):
            error = InputError(f"{source} has no line for vertex {missing[0]}; give each vertex one part")
        raise_together(comm, error)
    bounds = block_bounds(n_lines, comm.size)
    there = Route(comm, owner_of(bounds, order))
    by_order = np.zeros(bounds[comm.rank + 1] - bounds[comm.rank], np.int64)
    by_order[there.there(order) - bounds[comm.rank]] = there.there(part)
    asked = Route(comm, owner_of(bounds, graph.order))
    return asked.back(by_order[asked.there(graph.order) - bounds[comm.rank]])


def unique(keys):
    """Distinct keys, ascending. Local."""
    present, low = _present(keys)
    return np.unique(keys) if present is None else np.flatnonzero(present) + low


def unique_inverse(keys):
    """Distinct keys, ascending, and where each key is among them. Local."""
    present, low = _present(keys)
    if present is None:
        return np.unique(keys, return_inverse=True)
    place = np.cumsum(present) - 1
    return np.flatnonzero(present) + low, place[keys - low]


def _present(keys):
    """Table of which numbers from ``low`` on occur, or None where a sort costs less."""
    if keys.dtype.kind != "i" or not len(keys):
        return None, 0
    low, high = int(keys.min()), int(keys.max())
    if high - low >= 4 * len(keys):
        return None, 0
    present = np.zeros(high - low + 1, np.bool_)
    present[keys - low] = True
    return present, low


def _number_by_part(comm, order, n_vertices, part, n_parts):
    """part_start, and the gid of each row: rows by (part, order)."""
    bounds = block_bounds(n_vertices, comm.size)
    route = Route(comm, owner_of(bounds, order))
    there, part_there = route.there(order), route.there(part)
    by_place = np.lexsort((there, part_there))
    counts = np.bincount(part_there, minlength=n_parts).astype(np.int64)
    before = np.zeros_like(counts)
    comm.Exscan(counts, before)
    if comm.rank == 0:
        before[:] = 0  # Exscan leaves rank 0 undefined
    part_start = np.concatenate(([0], np.cumsum(comm.allreduce(counts)))).astype(GID)
    run_start = np.concatenate(([0], np.cumsum(counts)[:-1]))
    sorted_part = part_there[by_place]
    gid = np.empty(len(there), GID)
    gid[by_place] = part_start[sorted_part] + before[sorted_part] + np.arange(len(there)) - run_start[sorted_part]
    return part_start, route.back(gid)


def _direction(said, asked):
    if asked is not None and said is not None and said != asked:
        kind = {True: "directed", False: "undirected"}
        raise InputError(
            f"the input says it is {kind[said]}, the command says {kind[asked]}; leave out --{kind[asked]}"
        )
    return asked if asked is not None else said if said is not None else True


def _one_kind_of_key(comm, table, vertices, features):
    """Tables with keys of one dtype on all ranks; whether they are names."""
    keys = [table.src, table.dst]
    keys += [table.vertices] if comm.allreduce(len(table.vertices)) else []
    keys += [t.key for t in (vertices, features) if t is not None]
    kinds = set().union(*comm.allgather({k.dtype.kind for k in keys}))
    if kinds == {"i"}:
        return replace(table, vertices=table.vertices.astype(ID)), vertices, features, False
    if kinds != {"S"}:
        mixed = "the tables call vertices by ids in one place and by names in another; use one of the two"
        raise_together(comm, InputError(mixed))
    width = comm.allreduce(max(k.dtype.itemsize for k in keys), op=_max())
    text = np.dtype(f"S{max(width, 1)}")
    declared = table.vertices.astype(text) if table.vertices.dtype.kind == "S" else np.empty(0, text)
    table = replace(table, src=table.src.astype(text), dst=table.dst.astype(text), vertices=declared)
    vertices = vertices and replace(vertices, key=vertices.key.astype(text))
    features = features and replace(features, key=features.key.astype(text))
    return table, vertices, features, True


def _check_declared(comm, table, vertices, directory):
    """Where vertices are declared, each once and every endpoint among them."""
    for what, key in (
        ("the vertex list", table.vertices),
        ("the vertex table", None if vertices is None else vertices.key),
    ):
        if key is None or not comm.allreduce(len(key)):
            continue
        order = directory.order_of(key)
        route = Route(comm, owner_of(directory.bounds, order))
        times = np.bincount(route.there(order) - directory.bounds[comm.rank], minlength=len(directory.keys))
        error = None
        if len(times) and times.max() > 1:
            error = InputError(
                f"vertex {_shown(directory.keys[times.argmax()])} is listed {times.max()} times in {what}; list it once"
            )
        elif len(times) and times.min() == 0:
            missing = _shown(directory.keys[times.argmin()])
            error = InputError(f"vertex {missing} is an endpoint of an edge but is not in {what}; add it there")
        raise_together(comm, error)


def _make_edges(comm, src, dst, relation, fields, directory, directed, drop_loops, drop_duplicates):
    """Directed edges at the rank that keeps their destination in the directory."""
    n_lines = comm.allreduce(len(src))
    n_loops = comm.allreduce(int((src == dst).sum()))
    line = Edges(src, src, dst, relation, fields)
    if drop_loops:
        line = take_edges(line, src != dst)
    if not directed:  # one direction stands for the edge while duplicates are looked for
        low, high = np.minimum(line.src, line.dst), np.maximum(line.src, line.dst)
        line = replace(line, src=low, src_order=low, dst=high)
    route = Route(comm, owner_of(directory.bounds, line.dst))
    line = _delivered(route, line)
    is_repeat, by_place = _repeats(line, int(directory.bounds[comm.rank]), directory.n)
    n_duplicates = comm.allreduce(int(is_repeat.sum()))
    if drop_duplicates and n_duplicates:
        line = take_edges(line, by_place[~is_repeat])
    if not directed:
        back = take_edges(line, line.src != line.dst)
        back = replace(back, src=back.dst, src_order=back.dst, dst=back.src)
        back = _delivered(Route(comm, owner_of(directory.bounds, back.dst)), back)
        line = _joined(line, back)
    dropped = (("loops",) if drop_loops else ()) + (("duplicates",) if drop_duplicates else ())
    return line, Report(n_lines, n_loops, n_duplicates, 0, dropped)


def _repeats(line, first, n_vertices):
    """Which edges, in canonical order, repeat the endpoints and relation of the one before."""
    from hpcmp.graph import canonical_order

    by_place = canonical_order(line, first, n_vertices)
    same = np.zeros(len(by_place), np.bool_)
    src, dst = line.src[by_place], line.dst[by_place]
    same[1:] = (src[1:] == src[:-1]) & (dst[1:] == dst[:-1])
    if line.relation is not None:
        relation = line.relation[by_place]
        same[1:] &= relation[1:] == relation[:-1]
    return same, by_place


def _delivered(route, edges):
    src = route.there(edges.src)
    relation = None if edges.relation is None else route.there(edges.relation)
    return Edges(src, src, route.there(edges.dst), relation, {k: route.there(a) for k, a in edges.fields.items()})


def _joined(a, b):
    src = np.concatenate((a.src, b.src))
    relation = None if a.relation is None else np.concatenate((a.relation, b.relation))
    fields = {name: np.concatenate((a.fields[name], b.fields[name])) for name in a.fields}
    return Edges(src, src, np.concatenate((a.dst, b.dst)), relation, fields)


def _attached(comm, vertices, directory):
    """Vertex fields in directory order."""
    if vertices is None:
        return {}
    order = directory.order_of(vertices.key)
    route = Route(comm, owner_of(directory.bounds, order))
    at = route.there(order) - directory.bounds[comm.rank]
    out = {}
    for name, column in vertices.fields.items():
        out[name] = np.empty((len(directory.keys), *column.shape[1:]), column.dtype)
        out[name][at] = route.there(column)
    return out


def _dense_features(comm, features, directory):
    if features is None:
        return {}
    order = directory.order_of(features.key)
    error = None
    if len(order) and order.min() < 0:
        error = InputError(
            f"vertex {_shown(features.key[order.argmin()])} has features but is not in the graph; remove it or add the vertex"
        )
    raise_together(comm, error)
    route = Route(comm, owner_of(directory.bounds, order))
    x = np.zeros((len(directory.keys), features.n_columns), np.float32)
    at = route.there(order) - directory.bounds[comm.rank], route.there(features.column)
    times = np.bincount(at[0] * features.n_columns + at[1]) if len(at[0]) else np.zeros(1)
    if times.max() > 1:
        row, column = divmod(int(times.argmax()), features.n_columns)
        error = InputError(
            f"vertex {_shown(directory.keys[row])} has feature {column} {int(times.max())} times; give it once"
        )
    raise_together(comm, error)
    x[at] = route.there(features.value)
    return {"x": x}


def _check_names(comm, fields, taken, kind):
    error = None
    for name, a in fields.items():
        if name in taken or not name.isidentifier() or name.startswith("_"):
            error = GraphError(
                f"{kind} field {name!r} cannot be read as {kind}.{name}: use a Python name other than {', '.join(taken)}"
            )
        elif field_dtype(a.dtype) is None:
            error = GraphError(f"{kind} field {name!r} has dtype {a.dtype}, which is no number hpcmp computes with")
    raise_together(comm, error)


def _settled(a):
    return a + 0.0 if a.dtype.kind == "f" else a  # -0.0 becomes 0.0: equal values sort and hash alike


def _sources(*tables):
    return tuple(s for t in tables if t is not None for s in t.sources)


def _shown(key):
    return key.decode(errors="replace") if isinstance(key, bytes) else int(key)


def _max():
    from mpi4py import MPI

    return MPI.MAX
