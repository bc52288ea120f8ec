"""Gradients against finite differences, through halos and all."""

import numpy as np

from hpcmp.comm import collective
from hpcmp.nn.sums import columns, exact_sum
from hpcmp.nn.tape import Tensor, backward
from hpcmp.nn.view import View

N_CHECKED = 12  # numbers of each parameter, and of the features of each rank


@collective
def gradcheck(model, graph, x, *, seed=0, step=1e-5, threads=1):
    """Largest relative error of a model's gradients, in double: float. Collective.

    The loss is a sum of the results by fixed weights; some numbers of every
    parameter and of the features are moved by ``step`` either way.

    Parameters
    ----------
    model : Module, or callable (view, x) -> Tensor
    graph : Graph
    x : (n_owned, width) array

    Returns
    -------
    float
        Of differences, by the largest gradient; about 1e-8 for a right one, NaN if one is NaN.
    """
    view = View(graph, threads, seed, np.float64)
    parameters = model.parameters() if hasattr(model, "parameters") else {}
    if parameters:
        model.initialise(view)
        for p in parameters.values():  # biases that begin as 0 would hide errors
            p.grad = None
            p.data = p.data + (np.random.default_rng(len(p.name)).uniform(-0.1, 0.1, p.shape) if p.view is None else 0)
    features = Tensor(columns(np.array(x, np.float64)), view, True)

    def weights_of(out):
        ids = graph.id[: graph.n_owned, None].astype(np.float64)
        return np.cos(ids * 0.7 + np.arange(out.width) * 1.3)

    def loss():
        view.begin(0, True)
        out = model(view, features)
        return exact_sum(view.comm, out.data * weights_of(out))

    view.begin(0, True)
    out = model(view, features)
    backward(out, weights_of(out))
    worst, largest = 0.0, 1e-30
    spread = [features, *(p for p in parameters.values() if p.view is not None)]
    moved = [(p, None) for p in parameters.values() if p.view is None]
    for tensor, owner in moved + [(t, r) for t in spread for r in range(view.comm.size)]:
        size = view.comm.bcast(tensor.data.size, root=owner or 0) if owner is not None else tensor.data.size
        places = np.unique(np.linspace(0, max(size - 1, 0), min(N_CHECKED, size)).astype(int)) if size else []
        mine = owner is None or owner == view.comm.rank
        for place in places:
            change = _difference(tensor.data, place, step, loss, mine)
            if mine:
                given = 0.0 if tensor.grad is None else float(tensor.grad.reshape(-1)[place])
                worst, largest = np.maximum(worst, abs(given - change)), np.maximum(largest, abs(change))  # NaN stays
    return float(np.max(view.comm.allgather(worst)) / np.max(view.comm.allgather(largest)))


def _difference(data, place, step, loss, mine):
    """Central difference of the loss by one number, which one rank or all move."""
    flat, ends = data.reshape(-1), []
    before = flat[place] if mine else None
    for way in (step, -step):
        if mine:
            flat[place] = before + way
        ends.append(loss())
    if mine:
        flat[place] = before
    return (ends[0] - ends[1]) / (2 * step)
