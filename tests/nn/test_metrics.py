"""Metrics: against slow twins over all rows, and the same on any ranks."""

import numpy as np
import pytest
from building import agreed_error, same_on_all
from hypothesis import given
from hypothesis import strategies as st

from hpcmp.errors import ProgramError
from hpcmp.nn import metrics

N, CLASSES = 47, 5


def mine(comm, *arrays):
    """This rank's rows; the last rank of three or more has none."""
    holders = max(comm.size - 1, 1) if comm.size > 2 else comm.size
    return [a[comm.rank :: holders] if comm.rank < holders else a[:0] for a in arrays]


def sample(seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, CLASSES - 1, N)  # some have none, and no vertex has the last class
    return rng.standard_normal((N, CLASSES)).astype(np.float32), labels, rng.random(N) < 0.7


def naive_f1(said, true, classes):
    scores, counts = [], np.zeros(3)
    for c in classes:
        tp = sum(s == c and t == c for s, t in zip(said, true))
        fp = sum(s == c and t != c for s, t in zip(said, true))
        fn = sum(s != c and t == c for s, t in zip(said, true))
        counts += tp, fp, fn
        scores.append(2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0)
    return {"macro": sum(scores) / len(scores), "micro": 2 * counts[0] / max(2 * counts[0] + counts[1] + counts[2], 1)}


def naive_auc(scores, is_positive):
    pairs = [(p > n) + (p == n) / 2 for p in scores[is_positive] for n in scores[~is_positive]]
    return sum(pairs) / len(pairs)


def naive_ranks(positive, negative):
    return [1 + sum(n > p for n in own) + sum(n == p for n in own) / 2 for p, own in zip(positive, negative)]


def test_accuracy(comm):
    logits, labels, mask = sample()
    kept = mask & (labels >= 0)
    found = metrics.accuracy(comm, *mine(comm, logits, labels, mask))
    assert found == np.mean(logits[kept].argmax(1) == labels[kept])


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_f1_of_class_numbers(comm, average):
    logits, labels, mask = sample()
    kept = mask & (labels >= 0)
    said, true = logits[kept].argmax(1), labels[kept]
    expected = naive_f1(said, true, sorted({*said.tolist(), *true.tolist()}))[average]
    assert metrics.f1(comm, *mine(comm, logits, labels, mask), average) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_f1_of_columns_of_yes_and_no(comm, average):
    logits, _, mask = sample()
    labels = (sample(1)[0] > 0.3).astype(np.uint8)
    logits[:, 2], labels[:, 2] = -1, 0  # nobody has it, nobody is given it: 0
    columns = [naive_f1(logits[mask, c] > 0, labels[mask, c] > 0, [True])["macro"] for c in range(CLASSES)]
    pairs = (logits[mask] > 0).ravel(), (labels[mask] > 0).ravel()
    expected = sum(columns) / CLASSES if average == "macro" else naive_f1(*pairs, [True])["macro"]
    assert metrics.f1(comm, *mine(comm, logits, labels, mask), average) == pytest.approx(expected, rel=1e-15)


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30))
def test_roc_auc_with_ties_is_the_share_of_ordered_pairs(comm, rows):
    scores, labels = (np.array(column) for column in zip(*rows))
    if labels.all() or not labels.any():
        return
    found = metrics.roc_auc(comm, *mine(comm, scores / 7, labels))
    assert all(comm.allgather(found == pytest.approx(naive_auc(scores, labels), rel=1e-14)))


def test_roc_auc_of_many_scores_has_the_same_bits_on_any_ranks(comm):
    rng = np.random.default_rng(3)
    scores, labels = np.round(rng.standard_normal(3000), 2).astype(np.float32), rng.integers(0, 2, 3000)
    scores[:4] = np.inf, -np.inf, 0.0, -0.0
    order = np.argsort(scores, kind="stable")
    n = [(labels == kind).sum() for kind in (0, 1)]
    below = [np.sum(labels[scores < s] == 0) + np.sum(labels[scores == s] == 0) / 2 for s in scores[labels == 1]]
    found = metrics.roc_auc(comm, *mine(comm, scores[order], labels[order]))
    assert found == sum(below) / (n[0] * n[1])
    assert metrics.roc_auc(comm, *mine(comm, scores, labels)) == found
    assert same_on_all(comm, found)


def test_roc_auc_of_columns_is_the_mean_over_those_with_both_kinds(comm):
    scores, _, mask = sample()
    labels = (sample(1)[0] > 0).astype(int)
    labels[:, 1] = 1
    expected = np.mean([naive_auc(scores[mask, k], labels[mask, k] > 0) for k in (0, 2, 3, 4)])
    found = metrics.roc_auc(comm, *mine(comm, scores, labels, mask))
    assert found == pytest.approx(expected, rel=1e-14)
    every = np.repeat(mask[:, None], CLASSES, 1)
    assert metrics.roc_auc(comm, *mine(comm, scores, labels, every)) == found


def test_roc_auc_refuses_what_has_no_order(comm):
    scores, labels = np.arange(6.0), np.arange(6) % 2
    text = agreed_error(comm, ProgramError, lambda: metrics.roc_auc(comm, *mine(comm, scores, labels * 0)))
    assert "none of one kind" in text
    scores[3] = np.nan
    assert "nan" in agreed_error(comm, ProgramError, lambda: metrics.roc_auc(comm, *mine(comm, scores, labels)))


def test_ranks_of_positives(comm):
    rng = np.random.default_rng(1)
    positive, negative = rng.integers(0, 9, N) / 3, rng.integers(0, 9, (N, 6)) / 3
    ranks = naive_ranks(positive, negative)
    assert metrics.mrr(comm, *mine(comm, positive, negative)) == pytest.approx(
        np.mean([1 / r for r in ranks]), rel=1e-14
    )
    for k in (1, 3, 10):
        expected = np.mean([r <= k for r in ranks])
        assert metrics.hits_at_k(comm, *mine(comm, positive, negative), k) == expected
    from mpi4py import MPI

    assert metrics.mrr(comm, *mine(comm, positive, negative)) == metrics.mrr(MPI.COMM_SELF, positive, negative)


def test_ranks_are_refused_where_there_are_none(comm):
    nothing = np.empty(0), np.empty((0, 3))
    assert "no positive" in agreed_error(comm, ProgramError, lambda: metrics.mrr(comm, *nothing))
    odd = np.zeros(2), np.zeros((3, 1))
    assert "(m, q)" in agreed_error(comm, ProgramError, lambda: metrics.hits_at_k(comm, *odd, 1))


def test_a_metric_of_nobody_is_zero(comm):
    logits, labels, mask = mine(comm, *sample())
    assert metrics.accuracy(comm, logits, labels, mask & False) == 0.0
    assert metrics.f1(comm, logits, labels, mask & False) == 0.0
    assert "not one of macro, micro" in agreed_error(
        comm, ProgramError, lambda: metrics.f1(comm, logits, labels, mask, "mean")
    )
