"""Layers: gradients by differences through the halo, and the same bits on any ranks and threads."""

import numpy as np
import pytest
from building import build, everywhere
from graphs import GRAPHS
from learned import N_PARTS, numbers, rows, views

from hpcmp import nn
from hpcmp.nn import tree
from hpcmp.nn.tape import backward

WIDTH = 5


class OfEdges(nn.Module):
    """A learned message over both ends and the weight."""

    def __init__(self):
        self.all = nn.Linear(2 * WIDTH + 1, 3)

    def __call__(self, src, dst, edge):
        return nn.elu(self.all(nn.concat(src, dst, edge)))


class OfBoth(nn.Module):
    """A learned update."""

    def __init__(self):
        self.all = nn.Linear(WIDTH + 3, 4)

    def __call__(self, x, heard):
        return self.all(nn.concat(x, heard))


LAYERS = {
    "gcn, narrower": lambda: nn.GCN(WIDTH, 3),
    "gcn, wider": lambda: nn.GCN(WIDTH, 8),
    "sage": lambda: nn.SAGE(WIDTH, 3),
    "sage, wider": lambda: nn.SAGE(WIDTH, 8),
    "sage, sum": lambda: nn.SAGE(WIDTH, 3, "sum"),
    "sage, max": lambda: nn.SAGE(WIDTH, 3, "max"),
    "sage, pool": lambda: nn.SAGE(WIDTH, 3, "pool"),
    "gin": lambda: nn.GIN(WIDTH, 3, 6, epsilon=0.5),
    "gat": lambda: nn.GAT(WIDTH, 3, heads=2),
    "gat, mean": lambda: nn.GAT(WIDTH, 3, heads=2, concat=False),
    "gatv2": lambda: nn.GATv2(WIDTH, 3, heads=2),
    "messages": lambda: nn.MessageLayer(OfEdges(), OfBoth(), ("weight",), "mean"),
    "nnconv": lambda: nn.NNConv(WIDTH, 3, nn.Linear(1, 3 * WIDTH), ("weight",)),
}
SAMPLES = ("undirected", "zoo", "star", "fewer_than_ranks")


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", [n for n in SAMPLES if n in GRAPHS])
def test_gradients_are_those_of_differences(comm, layer, name):
    graph = build(comm, GRAPHS[name], n_parts=N_PARTS)
    x = np.sin(graph.order[:, None] * 1.7 + np.arange(WIDTH) * 2.3)
    assert nn.gradcheck(LAYERS[layer](), graph, x, step=1e-6) < 1e-6


def bits(view, layer):
    """Result, and gradients of features and parameters, of a layer in single precision: by id and by name."""
    model, x = LAYERS[layer](), rows(view, WIDTH)
    model.initialise(view)
    view.begin(3, True)
    out = nn.dropout(model(view, x), 0.25)
    backward(out, numbers(view, out.width, 1).astype(np.float32))
    parameters = {name: p.grad.tolist() for name, p in model.parameters().items()}
    return everywhere(view.graph, out.data), everywhere(view.graph, x.grad), parameters


@pytest.mark.parametrize("layer", LAYERS)
def test_ranks_and_threads_change_no_bit(comm, layer):
    for name in ("undirected", "zoo"):
        many, alone = views(comm, GRAPHS[name])
        assert bits(many, layer) == bits(alone, layer)
        assert bits(nn.View(many.graph, threads=3), layer) == bits(alone, layer)


def test_the_largest_gives_its_gradient_to_one_neighbour(comm):
    many, _ = views(comm, GRAPHS["zoo"], np.float64)
    x = nn.Tensor(np.zeros((many.n_owned, 2)), many, True)  # all alike
    backward(nn.max_neighbours(x), np.ones((many.n_owned, 2)))
    n_hearing = comm.allreduce(int((many.graph.in_degree > 0).sum()))
    assert comm.allreduce(float(x.grad.sum())) == 2 * n_hearing
    assert np.array_equal(x.grad, np.round(x.grad))


def test_dropout_leaves_out_the_same_numbers_on_any_ranks(comm):
    many, alone = views(comm, GRAPHS["undirected"])
    found = []
    for view in (many, alone):
        view.begin(7, True)
        x = nn.Tensor(np.ones((view.n_owned, 40), np.float32), view, True)
        out = nn.dropout(x, 0.25)
        backward(out, np.full(out.shape, 3, np.float32))
        assert np.array_equal(x.grad, 3 * out.data)
        found.append(everywhere(view.graph, out.data))
        view.begin(7, False)
        assert nn.dropout(x, 0.25) is x
    assert found[0] == found[1]
    kept = np.array(list(found[0].values()))
    assert set(np.unique(kept).tolist()) == {0.0, float(np.float32(4 / 3))}
    assert abs((kept > 0).mean() - 0.75) < 0.05


@pytest.mark.parametrize("n_parts", [1, 2, 5, 8, 13])
def test_a_tree_has_one_shape_whoever_owns_its_leaves(n_parts):
    leaves = np.random.default_rng(n_parts).normal(size=n_parts).astype(np.float32)
    whole = tree.joined({(0, k): v for k, v in enumerate(leaves)}, n_parts)
    for cuts in ([0, n_parts], [0, 1, n_parts], [0, n_parts // 3, n_parts // 2, n_parts], [0, 0, n_parts, n_parts]):
        nodes = {}
        for lo, hi in zip(cuts[:-1], cuts[1:]):
            mine = tree.joined({(0, k): leaves[k] for k in range(lo, hi)}, n_parts)
            assert sorted(mine) == sorted(tree.names(lo, hi, n_parts))
            nodes |= mine
        assert tree.joined(nodes, n_parts) == whole
