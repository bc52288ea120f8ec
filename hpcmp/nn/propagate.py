"""Any learned message: M(h_src, h_dst, e) made of this package's operations, some edges at a time.

The message function runs on the edges of a few rows at once, so that nothing of the size of all edges is kept;
going back it runs again, as rematerialisation does. It does so twice: along in-edges, for what receivers and
parameters get, and along the transposed edges, for what senders get, since only then each row's sum has its canonical
order. Edges that go together are those of a part's rows, up to `View.edges_at_once`, whoever owns the part.
"""

import numpy as np

from hpcmp.kernels import gather
from hpcmp.nn.aggregates import BEST, PLACE, check_aggregate, numbered, place_dtype, share_of_edges
from hpcmp.nn.channel import ByChannel
from hpcmp.nn.dense import one_blas_thread
from hpcmp.nn.sums import alike
from hpcmp.nn.tape import Tensor, gradients, made, now, parameters_of


def propagate(view, message, h, edge=(), aggregate="sum"):
    """Aggregate of message(src, dst, edge) over in-edges. Collective.

    Parameters
    ----------
    view : View
    message : callable (src, dst, edge) -> Tensor (edges, width), or `by_channel` of one
        Gets ``h`` of senders and of receivers and the fields of the edges, a
        row for each of some edges; uses operations of this package.
    h : Tensor (n_owned, width)
    edge : tuple of str
        Edge fields, a column each.
    aggregate : "sum", "mean", "max" or "min"
        Of no edges 0. The gradient of a largest or least goes to one edge: of
        those that have it the first in canonical order.

    Raises
    ------
    ProgramError
        No such aggregate or edge field, or dropout within a message. Raised on
        every rank.
    """
    graph = view.graph
    check_aggregate(aggregate)
    absent = [name for name in edge if name not in graph.edge_fields]
    if absent:
        have = ", ".join(graph.edge_fields) or "none"
        raise alike(f"the graph has no edge field {absent[0]!r} (it has: {have})")
    if isinstance(message, ByChannel):
        return message.propagate(view, h, aggregate)
    h_local = view.with_ghosts(h.data)
    share, is_one = share_of_edges(view, aggregate), aggregate in BEST
    runs = _runs(view, graph)
    since, none = now(), Chunk(view, graph, 0, 0)
    probe = message(*none.tensors(h_local, h.data, edge))  # of no edges: what it gives and uses
    used, out = parameters_of(probe, since, none), view.empty((len(h.data), probe.width), h.data.dtype)
    best = np.empty(out.shape, place_dtype(graph)) if is_one else None

    def forward(p, lo, hi):
        for first, end in runs[p]:
            chunk = Chunk(view, graph, first, end)
            m = message(*chunk.tensors(h_local, h.data, edge)).data
            if is_one:
                m = np.ascontiguousarray(m)
                gather.best_runs(chunk.ptr, m, aggregate == "max", out[first:end], best[first:end])
            else:
                _sum_edges(chunk, m, out[first:end])

    with one_blas_thread():  # around all threads: the limit is the process's
        view.over_parts(forward)
    if share is not None:
        out *= share

    def back(d):
        if share is not None:
            d = d * share
        places, turned = numbered(view) if is_one else (None, view.turned)
        dh = np.zeros_like(h.data)
        leaves = [np.zeros((view.n_parts, *p.shape), h.data.dtype) for p in used]

        def receivers(p, lo, hi):
            for first, end in runs[p]:
                chunk = Chunk(view, graph, first, end)
                src, dst, e = chunk.tensors(h_local, h.data, edge)
                found = gradients(message(src, dst, e), _of_edges(chunk.rows, d, best, places, chunk))
                if dst in found:
                    _sum_edges(chunk, found[dst], dh[first:end])
                for leaf, parameter in zip(leaves, used, strict=True):
                    if parameter in found:
                        leaf[p] += found[parameter]

        with one_blas_thread():
            view.over_parts(receivers)
        if h.wants_grad:
            h_turned, d_turned, turned_runs = (
                view.with_ghosts(h.data, turned),
                view.with_ghosts(d, turned),
                _runs(view, turned),
            )
            won, where = (view.with_ghosts(best, turned), turned.edge_fields[PLACE]) if is_one else (None, None)

            def senders(p, lo, hi):
                for first, end in turned_runs[p]:
                    chunk = Chunk(view, turned, first, end)
                    dst, src, e = chunk.tensors(h_turned, h.data, edge)
                    given = _of_edges(chunk.sources, d_turned, won, where, chunk)
                    found = gradients(message(src, dst, e), given)
                    if src in found:
                        mine = np.empty_like(dh[first:end])
                        _sum_edges(chunk, found[src], mine)
                        dh[first:end] += mine

            with one_blas_thread():
                view.over_parts(senders)
        return (dh, *(view.tree_sum(leaf) for leaf in leaves))

    return made(out, view, (h, *used), back)


