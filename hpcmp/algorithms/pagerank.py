"""PageRank: how often a random surfer visits a vertex.

    rank_i' = (1 - d) / n + d * (sum over in-neighbours j of rank_j / out_degree_j + dangling / n)

``dangling`` is the rank of vertices without out-edges, which the surfer leaves
for any vertex. One message an edge and step; one double a boundary vertex and
peer crosses the network. Sums are in canonical order and the dangling mass is
exact, so the ranks are the same bits on any number of ranks.

Variants:

ldbc
    The rule above for a fixed number of steps (LDBC Graphalytics 1.0.1, 2.3.2).
networkx
    The same rule until the ranks change by less than 1e-6 n in all.
gap
    Dangling rank is lost; until the change is below 1e-4 (GAP benchmark).
pregel
    ``(1 - d) + d * sum`` from rank 1 for a fixed number of steps, dangling rank
    lost; ranks average at most 1 (Malewicz et al., SIGMOD 2010).
"""

from dataclasses import replace

import numpy as np

from hpcmp.algorithms.checks import local, refuse
from hpcmp.comm import collective, raise_together, together
from hpcmp.engine.program import Program, Sum
from hpcmp.engine.run import run as run_program
from hpcmp.errors import ProgramError, VerifyError
from hpcmp.kernels import exact

VARIANTS = ("ldbc", "networkx", "gap", "pregel")
ASYNC_TOLERANCE = 1e-9  # change of all ranks together, over n where they sum to n
DTYPES = ("float64", "float32")
STEPS = {"ldbc": 20, "networkx": 100, "gap": 20, "pregel": 20}


def program(damping=0.85, variant="ldbc", tolerance=None, dtype="float64"):
    """PageRank as a program. Local.

    Parameters
    ----------
    damping : float in [0, 1]
    variant : "ldbc", "networkx", "gap" or "pregel"
    tolerance : float, optional
        Stop once the ranks change by less in all (for networkx, per vertex);
        default: as the variant says.
    dtype : "float64" or "float32"
        How ranks are kept and travel; sums are of doubles.
    """
    if variant not in VARIANTS:
        raise ProgramError(f"variant {variant!r} is not one of {', '.join(VARIANTS)}")
    if dtype not in DTYPES:
        raise ProgramError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    if not 0 <= damping <= 1:
        raise ProgramError(f"damping = {damping} is outside [0, 1]")
    if not isinstance(tolerance, int | float | None):
        raise ProgramError(f"tolerance = {tolerance!r} is no number")
    keeps_dangling = variant in ("ldbc", "networkx")
    if tolerance is None:
        tolerance = {"networkx": 1e-6, "gap": 1e-4}.get(variant)

    def start(vertex, ctx):
        return 1.0 if variant == "pregel" else 1 / ctx.n_vertices

    def send(vertex, ctx):
        return vertex.rank / vertex.out_degree if vertex.out_degree else 0.0

    def update(vertex, total, ctx):
        if variant == "pregel":
            return (1 - ctx.damping) + ctx.damping * total
        lost = ctx.dangling if keeps_dangling else 0.0
        return (1 - ctx.damping) / ctx.n_vertices + ctx.damping * (total + lost / ctx.n_vertices)

    def dangling(vertex, ctx):
        return 0.0 if vertex.out_degree else vertex.rank

    def change(old, new, ctx):
        return abs(new.rank - old.rank)

    def is_steady(ctx):
        return ctx.change < (tolerance * ctx.n_vertices if variant == "networkx" else tolerance)

    reduce = {"dangling": Sum(dangling)} if keeps_dangling else {}
    return Program(
        name="pagerank",
        state={"rank": dtype},
        init=start,
        send=send,
        aggregate="sum",
        update=update,
        reduce=reduce | ({} if tolerance is None else {"change": Sum(change)}),
        until=None if tolerance is None else is_steady,
        params={"damping": float(damping)},
        steps=STEPS[variant],
    )


@collective
def run(graph, steps=None, *, damping=0.85, variant="ldbc", tolerance=None, dtype="float64", **how):
    """PageRank of every vertex: the field ``rank``. Collective."""
    with together(graph.comm):
        made = program(damping, variant, tolerance, dtype)
        if how.get("mode") == "async":
            made = _without_steps(made, graph, damping, variant, tolerance)
    return run_program(made, graph, steps, **how)


