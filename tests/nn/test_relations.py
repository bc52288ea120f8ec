"""Layers of relations: gradients by differences, plain sums, the same bits, whatever the order of work."""

import numpy as np
import pytest
from building import agreed_error, build, everywhere, listed_edges
from graphs import GRAPHS
from learned import N_PARTS, bits, kinds, numbers, rows, views

from hpcmp import nn
from hpcmp.errors import ProgramError
from hpcmp.nn import config, models
from hpcmp.nn.data import Data
from hpcmp.nn.training import Training

WIDTH, R = 6, 3


class Featureless(nn.Module):
    """A layer of rows of vertices' own."""

    def __init__(self, **more):
        self.layer = nn.RGCN(None, 4, R, **more)

    def __call__(self, graph, x):
        return self.layer(graph, None)


LAYERS = {
    "features": lambda: nn.RGCN(WIDTH, 4, R),
    "narrower": lambda: nn.RGCN(WIDTH, 1, R),
    "bases": lambda: nn.RGCN(WIDTH, 4, R, n_bases=2),
    "bases, narrower": lambda: nn.RGCN(WIDTH, 2, R, n_bases=2),
    "blocks": lambda: nn.RGCN(WIDTH, 4, R, n_blocks=2),
    "featureless": Featureless,
    "featureless, bases": lambda: Featureless(n_bases=2),
}
SAMPLES = ("undirected", "zoo", "star", "fewer_vertices_than_ranks", "empty")


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", SAMPLES)
def test_gradients_are_those_of_differences(comm, layer, name):
    graph = build(comm, GRAPHS[name], n_parts=N_PARTS, **kinds(name))
    x = np.sin(graph.order[:, None] * 1.7 + np.arange(WIDTH) * 2.3)
    assert nn.gradcheck(LAYERS[layer](), graph, x, step=1e-6) < 1e-6


@pytest.mark.parametrize("layer", LAYERS)
def test_ranks_and_threads_change_no_bit(comm, layer):
    for name in ("undirected", "zoo"):
        many, alone = views(comm, GRAPHS[name], **kinds(name))
        expected = bits(alone, LAYERS[layer](), WIDTH)
        assert bits(many, LAYERS[layer](), WIDTH) == expected
        assert bits(nn.View(many.graph, threads=3), LAYERS[layer](), WIDTH) == expected


