"""The same graph cut into other parts: rows move whole, with their in-edges.

A row's edges are in canonical order wherever it lies, so nothing is sorted
but the rows.
"""

import numpy as np

from hpcmp import partition
from hpcmp.comm import (
    Route,
    alltoallv,
    block_bounds,
    collective,
    exchange_counts,
    exclusive_sum,
    owner_of,
    raise_together,
    together,
)
from hpcmp.directory import number_vertices
from hpcmp.dtypes import GID
from hpcmp.edges import gids_by_order, number_dtype, permute_rows, pointers
from hpcmp.errors import InputError, PartitionError
from hpcmp.graph import Rows, from_sorted
from hpcmp.kernels import building

METHODS = ("block", "degree", "hash", "metis", "file")


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
        n_parts = n_parts or 1 + max(comm.allgather(int(part.max(initial=0))))
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
    """Renumber rows by `partition.hot_first` and move them. Collective.

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
    part = np.asarray(part, np.int64)
    work = comm.allreduce(np.bincount(part, 1 + partition.ALPHA * graph.in_degree, minlength=n_parts))
    part_start = np.concatenate(([0], np.cumsum(comm.allreduce(np.bincount(part, minlength=n_parts))))).astype(GID)
    rank_parts = partition.deal(work, comm.size)
    # A rank gets whole parts, so it can number their rows by itself.
    route = Route(comm, owner_of(rank_parts, part))
    order, degree = route.there(graph.order), route.there(graph.in_degree)
    hot = partition.hot_first(route.there(part), degree + route.there(graph.out_degree), order)
    moved = _moved_edges(graph, route)
    in_ptr, columns = permute_rows(degree, moved, hot)
    rows = Rows(
        route.there(graph.id[: graph.n_owned])[hot],
        order[hot],
        {name: route.there(a)[hot] for name, a in graph.vertex_fields.items()},
        None if graph.name is None else route.there(graph.name)[hot],
    )
    first = part_start[rank_parts[comm.rank]]
    by_order = gids_by_order(comm, rows.order, first + np.arange(len(hot)), graph.n_vertices)
    return from_sorted(
        comm,
        rows,
        in_ptr,
        columns,
        by_order=by_order,
        part_start=part_start,
        rank_parts=rank_parts,
        directed=graph.directed,
        out_degree=route.there(graph.out_degree)[hot],
        relations=graph.relations,
        categories=graph.categories,
        sources=graph.sources,
        digest=None if graph.unread else graph.digest,
    )


def _moved_edges(graph, route):
    """In-edges of the rows that a route delivers, in its order: dict of columns. Collective."""
    comm, dtype = graph.comm, number_dtype(graph.n_vertices)
    rows = route.by_rank.astype(np.uint64)
    out_ptr = pointers(graph.in_degree[route.by_rank])
    ends = np.concatenate(([0], np.cumsum(route.send_counts)))
    send_counts = np.diff(out_ptr.view(np.int64)[ends])
    recv_counts = exchange_counts(comm, send_counts)
    src_order = graph.local_order().astype(dtype)

    def moved(column):
        by_row = np.empty_like(column)
        building.copy_runs(graph.in_ptr, rows, column, out_ptr, by_row)
        return alltoallv(comm, by_row, send_counts, recv_counts)

    columns = {"src": moved(src_order[graph.in_src])}
    if graph.relation is not None:
        columns["relation"] = moved(graph.relation)
    return columns | {name: moved(a) for name, a in graph.edge_fields.items()}


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
