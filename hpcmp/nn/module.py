"""Modules: parameters by name, and how they begin."""

import hashlib
import math

import numpy as np

from hpcmp.id_order import IdOrder
from hpcmp.kernels import learning
from hpcmp.nn.tape import Tensor
from hpcmp.random import fill_uniform

INIT_STEP = 2**62  # an epoch of the draws of first weights, which no training reaches


class Module:
    """Layers and parameters, found by their attributes.

    Write ``__init__`` with layers as attributes (or lists and dicts of them), and
    ``__call__(graph, x)``. Weights are drawn when `initialise` is called.
    """

    def parameters(self):
        """Parameters by dotted name, in the order of their attributes: dict. Local.

        One that two layers share has the first of its names.
        """
        return {name: t for name, t in self.state().items() if isinstance(t, Parameter)}

    def buffers(self):
        """What training keeps but does not train, by dotted name: dict. Local."""
        return {name: t for name, t in self.state().items() if isinstance(t, Buffer)}

    def state(self):
        """Parameters and buffers: all that a trained model is, by dotted name. Local."""
        found = {}
        for name, tensor in _walk(self, ""):
            found.setdefault(tensor, name)
        return {name: tensor for tensor, name in found.items()}

    def initialise(self, view):
        """Draw all first weights, functions of seed, name and place. Collective."""
        for name, tensor in self.state().items():
            tensor.name = name
            tensor.draw(view, name)


class Alike(Tensor):
    """Numbers of a module that are the same on all ranks, and lie whole in files."""

    @property
    def whole_shape(self):
        return self.data.shape

    def whole(self, values):
        """An array like it, as it would lie on one rank. Collective."""
        return values

    def mine(self, values):
        """This rank's share of what `whole` gave. Collective."""
        return values

    def digested(self, values):
        """What stands for an array like it in a digest of weights. Collective."""
        return values


class Parameter(Alike):
    """A tensor that training changes.

    Parameters
    ----------
    shape : (rows, columns)
    start : "glorot", "zeros", "ones" or a number
        Uniform in [-b, b] with b = sqrt(6 / (rows + columns)); or b the number.
    """

    def __init__(self, shape, start="glorot", fans=None):
        super().__init__(np.zeros(shape, np.float32), None, True)
        self.start, self.fans = start, fans or shape

    def draw(self, view, name):
        """Begin anew. Local."""
        shape = self.data.shape
        if self.start in ("zeros", "ones"):
            self.data = np.full(shape, float(self.start == "ones"), view.dtype)
            return
        bound = math.sqrt(6 / sum(self.fans)) if self.start == "glorot" else float(self.start)
        draws = np.empty(int(np.prod(shape)))
        fill_uniform(np.int64(view.seed), np.int64(INIT_STEP), np.uint64(_stream(name)), np.int64(0), draws)
        self.data = ((2 * draws - 1) * bound).astype(view.dtype).reshape(shape)


class Buffer(Alike):
    """Numbers of a module that training changes, but not by a gradient: the same on all ranks.

    Parameters
    ----------
    shape : (rows, columns)
    start : float
    """

    def __init__(self, shape, start):
        super().__init__(np.full(shape, start, np.float32))
        self.start = start

    def draw(self, view, name):
        """Begin anew. Local."""
        self.data = np.full(self.data.shape, self.start, view.dtype)


class Rows(Parameter):
    """A parameter with a row for every vertex, which lives and is trained where the vertex lives.

    Its gradient is the way back of whatever read it: nothing is added up over
    ranks. In files its rows lie by ascending id.

    Parameters
    ----------
    width : int
    fans : (rows, columns), optional
        Default: the vertices of the graph, and the width. None for rows: the
        vertices of the graph.
    """

    def __init__(self, width, fans=None):
        super().__init__((0, width), "glorot", fans)
        self.row_fans = fans or (None, width)
        self.n_rows, self.places = None, None  # rows of all ranks; the order of this rank's among them

    def settle(self, view):
        """Learn which rows lie here. Collective."""
        graph = view.graph
        self.view, self.n_vertices, self.n_rows, self.places = view, graph.n_vertices, graph.n_vertices, graph.order
        self.ids, self.firsts = graph.id[: graph.n_owned], np.zeros(graph.n_owned, np.int64)

    def draw(self, view, name):
        """Begin anew, rows as functions of seed, name and the vertex's id. Collective."""
        self.settle(view)
        rows, columns = self.row_fans
        bound = math.sqrt(6 / ((view.graph.n_vertices if rows is None else rows) + columns))
        draws = np.empty((len(self.ids), self.data.shape[1]))
        key = np.int64(view.seed), np.int64(INIT_STEP), np.int64(_stream(name))
        learning.draw_rows(*key, self.ids, self.firsts, bound, draws)
        self.data = draws.astype(view.dtype)

    def hold(self, rows, n_vertices, places=None):
        """Have all rows as `whole` gives them, with no graph at hand. Local."""
        self.data, self.view = rows, None
        self.n_vertices, self.n_rows = n_vertices, len(rows)
        self.places = np.arange(n_vertices) if places is None else places

    @property
    def whole_shape(self):
        """Of `whole`; None for a number of rows that only a graph tells."""
        return self.n_rows, self.data.shape[1]

    def all_places(self):
        """Places of all ranks' rows, ascending: int64. Collective."""
        return self.places if self.view is None else np.sort(np.concatenate(self.view.comm.allgather(self.places)))

    def whole(self, values):
        """Such rows of all ranks by their places, so by id: (n_rows, width). Collective."""
        if self.view is None:
            return values
        places, rows = map(np.concatenate, zip(*self.view.comm.allgather((self.places, values)), strict=True))
        return rows[np.argsort(places)]

    def mine(self, values):
        """This rank's rows of what `whole` gave. Collective."""
        return values if self.view is None else values[np.searchsorted(self.all_places(), self.places)]

    def digested(self, values):
        """Digest of such rows by ascending id: uint8 (32,). Collective."""
        by_id = IdOrder(self.view.graph)
        return np.frombuffer(bytes.fromhex(by_id.digest({"rows": by_id.take(values)})), np.uint8)


def _stream(name):
    """A number of a parameter's name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") >> 1


def _walk(owner, prefix):
    for name, value in vars(owner).items():
        yield from _found(value, f"{prefix}{name}")


def _found(value, name):
    if isinstance(value, Parameter | Buffer):
        yield name, value
    elif isinstance(value, Module):
        yield from _walk(value, f"{name}.")
    elif isinstance(value, list | tuple):
        for k, item in enumerate(value):
            yield from _found(item, f"{name}.{k}")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _found(item, f"{name}.{name_of_key(key)}")


def name_of_key(key):
    """A key of a dict of layers as torch_geometric names it. Local."""
    text = f"<{'___'.join(key)}>" if isinstance(key, tuple) else str(key)
    return text.replace(".", "#").replace("/", "#")  # a slash would be a group in checkpoints
