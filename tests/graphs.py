"""Awkward graphs by name: those on which partitions, halos and loops go wrong."""

from typing import NamedTuple

import numpy as np


class Sample(NamedTuple):
    """A small graph as a user would give it; the same on all ranks."""

    ids: np.ndarray  # int64 (n,) ascending
    src: np.ndarray  # int64 (m,) ids
    dst: np.ndarray  # int64 (m,) ids
    weight: np.ndarray  # float64 (m,), at least 0
    directed: bool = True


def sample(ids, edges, directed=True, weight=None):
    """Of a list of pairs; weights are not whole, and differ."""
    pairs = np.array(edges, np.int64).reshape(-1, 2)
    if weight is None:
        weight = 0.1 + (np.arange(len(pairs)) * 7 % 11) / 3
    return Sample(np.array(sorted(ids), np.int64), pairs[:, 0], pairs[:, 1], np.asarray(weight, np.float64), directed)


def random(n, m, seed=0, directed=True, stride=1, first=0):
    """Random ends, so with loops, repeats and vertices without edges."""
    rng = np.random.default_rng(seed)
    ids = first + stride * np.arange(n, dtype=np.int64)
    return Sample(ids, rng.choice(ids, m), rng.choice(ids, m), rng.random(m), directed)


def hub(n_edges=3 * 4096 + 17):
    """One vertex that hears more than three segments of edges from a few others."""
    rng = np.random.default_rng(5)
    src = rng.integers(1, 400, n_edges)
    return Sample(np.arange(400), src, np.zeros(n_edges, np.int64), rng.standard_normal(n_edges) ** 2, True)


def union(samples, gap=1000):
    """Many graphs side by side in one, so that one run sees them all."""
    ids, src, dst, weight, first = [], [], [], [], 0
    for one in samples:
        low = int(one.ids[0]) if len(one.ids) else 0
        rank = {v: first + k for k, v in enumerate(one.ids.tolist())}
        ids += list(rank.values())
        src += [rank[v] for v in one.src.tolist()]
        dst += [rank[v] for v in one.dst.tolist()]
        weight += one.weight.tolist()
        if not one.directed:
            src, dst, weight = (
                src + [rank[v] for v in one.dst.tolist()],
                dst + [rank[v] for v in one.src.tolist()],
                weight + one.weight.tolist(),
            )
        first += gap + low % 2
    return sample(ids, list(zip(src, dst)), weight=weight)


BIG = 2**62

GRAPHS = {
    "empty": sample([], []),
    "one_vertex": sample([5], []),
    "no_edges": sample(range(9), []),
    "self_loop": sample([3, 4], [(3, 3), (4, 4), (4, 3)], weight=[0.5, 0.0, 1.5]),
    "double_edge": sample([0, 1, 2], [(0, 1), (0, 1), (1, 2), (0, 1), (1, 2)], weight=[2.0, 0.25, 1.0, 2.0, 0.1]),
    "star": sample(range(12), [(0, k) for k in range(1, 12)]),
    "star_inward": sample(range(12), [(k, 11) for k in range(11)]),
    "two_components": sample(range(11), [(k, (k + 1) % 5) for k in range(5)] + [(k, k + 1) for k in range(5, 10)]),
    "fewer_vertices_than_ranks": sample([1, 2], [(1, 2), (2, 1)]),
    "all_edges_on_one_rank": sample(range(40), [(k, k % 3) for k in range(40)] + [(2, 1)]),
    "sparse_ids": sample(
        [-BIG, -7, -1, 0, 3, 10**12, BIG],
        [(-BIG, BIG), (BIG, -7), (-7, -1), (-1, 0), (10**12, -BIG), (BIG, 3), (3, -BIG), (0, BIG)],
    ),
    "reciprocal": sample(range(5), [(0, 1), (1, 0), (1, 2), (2, 1), (2, 0), (3, 4), (4, 3), (0, 3), (2, 2)]),
    "random": random(60, 240, stride=3, first=-50),
    "undirected": random(40, 120, seed=1, directed=False, stride=2),
}
EACH = tuple(GRAPHS)

# All of them side by side: one graph where a law would cost too much on each.
ZOO = union(GRAPHS.values())
GRAPHS["zoo"] = ZOO

# What the zoo cannot show: what is wrong with a whole graph.
NAMES = ("empty", "fewer_vertices_than_ranks", "sparse_ids", "undirected", "zoo")
