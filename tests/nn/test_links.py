"""Link prediction: against a slow twin, the same bits on any ranks and threads, gradients by differences."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from building import agreed_error, build, everywhere, listed_edges, same_on_all
from graphs import GRAPHS, sample
from learned import N_PARTS, error_of_gradient, numbers, rows, views

from hpcmp import nn
from hpcmp.errors import ProgramError
from hpcmp.nn import metrics
from hpcmp.nn.links import DistMult, Pairs, by_origin, draw_pairs, link_loss, link_scores
from hpcmp.nn.module import Parameter
from hpcmp.nn.tape import backward

WIDTH, N_RELATIONS = 5, 3
NAMES = ("random", "undirected", "double_edge", "fewer_vertices_than_ranks", "star")


def with_relations(name):
    n = len(GRAPHS[name].src)
    return {"relation": np.arange(n) % N_RELATIONS, "relations": ("a", "b", "c")}


def factors_of(view):
    factors = Parameter((N_RELATIONS, WIDTH))
    factors.data = (1 + np.cos(np.arange(N_RELATIONS * WIDTH) * 0.9)).reshape(N_RELATIONS, WIDTH).astype(view.dtype)
    return factors


def drawn_of(view, n_draws=2, epoch=4):
    positive = Pairs(view.graph)
    return positive, draw_pairs(positive, n_draws, seed=3, epoch=epoch)


def naive_score(h, factors, src, dst, relation):
    return sum(h[src] * h[dst] * (1.0 if factors is None else factors[relation]))


def naive_loss(h, factors, positive, negative):
    """Of listed edges, in Python."""
    lost = [np.log1p(np.exp(-naive_score(h, factors, *e[:3]))) for e in positive]
    lost += [np.log1p(np.exp(naive_score(h, factors, *e[:3]))) for e in negative]
    return sum(lost) / len(lost)


EACH = pytest.mark.parametrize("has_factors", [False, True], ids=["dot", "distmult"])


@EACH
@pytest.mark.parametrize("name", NAMES)
def test_scores_and_loss_are_those_of_the_twin(comm, name, has_factors):
    view, alone = views(comm, GRAPHS[name], np.float64, **with_relations(name))
    positive, negative = drawn_of(view)
    factors = factors_of(view) if has_factors else None
    h = {int(i): row for i, row in zip(alone.graph.id, numbers(alone, WIDTH))}
    listed = [listed_edges(pairs.graph) for pairs in (positive, negative)]
    r = factors.data if has_factors else None
    found = link_loss(rows(view, WIDTH), positive, negative, factors).data[0, 0]
    assert found == pytest.approx(naive_loss(h, r, *listed), rel=1e-12)
    scores = np.concatenate(comm.allgather(link_scores(rows(view, WIDTH), negative, factors)))
    np.testing.assert_allclose(scores, [naive_score(h, r, *e[:3]) for e in listed[1]], rtol=1e-12, atol=1e-12)


@EACH
@pytest.mark.parametrize("name", NAMES)
def test_loss_and_gradients_have_the_same_bits_on_any_ranks_and_threads(comm, name, has_factors):
    found = []
    for threads in (1, 2):
        for view in views(comm, GRAPHS[name], threads=threads, **with_relations(name)):
            h, factors = rows(view, WIDTH), factors_of(view) if has_factors else None
            loss = link_loss(h, *drawn_of(view), factors)
            backward(loss)
            of_factors = factors.grad.tobytes() if has_factors else None
            found.append((repr(loss.data), everywhere(view.graph, h.grad), of_factors))
    assert found[0] == found[1] == found[2] == found[3]
    assert same_on_all(comm, found[0])


@EACH
@pytest.mark.parametrize("name", ["random", "undirected", "double_edge"])
def test_gradients_are_those_of_finite_differences(comm, name, has_factors):
    view, _ = views(comm, GRAPHS[name], np.float64, **with_relations(name))
    h, factors = rows(view, WIDTH), factors_of(view) if has_factors else None
    pairs = drawn_of(view)

    def loss():
        return link_loss(h, *pairs, factors).data[0, 0]

    backward(link_loss(h, *pairs, factors))
    assert error_of_gradient(comm, h, loss, n_checked=20) < 1e-7
    if has_factors:
        assert error_of_gradient(comm, factors, loss) < 1e-7


@pytest.mark.parametrize("name", NAMES)
def test_drawn_pairs_are_the_same_on_any_ranks_and_corrupt_senders_only(comm, name):
    options = with_relations(name)
    view, alone = views(comm, GRAPHS[name], **options)
    positive, negative = drawn_of(view)
    listed = listed_edges(negative.graph)
    assert sorted(listed) == sorted(listed_edges(drawn_of(alone)[1].graph))
    ends = Counter((dst, kind) for _, dst, kind, *_ in listed)
    assert ends == Counter({e: 2 * n for e, n in Counter(e[1:3] for e in listed_edges(positive.graph)).items()})


def test_no_pair_is_drawn_as_it_was_and_all_others_are(comm):
    view, _ = views(comm, GRAPHS["reciprocal"])
    positive = Pairs(view.graph)
    negative = draw_pairs(positive, 200, seed=1)
    sender = np.repeat(positive.sender, 200)
    drawn = by_origin(negative, negative.sender)
    assert drawn.shape == (view.graph.n_in, 200)
    assert not (drawn.reshape(-1) == sender).any()
    others = [sorted({*range(5)} - {own}) for own in positive.sender.tolist()]
    assert [np.unique(own).tolist() for own in drawn] == others
    share = np.bincount(np.concatenate(comm.allgather(drawn.reshape(-1))), minlength=5) / (200 * view.graph.n_edges)
    assert share.max() < 0.3


def test_another_epoch_or_seed_draws_others(comm):
    view, _ = views(comm, GRAPHS["random"])
    positive = Pairs(view.graph)
    lists = [listed_edges(draw_pairs(positive, 1, s, e).graph) for s, e in ((0, 0), (0, 1), (1, 0), (0, 0))]
    assert lists[0] == lists[3]
    assert lists[0] != lists[1] != lists[2] != lists[0]


def test_scores_by_origin_belong_to_their_pairs(comm):
    """The receiver of a drawn pair is that of the pair it was drawn for."""
    view, alone = views(comm, GRAPHS["random"])
    positive, negative = drawn_of(view, n_draws=3)
    assert (by_origin(negative, negative.graph.in_rows()) == view.graph.in_rows()[:, None]).all()
    h = rows(view, WIDTH)
    ranked = link_scores(h, positive), by_origin(negative, link_scores(h, negative))
    own, drawn = drawn_of(alone, n_draws=3)
    h = rows(alone, WIDTH)
    expected = link_scores(h, own), by_origin(drawn, link_scores(h, drawn))
    assert metrics.mrr(comm, *ranked) == metrics.mrr(alone.comm, *expected)
    assert metrics.hits_at_k(comm, *ranked, 2) == metrics.hits_at_k(alone.comm, *expected, 2)


def test_distmult_is_a_module_with_factors(comm):
    view, _ = views(comm, GRAPHS["random"], **with_relations("random"))
    decoder, pairs, h = DistMult(N_RELATIONS, WIDTH), drawn_of(view), rows(view, WIDTH)
    decoder.initialise(view)
    assert list(decoder.parameters()) == ["factors"]
    assert decoder(h, *pairs).data == link_loss(h, *pairs, decoder.factors).data
    assert np.array_equal(decoder.scores(h, pairs[0]), link_scores(h, pairs[0], decoder.factors))
    pairs[1].close()


def test_the_training_of_the_documentation_learns_and_has_the_same_bits_on_any_ranks(comm):
    text = (
        (Path(__file__).parents[2] / "docs" / "learning.md").read_text().partition("## Links")[2].partition("\n## ")[0]
    )
    learned = []
    for view in views(comm, GRAPHS["random"], **with_relations("random")):
        names = {"nn": nn, "graph": view.graph}
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            exec(block, names)
        learned.append((names["found"], names["loss"].data.tobytes(), names["model"].decoder.factors.data.tobytes()))
    assert learned[0] == learned[1]
    (mrr, hits), *_ = learned[0]
    assert mrr > 0.3 and hits > 0.6  # of 51 pairs in any order 0.09 and 0.2


def test_a_vertex_that_is_alone_draws_itself(comm):
    view, _ = views(comm, sample([7], [(7, 7)]))
    drawn = drawn_of(view)[1]
    assert [e[:2] for e in listed_edges(drawn.graph)] == [(7, 7), (7, 7)]


def test_what_does_not_fit_is_refused(comm):
    view, _ = views(comm, GRAPHS["random"], **with_relations("random"))
    pairs, h = drawn_of(view), rows(view, WIDTH)
    text = agreed_error(comm, ProgramError, lambda: link_loss(h, *pairs, Parameter((N_RELATIONS, 2))))
    assert "factors (3, 2) must be (relations, 5)" in text
    text = agreed_error(comm, ProgramError, lambda: link_scores(h, pairs[0], Parameter((1, WIDTH))))
    assert "has no factors; there are 1 rows" in text
    other = Pairs(build(comm, GRAPHS["undirected"], n_parts=N_PARTS))
    assert "other parts" in agreed_error(comm, ProgramError, lambda: link_scores(h, other))
    assert "n_draws = 0" in agreed_error(comm, ProgramError, lambda: draw_pairs(pairs[0], 0))
    empty, _ = views(comm, GRAPHS["no_edges"])
    text = agreed_error(comm, ProgramError, lambda: link_loss(rows(empty, 2), *drawn_of(empty)))
    assert "no pair" in text
