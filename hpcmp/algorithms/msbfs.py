"""Many breadth-first searches at once: edges from each of several sources.

The program of `hpcmp.algorithms.bfs` with one channel per source. An edge is
looked at once for all sources whose searches pass it in the same step, and one
exchange carries them all: as many steps as the farthest search needs.
Source: M. Then et al., VLDB 8 (2014). An unreached vertex has depth 2**63 - 1.
"""

from dataclasses import replace

import numpy as np

from hpcmp.algorithms.checks import local, refuse_unless_nearest
from hpcmp.algorithms.sources import is_any_source, marked, pick
from hpcmp.comm import collective
from hpcmp.engine.program import Program
from hpcmp.engine.run import run as run_program

UNREACHED = int(np.iinfo(np.int64).max)


def _is_open(vertex, ctx):
    """A search has not come here yet."""
    for k in range(vertex.depth.size):  # noqa: SIM110 (compiled functions have no generators)
        if vertex.depth[k] == UNREACHED:
            return True
    return False


def program(width, neighbours="in"):
    """So many searches; sources are marked in the field ``is_source``. Local.

    Parameters
    ----------
    width : int
        Channels; the vertex field ``is_source`` of the graph has as many.
    neighbours : "in" or "out"
        Search along edges, or against them.
    """
    return Program(
        name="msbfs",
        state={"depth": ("int64", width)},
        init=lambda vertex, ctx: 0 if vertex.is_source else UNREACHED,
        send=lambda vertex, ctx: vertex.depth,
        aggregate="min",
        update=lambda vertex, nearest, ctx: min(vertex.depth, nearest + 1) if nearest < UNREACHED else vertex.depth,
        only_changed=True,
        active=is_any_source,
        listens=_is_open,
        neighbours=neighbours,
    )


@collective
def run(graph, steps=None, *, sources=4, seed=0, **how):
    """Depth of every vertex from each source: the field ``depth``. Collective.

    Parameters
    ----------
    sources, seed
        As for `hpcmp.algorithms.sources.pick`; channel k is the k-th of the
        value ``sources``.
    """
    ids = pick(graph, sources, seed)
    result = run_program(program(max(len(ids), 1)), marked(graph, ids, max(len(ids), 1)), steps, **how)
    return replace(result, graph=graph, values={"sources": ids.tolist()})


@collective
def verify(graph, result, **_):
    """Check the levels of every search by Graph500's rules. Collective.

    Raises
    ------
    VerifyError
        On every rank.
    """
    depth = local(graph, result["depth"])
    for k, source in enumerate(result.values["sources"]):
        heard = depth[graph.in_src, k]
        offers = heard + (heard != UNREACHED)
        refuse_unless_nearest(graph, source, depth[: graph.n_owned, k], offers, UNREACHED, f"depth {k}")
