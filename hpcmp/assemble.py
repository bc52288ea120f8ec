"""From tables that were read to a `Graph`.

1. Number the vertices: the position of a key (id or name) among all is its
   `order`. See `hpcmp.directory`.
2. Cut parts, which are degree-balanced runs of orders, and deal them to ranks.
3. Deliver the edges, and reverses of undirected ones or those of relations of
   their own, to the owners of their ends; sort them canonically; count duplicates and, when asked, drop them and
   cut again.
4. Number the rows of each part by `partition.hot_first`.

No step depends on how the input was spread over ranks.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from hpcmp import labels as label_fields
from hpcmp import partition
from hpcmp.comm import Route, alltoallv, collective, exchange_counts, owner_of, raise_together, together
from hpcmp.directory import number_vertices
from hpcmp.dtypes import GID, ID, MAX_RELATIONS, RELATION, field_dtype
from hpcmp.edges import SortedEdges, counted, deliver, number_dtype, permute_rows, pointers, shift_counts, shift_runs
from hpcmp.errors import GraphError, InputError
from hpcmp.graph import BUILT_IN, BUILT_IN_EDGE, Rows, from_sorted, with_digest

REVERSE = "^"  # before the name of a relation: its edges turned round, as in a property path of SPARQL


@dataclass(frozen=True)
class Report:
    """What was found while building a graph; the same on all ranks."""

    n_lines: int = 0  # edges given in the input
    n_loops: int = 0  # of them from a vertex to itself
    n_duplicates: int = 0  # of them repeating the endpoints and relation of another
    n_isolated: int = 0  # vertices without any edge
    dropped: tuple = field(default_factory=tuple)  # what was left out of the graph


@collective
def build_graph(
    comm,
    table,
    *,
    vertices=None,
    features=None,
    labels=None,
    directed=None,
    reverse_relations=False,
    drop_loops=False,
    drop_duplicates=False,
    n_parts=None,
):
    """Build a graph from tables that were read. Collective.

    Parameters
    ----------
    table : EdgeTable
    vertices : VertexTable or None
        Fields of vertices; then every vertex of the graph must be in it.
    features : FeatureTable or None
        Becomes the vertex field ``x``, float32 (n, n_columns).
    labels : LabelTable or None
        Becomes the vertex fields ``label`` and ``split``: see `hpcmp.labels`.
    directed : bool or None
        None: as the input says, else directed.
    reverse_relations : bool
        Add a relation ``^r`` of the reversed edges, loops too, of each
        relation ``r``. The report counts the edges that were given.
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
        relations = _with_reverses(table.relations, directed) if reverse_relations else tuple(table.relations)
        if n_parts is not None:
            partition.check_parts(n_parts)
    table, vertices, features, names = _one_kind_of_key(comm, table, vertices, features, labels)
    declared = [table.vertices] + ([vertices.key] if vertices is not None else [])
    directory = number_vertices(comm, table.src, table.dst, *declared)
    _check_declared(comm, table, vertices, directory)
    fields = {name: _settled(a) for name, a in table.fields.items()}
    _check_names(comm, fields, (*BUILT_IN_EDGE, "src", "ptr"), "edge")  # src, ptr: what graph files keep beside fields
    vertex_fields, categories = _attached(comm, vertices, directory), dict(vertices.categories) if vertices else {}
    vertex_fields |= _dense_features(comm, features, directory)
    if labels is not None:
        label_fields.attach(comm, labels, directory, vertex_fields, categories)
    _check_names(comm, vertex_fields, (*BUILT_IN, "order", "name"), "vertex")
    sources = _sources(table, vertices, features, labels)
    lines, n_lines, n_loops = _lines(comm, table, fields, directory, drop_loops)
    if reverse_relations:
        lines = _both_relations(lines, len(table.relations))
    del table, fields
    n_parts = n_parts or partition.default_parts(directory.n)
    cut, in_degree, columns, n_duplicates = _sorted_edges(comm, lines, directory, directed, drop_duplicates, n_parts)

    bounds, first = cut.bounds, int(cut.bounds[comm.rank])
    order = first + np.arange(len(in_degree))
    out_degree = counted(comm, bounds, [columns["src"]], directory.n) if directed else in_degree
    hot = partition.hot_first(cut.part, in_degree + out_degree, order)

    def owned(column):
        return shift_runs(comm, directory.bounds, bounds, column)[hot]

    gid = np.empty(len(hot), GID)
    gid[hot] = order  # a rank's orders and gids are the same run of numbers
    rows = Rows(
        order[hot] if names else owned(directory.keys.astype(ID)),
        order[hot],
        {name: owned(a) for name, a in vertex_fields.items()},
        owned(directory.keys) if names else None,
    )
    in_ptr, columns = permute_rows(in_degree, columns, hot)
    graph = from_sorted(
        comm,
        rows,
        in_ptr,
        columns,
        by_order=(bounds, gid),
        part_start=cut.part_start,
        rank_parts=cut.rank_parts,
        directed=directed,
        out_degree=out_degree[hot],
        relations=relations,
        categories=categories,
        sources=sources,
    )
    n_isolated = int(comm.allreduce(int(((graph.in_degree == 0) & (graph.out_degree == 0)).sum())))
    dropped = (("loops",) if drop_loops else ()) + (("duplicates",) if drop_duplicates else ())
    n_duplicates //= 2 if reverse_relations else 1  # what repeats an edge, repeats its reverse
    return with_digest(graph), Report(n_lines, n_loops, n_duplicates, n_isolated, dropped)


