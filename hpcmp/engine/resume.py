"""The state of a step loop as a checkpoint holds it, and back, on any ranks and parts.

vertices   order, state/FIELD; changed and waiting where a program says who sends
steps      the table of steps so far, on rank 0
"""

import numpy as np

from hpcmp.comm import together
from hpcmp.dtypes import LID
from hpcmp.errors import FormatError
from hpcmp.id_order import in_order
from hpcmp.kernels.buckets import NOWHERE

VERTICES, STEPS = "vertices", "steps"
CHOICES = ("way", "_n_unfollowed", "_n_before")  # of a frontier, that tell how it goes on


def take(loop):
    """(facts, tables) of a loop between two steps. Collective.

    Raises
    ------
    MemoryLimitError
        A rank has no memory for them. Raised on every rank.
    """
    frontier, buckets, n = loop.frontier, loop.buckets, loop.graph.n_owned
    rows = {"order": loop.graph.order} | {f"state/{name}": a for name, a in loop.bound.state.items()}
    facts = {"values": loop.values, "frontier": {name: getattr(frontier, name) for name in CHOICES}}
    with together(loop.comm):
        if loop.program.only_changed:
            rows["changed"] = np.zeros(n, np.bool_)
            for piece in frontier.found:
                rows["changed"][piece] = True
        if buckets is not None:
            rows["waiting"], facts["limit"] = buckets.bin_of != NOWHERE, float(buckets.limit)
    steps = loop.history.steps_table(loop.comm, with_digest=True)
    if loop.comm.rank > 0:
        steps = {name: column[:0] for name, column in steps.items()}
    return facts, {VERTICES: rows, STEPS: steps}


def give(loop, saved):
    """Let a loop go on from what `take` gave. Collective.

    Raises
    ------
    FormatError
        The checkpoint has other fields, or not those of all vertices. Raised on
        every rank.
    """
    columns = in_order(loop.graph, saved.tables[VERTICES], what=f"the checkpoint of step {saved.step}")
    steps = saved.whole(loop.comm, STEPS)
    with together(loop.comm):
        for name, a in loop.bound.state.items():
            there = columns.get(f"state/{name}", np.empty(0))
            if there.dtype != a.dtype or there.shape != a.shape:
                raise FormatError(
                    f"the checkpoint of step {saved.step} has no field {name!r} of {a.dtype}, {a.shape[1:]} values a vertex"
                )
            a[:] = there
        loop.step, loop.values = saved.step, {name: saved.facts["values"][name] for name in loop.values}
        loop.history.go_on_from(steps)
        if loop.program.only_changed:
            sends = columns["changed"]
            if "waiting" in columns:
                sends = sends | columns["waiting"]
            loop.frontier.found = [np.flatnonzero(sends).astype(LID)]
            loop.frontier.found_edges = [int(loop.graph.out_degree[loop.frontier.found[0]].sum())]
            for name, value in saved.facts["frontier"].items():
                setattr(loop.frontier, name, value)
        if loop.buckets is not None and "limit" in saved.facts:
            loop.buckets.limit = saved.facts["limit"]
            loop.buckets.base = max(0.0, np.floor(loop.buckets.limit))
