"""Layers: gradients by differences through the halo, and the same bits on any ranks and threads."""

import numpy as np
import pytest
from building import agreed_error, build, everywhere, listed_edges
from graphs import GRAPHS, sample
from learned import N_PARTS, bits, numbers, rows, views

from hpcmp import nn
from hpcmp.errors import ProgramError
from hpcmp.nn import layers, tree
from hpcmp.nn.aggregate import attend, attend_mixed
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
    "gat, dropout": lambda: nn.GAT(WIDTH, 3, heads=5, concat=False, dropout=0.4),
    "gatv2, dropout": lambda: nn.GATv2(WIDTH, 3, heads=2, dropout=0.4),
    "messages": lambda: nn.MessageLayer(OfEdges(), OfBoth(), ("weight",), "mean"),
    "messages, max": lambda: nn.MessageLayer(OfEdges(), OfBoth(), ("weight",), "max"),
    "messages, min": lambda: nn.MessageLayer(OfEdges(), OfBoth(), ("weight",), "min"),
    "nnconv": lambda: nn.NNConv(WIDTH, 3, nn.Linear(1, 3 * WIDTH), ("weight",)),
}
SAMPLES = ("undirected", "zoo", "star", "fewer_vertices_than_ranks", "empty")


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", SAMPLES)
def test_gradients_are_those_of_differences(comm, layer, name):
    graph = build(comm, GRAPHS[name], n_parts=N_PARTS)
    x = np.sin(graph.order[:, None] * 1.7 + np.arange(WIDTH) * 2.3)
    assert nn.gradcheck(LAYERS[layer](), graph, x, step=1e-6) < 1e-6


@pytest.mark.parametrize("layer", LAYERS)
def test_ranks_and_threads_change_no_bit(comm, layer):
    for name in ("undirected", "zoo"):
        many, alone = views(comm, GRAPHS[name])
        expected = bits(alone, LAYERS[layer](), WIDTH)
        assert bits(many, LAYERS[layer](), WIDTH) == expected
        assert bits(nn.View(many.graph, threads=3), LAYERS[layer](), WIDTH) == expected


def test_rows_travel_as_features_or_as_what_is_made_of_them_whichever_is_narrower(comm):
    view, _ = views(comm, GRAPHS["zoo"])
    for layer, n_out, width in ((nn.GCN, 3, 3), (nn.GCN, 8, WIDTH), (nn.SAGE, 3, 3), (nn.SAGE, 8, WIDTH)):
        model = layer(WIDTH, n_out)
        model.initialise(view), model(view, rows(view, WIDTH))  # what is worked out once has travelled
        before = dict(view.sent)
        model(view, rows(view, WIDTH))
        n_rows, n_bytes = (view.sent[k] - before[k] for k in ("rows", "bytes"))
        assert n_bytes == 4 * n_rows * width


def test_the_largest_gives_its_gradient_to_one_neighbour(comm):
    many, _ = views(comm, GRAPHS["zoo"], np.float64)
    x = nn.Tensor(np.zeros((many.n_owned, 2)), many, True)  # all alike
    backward(nn.max_neighbours(x), np.ones((many.n_owned, 2)))
    n_hearing = comm.allreduce(int((many.graph.in_degree > 0).sum()))
    assert comm.allreduce(float(x.grad.sum())) == 2 * n_hearing
    assert np.array_equal(x.grad, np.round(x.grad))


@pytest.mark.parametrize("aggregate", ["max", "min"])
@pytest.mark.parametrize("relations", [(), ("a", "b")])
def test_of_equal_messages_the_first_has_the_gradient(comm, aggregate, relations):
    for name in ("zoo", "double_edge"):
        more = {"relation": np.arange(len(GRAPHS[name].src)) % 2, "relations": relations} if relations else {}
        many, _ = views(comm, GRAPHS[name], np.float64, **more)
        graph = many.graph
        x = nn.Tensor(np.zeros((many.n_owned, 2)), many, True)  # all messages are 0
        d = numbers(many, 2, 1)
        backward(nn.propagate(many, lambda src, dst, e: src, x, aggregate=aggregate), d)
        expected = {int(v): np.zeros(2) for v in everywhere(graph, graph.order)}
        heard, by_id = {}, everywhere(graph, d)
        for src, dst, *_ in listed_edges(graph):
            heard.setdefault(dst, src)
        for dst, src in heard.items():
            expected[src] = expected[src] + by_id[dst]
        found = everywhere(graph, x.grad)
        assert all(np.allclose(found[v], expected[v], rtol=1e-12, atol=1e-12) for v in expected)


