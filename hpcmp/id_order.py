"""Rows in ascending id: how results are digested, written and printed.

Owned rows lie by part; `IdOrder` moves columns so that rank p holds a run of
the canonical order, cut at digest blocks.
"""

import numpy as np

from hpcmp.comm import Route, block_bounds, owner_of
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

    def digest(self, fields):
        """Digest of fields that `take` gave: 64 hex digits. Collective."""
        blocks = b"".join(self.comm.allgather(digest_blocks(self.id, fields)))
        return combine_blocks(self.n, fields, blocks)
