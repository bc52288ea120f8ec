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
}
CONVS = {  # kind -> torch_geometric's layer
    "gcn": lambda t, g, a, b, heads: g.GCNConv(a, b),
    "sage": lambda t, g, a, b, heads: g.SAGEConv(a, b),
    "gin": lambda t, g, a, b, heads: g.GINConv(t.nn.Sequential(t.nn.Linear(a, b), t.nn.ReLU(), t.nn.Linear(b, b))),
    "gat": lambda t, g, a, b, heads: g.GATConv(a, b, heads=heads),
}


def make(kind):
    return models.make(config.from_tables({"model": {"kind": kind, "hidden": 5, "heads": 2}}).model, 12, 3)


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


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return learning.make(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def trained(files):
    """kind -> folder of a training, with its weights and logits beside it."""
    commands = []
    for kind in NAMES:
        run = files / kind
        options = ["--set", f"model.kind={kind}", "--set", "model.heads=2"]
        commands += [
            ["train", files / "config.toml", files / "g.h5", "-o", run, *options],
            ["export", run, "-o", run / "w.safetensors"],
            ["infer", run, files / "g.h5", "--logits", "-o", run / "out.h5"],
            ["train", files / "config.toml", files / "g.h5", "-o", run / "next", *options]
            + ["--set", "train.epochs=0", "--weights", run / "w.safetensors"],
        ]
    jobs.run_commands(3, commands, files)
    return {kind: files / kind for kind in NAMES}


@pytest.mark.parametrize("kind", NAMES)
def test_a_training_starts_from_what_another_exported(trained, kind):
    digests = [analysis.open(trained[kind] / path).digest for path in ("checkpoint-0.h5", "next/checkpoint-0.h5")]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("kind", NAMES)
def test_torch_geometric_gives_the_same_logits(files, trained, kind):
    torch, geometric = pytest.importorskip("torch"), pytest.importorskip("torch_geometric.nn")
    from safetensors.torch import load_file

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            width = 10 if kind == "gat" else 5
            layers = CONVS[kind](torch, geometric, 12, 5, 2), CONVS[kind](torch, geometric, width, 3, 1)
            self.convs = torch.nn.ModuleList(layers)

        def forward(self, x, edges):
            h = self.convs[0](x, edges)
            return self.convs[1](torch.nn.functional.elu(h) if kind == "gat" else torch.relu(h), edges)

    net = Net()
    net.load_state_dict(load_file(trained[kind] / "w.safetensors"))
    graph = analysis.open(files / "g.h5")
    blocks = [(graph.id[b.src], graph.id[b.dst]) for b in graph.edge_blocks([])]
    edges = torch.tensor(np.concatenate([np.stack(pair) for pair in blocks], axis=1))
    x = np.empty((learning.N, learning.WIDTH), np.float32)
    x[graph.id] = graph.vertex("x")
    x /= np.maximum(x.sum(axis=1, keepdims=True), 1)
    with torch.no_grad():
        theirs = net.eval()(torch.tensor(x), edges).numpy()
    ours = analysis.open(trained[kind] / "out.h5")["logits"]
    assert np.allclose(ours, theirs, atol=2e-5), np.abs(ours - theirs).max()
