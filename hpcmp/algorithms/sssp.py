"""Single-source shortest paths over edge weights of at least 0.

The Bellman-Ford relaxation as a frontier program: a vertex whose distance fell
tells its out-neighbours; each takes the smallest of distance plus weight. Ends
when no distance fell. Distances are sorted into buckets of width ``delta``, of
which the lowest sends first (delta-stepping, Meyer and Sanders 2003): a narrow
one wastes few messages, a wide one needs few steps. Each candidate is one
addition to a distance that is itself final in the end, so distances are the
same bits whatever the order of relaxations. An unreached vertex has distance
infinity (LDBC Graphalytics 2.3.6).
"""

import math

import numpy as np

from hpcmp.algorithms.checks import local, refuse_unless_nearest, require_source, require_weights
from hpcmp.comm import collective, together
from hpcmp.engine.program import Program
from hpcmp.engine.run import run as run_program
from hpcmp.errors import ProgramError
from hpcmp.kernels import exact

FIELDS = ("weight",)  # edge fields that are read
DELTA_SHARE = 2  # times the mean weight over the mean degree; measured on Kronecker graphs


def distance_over(sent, receiver, edge, ctx):
    """Distance by way of one edge. Local."""
    return sent + edge.weight


def program(source=0, delta=1.0):
    """Single-source shortest paths as a program. Local."""
    return Program(
        name="sssp",
        state={"distance": "float64"},
        init=lambda vertex, ctx: 0.0 if vertex.id == ctx.source else math.inf,
        send=lambda vertex, ctx: vertex.distance,
        message=distance_over,
        aggregate="min",
        update=lambda vertex, best, ctx: min(vertex.distance, best),
        only_changed=True,
        monotone=True,
        active=lambda vertex, ctx: vertex.id == ctx.source,
        bucket=lambda vertex, ctx: np.floor(vertex.distance / ctx.delta),
        params={"source": int(source), "delta": float(delta)},
    )


@collective
def run(graph, steps=None, *, source=0, delta=None, **how):
    """Distance of every vertex from the vertex with id ``source``. Collective.

    Parameters
    ----------
    source : int
    delta : float > 0, optional
        Width of a bucket; changes no distance. Default: from the weights.
    """
    require_source(graph, source)
    require_weights(graph)
    with together(graph.comm):
        if delta is not None and not delta > 0:
            raise ProgramError(f"delta = {delta} must be above 0")
    if delta is None:
        delta = _usual_delta(graph)
    return run_program(program(source, delta), graph, steps, **how)


def _usual_delta(graph):
    """A few mean weights over the mean degree: a bucket's vertices then have about as many short edges. Collective."""
    words = exact.zero()
    exact.add(words, graph.edge_fields["weight"])
    total = exact.value(graph.comm.allreduce(words))
    mean_weight, mean_degree = total / max(graph.n_edges, 1), graph.n_edges / max(graph.n_vertices, 1)
    delta = DELTA_SHARE * mean_weight / max(mean_degree, 1.0)
    return delta if 0.0 < delta < math.inf else 1.0


@collective
def verify(graph, result, *, source=0, **_):
    """Check that distances solve Bellman's equations. Collective.

    No edge offers a shorter way, and every reached vertex but the source has
    an edge that gives exactly its distance.

    Raises
    ------
    VerifyError
        On every rank.
    """
    distance = local(graph, result["distance"])
    is_loop = graph.in_src == graph.in_rows()  # one of weight 0 would vouch for any distance
    offers = np.where(is_loop, math.inf, distance[graph.in_src] + graph.edge_fields["weight"])
    refuse_unless_nearest(graph, source, distance[: graph.n_owned], offers, math.inf, "distance")