def matrices(layer):
    """The whole weight of every relation, (n_in, n_out) each, of a layer with features."""
    w = layer.weight.data
    if layer.n_bases:
        return np.einsum("rb,bio->rio", layer.comp.data, w)
    if not layer.n_blocks:
        return w
    out, (deep, columns) = np.zeros((R, WIDTH, layer.n_out)), (WIDTH // layer.n_blocks, w.shape[2])
    for b in range(layer.n_blocks):
        out[:, b * deep : (b + 1) * deep, b * columns : (b + 1) * columns] = w[:, b * deep : (b + 1) * deep]
    return out


def rows_by_relation(layer, view):
    """What a vertex is heard to say in each relation, of a layer without features: by id and relation."""
    graph = view.graph
    if layer.n_bases:
        v = layer.weight.data.reshape(graph.n_owned, layer.n_bases, layer.n_out)
        said = np.einsum("rb,nbo->nro", layer.comp.data, v)
        return {(i, r): np.array(row) for i, all_of in everywhere(graph, said).items() for r, row in enumerate(all_of)}
    mine = zip(layer.weight.ids.tolist(), (layer.weight.firsts // layer.n_out).tolist(), layer.weight.data)
    return {(i, r): row for part in graph.comm.allgather(list(mine)) for i, r, row in part}


@pytest.mark.parametrize("layer", LAYERS)
def test_results_are_the_formula(comm, layer):
    view, _ = views(comm, GRAPHS["zoo"], np.float64, **kinds("zoo"))
    model, x = LAYERS[layer](), rows(view, WIDTH)
    model.initialise(view)
    view.begin(0, False)
    out, inner = everywhere(view.graph, model(view, x).data), getattr(model, "layer", model)
    features = everywhere(view.graph, x.data)
    edges = [(src, dst, r) for src, dst, r, *_ in listed_edges(view.graph)]
    if inner.n_in is None:
        said, own = rows_by_relation(inner, view), everywhere(view.graph, inner.root.data)
    else:
        w = matrices(inner)
        said = {(src, r): np.array(features[src]) @ w[r] for src, _, r in edges}
        own = {i: np.array(row) @ inner.root.data for i, row in features.items()}
    expected = {i: np.array(row) for i, row in own.items()}
    for src, dst, r in edges:
        expected[dst] = expected[dst] + said[src, r] / sum(d == dst and q == r for _, d, q in edges)
    assert all(np.allclose(out[i], expected[i], rtol=1e-6, atol=1e-7) for i in expected)


def test_only_rows_that_are_heard_exist_and_are_drawn_by_id_and_relation(comm):
    graph = build(comm, GRAPHS["zoo"], n_parts=N_PARTS, **kinds("zoo"))
    found = []
    for view in (nn.View(graph, seed=4), nn.View(build(comm, GRAPHS["zoo"], method="hash", **kinds("zoo")), seed=4)):
        model = Featureless()
        model.initialise(view)
        found.append({k: row.tolist() for k, row in rows_by_relation(model.layer, view).items()})
    assert found[0] == found[1]
    assert set(found[0]) == {(src, r) for src, _, r, *_ in listed_edges(graph)}
    values = np.array(list(found[0].values()))
    assert len(np.unique(values)) == values.size  # no draw is used twice


@pytest.mark.parametrize("layer", ["featureless", "featureless, bases"])
def test_rows_as_one_rank_has_them_are_the_same_on_any_ranks_and_return(comm, layer):
    found = []
    for view in views(comm, GRAPHS["zoo"], **kinds("zoo")):
        model = LAYERS[layer]()
        model.initialise(view)
        weight = model.layer.weight
        whole = weight.whole(weight.data)
        assert whole.shape == weight.whole_shape
        assert np.array_equal(weight.mine(whole), weight.data)
        found.append((whole.tolist(), weight.digested(weight.data).tolist()))
    assert found[0] == found[1]


def test_rows_travel_as_wide_as_features_or_as_what_is_made_of_them(comm):
    view, _ = views(comm, GRAPHS["zoo"], **kinds("zoo"))
    weigh = LAYERS["features"]()
    weigh.initialise(view), weigh(view, rows(view, WIDTH))
    sent = {}
    for name in ("features", "narrower", "bases", "bases, narrower", "blocks"):
        model, before = LAYERS[name](), dict(view.sent)
        model.initialise(view)
        model(view, rows(view, WIDTH))
        n_rows, n_bytes = (view.sent[k] - before[k] for k in ("rows", "bytes"))
        assert n_bytes == 4 * n_rows * {"narrower": R, "bases, narrower": 4}.get(name, WIDTH)
        sent[name] = n_rows
    assert len(set(sent.values())) == 1


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: nn.RGCN(4, 4, 0), "needs a graph with relations"),
        (lambda: nn.RGCN(4, 4, R, n_bases=2, n_blocks=2), "not both"),
        (lambda: nn.RGCN(None, 4, R, n_blocks=2), "use bases"),
        (lambda: nn.RGCN(4, 3, R, n_blocks=2), "2 blocks do not divide a weight of 4 x 3"),
    ],
)
def test_layers_that_cannot_be_are_refused(make, says):
    with pytest.raises(ProgramError, match=says):
        make()


@pytest.mark.parametrize("n_in", [None, WIDTH])
def test_features_are_given_where_a_layer_has_them(comm, n_in):
    view, _ = views(comm, GRAPHS["zoo"], **kinds("zoo"))
    layer = nn.RGCN(n_in, 4, R)
    layer.initialise(view)
    x = rows(view, WIDTH) if n_in is None else None
    assert "n_in" in agreed_error(comm, ProgramError, lambda: layer(view, x))


@pytest.mark.parametrize("n_in, more", [(None, {}), (None, {"bases": 2}), (WIDTH, {}), (WIDTH, {"bases": 2})])
def test_every_epoch_has_the_same_loss_on_any_ranks_and_threads(comm, n_in, more):
    def trained(view):
        order, told = view.graph.order, config.from_tables({"model": {"kind": "rgcn", "hidden": [5], **more}})
        masks = {"train": order % 2 == 0, "val": order % 2 == 1}
        x = None if n_in is None else view.tensor(numbers(view, n_in))
        model = models.make(told.model, n_in, 3, R)
        training = Training(model, Data(view, x, order % 3, masks, 3), nn.Adam(lr=0.05), seed=2, keep_best=True)
        for _ in range(4):
            training.epoch()
        history = training.finish()
        return history.loss, history.metrics, history.digest

    many, alone = views(comm, GRAPHS["zoo"], **kinds("zoo"))
    expected = trained(alone)
    assert len(set(expected[0])) == 4
    assert trained(many) == expected
    assert trained(nn.View(many.graph, threads=2)) == expected
