"""Core numbers: equal to peeling one by one, on any ranks."""

from dataclasses import replace

import naive_paths
import numpy as np
import pytest
from building import agreed_error, build, everywhere, same_on_all
from graphs import GRAPHS, ZOO, random, sample

from hpcmp.algorithms import kcore
from hpcmp.errors import VerifyError

MORE = {
    "crowded": random(90, 900, seed=3, stride=2),
    "crowded undirected": random(90, 700, seed=4, directed=False),
    "path": sample(range(30), [(k, k + 1) for k in range(29)], directed=False),
    "clique and tail": sample(range(9), [(a, b) for a in range(5) for b in range(a)] + [(4, 5), (5, 6)]),
}
FOUND = {}


@pytest.mark.parametrize("name", [*GRAPHS, "zoo", *MORE])
def test_core_numbers_are_those_of_peeling(comm, name):
    one = {**GRAPHS, "zoo": ZOO, **MORE}[name]
    expected = naive_paths.coreness(one)
    for method in ("hash", None):
        graph = build(comm, one, method=method)
        found = kcore.run(graph)
        assert everywhere(graph, found["core"]) == expected
        assert found.values == {"largest": max(expected.values(), default=0)}
        assert same_on_all(comm, found.digest) and FOUND.setdefault(name, found.digest) == found.digest
        kcore.verify(graph, found)


def test_messages_find_the_same_core_numbers_step_by_step(comm):
    graph = build(comm, MORE["crowded"], method="hash")
    by_messages = kcore.run(graph, mode="step")
    assert by_messages.converged and by_messages.digest == kcore.run(graph).digest
    after_one = everywhere(graph, kcore.run(graph, 1)["core"])
    exact = naive_paths.coreness(MORE["crowded"])
    assert all(after_one[v] >= exact[v] for v in exact) and after_one != exact


def test_repeats_in_several_relations_count_once(comm):
    one = MORE["crowded undirected"]
    kind = (np.arange(len(one.src)) % 2).astype(np.uint16)
    graph = build(comm, one, relation=kind, relations=("a", "b"))
    assert everywhere(graph, kcore.run(graph)["core"]) == naive_paths.coreness(one)


@pytest.mark.parametrize(
    "where, wrong, text",
    [
        ([0], +1, "neighbours of at least that"),
        ([6], +1, "neighbours of at least that"),
        ([6], -1, "end at"),
        ([0, 1, 2, 3, 4], -1, "end at"),
    ],
)
def test_the_verifier_refuses_numbers_that_are_too_high_or_too_low(comm, where, wrong, text):
    graph = build(comm, MORE["clique and tail"], method="hash")
    result = kcore.run(graph)
    core = result["core"].copy()
    core[graph.rows_of(where)] += wrong
    wrong = replace(result, state={"core": core})
    assert text in agreed_error(comm, VerifyError, lambda: kcore.verify(graph, wrong))
