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
        """Draw all first weights, functions of seed, name and place. Local."""
        for name, tensor in self.state().items():
            tensor.name = name
            tensor.draw(view, name)


class Parameter(Tensor):
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

    def whole(self, values):
        """An array like the parameter, as it would lie on one rank. Collective."""
        return values

    def digested(self, values):
        """What stands for an array like the parameter in a digest of weights. Collective."""
        return values


class Buffer(Tensor):
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

    def whole(self, values):
        """An array like the buffer, as it would lie on one rank. Collective."""
        return values

    def digested(self, values):
        """What stands for an array like the buffer in a digest of weights. Collective."""
        return values


class Rows(Parameter):
    """A parameter with a row for every vertex, which lives and is trained where the vertex lives.

    Its gradient is the way back of whatever read it: nothing is added up over
    ranks.

    Parameters
    ----------
    width : int
    fans : (rows, columns), optional
        Default: the vertices of the graph, and the width.
    """

    def __init__(self, width, fans=None):
        super().__init__((0, width), "glorot", fans)
        self.row_fans = fans

    def draw(self, view, name):
        """Begin anew, rows as functions of seed, name and the vertex's id. Local."""
        self.view, n = view, view.n_owned
        bound = math.sqrt(6 / sum(self.row_fans or (view.graph.n_vertices, self.data.shape[1])))
        draws = np.empty((n, self.data.shape[1]))
        key = np.int64(view.seed), np.int64(INIT_STEP), np.int64(_stream(name))
        learning.draw_rows(*key, view.graph.id, bound, draws)
        self.data = draws.astype(view.dtype)

    def whole(self, values):
        """Such rows of all vertices, by id: (n_vertices, width). Collective."""
        out = np.empty((self.view.graph.n_vertices, values.shape[1]), values.dtype)
        for order, rows in self.view.comm.allgather((self.view.graph.order, values)):
            out[order] = rows
        return out

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
