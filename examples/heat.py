"""Heat in two metals: mpirun -n 2 hpcmp run examples/heat.py:heat grid.h5 -o heat.h5 (edges with a weight conduct)"""

import numpy as np

import hpcmp


def start(vertex, ctx, out):
    out[:] = (100.0, 0.0) if vertex.id % 10 == 0 else (20.0, 60.0)


def update(vertex, flow, ctx, out):
    out[:] = vertex.celsius[0] + ctx.copper * flow[0], vertex.celsius[1] + ctx.iron * flow[1]


heat = hpcmp.Program(
    state={"celsius": ("float64", 2)},
    init=start,
    message=lambda sent, receiver, edge, ctx: edge.weight * (sent - receiver.celsius),
    update=update,
    reduce={"change": hpcmp.Max(lambda old, new, ctx: np.abs(new.celsius - old.celsius).max())},
    until=lambda ctx: ctx.change < ctx.tolerance,
    params={"copper": 0.1, "iron": 0.05, "tolerance": 0.05},
)