@pytest.mark.parametrize("what", ["max", "sum"])
def test_edges_alike_in_all_but_their_relation_count_as_they_should(comm, what):
    star = GRAPHS["double_edge"]  # 0 -> 1 three times, 1 -> 2 twice
    graph = build(comm, star, n_parts=N_PARTS, relation=np.arange(len(star.src)) % 2, relations=("a", "b"))
    view = nn.View(graph, dtype=np.float64)
    x = nn.Tensor(np.ones((view.n_owned, 2)), view, True)
    backward({"max": nn.max_neighbours, "sum": nn.sum_neighbours}[what](x), np.ones((view.n_owned, 2)))
    expected = (
        {0: [1.0, 1.0], 1: [1.0, 1.0], 2: [0.0, 0.0]} if what == "max" else {0: [3.0] * 2, 1: [2.0] * 2, 2: [0.0] * 2}
    )
    assert everywhere(graph, x.grad) == expected


@pytest.mark.parametrize("layer", [nn.GCN, nn.GAT, nn.GATv2])
def test_a_layer_that_hears_itself_does_so_once_whatever_loops_there_are(comm, layer):
    ring = [(k, (k + 1) % 7) for k in range(7)]
    found = []
    for edges in (ring, [*ring, (2, 2), (2, 2), (5, 5)]):
        view = nn.View(build(comm, sample(range(7), edges, weight=np.ones(len(edges))), n_parts=N_PARTS))
        out, dx, parameters, _ = bits(view, layer(WIDTH, 3), WIDTH)
        found.append([*(np.array([a[k] for k in range(7)]) for a in (out, dx)), *map(np.array, parameters.values())])
    for one, other in zip(*found):  # the loops move the cuts between parts, and with them some last bits
        assert np.allclose(one, other, rtol=1e-5, atol=1e-6)


def test_almost_all_may_be_left_out_but_not_all(comm):
    _, alone = views(comm, GRAPHS["undirected"])
    alone.begin(0, True)
    assert np.isfinite(nn.dropout(rows(alone, 3), 0.9999999).data).all()
    assert "outside [0, 1)" in agreed_error(comm, ProgramError, lambda: nn.dropout(rows(alone, 3), 1.0))


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


HEADS, P = 6, 0.375


def attended(view, epoch, is_training, v2, p=P):
    """Of attention whose logits are all alike: of each vertex, what it heard of the others, by their ids and heads."""
    view.begin(epoch, is_training)
    x = nn.Tensor(np.eye(8, dtype=view.dtype)[view.graph.id[: view.n_owned]].repeat(HEADS, 0), view, True)
    x.data = x.data.reshape(view.n_owned, HEADS * 8)
    zeros = [nn.Parameter((HEADS, 8), "zeros") for _ in range(2)]
    if v2:
        out = attend_mixed(x, nn.Tensor(np.zeros_like(x.data), view), zeros[0], dropout=p)
    else:
        out = attend(x, *zeros, dropout=p)
    backward(out, np.ones_like(out.data))
    return everywhere(view.graph, out.data), everywhere(view.graph, x.grad)


@pytest.mark.parametrize("v2", [False, True])
def test_dropout_of_attention_leaves_out_whole_weights_alike_in_both_directions(comm, v2):
    everyone = sample(range(8), [(j, i) for j in range(8) for i in range(8) if i != j], weight=np.ones(56))
    many, alone = views(comm, everyone)
    kept, share = [], np.float32(1 / 8 / (1 - P))
    for epoch in range(20):
        found = attended(many, epoch, True, v2)
        assert found == attended(alone, epoch, True, v2)
        weights = np.array([found[0][i] for i in range(8)]).reshape(8, HEADS, 8)  # of receiver, head, sender
        assert set(np.unique(weights).tolist()) == {0.0, float(share)}  # after the softmax: its sum is of all edges
        given = np.array([found[1][j] for j in range(8)]).reshape(8, HEADS, 8)  # of sender, head, any channel
        assert np.allclose(given, weights.sum(axis=0).T[:, :, None], rtol=1e-6)
        kept.append(weights > 0)
    kept = np.array(kept, float)  # by epoch, receiver, head, sender
    assert abs(kept.mean() - (1 - P)) < 0.03
    for axis in range(4):  # no two of anything have the same draws
        flat = np.moveaxis(kept, axis, 0).reshape(kept.shape[axis], -1)
        assert np.abs(np.corrcoef(flat) - np.eye(len(flat))).max() < 0.25
    assert attended(many, 3, False, v2) == attended(many, 3, True, v2, 0.0) == attended(many, 5, True, v2, 0.0)
    assert "outside [0, 1)" in agreed_error(comm, ProgramError, lambda: attended(many, 0, True, v2, 1.0))


