"""Breadth-first search: how many edges from a source to every vertex.

A frontier program: a vertex whose depth was set in the last step tells its
out-neighbours that it was found, and those without a depth take the number of
the step. Found vertices no longer listen, and the aggregate `any` needs one
message only, so a step in which many send looks at few edges. As many steps as
the source's eccentricity. Depths only, as LDBC Graphalytics asks (2.3.1); an
unreached vertex has depth 2**63 - 1.
"""

import numpy as np

from hpcmp.algorithms.checks import local, refuse_unless_nearest, require_source
from hpcmp.comm import collective
from hpcmp.engine.program import Program
from hpcmp.engine.run import run as run_program

UNREACHED = int(np.iinfo(np.int64).max)


def program(source=0):
    """Breadth-first search as a program. Local."""
    return Program(
        name="bfs",
        state={"depth": "int64"},
        init=lambda vertex, ctx: 0 if vertex.id == ctx.source else UNREACHED,
        send=lambda vertex, ctx: True,
        aggregate="any",
        update=lambda vertex, is_found, ctx: ctx.step + 1,
        only_changed=True,
        active=lambda vertex, ctx: vertex.id == ctx.source,
        listens=lambda vertex, ctx: vertex.depth == UNREACHED,
        params={"source": int(source)},
    )


@collective
def run(graph, steps=None, *, source=0, **how):
    """Depth of every vertex from the vertex with id ``source``. Collective."""
    require_source(graph, source)
    return run_program(program(source), graph, steps, **how)


@collective
def verify(graph, result, *, source=0, **_):
    """Check the levels by Graph500's rules, edge by edge. Collective.

    No edge spans more than one level; every reached vertex but the source
    hears one of the level before; only the source has level 0.

    Raises
    ------
    VerifyError
        On every rank.
    """
    depth = local(graph, result["depth"])
    heard = depth[graph.in_src]
    offers = heard + (heard != UNREACHED)
    refuse_unless_nearest(graph, source, depth[: graph.n_owned], offers, UNREACHED, "depth")
