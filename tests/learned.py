"""Rows to learn from that do not depend on ranks, and gradients against differences."""

import numpy as np
from building import build, everywhere
from graphs import GRAPHS
from mpi4py import MPI

from hpcmp.nn.elementwise import dropout
from hpcmp.nn.tape import Tensor, backward
from hpcmp.nn.view import View

N_PARTS = 7


def views(comm, sample, dtype=np.float32, threads=1, **options):
    """A view of a sample on this communicator, and of the same parts on this rank alone."""
    graphs = build(comm, sample, n_parts=N_PARTS, **options), build(MPI.COMM_SELF, sample, n_parts=N_PARTS, **options)
    return tuple(View(graph, threads, 0, dtype) for graph in graphs)


def kinds(name):
    """Relations of a sample's edges, of which one has none; parallel edges share some."""
    kind = np.arange(len(GRAPHS[name].src)) ** 2 % 5 % 2 * 2
    return {"relation": kind, "relations": ("a", "b", "c")}


def numbers(view, width, salt=0):
    """(n_owned, width) numbers between -2 and 2, a function of the vertex."""
    return 2 * np.sin(view.graph.order[:, None] * 1.7 + np.arange(width) * 2.3 + salt)


def rows(view, width, salt=0):
    """`numbers` as a tensor that wants a gradient."""
    return Tensor(numbers(view, width, salt).astype(view.dtype), view, True)


def bits(view, model, width):
    """Result and gradients of a model in single precision: by id, and of parameters by name. Rows by id too."""
    x = rows(view, width)
    model.initialise(view)
    view.begin(3, True)
    out = dropout(model(view, x), 0.25)
    backward(out, numbers(view, out.width, 1).astype(np.float32))
    parameters = {name: p.whole(p.grad).tolist() for name, p in model.parameters().items()}
    buffers = {name: b.data.tolist() for name, b in model.buffers().items()}
    return (
        everywhere(view.graph, out.data),
        None if x.grad is None else everywhere(view.graph, x.grad),
        parameters,
        buffers,
    )


def error_of_gradient(comm, tensor, loss, step=1e-5, n_checked=10):
    """Largest difference between a tensor's gradient and central differences of loss(), by the largest of them.

    Rows of a view are moved on one rank at a time, a parameter on all.
    """
    worst, largest = 0.0, 1e-30
    for mover in [None] if tensor.view is None else range(comm.size):
        mine = mover in (None, comm.rank)
        flat = tensor.data.reshape(-1)
        size = comm.bcast(flat.size, root=mover or 0)
        for place in np.unique(np.linspace(0, size - 1, min(n_checked, size)).astype(int)):
            ends = []
            for way in (step, -step):
                if mine:
                    before = flat[place]
                    flat[place] = before + way
                ends.append(loss())
                if mine:
                    flat[place] = before
            change = (ends[0] - ends[1]) / (2 * step)
            if mine:
                worst = np.maximum(worst, abs(change - tensor.grad.reshape(-1)[place]))  # NaN stays
                largest = np.maximum(largest, abs(change))
    return np.max(comm.allgather(worst)) / np.max(comm.allgather(largest))
