"""Graphs made from numbers: edge e is a function of (seed, e).

Every rank makes its own share of the edges, so a graph is the same on any
number of ranks. Each function returns an `EdgeTable` for `build_graph`.
"""

import numpy as np

from hpcmp.comm import block_bounds
from hpcmp.errors import InputError
from hpcmp.io.h5 import check_is_file
from hpcmp.io.table import EdgeTable
from hpcmp.kernels import generators

GRAPH500 = (0.57, 0.19, 0.19)  # Graph500's A, B, C; D is the rest
MAX_SCALE = 40
MAX_NUMBER = 2**47  # edges or vertices: more than any machine has memory for


def kronecker(comm, scale, edge_factor=16, *, seed=1, weights=None, probabilities=GRAPH500):
    """A Kronecker graph of 2**scale vertices as Graph500 makes them. Local.

    Has loops and repeated edges, as the specification wants; Graph500.org.

    Parameters
    ----------
    weights : (low, high) or (low, high, "int"), optional
        Range of uniform weights.
    """
    _check(0 <= scale <= MAX_SCALE, f"scale = {scale} is outside [0, {MAX_SCALE}]")
    _check(edge_factor >= 0, f"edge factor {edge_factor} is negative")
    _check_numbers(edges=edge_factor << scale, seed=seed)
    first, n = _share(comm, edge_factor << scale)
    src, dst = np.empty(n, np.int64), np.empty(n, np.int64)
    generators.kronecker_edges(scale, *probabilities, seed, first, src, dst)
    return _table(comm, src, dst, 1 << scale, first, seed, weights, directed=False)


def erdos_renyi(comm, n_vertices, n_edges, *, seed=1, weights=None, directed=False):
    """Edges between pairs of vertices drawn uniformly, repeats possible. Local."""
    _check_numbers(vertices=n_vertices, edges=n_edges, seed=seed)
    _check(n_vertices >= 1 or n_edges == 0, f"{n_edges} edges need at least one vertex")
    first, n = _share(comm, n_edges)
    src, dst = np.empty(n, np.int64), np.empty(n, np.int64)
    generators.uniform_pairs(n_vertices, seed, first, src, dst)
    return _table(comm, src, dst, n_vertices, first, seed, weights, directed)


def grid(comm, height, width, *, seed=1, weights=None):
    """A grid of height x width vertices; vertex (r, c) has id r * width + c. Local."""
    _check_numbers(height=height, width=width, vertices=height * width, seed=seed)
    across, down = height * max(width - 1, 0), max(height - 1, 0) * width
    first, n = _share(comm, across + down)
    e = np.arange(first, first + n, dtype=np.int64)
    row, column = np.divmod(e, max(width - 1, 1))
    is_across = e < across
    src = np.where(is_across, row * width + column, e - across)
    return _table(
        comm, src, np.where(is_across, src + 1, src + width), height * width, first, seed, weights, directed=False
    )


def ring(comm, n_vertices, *, seed=1, weights=None, directed=False):
    """A cycle 0, 1, ..., n - 1, 0. Local."""
    _check_numbers(vertices=n_vertices, seed=seed)
    first, n = _share(comm, n_vertices if n_vertices > 2 else max(n_vertices - 1, 0))
    src = np.arange(first, first + n, dtype=np.int64)
    return _table(comm, src, (src + 1) % max(n_vertices, 1), n_vertices, first, seed, weights, directed)


def product(comm, first, second, *, directed=False):
    """Kronecker product of two graphs given by directed edges. Local.

    Vertex (i, k) has id ``i * n2 + k`` and is joined to (j, l) where i -> j and
    k -> l.

    Parameters
    ----------
    first, second : (src, dst, n_vertices)
        int64 arrays, the same on all ranks.
    directed : bool
        False: both factors hold each edge in both directions, and so does
        their product, whose edges are given once.
    """
    (a_src, a_dst, n1), (b_src, b_dst, n2) = first, second
    bounds = block_bounds(len(a_src), comm.size)
    mine = slice(bounds[comm.rank], bounds[comm.rank + 1])
    src = (a_src[mine, None] * n2 + b_src[None, :]).reshape(-1)
    dst = (a_dst[mine, None] * n2 + b_dst[None, :]).reshape(-1)
    if not directed:
        src, dst = src[src <= dst], dst[src <= dst]
    return EdgeTable(src, dst, vertices=_declared(comm, n1 * n2), directed=directed)


def read_factor(path):
    """A factor of `product` from a file: n, then ``u v ...``, each edge once. Local.

    Raises
    ------
    InputError, FileError
        The file is not such a list.
    """
    check_is_file(path)
    try:
        with open(path) as lines:
            n = int(lines.readline())
            edges = np.loadtxt(lines, np.int64, usecols=(0, 1), ndmin=2)
    except (ValueError, IndexError, OverflowError) as error:
        raise InputError(f"{path} is not an edge list after a line with the number of vertices: {error}") from error
    u, v = edges[:, 0], edges[:, 1]
    _check(len(u) == 0 or (edges.min() >= 0 and edges.max() < n), f"{path} names a vertex outside [0, {n})")
    return np.concatenate((u, v)), np.concatenate((v, u)), n


def _table(comm, src, dst, n_vertices, first, seed, weights, directed):
    fields = {}
    if weights is not None:
        low, high, *kind = weights
        out = np.empty(len(src), np.float64)
        generators.uniform_weights(seed, first, float(low), float(high), bool(kind), out)
        fields["weight"] = out.astype(np.int64) if kind else out
    return EdgeTable(src, dst, fields, vertices=_declared(comm, n_vertices), directed=directed)


def _declared(comm, n_vertices):
    first, n = _share(comm, n_vertices)
    return np.arange(first, first + n, dtype=np.int64)


def _share(comm, n):
    """First number and count of this rank's block of 0 .. n - 1."""
    bounds = block_bounds(n, comm.size)
    return int(bounds[comm.rank]), int(bounds[comm.rank + 1] - bounds[comm.rank])


def _check_numbers(**values):
    """Sizes and seeds that arrays of 64 bits can hold."""
    for name, value in values.items():
        _check(0 <= value < MAX_NUMBER, f"{name} = {value} is outside [0, {MAX_NUMBER})")


def _check(is_fine, text):
    if not is_fine:
        raise InputError(text)
