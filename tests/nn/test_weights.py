"""Weights to and from safetensors: names of torch_geometric, and its answers."""

import jobs
import learning
import numpy as np
import pytest

from hpcmp import analysis
from hpcmp.errors import ProgramError
from hpcmp.nn import config, models, weights

pytest.importorskip("safetensors")

NAMES = {
    "gcn": {"lin.weight": (5, 12), "bias": (5,)},
    "sage": {"lin_l.weight": (5, 12), "lin_l.bias": (5,), "lin_r.weight": (5, 12)},
    "gin": {"nn.0.weight": (5, 12), "nn.0.bias": (5,), "nn.2.weight": (5, 5), "nn.2.bias": (5,), "eps": (1,)},
    "gat": {"lin.weight": (10, 12), "att_src": (1, 2, 5), "att_dst": (1, 2, 5), "bias": (10,)},
    "gatv2": {
        "lin_l.weight": (10, 12),
        "lin_l.bias": (10,),
        "lin_r.weight": (10, 12),
        "lin_r.bias": (10,),
        "att": (1, 2, 5),
        "bias": (10,),
    },
    "rgcn": {"weight": (2, 12, 5), "root": (12, 5), "bias": (5,)},
    "rgcn, bases": {"weight": (3, 12, 5), "comp": (2, 3), "root": (12, 5), "bias": (5,)},
    "rgcn, blocks": {"weight": (2, 3, 4, 2), "root": (12, 6), "bias": (6,)},
}
ROWS = ("rgcn, rows", "rgcn, rows, bases")  # of all vertices, which only a graph tells
CONVS = {  # kind -> torch_geometric's layer
    "gcn": lambda t, g, a, b, heads: g.GCNConv(a, b),
    "sage": lambda t, g, a, b, heads: g.SAGEConv(a, b),
    "gin": lambda t, g, a, b, heads: g.GINConv(t.nn.Sequential(t.nn.Linear(a, b), t.nn.ReLU(), t.nn.Linear(b, b))),
    "gat": lambda t, g, a, b, heads: g.GATConv(a, b, heads=heads),
    "gatv2": lambda t, g, a, b, heads: g.GATv2Conv(a, b, heads=heads),
    "rgcn": lambda t, g, a, b, heads: g.RGCNConv(a, b, 2),
    "rgcn, bases": lambda t, g, a, b, heads: g.RGCNConv(a, b, 2, num_bases=3),
    "rgcn, blocks": lambda t, g, a, b, heads: g.RGCNConv(a, b, 2, num_blocks=3),
    "rgcn, rows": lambda t, g, a, b, heads: g.RGCNConv(a, b, 2),
    "rgcn, rows, bases": lambda t, g, a, b, heads: g.RGCNConv(a, b, 2, num_bases=3),
}


def options(kind):
    """Values of the configuration by dotted key."""
    values = {"model.kind": kind.partition(",")[0], "model.hidden": 6 if "blocks" in kind else 5, "model.heads": 2}
    values |= {f"model.{name}": 3 for name in ("bases", "blocks") if name in kind}
    return values | ({"data.features": ""} if kind in ROWS else {})


def make(kind):
    return models.make(config.from_tables({}, options(kind)).model, 12, 3, 2 if "rgcn" in kind else 0)


@pytest.mark.parametrize("kind", NAMES)
def test_names_and_shapes_are_torch_geometrics(kind):
    found = weights.state_of(make(kind))
    first = {name.removeprefix("convs.0."): a.shape for name, a in found.items() if name.startswith("convs.0.")}
    assert first == NAMES[kind]


@pytest.mark.parametrize("kind", NAMES)
def test_weights_return(kind):
    one, two = make(kind), make(kind)
    rng = np.random.default_rng(1)
    for p in one.parameters().values():
        p.data = rng.random(p.shape).astype(np.float32)
    weights.load(two, weights.state_of(one))
    for name, p in one.parameters().items():
        assert np.array_equal(p.data, two.parameters()[name].data)


def test_what_does_not_fit_is_refused():
    model, state = make("gcn"), weights.state_of(make("gcn"))
    for change, says in (
        ({"convs.0.bias": np.zeros(4)}, r"convs.0.bias is \(4,\); the model needs \(5,\)"),
        ({"convs.2.bias": np.zeros(4)}, "has a weight 'convs.2.bias'"),
        ({"convs.0.bias": np.full(5, np.nan)}, "no number"),
    ):
        with pytest.raises(ProgramError, match=says):
            weights.load(model, state | change)
    state.pop("convs.0.bias")
    with pytest.raises(ProgramError, match="has no weight 'convs.0.bias'"):
        weights.load(model, state)


def graph_of(kind):
    return "kinds.h5" if "rgcn" in kind else "g.h5"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return learning.make(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def trained(files):
    """kind -> folder of a training, with its weights and logits beside it."""
    commands = []
    for kind in CONVS:
        run, graph = files / kind, files / graph_of(kind)
        more = [word for key, value in options(kind).items() for word in ("--set", f"{key}={value}")]
        commands += [
            ["train", files / "config.toml", graph, "-o", run, *more],
            ["export", run, "-o", run / "w.safetensors"],
            ["infer", run, graph, "--logits", "-o", run / "out.h5"],
            ["train", files / "config.toml", graph, "-o", run / "next", *more]
            + ["--set", "train.epochs=0", "--weights", run / "w.safetensors"],
        ]
    jobs.run_commands(3, commands, files)
    return {kind: files / kind for kind in CONVS}


@pytest.mark.parametrize("kind", CONVS)
def test_a_training_starts_from_what_another_exported(trained, kind):
    digests = [analysis.open(trained[kind] / path).digest for path in ("checkpoint-0.h5", "next/checkpoint-0.h5")]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("kind", CONVS)
def test_torch_geometric_gives_the_same_logits(files, trained, kind):
    torch, geometric = pytest.importorskip("torch"), pytest.importorskip("torch_geometric.nn")
    from safetensors.torch import load_file

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            width = options(kind)["model.hidden"]
            n_in = learning.N if kind in ROWS else learning.WIDTH
            wide = width * (2 if "gat" in kind else 1)
            layers = CONVS[kind](torch, geometric, n_in, width, 2), CONVS[kind](torch, geometric, wide, 3, 1)
            self.convs = torch.nn.ModuleList(layers)

        def forward(self, x, *edges):
            h = self.convs[0](x, *edges)
            return self.convs[1](torch.nn.functional.elu(h) if "gat" in kind else torch.relu(h), *edges)

    net = Net()
    net.load_state_dict(load_file(trained[kind] / "w.safetensors"))
    graph = analysis.open(files / graph_of(kind))
    blocks = list(graph.edge_blocks([]))
    ends = [np.stack((graph.id[b.src], graph.id[b.dst])) for b in blocks]
    edges = [torch.tensor(np.concatenate(ends, axis=1))]
    if "rgcn" in kind:
        edges.append(torch.tensor(np.concatenate([b.relation.astype(np.int64) for b in blocks])))
    x = np.empty((learning.N, learning.WIDTH), np.float32)
    x[graph.id] = graph.vertex("x")
    x /= np.maximum(x.sum(axis=1, keepdims=True), 1)
    with torch.no_grad():
        theirs = net.eval()(None if kind in ROWS else torch.tensor(x), *edges).numpy()
    ours = analysis.open(trained[kind] / "out.h5")["logits"]
    assert np.allclose(ours, theirs, atol=2e-5), np.abs(ours - theirs).max()
