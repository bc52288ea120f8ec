"""Agents that reach goals together: each model obeys its law, on any ranks."""

import numpy as np
import pytest
from building import agreed_error, build, everywhere
from graphs import random as random_sample
from graphs import sample
from mpi4py import MPI

from hpcmp.agents.coordination import colouring, consensus, election, extremes, gossip
from hpcmp.errors import ProgramError

PETERSEN = [(k, (k + 1) % 5) for k in range(5)] + [(k, k + 5) for k in range(5)]
PETERSEN += [(5 + k, 5 + (k + 2) % 5) for k in range(5)]
CUBE = [(v, v ^ (1 << bit)) for v in range(16) for bit in range(4) if v < v ^ (1 << bit)]
GRAPHS = {
    "ring of 16": (16, [(k, (k + 1) % 16) for k in range(16)], 0.926670, 0.949253, 300),
    "hypercube 4": (16, CUBE, 0.6, 0.6, 45),
    "path of 16": (16, [(k, k + 1) for k in range(15)], 0.980785, 0.987190, 600),
    "star of 16": (16, [(0, k) for k in range(1, 16)], 0.882353, 0.9375, 180),
    "Petersen": (10, PETERSEN, 0.428571, 0.5, 30),
    "K8": (8, [(i, j) for i in range(8) for j in range(i)], 0, 0, 12),
}
SAMPLES = {name: sample(range(n), pairs, directed=False) for name, (n, pairs, *_) in GRAPHS.items()}
PIECES = random_sample(70, 90, seed=3, directed=False, stride=3, first=-40)  # loops, repeats, vertices alone
CROWD = sample(range(90), [(i, j) for i in range(70) for j in range(i)] + [(i, i + 20) for i in range(70)], False)


def values_of(graph):
    """Numbers that depend on ids alone: multiples of 1/8."""
    return (graph.id[: graph.n_owned] * 37 % 101) / 8.0


def neighbours(of):
    """id -> set of ids."""
    near = {int(v): set() for v in of.ids}
    for u, v in zip(of.src.tolist(), of.dst.tolist()):
        if u != v:
            near[u].add(v)
            near[v].add(u)
    return near


def distances(near, sources):
    """id -> hops from the nearest source, -1 where there is no way."""
    hops, layer, step = dict.fromkeys(near, -1), set(sources), 0
    while layer:
        hops.update(dict.fromkeys(layer, step))
        layer, step = {j for i in layer for j in near[i] if hops[j] < 0}, step + 1
    return hops


def same_alone(comm, of, run, **options):
    """What ``run(graph)`` leaves on these ranks: (graph, the run), whose bits are those of one rank alone."""
    graph = build(comm, of, method="hash", **options)
    found = run(graph)
    assert found.digest == run(build(MPI.COMM_SELF, of, **options)).digest
    return graph, found


# ---------------------------------------------------------------- consensus


@pytest.mark.parametrize("name", GRAPHS)
def test_consensus_comes_near_at_the_rate_of_the_law(comm, name):
    best, metropolis, steps = GRAPHS[name][2:]
    mark = steps * 2 // 3
    for weights, want in (("best", best), ("metropolis", metropolis)):
        _, found = same_alone(
            comm,
            SAMPLES[name],
            lambda graph: consensus.run(graph, values_of(graph), weights, steps=steps, tolerance=-1, mark=mark),  # noqa: B023
        )
        assert consensus.rate(found, mark) == pytest.approx(want, abs=5e-4)
    assert consensus.best_weight(build(comm, SAMPLES[name]))[1] == pytest.approx(best, abs=1e-6)


def test_consensus_is_the_mean_of_each_piece(comm):
    graph, found = same_alone(comm, PIECES, lambda graph: consensus.run(graph, values_of(graph), steps=9000))
    assert found.ended == "goal"
    near, x = neighbours(PIECES), everywhere(graph, found["x"])
    for i in near:
        piece = [j for j, hops in distances(near, [i]).items() if hops >= 0]
        assert x[i] == pytest.approx(np.mean([j * 37 % 101 / 8.0 for j in piece]), abs=1e-6)


@pytest.mark.parametrize("small", [2000, 0])  # without eigenvalues, values tell of it
@pytest.mark.parametrize("name", ["ring of 16", "hypercube 4"])
def test_weights_that_never_converge_are_refused(comm, monkeypatch, name, small):
    monkeypatch.setattr(consensus, "SMALL", small)
    graph = build(comm, SAMPLES[name])
    text = agreed_error(
        comm, ProgramError, lambda: consensus.run(graph, values_of(graph), "max_degree", steps=10**6)
    )  # fmt: skip
    assert "never reach the mean" in text and ("eigenvalue" if small else "swing") in text
    text = agreed_error(comm, ProgramError, lambda: consensus.run(graph, values_of(graph), 0.9, steps=99))
    assert "never reach the mean" in text


def test_weights_of_one_over_the_largest_degree_reach_the_mean_elsewhere(comm):
    graph = build(comm, SAMPLES["star of 16"])
    found = consensus.run(graph, values_of(graph), "max_degree", steps=5000)
    assert found.ended == "goal" and np.ptp(list(everywhere(graph, found["x"]).values())) < 1e-6


@pytest.mark.parametrize("which", ["max", "min"])
def test_all_of_a_piece_know_its_extreme_value(comm, which):
    graph, found = same_alone(comm, PIECES, lambda graph: extremes.run(graph, values_of(graph), which))
    near, x = neighbours(PIECES), everywhere(graph, found["x"])
    pick = max if which == "max" else min
    for i in near:
        assert x[i] == pick(j * 37 % 101 / 8.0 for j, hops in distances(near, [i]).items() if hops >= 0)
    assert found.ended == "quiet"


def test_gossip_keeps_both_sums_to_the_last_bit(comm):
    of = SAMPLES["hypercube 4"]
    for steps in (1, 7, 30):
        graph, found = same_alone(comm, of, lambda graph: gossip.run(graph, values_of(graph), steps=steps, seed=4))  # noqa: B023
        s, w = (list(everywhere(graph, found[name]).values()) for name in ("s", "w"))
        assert sum(s) == sum(k * 37 % 101 / 8.0 for k in range(16)) and sum(w) == 16
    mean = everywhere(graph, gossip.run(graph, values_of(graph), steps=150, seed=4)["mean"])
    assert list(mean.values()) == pytest.approx([np.mean([k * 37 % 101 / 8.0 for k in range(16)])] * 16, abs=1e-6)


# ---------------------------------------------------------------- leaders and colours


def test_the_leader_is_the_largest_of_its_piece_and_followers_form_a_tree(comm):
    graph, found = same_alone(comm, PIECES, election.run)
    leader, parent, hops = (everywhere(graph, found[name]) for name in ("leader", "parent", "hops"))
    near = neighbours(PIECES)
    for i in near:
        assert leader[i] == max(j for j, h in distances(near, [i]).items() if h >= 0)
        assert hops[i] == distances(near, [leader[i]])[i]
        assert parent[i] == i if i == leader[i] else (parent[i] in near[i] and hops[parent[i]] == hops[i] - 1)
    assert found.ended == "quiet"


@pytest.mark.parametrize("of", [PIECES, CROWD], ids=["pieces", "more colours than a window"])
def test_colours_are_proper_and_few(comm, of):
    graph, found = same_alone(comm, of, lambda graph: colouring.run(graph, seed=5))
    colour, near = everywhere(graph, found["colour"]), neighbours(of)
    assert all(colour[i] != colour[j] for i in near for j in near[i])
    assert all(0 <= colour[i] <= len(near[i]) for i in near)
    assert found.ended == "goal"
