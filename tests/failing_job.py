"""One rank fails between two steps: mpiexec -n P python tests/failing_job.py RANK KIND

KIND: ``raises`` (an exception nobody foresaw), ``refuses`` (an error of hpcmp
that the ranks did not agree on), ``exits``, or ``endless`` (nothing fails; says
``pid PID of rank R`` on every rank and steps until it is killed), and
``unsettled`` (the same without steps); ``epoch`` and ``evaluate``: a model that
fails in such a call of a loop of one's own.
"""

import os
import sys
from dataclasses import replace

import hpcmp
from hpcmp import generate, nn
from hpcmp.comm import world
from hpcmp.engine import history
from hpcmp.errors import GraphError
from hpcmp.nn.data import Data

FAILING_STEP = 3

comm, failing, kind = world(), int(sys.argv[1]), sys.argv[2]


def fail(begin):
    def begin_step(self):
        self.n_begun = getattr(self, "n_begun", 0) + 1
        if self.n_begun == FAILING_STEP and comm.rank == failing:
            if kind == "raises":
                raise RuntimeError("the lights went out")
            if kind == "refuses":
                raise GraphError("row 7 is not what it was")
            if kind == "exits":
                sys.exit(7)
        return begin(self)

    return begin_step


class Net(nn.Module):
    def __init__(self):
        self.layer, self.fails = nn.GCN(1, 2), False

    def __call__(self, view, x):
        if self.fails and comm.rank == failing:
            raise RuntimeError("the lights went out")
        return self.layer(view, x)


def learn(graph):
    """A training as a user writes it."""
    view, order = nn.View(graph), graph.order
    data = Data(view, view.tensor(order[:, None] / 51), order % 2, {"train": order >= 0, "val": order % 3 == 0}, 2)
    training = nn.Training(Net(), data, nn.Adam())
    for epoch in range(FAILING_STEP + 1):
        training.model.fails = epoch == FAILING_STEP
        if kind == "epoch":
            training.epoch()
        else:
            nn.evaluate(training.model, data)


history.History.begin_step = fail(history.History.begin_step)
program = hpcmp.Program(
    state={"x": "float64"},
    init=lambda vertex, ctx: 1.0 * vertex.id,
    update=lambda vertex, total, ctx: total / 2,
)
unsettled = replace(
    program, init=lambda vertex, ctx: 0.0, update=lambda vertex, total, ctx: 1 - total, contraction=1e-9
)
graph, _ = hpcmp.build_graph(comm, generate.ring(comm, 51, directed=True))
if kind in ("epoch", "evaluate"):
    learn(graph)
hpcmp.run(program, graph, 1)  # compiled before anybody is killed
if kind == "unsettled":
    hpcmp.run(unsettled, graph, 1)
sys.stdout.write(f"pid {os.getpid()} of rank {comm.rank}\n")
sys.stdout.flush()
history.History.n_begun = 0
if kind == "unsettled":
    hpcmp.run(unsettled, graph, 10**9, mode="async")
hpcmp.run(program, graph, 10**9)