class Chunk:
    """In-edges of the rows [first, end), as operations on rows see a view: one part, no other ranks."""

    n_parts = 1

    @property
    def is_training(self):
        """Asked by dropout, whose draws belong to vertices: two passes over an edge would have to agree."""
        raise alike("dropout within a message is not offered; use it on what the messages are made of")

    def __init__(self, view, graph, first, end):
        self.graph, self.dtype, self.kept = graph, view.dtype, {}
        self.ptr = graph.in_ptr[first : end + 1] - graph.in_ptr[first]
        self.at = slice(int(graph.in_ptr[first]), int(graph.in_ptr[end]))
        self.sources = graph.in_src[self.at]
        self.rows = np.repeat(np.arange(first, end), np.diff(self.ptr.view(np.int64)))
        self.part_bounds = np.array([0, len(self.sources)])

    def tensors(self, x_sources, x_rows, edge):
        """Rows of sources, of receivers, and fields, one for each edge. Local."""
        fields = [self.graph.edge_fields[name][self.at].astype(self.dtype) for name in edge]
        e = np.stack(fields, axis=1) if fields else np.zeros((len(self.rows), 0), self.dtype)
        return (
            Tensor(x_sources[self.sources], self, True),
            Tensor(x_rows[self.rows], self, True),
            Tensor(e, self),
        )

    def over_parts(self, call):
        """As `View.over_parts`. Local."""
        call(0, 0, len(self.sources))

    def empty(self, shape, dtype=None):
        """As `View.empty`. Local."""
        return np.empty(shape, self.dtype if dtype is None else dtype)

    def plus(self, a, b):
        """As `View.plus`. Local."""
        return a + b

    def tree_sum_of(self, leaf, shape, dtype):
        """What this chunk alone gives. Local."""
        out = np.empty(shape, dtype)
        leaf(0, 0, len(self.sources), out)
        return out

    def tree_sum(self, leaves):
        """What this chunk alone gives; its part's sum goes on from there. Local."""
        return leaves[0]


def _of_edges(rows, d, best, places, chunk):
    """The gradient of each edge of a chunk: that of its receiver, 0 where another edge's message was taken."""
    if best is None:
        return d[rows]
    return np.where(best[rows] == places[chunk.at, None], d[rows], d.dtype.type(0))


def _sum_edges(chunk, m, out):
    """out[r] = sum of the rows of m of the r-th row's edges."""
    gather.sum_runs(chunk.ptr, np.ascontiguousarray(m), out)


def _runs(view, graph):
    """For each own part, ranges of its rows with about `View.edges_at_once` in-edges: list of lists of (first, end)."""
    key = "runs", id(graph)
    if key not in view.kept:
        ptr, found, at_once = graph.in_ptr.astype(np.int64), [], view.edges_at_once
        for lo, hi in zip(view.part_bounds[:-1].tolist(), view.part_bounds[1:].tolist(), strict=True):
            runs, first = [], lo
            while first < hi:
                end = int(np.searchsorted(ptr, ptr[first] + at_once, "right")) - 1
                end = min(max(end, first + 1), hi)
                runs.append((first, end))
                first = end
            found.append(runs)
        view.kept[key] = found
    return view.kept[key]