def _without_steps(made, graph, damping, variant, tolerance):
    """The program for mode async, which ends when no rank moves any more."""
    if "dangling" in made.reduce:
        raise ProgramError(
            f"variant {variant!r} spreads dangling rank over all vertices at once; async runs gap, pregel"
        )
    scale = 1.0 if variant == "pregel" else 1 / max(graph.n_vertices, 1)
    smallest = (tolerance or ASYNC_TOLERANCE) * (1 - damping) * scale
    return replace(made, reduce={}, until=None, contraction=max(smallest, 1e-300))


@collective
def verify(graph, result, *, variant="ldbc", **_):
    """Check the sum of ranks, and recount the last step, within rounding. Collective.

    Where the rule keeps all rank, its sum is 1 whatever the graph: each vertex
    hands on all it has. In the other variants the sum is at most that. The
    ranks before the last step come from a shorter run; one sum over all edges
    then gives every rank.

    Raises
    ------
    VerifyError
        On every rank.
    """
    rank = result["rank"]
    refuse(graph, ~(rank >= 0) | ~np.isfinite(rank), lambda i: f"vertex {graph.id[i]} has rank {rank[i]}")
    words = exact.zero()
    exact.add(words, rank)
    total = exact.value(graph.comm.allreduce(words))
    whole = graph.n_vertices if variant == "pregel" else 1.0
    keeps = variant in ("ldbc", "networkx")
    rounding = 1e-9 if rank.dtype == np.float64 else 1e-5
    slack = rounding * whole
    wrong = graph.n_vertices > 0 and (total > whole + slack or (keeps and total < whole - slack))
    text = f"the ranks sum to {total!r}, which must be {'' if keeps else 'at most '}{whole}"
    raise_together(graph.comm, VerifyError(text) if wrong else None)
    _verify_order_of_twins(graph, rank)
    if result.mode == "async":
        _verify_fixed_point(graph, rank, result.params["damping"], variant)
    elif result.n_steps > 0:
        _verify_last_step(graph, result, variant, rounding)


def _verify_last_step(graph, result, variant, rounding):
    damping = result.params["damping"]
    never = -1.0 if variant in ("networkx", "gap") else None  # no change is below it
    before = run_program(program(damping, variant, never, str(result["rank"].dtype)), graph, result.n_steps - 1)["rank"]
    expected = _one_step(graph, before, damping, variant)
    refuse(
        graph,
        ~np.isclose(result["rank"], expected, rtol=rounding, atol=0.0),
        lambda i: f"vertex {graph.id[i]} has rank {result['rank'][i]!r}, its in-neighbours give {expected[i]!r}",
    )


def _verify_fixed_point(graph, rank, damping, variant):
    expected = _one_step(graph, rank, damping, variant)
    refuse(
        graph,
        ~np.isclose(rank, expected, rtol=1e-4, atol=0.0),
        lambda i: f"vertex {graph.id[i]} has rank {rank[i]!r}, a further step gives {expected[i]!r}",
    )


def _one_step(graph, before, damping, variant):
    """Ranks after one more step: float64 (n_owned,). Collective."""
    n = graph.n_vertices
    is_dangling = graph.out_degree == 0
    shares = local(graph, np.where(is_dangling, 0.0, before / np.maximum(graph.out_degree, 1)))
    total = np.bincount(graph.in_rows(), shares[graph.in_src], minlength=graph.n_owned)
    lost = graph.comm.allreduce(float(before[is_dangling].sum())) if variant in ("ldbc", "networkx") else 0.0
    base, lost = (1 - damping, 0.0) if variant == "pregel" else ((1 - damping) / max(n, 1), lost / max(n, 1))
    return base + damping * (total + lost)


def _verify_order_of_twins(graph, rank):
    """Vertices that nobody links to all have the same rank, the smallest there is."""
    orphans = rank[graph.in_degree == 0]
    lows = graph.comm.allgather(
        (float(orphans.min(initial=np.inf)), float(orphans.max(initial=-np.inf)), float(rank.min(initial=np.inf)))
    )
    low, high, least = min(v[0] for v in lows), max(v[1] for v in lows), min(v[2] for v in lows)
    refuse(
        graph,
        np.full(graph.n_owned, low != np.inf and (low != high or least < low)),
        lambda i: f"vertices without in-edges have ranks from {low!r} to {high!r}, the smallest rank is {least!r}",
    )
