"""Single-source shortest paths over edge weights of at least 0.

The Bellman-Ford relaxation as a frontier program: a vertex whose distance fell
tells its out-neighbours; each takes the smallest of distance plus weight. Ends
when no distance fell. Rounds are at most the longest shortest path in edges.
Each candidate is one addition to a distance that is itself final in the end, so
distances are the same bits whatever the order of relaxations. An unreached
vertex has distance infinity (LDBC Graphalytics 2.3.6).
"""

import math

import numpy as np

from hpcmp.algorithms.checks import local, refuse_unless_nearest, require_source, require_weights
from hpcmp.comm import collective
from hpcmp.engine.program import Program
from hpcmp.engine.run import run as run_program

FIELDS = ("weight",)  # edge fields that are read


def distance_over(sent, receiver, edge, ctx):
    """Distance by way of one edge. Local."""
    return sent + edge.weight


def program(source=0):
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
        active=lambda vertex, ctx: vertex.id == ctx.source,
        params={"source": int(source)},
    )


@collective
def run(graph, steps=None, *, source=0, **how):
    """Distance of every vertex from the vertex with id ``source``. Collective."""
    require_source(graph, source)
    require_weights(graph)
    return run_program(program(source), graph, steps, **how)


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
