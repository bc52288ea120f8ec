"""Layers against torch_geometric with the same weights: results and gradients in single precision."""

import importlib
import importlib.util

import numpy as np
import pytest
from building import build
from graphs import GRAPHS
from learned_types import KEYS, TYPES, typed_view
from mpi4py import MPI

from hpcmp import nn
from hpcmp.graph import with_edge_field
from hpcmp.nn import weights
from hpcmp.nn.tape import backward

if MPI.COMM_WORLD.size > 1:  # all here is of one rank: importing torch on many takes seconds for nothing
    pytest.skip("these run on one rank", allow_module_level=True)
for package in ("torch", "torch_geometric"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed", allow_module_level=True)


class Later:
    """A module that is imported when something of it is used: these take seconds, in each process that looks for tests."""

    def __init__(self, name):
        self.name = name

    def __getattr__(self, attribute):
        return getattr(importlib.import_module(self.name), attribute)


torch, pyg = Later("torch"), Later("torch_geometric.nn")

WIDTH = 6


def copied(theirs, ours, transpose=True):
    """Our parameter as theirs."""
    with torch.no_grad():
        value = ours.data.T if transpose else ours.data
        theirs.copy_(torch.from_numpy(np.ascontiguousarray(value)).reshape(theirs.shape))
    return theirs, ours, transpose


def gcn():
    ours, theirs = nn.GCN(WIDTH, 4), pyg.GCNConv(WIDTH, 4)
    return ours, theirs, lambda: [copied(theirs.lin.weight, ours.weight), copied(theirs.bias, ours.bias)]


def sage(aggregate):
    ours, theirs = nn.SAGE(WIDTH, 4, aggregate), pyg.SAGEConv(WIDTH, 4, aggr=aggregate)
    return (
        ours,
        theirs,
        lambda: [
            copied(theirs.lin_l.weight, ours.neighbours.weight),
            copied(theirs.lin_l.bias, ours.neighbours.bias),
            copied(theirs.lin_r.weight, ours.own.weight),
        ],
    )


def gin():
    ours = nn.GIN(WIDTH, 4, 5, epsilon=0.25)
    inner = torch.nn.Sequential(torch.nn.Linear(WIDTH, 5), torch.nn.ReLU(), torch.nn.Linear(5, 4))
    theirs = pyg.GINConv(inner, eps=0.25)
    return (
        ours,
        theirs,
        lambda: [
            copied(inner[0].weight, ours.first.weight),
            copied(inner[0].bias, ours.first.bias),
            copied(inner[2].weight, ours.second.weight),
            copied(inner[2].bias, ours.second.bias),
        ],
    )


def gat(concat):
    ours, theirs = nn.GAT(WIDTH, 4, heads=3, concat=concat), pyg.GATConv(WIDTH, 4, heads=3, concat=concat)
    return (
        ours,
        theirs,
        lambda: [
            copied(theirs.lin.weight, ours.weight),
            copied(theirs.att_src, ours.source, False),
            copied(theirs.att_dst, ours.target, False),
            copied(theirs.bias, ours.bias),
        ],
    )


def gatv2():
    ours, theirs = nn.GATv2(WIDTH, 4, heads=3), pyg.GATv2Conv(WIDTH, 4, heads=3)
    return (
        ours,
        theirs,
        lambda: [
            copied(theirs.lin_l.weight, ours.source.weight),
            copied(theirs.lin_l.bias, ours.source.bias),
            copied(theirs.lin_r.weight, ours.target.weight),
            copied(theirs.lin_r.bias, ours.target.bias),
            copied(theirs.att, ours.attention, False),
            copied(theirs.bias, ours.bias),
        ],
    )


PAIRS = {
    "gcn": gcn,
    "sage, mean": lambda: sage("mean"),
    "sage, max": lambda: sage("max"),
    "gin": gin,
    "gat": lambda: gat(True),
    "gat, mean": lambda: gat(False),
    "gatv2": gatv2,
}


def close(ours, theirs):
    """Whether two arrays agree within 1e-5 of the largest number."""
    theirs = theirs.detach().numpy().reshape(ours.shape)
    return np.abs(ours - theirs).max(initial=0) <= 1e-5 * max(np.abs(theirs).max(initial=0), 1e-3)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("name", ["undirected", "random", "all_edges_on_one_rank", "reciprocal"])
def test_results_and_gradients_are_theirs(pair, name):
    graph = build(MPI.COMM_SELF, GRAPHS[name], n_parts=3)
    ours, theirs, copy = PAIRS[pair]()
    view = nn.View(graph)
    ours.initialise(view)
    for name_, p in ours.parameters().items():
        if name_.endswith("bias"):
            p.data = p.data + np.float32(0.1)
    copied_pairs = copy()
    # no ties, which theirs share
    data = np.random.default_rng(1).normal(size=(graph.n_owned, WIDTH)).astype(np.float32)
    x, t = nn.Tensor(data, view, True), torch.from_numpy(data.copy()).requires_grad_()
    edges = torch.from_numpy(np.stack((graph.in_src.astype(np.int64), graph.in_rows())))
    out, expected = ours(view, x), theirs(t, edges)
    assert close(out.data, expected)
    d = np.cos(np.arange(out.data.size) * 0.9).reshape(out.shape).astype(np.float32)
    backward(out, d)
    expected.backward(torch.from_numpy(d))
    assert close(x.grad, t.grad)
    for parameter, mine, transpose in copied_pairs:
        assert close(mine.grad.T if transpose else mine.grad, parameter.grad), mine.name


RELATIONAL = {  # name -> (width of features, of results, options)
    "features": (WIDTH, 4, {}),
    "narrower": (WIDTH, 1, {}),
    "bases": (WIDTH, 4, {"n_bases": 2}),
    "bases, narrower": (WIDTH, 2, {"n_bases": 2}),
    "blocks": (WIDTH, 4, {"n_blocks": 2}),
    "featureless": (None, 4, {}),
    "featureless, bases": (None, 4, {"n_bases": 2}),
}


@pytest.mark.parametrize("layer", RELATIONAL)
@pytest.mark.parametrize("name", ["undirected", "random", "double_edge"])
def test_results_and_gradients_of_relations_are_theirs(layer, name):
    kind = np.arange(len(GRAPHS[name].src)) % 4 // 2 * 2  # of three relations one has no edge
    graph = build(MPI.COMM_SELF, GRAPHS[name], n_parts=3, relation=kind, relations=("a", "b", "c"))
    n_in, n_out, more = RELATIONAL[layer]
    view, ours = nn.View(graph), nn.RGCN(n_in, n_out, 3, **more)
    theirs = pyg.RGCNConv(n_in or graph.n_owned, n_out, 3, more.get("n_bases"), more.get("n_blocks"))
    ours.initialise(view)
    ours.bias.data = ours.bias.data + np.float32(0.1)
    theirs.load_state_dict({k: torch.from_numpy(a.copy()) for k, a in weights.state_of(ours).items()})
    data = np.random.default_rng(1).normal(size=(graph.n_owned, WIDTH)).astype(np.float32)
    x, t = (nn.Tensor(data, view, True), torch.from_numpy(data.copy()).requires_grad_()) if n_in else (None, None)
    # vertices by ascending id, as weights of theirs have them
    order, rows = graph.order, graph.in_rows()
    edges = torch.from_numpy(np.stack((order[graph.in_src.astype(np.int64)], order[rows])))
    if n_in:
        edges = torch.from_numpy(np.stack((graph.in_src.astype(np.int64), rows)))
    out, expected = ours(view, x), theirs(t, edges, torch.from_numpy(graph.relation.astype(np.int64)))
    expected = expected if n_in else expected[torch.from_numpy(order)]
    assert close(out.data, expected)
    d = np.cos(np.arange(out.data.size) * 0.9).reshape(out.shape).astype(np.float32)
    backward(out, d)
    expected.backward(torch.from_numpy(d))
    assert x is None or close(x.grad, t.grad)
    for p in ours.parameters().values():
        p.data = p.grad
    found = weights.state_of(ours)
    for key, parameter in theirs.named_parameters():
        assert close(found[key], parameter.grad), key


@pytest.mark.parametrize("aggregate", ["sum", "mean", "max"])
@pytest.mark.parametrize("name", ["undirected", "random", "all_edges_on_one_rank", "reciprocal"])
def test_messages_by_a_network_of_the_edge_are_theirs(aggregate, name):
    graph = build(MPI.COMM_SELF, GRAPHS[name], n_parts=3)
    weight = np.cos(np.arange(graph.n_in) * 1.3)  # no ties, as theirs would share a gradient
    view = nn.View(with_edge_field(graph, "weight", weight))
    ours = nn.NNConv(WIDTH, 4, nn.Linear(1, 4 * WIDTH), ("weight",), aggregate)
    theirs = pyg.NNConv(WIDTH, 4, torch.nn.Linear(1, 4 * WIDTH), aggr={"sum": "add"}.get(aggregate, aggregate))
    ours.initialise(view)
    for p in (ours.network.bias, ours.own.bias):
        p.data = p.data + np.float32(0.1)
    theirs.load_state_dict({name: torch.from_numpy(a) for name, a in weights.state_of(ours).items()})
    data = np.random.default_rng(1).normal(size=(graph.n_owned, WIDTH)).astype(np.float32)
    x, t = nn.Tensor(data, view, True), torch.from_numpy(data.copy()).requires_grad_()
    edges = torch.from_numpy(np.stack((graph.in_src.astype(np.int64), graph.in_rows())))
    out, expected = ours(view, x), theirs(t, edges, torch.from_numpy(weight.astype(np.float32)[:, None]))
    assert close(out.data, expected)
    d = np.cos(np.arange(out.data.size) * 0.9).reshape(out.shape).astype(np.float32)
    backward(out, d)
    expected.backward(torch.from_numpy(d))
    assert close(x.grad, t.grad)
    for name_, (p, (there, _)) in weights.names(ours).items():
        assert close(there(p.grad), theirs.get_parameter(name_).grad), name_


@pytest.mark.parametrize("aggregate", ["sum", "mean", "max"])
def test_layers_of_relations_are_theirs(aggregate):
    view = typed_view(MPI.COMM_SELF, np.float32)
    graph, code = view.graph, view.graph.vertex_fields["type"]
    ours = nn.HeteroConv({key: nn.SAGE(WIDTH, 4) for key in KEYS}, aggregate)
    theirs = pyg.HeteroConv({key: pyg.SAGEConv((WIDTH, WIDTH), 4) for key in KEYS}, aggr=aggregate)
    ours.initialise(view)
    state = {name: torch.from_numpy(a) for name, a in weights.state_of(ours).items()}
    theirs.load_state_dict(state)  # under their names
    data = np.random.default_rng(1).normal(size=(graph.n_owned, WIDTH)).astype(np.float32)
    x, t = nn.Tensor(data, view, True), torch.from_numpy(data.copy()).requires_grad_()
    place, edges = np.zeros(graph.n_owned, np.int64), {}
    for k in range(len(TYPES)):
        place[code == k] = np.arange((code == k).sum())
    for source, name, receiver in KEYS:
        e = graph.relation == graph.relations.index(name)
        edges[source, name, receiver] = torch.from_numpy(np.stack((place[graph.in_src[e]], place[graph.in_rows()[e]])))
    rows_of = {name: np.flatnonzero(code == k) for k, name in enumerate(TYPES)}
    out, expected = ours(view, x), theirs({name: t[r] for name, r in rows_of.items()}, edges)
    d = np.cos(np.arange(out.data.size) * 0.9).reshape(out.shape).astype(np.float32)
    total = sum((expected[name] * torch.from_numpy(d[r])).sum() for name, r in rows_of.items())
    assert all(close(out.data[r], expected[name]) for name, r in rows_of.items())
    backward(out, d)
    total.backward()
    assert close(x.grad, t.grad)
    for name, (p, (there, _)) in weights.names(ours).items():
        assert close(there(p.grad), theirs.get_parameter(name).grad), name


ACTIVATIONS = ("gelu", "sigmoid", "tanh", "elu")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_theirs(name):
    view = nn.View(build(MPI.COMM_SELF, GRAPHS["undirected"], n_parts=3))
    data = np.linspace(-30, 30, view.n_owned * WIDTH).astype(np.float32).reshape(-1, WIDTH)
    x, t = nn.Tensor(data, view, True), torch.from_numpy(data.copy()).requires_grad_()
    ours, theirs = getattr(nn, name), getattr(torch.nn.functional, name)
    out, expected = ours(x), theirs(t)
    backward(out, np.ones_like(data))
    expected.backward(torch.ones_like(t))
    assert close(out.data, expected) and close(x.grad, t.grad)


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("kind", ["layer", "batch"])
def test_norms_are_theirs(kind, is_training):
    view = nn.View(build(MPI.COMM_SELF, GRAPHS["undirected"], n_parts=3))
    ours, theirs = {
        "layer": (nn.LayerNorm(WIDTH), torch.nn.LayerNorm(WIDTH)),
        "batch": (nn.BatchNorm(WIDTH), torch.nn.BatchNorm1d(WIDTH)),
    }[kind]
    ours.initialise(view)
    ours.weight.data = np.linspace(0.5, 1.5, WIDTH, dtype=np.float32)[None]
    ours.bias.data = np.linspace(-1, 1, WIDTH, dtype=np.float32)[None]
    copied(theirs.weight, ours.weight), copied(theirs.bias, ours.bias)
    data = (np.random.default_rng(1).normal(size=(view.n_owned, WIDTH)) * 3 + 2).astype(np.float32)
    view.begin(0, True)  # a pass that moves what is kept
    ours(view, nn.Tensor(data * 2, view)), theirs(torch.from_numpy(data * 2))
    view.begin(1, is_training)
    theirs.train(is_training)
    x, t = nn.Tensor(data, view, True), torch.from_numpy(data.copy()).requires_grad_()
    out, expected = ours(view, x), theirs(t)
    d = np.cos(np.arange(out.data.size) * 0.9).reshape(out.shape).astype(np.float32)
    backward(out, d)
    expected.backward(torch.from_numpy(d))
    assert close(out.data, expected) and close(x.grad, t.grad)
    assert close(ours.weight.grad, theirs.weight.grad) and close(ours.bias.grad, theirs.bias.grad)
    if kind == "batch":
        assert close(ours.running_mean.data, theirs.running_mean) and close(ours.running_var.data, theirs.running_var)
