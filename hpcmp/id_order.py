"""Rows in ascending id: how results are digested, written and printed.

Owned rows lie by part; `IdOrder` moves columns so that rank p holds a run of
the canonical order, cut at digest blocks.
"""

import numpy as np

from hpcmp.comm import Route, block_bounds, owner_of, together
from hpcmp.errors import FormatError
from hpcmp.hashing import DIGEST_ROWS, combine_blocks, digest_blocks


class IdOrder:
    """A plan that brings owned rows into ascending id. Collective to make and use."""

    def __init__(self, graph):
        self.comm, self.n = graph.comm, graph.n_vertices
        n_blocks = -(-self.n // DIGEST_ROWS)
        self.bounds = np.minimum(block_bounds(n_blocks, self.comm.size) * DIGEST_ROWS, self.n)
        self.route = Route(self.comm, owner_of(self.bounds, graph.order))
        self.by_order = np.argsort(self.route.there(graph.order))
        self.id = self.take(graph.id[: graph.n_owned])

    @property
    def first(self):
        """Order of this rank's first row."""
        return int(self.bounds[self.comm.rank])

    def take(self, column):
        """This rank's run of a column of owned rows. Collective."""
        return self.route.there(column)[self.by_order]

    def give(self, column):
        """Owned rows of a column of which each rank has its run. Collective."""
        as_they_came = np.empty_like(column)
        as_they_came[self.by_order] = column
        return self.route.back(as_they_came)

    def digest(self, fields):
        """Digest of fields that `take` gave: 64 hex digits. Collective."""
        blocks = b"".join(self.comm.allgather(digest_blocks(self.id, fields)))
        return combine_blocks(self.n, fields, blocks)


def at_ids(graph, ids, column):
    """A column of owned rows at some ids, of vertices on any ranks. Collective.

    Parameters
    ----------
    ids : int64 (m,)
    column : (n_owned,) integers
        Not below 0.

    Returns
    -------
    (m,) of the column's dtype
        -1 where there is no such vertex.
    """
    plan, comm = IdOrder(graph), graph.comm
    column = plan.take(column)
    lowest = comm.allgather(int(plan.id[0]) if len(plan.id) else None)
    holders = np.array([rank for rank, id in enumerate(lowest) if id is not None], np.int64)
    if len(holders) == 0:
        return np.full(len(ids), -1, column.dtype)
    distinct, inverse = np.unique(ids, return_inverse=True)
    starts = np.array([lowest[rank] for rank in holders], np.int64)
    route = Route(comm, holders[np.maximum(owner_of(starts, distinct), 0)])
    asked = route.there(distinct)
    if len(plan.id) == 0:
        return route.back(column)[inverse]
    at = np.minimum(np.searchsorted(plan.id, asked), len(plan.id) - 1)
    return route.back(np.where(plan.id[at] == asked, column[at], -1))[inverse]


def in_order(graph, columns, what):
    """Owned rows of columns that lie in any order on any ranks. Collective.

    Parameters
    ----------
    columns : dict of str to (m, ...) array
        Among them ``order``, the place of each row's vertex by ascending id.
    what : str
        They are of, for an error.

    Raises
    ------
    FormatError
        They are not one of each vertex. Raised on every rank.
    """
    plan, comm = IdOrder(graph), graph.comm
    order = columns["order"]
    with together(comm):
        if len(order) and not 0 <= order.min() <= order.max() < graph.n_vertices:
            raise FormatError(f"{what} tells of vertices that the graph does not have")
    route = Route(comm, owner_of(plan.bounds, order))
    order = route.there(order)
    with together(comm):
        first, last = int(plan.bounds[comm.rank]), int(plan.bounds[comm.rank + 1])
        if not np.array_equal(np.sort(order), np.arange(first, last)):
            raise FormatError(f"{what} does not tell of each vertex once")
    by_order = np.argsort(order)
    return {name: plan.give(route.there(column)[by_order]) for name, column in columns.items() if name != "order"}
