"""Room in memory for a training: what it will take, found by training on graphs that are small.

The model is trained for two epochs on rings of few vertices, on this rank alone,
while what numpy allocates is counted. Three sizes tell what a vertex, an edge
and the rest take; so a user's model is weighed like a stock one. A fourth tells
what a learned message takes, of which there are some at once.
"""

import gc
import tracemalloc
from dataclasses import replace

import numpy as np
from mpi4py import MPI

from hpcmp.edges import number_dtype
from hpcmp.graph import Rows, from_columns
from hpcmp.io import room
from hpcmp.nn.data import Data
from hpcmp.nn.view import View

PROBE, DEGREE = 512, 4  # vertices and in-edges of each; twice as many of either in the other two
AT_PEAK = 0.75  # share of the rows that travel in an epoch which is there at its peak: measured, of all models 0.5 to 1
AT_ONCE = 1024  # edges of which messages are made at once: as many in all three, so that they are no bytes of an edge


def refuse_what_cannot_fit(graph, data, begin, what):
    """Refuse a training for which there is no room. Collective.

    Parameters
    ----------
    data : hpcmp.nn.data.Data
    begin : callable (Data) -> Training
    what : str
        Name of the model.

    Raises
    ------
    MemoryLimitError
        A machine has less room than its ranks need. Raised on every rank.
    """
    held = room.bytes_of(room.held_rates(graph), room.counts_of(graph))
    needed = bytes_to_train(graph, data, begin)
    if all(graph.comm.allgather(needed is not None)):
        x_bytes = 0 if data.x is None else data.x.data.nbytes  # there already
        room.refuse_what_cannot_fit(
            graph.comm, f"training {what} takes about", max(needed - x_bytes, 0), held + x_bytes
        )


def bytes_to_train(graph, data, begin):
    """Bytes that a training takes on this rank at its peak. Local.

    Features and turned edges are counted. None where the model does not work on a ring; then training tells why. None
    too of links: a ring does not tell how many are held out and ranked.
    """
    if data.labels is None:
        return None
    try:
        _weigh(graph, data, begin, 16, 1)  # what is imported, compiled and kept once
        (base, rows, leaf, makes_messages), (more_rows, *_), (more_edges, *_) = (
            _weigh(graph, data, begin, n, degree)
            for n, degree in ((PROBE, DEGREE), (2 * PROBE, DEGREE), (PROBE, 2 * DEGREE))
        )
        more_messages = _weigh(graph, data, begin, PROBE, DEGREE, 2 * AT_ONCE)[0] if makes_messages else base
    except Exception:
        return None
    edge = max(more_edges - base, 0) / (PROBE * DEGREE)
    vertex = max(more_rows - base, 0) / PROBE - edge * DEGREE
    rest = max(base - PROBE * (vertex + edge * DEGREE), 0)
    found = vertex * graph.n_owned + edge * graph.n_in + rest
    if graph.comm.size > 1:  # on one rank rows need no copy beside ghosts
        found += AT_PEAK * rows * graph.n_local
    message = max(more_messages - base, 0) / AT_ONCE
    found += message * (_messages_at_once(data.view) - AT_ONCE)
    return max(int(found), 0) + leaf * max(data.view.n_parts - 1, 0)


def _messages_at_once(view):
    """Messages that all threads of this rank have at once, at most."""
    ptr, bounds = view.graph.in_ptr.astype(np.int64), view.part_bounds
    of_parts, longest = np.diff(ptr[bounds]), int(np.diff(ptr).max(initial=0))
    of_parts = np.minimum(of_parts, max(view.edges_at_once, longest))
    return int(np.sort(of_parts)[-view.threads.n_threads :].sum())


class _Counting(View):
    """A view that counts the bytes of a row that travel to ghosts in an epoch, and of what parts add up at once."""

    row_bytes, leaf_bytes = 0, 0

    def __init__(self, graph, threads, at_once):
        super().__init__(graph, threads)
        self.at_once, self.asked = at_once, []  # one list with the views of a relation, which are copies

    @property
    def edges_at_once(self):
        self.asked.append(True)
        return self.at_once

    def with_ghosts(self, x, graph=None):
        self.row_bytes += room.row_width(x)
        return super().with_ghosts(x, graph)

    def aggregate(self, x, call, graph=None):
        self.row_bytes += room.row_width(x)
        return super().aggregate(x, call, graph)

    def tree_sum(self, leaves):
        self.leaf_bytes = max(self.leaf_bytes, leaves.nbytes)
        return super().tree_sum(leaves)


def _weigh(graph, data, begin, n, degree, at_once=AT_ONCE):
    """Of a training on a ring: (bytes at the peak, of a row that travel in an epoch, of the largest sum over a part,
    whether messages are made of some edges at once)."""
    ring = _ring(data, graph, n, degree, at_once)
    gc.collect()
    was_on = tracemalloc.is_tracing()
    if not was_on:
        tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        x = None if data.x is None else ring.view.tensor(np.zeros((n, data.n_in), data.x.data.dtype))
        training = begin(Data(ring.view, x, ring.labels, ring.masks, ring.n_out))
        training.epoch()
        ring.view.row_bytes = 0
        training.epoch()
        view, peak = ring.view, tracemalloc.get_traced_memory()[1]
        return peak - before, view.row_bytes, view.leaf_bytes, bool(view.asked)
    finally:
        if not was_on:
            tracemalloc.stop()


def _ring(data, graph, n, degree, at_once):
    """A ring of n vertices that hear so many before them, with fields and labels like the graph's, without features."""
    gids = np.arange(n)
    columns = {
        "src": ((gids[:, None] + 1 + np.arange(degree)) % n).reshape(-1).astype(number_dtype(n)),
        "dst": np.repeat(gids, degree).astype(number_dtype(n)),
    }
    columns |= {name: np.ones((n * degree, *a.shape[1:]), a.dtype) for name, a in graph.edge_fields.items()}
    if graph.relation is not None:
        columns["relation"] = (np.arange(n * degree) % max(len(graph.relations), 1)).astype(graph.relation.dtype)
    bounds = {"part_start": np.array([0, n]), "rank_parts": np.array([0, 1])}
    more = {"directed": True, "relations": graph.relations}
    ring = from_columns(MPI.COMM_SELF, Rows(gids, gids), columns, **bounds, **more)
    like = gids % max(graph.n_owned, 1)  # so that types of vertices are those that there are
    fields = {name: a[like] for name, a in graph.vertex_fields.items()} if graph.n_owned else {}
    ring = replace(ring, vertex_fields=fields, categories=graph.categories)
    view = _Counting(ring, data.view.threads.n_threads, at_once)
    labels = np.zeros((n, *data.labels.shape[1:]), data.labels.dtype)
    labels[::2] = 1 if labels.ndim > 1 or data.n_out > 1 else 0  # of both kinds, as metrics want
    masks = {split: np.ones(n, np.bool_) for split in data.masks}
    return Data(view, None, labels, masks, data.n_out)
