"""Average consensus: neighbours draw near each other until all hold the mean.

    x_i <- x_i + sum_j w_ij (x_j - x_i)

With symmetric weights the mean never changes, and the distance from it shrinks by the rate
max(|1 - lowest|, |1 - highest|) a step, of the eigenvalues of the weighted Laplacian but the 0 of the mean. Weights are

* Metropolis: 1 / (1 + max(degree_i, degree_j)), which two neighbours know and which reach the mean on any connected graph;
* the best constant: 2 / (l_2 + l_n) of the Laplacian's extreme eigenvalues, with the rate (l_n - l_2) / (l_n + l_2);
* 1 / (largest degree), or another constant w: they reach the mean if and only if w l_n < 2.

On a graph in several pieces each comes to the mean of its own.

Xiao and Boyd, Fast linear iterations for distributed averaging, Systems & Control Letters 53 (2004).
"""

import numpy as np

from hpcmp import agents
from hpcmp.agents.coordination.stage import by_id, refuse, stage, undirected
from hpcmp.graph import simplified

Value = agents.MessageType("value", x="float64", degree="int64")
SMALL = 2000  # vertices up to which eigenvalues are worked out
ROUNDING = 1e-12  # of an eigenvalue, relative


def model():
    """Agents with a value ``x``, and what it was at the step ``mark``. Local."""
    one = agents.Agent("averager", dict.fromkeys(("x", "change", "before", "earlier", "marked"), "float64"))

    @one.on(Value)
    def hear(me, msg, out, ctx):
        weight = ctx.weight if ctx.weight > 0 else 1.0 / (1 + max(out.degree(), msg.degree))
        me.change += weight * (msg.x - me.x)

    @one.each_step
    def tell(me, out, ctx):
        me.earlier = me.before
        me.before = me.x
        me.x += me.change
        me.change = 0.0
        if ctx.step == ctx.mark:
            me.marked = me.x
        out.to_neighbours(Value, me.x, out.degree())

    @one.goal
    def rests(me, ctx):
        is_repeating = abs(me.x - me.earlier) <= 1e-6 * ctx.tolerance + 1e-15 * abs(me.x)
        return ctx.step >= 2 and (abs(me.x - me.before) <= ctx.tolerance or (ctx.tolerance >= 0 and is_repeating))

    return [one]


def run(graph, values, weights="metropolis", *, steps, tolerance=1e-9, mark=-1, **more):
    """Bring all agents to the mean of their values. Collective.

    Parameters
    ----------
    graph : Graph
        Undirected. Loops and repeated edges count for nothing.
    values : array (n_owned,) or name of a vertex field
    weights : "metropolis", "best", "max_degree" or a number
    steps : int
        At most so many.
    tolerance : float
        The run ends when no value changes by more. Below 0: never.
    mark : int
        Step whose values are kept as ``marked``, for `rate`.
    more
        Options of `simulate`.

    Raises
    ------
    ProgramError
        The weights never reach the mean on this graph, and why. Raised on
        every rank.
    """
    undirected(graph)
    plain = stage(simplified(graph), x=values)
    plain.vertex_fields["x"] = plain.vertex_fields["x"].astype(np.float64)
    weight = _weight(plain, weights)
    params = {"weight": float(weight), "tolerance": float(tolerance), "mark": int(mark)}
    found = agents.simulate(plain, model(), steps=steps, params=params, **more)
    _, x, before, first = by_id(plain, found["x"], found["before"], plain.vertex_fields["x"])
    step = np.abs(x - before).max(initial=0)
    refuse(
        graph,
        found.ended == "goal" and step > max(tolerance, 0),
        f"weights {weight:.6g} never reach the mean on this graph: values swing between two states {step:.3g} apart; "
        "metropolis weights do not",
    )
    has_grown = len(x) and np.ptp(x) > 2 * len(x) * np.ptp(first) + 1e-9 * np.abs(first).max()
    refuse(
        graph,
        has_grown or not np.isfinite(x).all(),
        f"weights {weight:.6g} never reach the mean on this graph: they are above 2 / its Laplacian's largest eigenvalue, "
        "and values grow without bound; metropolis weights do not",
    )
    return found


def rate(found, mark):
    """Factor of the distance from the mean in a step, since ``mark``. Collective."""
    _, x, marked = by_id(found.graph, found["x"], found["marked"])
    near, far = np.linalg.norm(x - x.mean()), np.linalg.norm(marked - marked.mean())
    rounding = 1e-15 * len(x) * np.abs(x).max(initial=1)
    return float((near / far) ** (1 / (found.steps - 1 - mark))) if far > rounding else 0.0


def best_weight(graph):
    """The constant weight with the best rate, and the rate. Collective.

    Raises
    ------
    ProgramError
        The graph is in several pieces, or too large. Raised on every rank.
    """
    refuse(
        graph,
        graph.n_vertices > SMALL,
        f"eigenvalues of a graph of more than {SMALL} vertices are not worked out; give the weight as a number",
    )
    low, high = extremes(graph)
    refuse(graph, low <= ROUNDING * high, "the graph is in several pieces: no weights bring all to one mean")
    return 2 / (low + high), (high - low) / (high + low)


def extremes(graph):
    """Second and last of the Laplacian's eigenvalues. Collective."""
    ids = np.concatenate(graph.comm.allgather(graph.id[: graph.n_owned]))
    ends = graph.comm.allgather((graph.id[graph.in_rows()], graph.id[graph.in_src]))
    found = None
    if graph.comm.rank == 0:
        ids.sort()
        u, v = (np.searchsorted(ids, np.concatenate(side)) for side in zip(*ends, strict=True))
        laplacian = np.zeros((len(ids), len(ids)))
        np.subtract.at(laplacian, (u, v), 1.0)
        np.add.at(laplacian, (u, u), 1.0)
        values = np.linalg.eigvalsh(laplacian)
        found = (float(values[1]), float(values[-1])) if len(values) > 1 else (1.0, 1.0)
    return graph.comm.bcast(found)


def _weight(graph, weights):
    """The constant weight, 0 for Metropolis. Collective."""
    if isinstance(weights, str):
        refuse(graph, weights not in ("metropolis", "best", "max_degree"), f"there are no weights {weights!r}")
        if weights == "metropolis":
            return 0.0
        if weights == "best":
            return best_weight(graph)[0]
        weights = 1 / max(1, max(graph.comm.allgather(int(graph.out_degree.max(initial=0)))))
    refuse(graph, not weights > 0, f"weights = {weights} are not above 0")
    if graph.n_vertices <= SMALL and graph.n_edges:
        high = extremes(graph)[1]
        refuse(
            graph,
            weights * high >= 2 * (1 - ROUNDING),
            f"weights {weights:.6g} never reach the mean on this graph: times the largest eigenvalue of its Laplacian, "
            f"{high:.6g}, they are {weights * high:.6g} and not below 2; metropolis and best weights do reach it",
        )
    return weights
