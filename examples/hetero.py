"""Authors, papers and venues: features of their own widths, a layer for each relation.

python examples/hetero.py
mpirun -n 2 python examples/hetero.py
"""

import numpy as np
from mpi4py import MPI

import hpcmp
from hpcmp import nn
from hpcmp.io.table import EdgeTable, VertexTable

TYPES = ("author", "paper", "venue")
RELATIONS = ("writes", "written by", "in")


class Net(nn.Module):
    def __init__(self, n_in, n_out):
        self.first = nn.TypedLinear({"author": 2, "paper": n_in, "venue": 0}, 8)  # a venue begins with a bias alone
        self.second = nn.HeteroConv({
            ("author", "writes", "paper"): nn.SAGE(8, n_out),
            ("paper", "written by", "author"): nn.SAGE(8, n_out),
            ("paper", "in", "venue"): nn.GIN(8, n_out),
        })  # fmt: skip

    def __call__(self, graph, x):
        return self.second(graph, nn.relu(self.first(graph, x)))


def build(comm):
    """40 authors (ids 0-39), 100 papers (100-199) of two fields, 4 venues (200-203); rank 0 has all of it."""
    paper = np.arange(100 if comm.rank == 0 else 0)
    n = len(paper)
    author, venue = paper * 7 % 40, 200 + paper % 4
    src, dst = np.concatenate((author, 100 + paper, 100 + paper)), np.concatenate((100 + paper, author, venue))
    edges = EdgeTable(
        src, dst, relation=np.repeat(np.arange(3), n).astype(np.uint16), relations=RELATIONS, directed=True
    )
    ids = np.concatenate((np.arange(40), 100 + paper, np.arange(200, 204))) if n else paper
    kind = np.searchsorted([100, 200], ids, "right").astype(np.int32)
    x = np.cos(ids[:, None] * np.array([0.3, 0.7, 1.1])).astype(np.float32)
    x[kind == 0, 2:], x[kind == 2] = 0, 0  # as wide as the widest type; others' columns beyond theirs are 0
    label = np.where(kind == 1, x[:, 0] > 0, -1).astype(np.int64)
    split = np.where(ids % 2 == 0, 0, 2).astype(np.int32)
    fields = {"type": kind, "x": x, "label": label, "split": split}
    words = {"type": TYPES, "split": ("train", "val", "test")}
    return hpcmp.build_graph(comm, edges, vertices=VertexTable(ids, fields, words))[0]


if __name__ == "__main__":
    world = MPI.COMM_WORLD
    history = nn.fit(Net(3, 2), build(world), epochs=60, seed=0)
    if world.rank == 0:
        print(f"test accuracy {history.metrics[-1]['test_accuracy']:.2f}, weights {history.digest[:16]}")