def _direction(said, asked):
    if asked is not None and said is not None and said != asked:
        kind = {True: "directed", False: "undirected"}
        raise InputError(
            f"the input says it is {kind[said]}, the command says {kind[asked]}; leave out --{kind[asked]}"
        )
    return asked if asked is not None else said if said is not None else True


def _with_reverses(relations, directed):
    """Names of the relations, then those of their reverses in the same order. Local."""
    if not directed:
        raise InputError(
            "the graph is undirected, so the edges of its relations run both ways already; leave out --reverse-relations"
        )
    if not relations:
        raise InputError(
            "the edges have no relations to reverse; give each input as NAME=FILE, or call a column relation"
        )
    reverses = tuple(REVERSE + name for name in relations)
    taken = sorted({*relations} & {*reverses})
    if taken:
        raise InputError(
            f"the relation {taken[0]!r} of the input is called like the reverse of {taken[0][len(REVERSE) :]!r}; "
            "give it another name"
        )
    if 2 * len(relations) > MAX_RELATIONS:
        raise InputError(
            f"{len(relations)} relations and their reverses are more than hpcmp numbers, which is {MAX_RELATIONS}"
        )
    return (*relations, *reverses)


def _one_kind_of_key(comm, table, vertices, features, labels):
    """Tables with keys of one dtype on all ranks; whether they are names."""
    keys = [table.src, table.dst]
    keys += [table.vertices] if comm.allreduce(len(table.vertices)) else []
    keys += [t.key for t in (vertices, features) if t is not None]
    kinds = {k.dtype.kind for k in (*keys, *([] if labels is None else [labels.key]))}
    kinds = set().union(*comm.allgather(kinds))
    if kinds == {"i"}:
        return replace(table, vertices=table.vertices.astype(ID)), vertices, features, False
    if kinds != {"S"}:
        mixed = "the tables call vertices by ids in one place and by names in another; use one of the two"
        raise_together(comm, InputError(mixed))
    width = max(comm.allgather(max(k.dtype.itemsize for k in keys)))
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


def _lines(comm, table, fields, directory, drop_loops):
    """Columns of the edges as given, endpoints by order; how many, how many loops. Collective."""
    dtype = number_dtype(directory.n)
    lines = {"src": directory.order_of(table.src, dtype), "dst": directory.order_of(table.dst, dtype)}
    if len(table.relations) > 1:
        lines["relation"] = table.relation
    lines |= fields
    is_loop = lines["src"] == lines["dst"]
    n_lines, n_loops = comm.allreduce(np.array([len(is_loop), np.count_nonzero(is_loop)]))
    if drop_loops and n_loops:
        lines = {name: a[~is_loop] for name, a in lines.items()}
    return lines, int(n_lines), int(n_loops)


