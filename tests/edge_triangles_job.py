"""Triangles on a sample of a Kronecker product's edges: mpiexec -n P python tests/edge_triangles_job.py PRODUCT.h5 A B

Prints on rank 0 a JSON list of [counted, expected], by the product rule

    t((i, k), (j, l)) = t_A(i, j) * t_B(k, l)

for edges i - j of A and k - l of B, whose triangles the files A and B tell.
"""

import json
import sys

import numpy as np

from hpcmp import open_graph
from hpcmp.algorithms.triangles import edge_triangles
from hpcmp.comm import ends_all_ranks, world

N_EDGES = 2000


def read_factor(path):
    """Number of vertices; i, j and triangles of each edge, both ways."""
    with open(path) as lines:
        n = int(lines.readline())
        i, j, triangles = np.loadtxt(lines, np.int64, unpack=True)
    return n, np.concatenate((i, j)), np.concatenate((j, i)), np.concatenate((triangles, triangles))


comm = world()
with ends_all_ranks(comm):
    _, i, j, t_a = read_factor(sys.argv[2])
    n_b, k, l, t_b = read_factor(sys.argv[3])
    random = np.random.default_rng(2)
    a, b = random.integers(len(i), size=N_EDGES), random.integers(len(k), size=N_EDGES)
    graph = open_graph(comm, sys.argv[1])
    counted = edge_triangles(graph, i[a] * n_b + k[b], j[a] * n_b + l[b])
    if comm.rank == 0:
        print(json.dumps(np.stack((counted, t_a[a] * t_b[b]), axis=1).tolist()))
