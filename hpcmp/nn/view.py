"""A graph as layers see it: edges both ways, rows part by part, threads, and where training stands.

Same bits on any ranks and threads: dense work is done part by part, since a
product of other rows may differ in its last bits; what is summed over all
vertices is summed over each part and then in a tree over the parts of the
graph file, whoever owns them; draws are functions of (seed, epoch, call, id).
"""

import math
from functools import cached_property

import numpy as np

from hpcmp import jit
from hpcmp.dtypes import LID
from hpcmp.graph import reversed_edges
from hpcmp.kernels import csr, learning
from hpcmp.memory import Pool
from hpcmp.nn import tree
from hpcmp.nn.sums import columns
from hpcmp.nn.tape import Tensor

TOGETHER = 16  # parts whose sums one thread joins while they are in its cache


class View:
    """A graph for layers; made once, used in every epoch. Collective to build.

    Parameters
    ----------
    graph : Graph
    threads : int
    seed : int
        Of dropout and of the first weights.
    keeps_sums : bool
        Keep sums (and means and largest) over neighbours of features that never
        change: the same bits, for the memory of one array more.
    """

    edges_at_once = 8192  # of which learned messages are made; a row with more goes alone

    def __init__(self, graph, threads=1, seed=0, dtype=np.float32, keeps_sums=True):
        self.graph, self.comm, self.seed, self.dtype = graph, graph.comm, int(seed), np.dtype(dtype)
        self.digest = graph.digest  # of the graph as it was given, whatever `use` brings
        self.threads = jit.Threads(threads)
        first = int(graph.rank_parts[graph.comm.rank])
        last = int(graph.rank_parts[graph.comm.rank + 1])
        self.part_bounds = (
            graph.part_start[first : last + 1] - graph.first_gid if last > first else np.zeros(1, np.int64)
        )
        self.first_part = first
        self.epoch, self.is_training, self.is_learning, self.n_draws = 0, False, True, 0
        self.kept = {}  # what layers work out of the graph once
        self.pool, self.keeps_sums = Pool(), keeps_sums
        self.sent = {"rows": 0, "bytes": 0, "wait_s": 0.0}  # by this rank, in halos

    @cached_property
    def turned(self):
        """The graph with all edges reversed: who hears a row. Made on all ranks at once."""
        return reversed_edges(self.graph)

    @property
    def n_owned(self):
        return self.graph.n_owned

    @property
    def n_parts(self):
        """Parts of this rank; some may have no rows."""
        return len(self.part_bounds) - 1

    def use(self, graph):
        """Go on with the same rows and other edges or fields. Local."""
        self.graph, self.kept = graph, {}
        self.__dict__.pop("turned", None)

    @cached_property
    def everyone(self):
        """All owned rows: uint32."""
        return np.arange(self.n_owned, dtype=LID)

    def empty(self, shape, dtype=None):
        """An array for a result, of any numbers. Local."""
        return self.pool.empty(shape, self.dtype if dtype is None else dtype)

    def tensor(self, data, name=None):
        """Rows of this rank's vertices as a tensor that never changes. Local."""
        data = np.ascontiguousarray(data, self.dtype)
        out = Tensor(columns(data), self, name=name)
        out.is_lasting = True
        return out

    def begin(self, epoch, is_training, is_learning=True):
        """Start a forward pass: calls of dropout are numbered from here. Local.

        Without learning, results forget at once what they were made of.
        """
        self.epoch, self.is_training, self.is_learning, self.n_draws = epoch, is_training, is_learning, 0

    def next_draws(self):
        """(seed, epoch, number of this call) for draws by id. Local."""
        self.n_draws += 1
        return np.int64(self.seed), np.int64(self.epoch), np.int64(self.n_draws)

    def plus(self, a, b):
        """a + b of rows. Local."""
        out = self.empty(a.shape, a.dtype)
        self.over_parts(lambda p, lo, hi: learning.plus(a, b, out, lo, hi))
        return out

    def over_rows(self, call, graph=None):
        """call(rows, lo, hi) for ranges of all rows with in-edges, by threads. Local."""
        graph = graph or self.graph
        n = len(graph.in_ptr) - 1  # not of vertices alone: see hpcmp.nn.relations
        rows = self.everyone if n == self.n_owned else np.arange(n, dtype=LID)
        chunks = self._chunks(id(graph), graph.in_ptr, rows)
        self.threads.run(lambda lo, hi: call(rows, lo, hi), chunks)

    def over_parts(self, call):
        """call(p, lo, hi) for each of this rank's parts and its rows, by threads. Local."""
        bounds = self.part_bounds.tolist()

        def some(first, last):
            for p in range(first, last):
                if bounds[p] < bounds[p + 1]:
                    call(p, bounds[p], bounds[p + 1])

        self.threads.run(some, [(p, p + 1) for p in range(self.n_parts)])

    def with_ghosts(self, x, graph=None):
        """x, and below it the ghosts' rows: (n_local, width). Collective."""
        graph = graph or self.graph
        if graph.n_local == graph.n_owned and self.comm.size == 1:
            return x
        out = self.empty((graph.n_local, *x.shape[1:]), x.dtype)
        out[: graph.n_owned] = x
        self._count(graph.halo.forward(out))
        return out

    def aggregate(self, x, call, graph=None):
        """call(x with ghosts, rows, lo, hi), while ghosts travel and after. Collective."""
        graph = graph or self.graph
        if self.comm.size == 1:
            self.over_rows(lambda rows, lo, hi: call(x, rows, lo, hi), graph)
            return x
        local = self.empty((graph.n_local, *x.shape[1:]), x.dtype)
        local[: graph.n_owned] = x
        pending = graph.halo.forward_begin(local)
        self._run(local, call, graph, graph.interior)
        graph.halo.forward_end(local, pending)
        self._count(pending)
        self._run(local, call, graph, graph.boundary)
        return local

    def _count(self, pending):
        self.sent["rows"] += pending.n_rows
        self.sent["bytes"] += pending.n_bytes
        self.sent["wait_s"] += pending.wait_s

    def _run(self, local, call, graph, rows):
        chunks = self._chunks((id(graph), rows is graph.interior), graph.in_ptr, rows)
        self.threads.run(lambda lo, hi: call(local, rows, lo, hi), chunks)

    def _chunks(self, key, in_ptr, rows):
        if ("chunks", key) not in self.kept:
            self.kept["chunks", key] = csr.chunks(in_ptr, rows, self.threads.n_threads)
        return self.kept["chunks", key]

    def tree_sum(self, leaves):
        """Sum over all parts of the graph, in a fixed tree. Collective.

        Parameters
        ----------
        leaves : (own parts, ...) float array
            One of each part of this rank, of no rows zeros. Changed.

        Returns
        -------
        (...) array, the same on all ranks
        """
        nodes = {(0, self.first_part + k): leaf for k, leaf in enumerate(leaves)}
        return self._top(nodes, leaves.shape[1:], leaves.dtype)

    def tree_sum_of(self, leaf, shape, dtype):
        """`tree_sum` of leaves that are made and joined a few at a time. Collective.

        Parameters
        ----------
        leaf : callable (p, lo, hi, out)
            Writes what the p-th part of this rank gives, of its rows [lo, hi), into an array of a shape.

        """
        n_parts, bounds, nodes = self.graph.n_parts, self.part_bounds.tolist(), {}
        first, end = self.first_part, self.first_part + self.n_parts

        def joined(group):
            found = {}
            for part in range(max(first, group * TOGETHER), min(end, (group + 1) * TOGETHER)):
                lo, hi = bounds[part - first], bounds[part - first + 1]
                found[0, part] = np.empty(shape, dtype) if lo < hi else np.zeros(shape, dtype)
                if lo < hi:
                    leaf(part - first, lo, hi, found[0, part])
            nodes.update(tree.joined(found, n_parts))

        groups = range(first // TOGETHER, -(-end // TOGETHER))
        self.threads.run(lambda lo, hi: [joined(g) for g in range(lo, hi)], [(g, g + 1) for g in groups])
        return self._top(nodes, shape, dtype)

    def _top(self, nodes, shape, dtype):
        """Root of the tree from this rank's nodes and those of the others."""
        nodes = tree.joined(nodes, self.graph.n_parts)
        if self.comm.size > 1:
            nodes = tree.joined(self._gathered(nodes, shape, dtype), self.graph.n_parts)
        return nodes[max(nodes)]

    def _gathered(self, nodes, shape, dtype):
        """What each rank could not join further, from all ranks."""
        bounds = self.graph.rank_parts.tolist()
        listed = [tree.names(a, b, self.graph.n_parts) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
        here = listed[self.comm.rank]
        mine = np.array([nodes[name] for name in here], dtype).reshape(len(here), *shape)
        found, size = np.empty((sum(map(len, listed)), *shape), dtype), math.prod(shape)
        self.comm.Allgatherv(mine, [found, [len(names) * size for names in listed]])
        return dict(zip([name for names in listed for name in names], found, strict=True))