def _both_relations(lines, n_relations):
    """The edges, and turned round once more in relations of their own. Local."""
    forward = lines.pop("relation", np.zeros(len(lines["src"]), RELATION))
    lines["src"], lines["dst"] = (np.concatenate((lines[a], lines[b])) for a, b in (("src", "dst"), ("dst", "src")))
    both = {name: a if name in ("src", "dst") else np.concatenate((a, a)) for name, a in lines.items()}
    return {**both, "relation": np.concatenate((forward, forward + RELATION.type(n_relations)))}


@dataclass(frozen=True)
class Cut:
    """Parts as runs of the canonical order, dealt to ranks."""

    part: np.ndarray  # int64 (n_here,) of this rank's run of orders, cut by any bounds
    part_start: np.ndarray  # int64 (n_parts + 1,)
    rank_parts: np.ndarray  # int64 (size + 1,)

    @property
    def bounds(self):
        """Rank p owns the orders, and the gids, [bounds[p], bounds[p + 1])."""
        return self.part_start[self.rank_parts]


def _cut(comm, bounds, in_degree, n_parts):
    """Parts of equal work from the in-degrees of runs of orders. Collective."""
    order = np.arange(bounds[comm.rank], bounds[comm.rank + 1])
    part = partition.degree_balanced(comm, order, in_degree, n_parts)
    sizes = comm.allreduce(np.bincount(part, minlength=n_parts))
    work = comm.allreduce(np.bincount(part, 1 + partition.ALPHA * in_degree, minlength=n_parts))
    part_start = np.concatenate(([0], np.cumsum(sizes))).astype(GID)
    return Cut(part, part_start, partition.deal(work, comm.size))


def _sorted_edges(comm, lines, directory, directed, drop_duplicates, n_parts):
    """In-edges of the orders that this rank will own. Collective.

    Returns
    -------
    cut : Cut
        Its ``part`` is that of the rows owned here.
    in_degree : int64 (n_owned,)
    columns : dict
        Row by row in canonical order; ``src`` by order.
    n_duplicates : int
    """
    here = directory.bounds
    in_degree = _degrees(comm, here, lines, directed)
    cut = _cut(comm, here, in_degree, n_parts)
    bounds = cut.bounds
    n_coming = int(shift_runs(comm, here, bounds, in_degree).sum())
    lines = deliver(comm, bounds, lines, both_ways=not directed, n_coming=n_coming)
    first, n_rows = int(bounds[comm.rank]), int(bounds[comm.rank + 1] - bounds[comm.rank])
    found = SortedEdges(comm, lines, first, n_rows, directory.n)
    repeats, loops = comm.allreduce(np.array(found.n_repeats()))
    # an undirected edge that is no loop lies in two rows, and so does its repeat
    n_duplicates = int(repeats if directed else (repeats - loops) // 2 + loops)
    if not (drop_duplicates and n_duplicates):
        in_degree, columns = found.columns()
        return replace(cut, part=shift_runs(comm, here, bounds, cut.part)), in_degree, columns, n_duplicates
    found.drop_repeats()
    in_degree, columns = found.columns()
    cut = _cut(comm, bounds, in_degree, n_parts)  # the work of a part is that of the edges it keeps
    columns = _shifted_edges(comm, bounds, cut.bounds, in_degree, columns)
    part, in_degree = (shift_runs(comm, bounds, cut.bounds, a) for a in (cut.part, in_degree))
    return replace(cut, part=part), in_degree, columns, n_duplicates


def _shifted_edges(comm, bounds, new_bounds, in_degree, columns):
    send_rows, recv_rows = shift_counts(comm, bounds, new_bounds)
    ends = np.concatenate(([0], np.cumsum(send_rows)))
    send_counts = np.diff(pointers(in_degree).view(np.int64)[ends])
    recv_counts = exchange_counts(comm, send_counts)
    return {name: alltoallv(comm, columns.pop(name), send_counts, recv_counts) for name in list(columns)}


def _degrees(comm, bounds, lines, directed):
    """In-degree of each order of a run, of edges that lie anywhere: int64. Collective."""
    n, dst = int(bounds[-1]), [lines["dst"]]
    if not directed:
        dst += [lines["src"][lines["src"] != lines["dst"]]]
    return counted(comm, bounds, dst, n)


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
