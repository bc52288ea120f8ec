"""Links as what is trained for: edges held out alike, ranked among the same pairs, the same bits on any ranks."""

import numpy as np
import pytest
from building import agreed_error, build, listed_edges
from graphs import GRAPHS
from learned import N_PARTS, kinds, numbers
from mpi4py import MPI

from hpcmp import nn
from hpcmp.errors import ProgramError
from hpcmp.nn import config, job, linked
from hpcmp.nn.training import Training

N_IN, WIDTH, SHARES = 4, 5, (0.2, 0.3)


def loaded(comm, name="random", threads=1, **more):
    """Data of a sample, with features."""
    graph = build(comm, GRAPHS[name], n_parts=N_PARTS, **more)
    return linked.load(graph, WIDTH, features=None, held_out=SHARES, threads=threads)


def trained(comm, threads, **more):
    """Losses, metrics and digest of a training of some epochs."""
    data = loaded(comm, threads=threads, **more)
    x = data.view.tensor(numbers(data.view, N_IN))
    data = linked.Data(data.view, x, None, data.masks, WIDTH)
    model = linked.LinkModel(nn.GCN(N_IN, WIDTH), WIDTH, len(data.view.graph.relations))
    task = linked.Links(tuple(linked.METRICS), 2)
    training = Training(model, data, nn.Adam(lr=0.05), seed=2, task=task, keep_best=True)
    nn.run_epochs(training, 12)
    history = training.finish()
    return history.loss, history.metrics, history.digest


@pytest.mark.parametrize("name", ["random", "undirected", "double_edge"])
def test_edges_are_in_one_split_and_all_between_two_vertices_in_the_same(comm, name):
    data = loaded(comm, name, **kinds(name))
    found = {split: listed_edges(pairs.graph) for split, pairs in data.masks.items()}
    assert sum(map(len, found.values())) == len(listed_edges(build(comm, GRAPHS[name])))
    ends = [{frozenset(e[:2]) for e in edges} for edges in found.values()]
    assert sum(map(len, ends)) == len(set().union(*ends))
    assert len(listed_edges(data.view.graph)) == len(found["train"])  # others are not heard either
    alone = loaded(MPI.COMM_SELF, name, **kinds(name)).masks
    assert {split: listed_edges(pairs.graph) for split, pairs in alone.items()} == found


@pytest.mark.parametrize("with_relations", [True, False])
def test_a_training_learns_with_the_same_bits_on_any_ranks_and_threads(comm, with_relations):
    more = kinds("random") if with_relations else {}
    losses, metrics, digest = expected = trained(MPI.COMM_SELF, 1, **more)
    assert losses[-1] < losses[0]
    assert set(metrics[0]) == {f"{split}_{name}" for split in ("val", "test") for name in linked.METRICS}
    assert trained(comm, 1, **more) == trained(comm, 2, **more) == expected


def test_metrics_are_those_of_scores_worked_out_one_by_one(comm):
    data = loaded(comm, **kinds("random"))
    view = data.view
    rows, factors = view.tensor(numbers(view, WIDTH)), nn.Parameter((3, WIDTH))
    factors.data += np.arange(3)[:, None] + np.cos(np.arange(WIDTH))
    found = linked.Links(("hits_1", "roc_auc")).evaluate(data, linked.Linked(rows, factors))
    pairs = data.masks["test"]
    drawn = nn.draw_pairs(pairs, linked.N_RANKED)
    scores = [nn.link_scores(rows, p, factors) for p in (pairs, drawn)]
    ours = nn.by_origin(drawn, scores[1])
    whole = [np.concatenate(comm.allgather(a)) for a in (scores[0], ours)]
    is_first = (whole[0][:, None] > whole[1]).all(axis=1)
    below = [(a > b) + (a == b) / 2 for a in whole[0] for b in whole[1].reshape(-1)]
    assert found["test_hits_1"] == pytest.approx(is_first.mean())
    assert found["test_roc_auc"] == pytest.approx(np.mean(below))


def test_what_does_not_fit_is_refused(comm):
    graph = build(comm, GRAPHS["random"])
    for shares in ((0.5,), (0.5, 0.5), (-0.1, 0.2)):
        text = agreed_error(comm, ProgramError, lambda s=shares: linked.load(graph, 4, features=None, held_out=s))
        assert "is not two shares" in text
    empty = build(comm, GRAPHS["no_edges"])
    text = agreed_error(comm, ProgramError, lambda: linked.load(empty, 4, features=None))
    assert "no edge is left to train on" in text
    for told, text in (
        ({"metrics": "accuracy"}, "does not fit the loss links"),
        ({"class_weights": [1]}, "not of links"),
    ):
        with pytest.raises(ProgramError, match=text):
            job.task_of(config.from_tables({"train": {"loss": "links", **told}}).train)
