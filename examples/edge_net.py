"""A layer of one's own: a learned message over sender, receiver and edge, its gradient checked.

python examples/edge_net.py
mpirun -n 2 python examples/edge_net.py
"""

import numpy as np
from mpi4py import MPI

import hpcmp
from hpcmp import nn


class EdgeNet(nn.Module):
    """h_i = U(x_i, mean over j of elu(M(x_j, x_i, w_ji)))."""

    def __init__(self, n_in, n_out):
        self.message, self.update = nn.Linear(2 * n_in + 1, n_out), nn.Linear(n_in + n_out, n_out)

    def __call__(self, graph, x):
        def message(src, dst, edge):
            return nn.elu(self.message(nn.concat(src, dst, edge)))

        heard = nn.propagate(graph, message, x, edge=("weight",), aggregate="mean")
        return self.update(nn.concat(x, heard))


if __name__ == "__main__":
    comm = MPI.COMM_WORLD
    table = hpcmp.generate.kronecker(comm, scale=8, weights=(0.5, 1.5))
    graph, _ = hpcmp.build_graph(comm, table)
    x = np.cos(graph.id[: graph.n_owned, None] * np.array([0.3, 0.7, 1.1]))
    error = nn.gradcheck(EdgeNet(3, 4), graph, x)
    if comm.rank == 0:
        print(f"largest error of a gradient: {error:.1e}")