@pytest.mark.parametrize("size", [3.0, 120.0, 300.0, 3000.0])
def test_attention_is_the_softmax_of_its_logits_however_large(comm, size):
    """Beyond the range in which products of powers are doubles, for some vertices and for all."""
    graph, heads, width = GRAPHS["random"], 2, 3
    found = []
    for view in views(comm, graph, np.float64):
        z = rows(view, heads * width)
        vectors = [nn.Parameter((heads, width), "zeros") for _ in range(2)]
        for salt, p in enumerate(vectors):
            p.data = size * np.cos(np.arange(heads * width, dtype=np.float64) * 2.1 + salt).reshape(heads, width)
        out = attend(z, *vectors)
        backward(out, numbers(view, out.width, 1))
        found.append((everywhere(view.graph, out.data), everywhere(view.graph, z.grad), [p.grad for p in vectors]))
    view = views(comm, graph, np.float64)[1]
    z, d = numbers(view, heads * width), numbers(view, heads * width, 1)
    out, dz, da = naive_attention(view.graph, z, d, [p.data for p in vectors])
    by_id = dict(zip(view.graph.id[: view.n_owned].tolist(), range(view.n_owned), strict=True))
    for one in found:
        for id, i in by_id.items():
            assert np.allclose(one[0][id], out[i], rtol=1e-9, atol=1e-12)
            assert np.allclose(one[1][id], dz[i], rtol=1e-7, atol=1e-9 * size)
        assert all(np.allclose(a, b, rtol=1e-7, atol=1e-9) for a, b in zip(one[2], da, strict=True))


def naive_attention(graph, z, d, vectors, slope=0.2):
    """Attention by loops over edges, with the derivative of a softmax as books have it: out, dz, (dsource, dtarget)."""
    heads, width = vectors[0].shape
    blocks, given = (a.reshape(len(a), heads, width) for a in (z, d))
    out, dz, da = np.zeros_like(blocks), np.zeros_like(blocks), [np.zeros_like(v) for v in vectors]
    edges = graph.in_rows(), graph.in_src.astype(int)
    for i in range(len(z)):
        heard = [i, *(j for j in edges[1][edges[0] == i] if j != i)]
        for h in range(heads):
            raw = np.array([vectors[0][h] @ blocks[j, h] + vectors[1][h] @ blocks[i, h] for j in heard])
            logit = np.where(raw > 0, raw, slope * raw)
            alpha = np.exp(logit - logit.max())
            alpha /= alpha.sum()
            out[i, h] = alpha @ blocks[heard, h]
            along = blocks[heard, h] @ given[i, h]
            slopes = alpha * (along - alpha @ along) * np.where(raw > 0, 1, slope)
            for a, s, j in zip(alpha, slopes, heard, strict=True):
                dz[j, h] += a * given[i, h] + s * vectors[0][h]
                dz[i, h] += s * vectors[1][h]
                da[0][h] += s * blocks[j, h]
                da[1][h] += s * blocks[i, h]
    return out.reshape(z.shape), dz.reshape(z.shape), da


def test_rows_made_again_on_the_way_back_have_the_same_bits(comm, monkeypatch):
    found = []
    for limit in (layers.MANY_BYTES, 0):
        monkeypatch.setattr(layers, "MANY_BYTES", limit)
        found.append(bits(views(comm, GRAPHS["random"])[0], nn.GAT(WIDTH, 4, heads=2), WIDTH))
    assert found[0] == found[1]


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
