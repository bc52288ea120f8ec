"""Searches from many sources, closeness and betweenness: equal to naive twins, on any ranks."""

import math
from dataclasses import replace

import naive
import naive_paths
import numpy as np
import pytest
from building import agreed_error, build, everywhere, same_on_all
from graphs import GRAPHS, random, sample

from hpcmp.algorithms import betweenness, closeness, msbfs, sources
from hpcmp.errors import GraphError, ProgramError, VerifyError

MORE = {
    "sparse": random(34, 60, seed=8, stride=3, first=-20),
    "sparse undirected": random(30, 36, seed=9, directed=False),
    "path": sample(range(9), [(k, k + 1) for k in range(8)], directed=False),
    "diamond": sample(range(6), [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4), (5, 5), (3, 3)]),
    "double diamond": sample(range(4), [(0, 1), (0, 1), (0, 2), (1, 3), (2, 3)]),
}
SAMPLES = {**{name: GRAPHS[name] for name in ("empty", "one_vertex", "no_edges", "star", "reciprocal")}, **MORE}
FOUND = {}


def agree(key, digest):
    return FOUND.setdefault(key, digest) == digest


def near(found, expected):
    return found.keys() == expected.keys() and all(
        math.isclose(found[v], expected[v], rel_tol=1e-12, abs_tol=1e-12)
        or (math.isnan(found[v]) and math.isnan(expected[v]))
        for v in found
    )


@pytest.mark.parametrize("name", SAMPLES)
def test_each_channel_is_a_search(comm, name):
    one = SAMPLES[name]
    graph, ids = build(comm, one, method="hash"), one.ids[::2].tolist()
    found = msbfs.run(graph, sources=ids)
    expected = [naive.bfs(one, s) for s in ids]
    depths = everywhere(graph, found["depth"])
    assert depths == {v: [e[v] for e in expected] or [naive.UNREACHED] for v in one.ids.tolist()}
    assert same_on_all(comm, found.digest) and agree(("msbfs", name), found.digest)
    assert found.values == {"sources": ids}
    msbfs.verify(graph, found)
    if ids:
        depth = found["depth"].copy()
        depth[graph.rows_of(ids[:1]), 0] = 1
        with pytest.raises(VerifyError, match="depth 0"):
            msbfs.verify(graph, replace(found, state={"depth": depth}))


@pytest.mark.parametrize("incoming", [False, True])
@pytest.mark.parametrize("name", SAMPLES)
def test_closeness_is_the_naive_one(comm, monkeypatch, name, incoming):
    monkeypatch.setattr(closeness, "WIDTH", 8)  # several batches, the last not full
    one = SAMPLES[name]
    graph = build(comm, one, method="hash")
    found = closeness.run(graph, incoming=incoming)
    assert everywhere(graph, found["closeness"]) == naive_paths.closeness(one, incoming=incoming)
    assert same_on_all(comm, found.digest) and agree(("closeness", name, incoming), found.digest)
    assert closeness.run(graph, incoming=incoming, threads=2).digest == found.digest
    closeness.verify(graph, found, incoming=incoming)
    some = one.ids[1::3].tolist()
    of_some = closeness.run(graph, sources=some, incoming=incoming)
    expected = naive_paths.closeness(one, some, incoming)
    assert near(everywhere(graph, of_some["closeness"]), expected)
    closeness.verify(graph, of_some, sources=some, incoming=incoming)


def test_closeness_of_known_graphs(comm):
    star = build(comm, sample(range(5), [(0, k) for k in range(1, 5)], directed=False))
    assert everywhere(star, closeness.run(star)["closeness"]) == {0: 4.0, 1: 2.5, 2: 2.5, 3: 2.5, 4: 2.5}
    assert everywhere(star, closeness.run(star, normalized=True)["closeness"])[1] == 2.5 / 4
    closeness.verify(star, closeness.run(star, normalized=True), normalized=True)


@pytest.mark.parametrize("name", SAMPLES)
def test_betweenness_is_the_naive_one(comm, monkeypatch, name):
    monkeypatch.setattr(betweenness, "WIDTH", 8)
    one = SAMPLES[name]
    graph = build(comm, one, method="hash")
    found = betweenness.run(graph)
    assert near(everywhere(graph, found["betweenness"]), naive_paths.betweenness(one))
    assert same_on_all(comm, found.digest) and agree(("betweenness", name), found.digest)
    assert betweenness.run(graph, threads=2).digest == found.digest
    betweenness.verify(graph, found)
    some = one.ids[::4].tolist()
    of_some = betweenness.run(graph, sources=some)
    assert near(everywhere(graph, of_some["betweenness"]), naive_paths.betweenness(one, some))
    betweenness.verify(graph, of_some, sources=some)


def test_betweenness_of_known_graphs(comm):
    path = build(comm, MORE["path"])
    assert everywhere(path, betweenness.run(path)["betweenness"]) == {v: 2.0 * v * (8 - v) for v in range(9)}
    shares = everywhere(path, betweenness.run(path, normalized=True)["betweenness"])
    assert shares[4] == pytest.approx(32 / 56)
    diamond = build(comm, MORE["diamond"])
    found = everywhere(diamond, betweenness.run(diamond)["betweenness"])
    assert found == {0: 0.0, 1: 1.0, 2: 1.0, 3: 3.0, 4: 0.0, 5: 0.0}
    double = build(comm, MORE["double diamond"])
    assert everywhere(double, betweenness.run(double)["betweenness"])[1] == pytest.approx(2 / 3)


def test_counted_edges_are_as_good_as_repeated_ones(comm):
    one = MORE["sparse"]
    times = 1 + np.arange(len(one.src)) * 5 % 3
    repeated = sample(one.ids, np.column_stack((one.src, one.dst)).repeat(times, axis=0))
    counted = build(comm, one._replace(weight=times.astype(float)), method="hash")
    counted = replace(counted, edge_fields={"count": counted.edge_fields["weight"]})
    found = betweenness.run(counted, counts=True)
    assert near(everywhere(counted, found["betweenness"]), naive_paths.betweenness(repeated))
    assert agree("counted", found.digest)
    betweenness.verify(counted, found, counts=True)
    plain = build(comm, one)
    assert "needs the edge field 'count'" in agreed_error(comm, GraphError, lambda: betweenness.run(plain, counts=True))
    wrong = replace(plain, edge_fields={"count": plain.edge_fields["weight"] * 0})
    assert "has count 0.0, not above 0" in agreed_error(comm, GraphError, lambda: betweenness.run(wrong, counts=True))


def test_sampled_betweenness_is_scaled_to_all_sources(comm):
    one = MORE["sparse undirected"]
    graph, n = build(comm, one, method="hash"), len(one.ids)
    ids = sources.pick(graph, 5, seed=3)
    given = everywhere(graph, betweenness.run(graph, sources=ids.tolist())["betweenness"])
    drawn = betweenness.run(graph, sources=5, seed=3)
    assert near(everywhere(graph, drawn["betweenness"]), {v: b * n / 5 for v, b in given.items()})
    betweenness.verify(graph, drawn, sources=5, seed=3)


@pytest.mark.parametrize("module, field", [(betweenness, "betweenness"), (closeness, "closeness")])
def test_verifiers_refuse_any_one_value_changed(comm, module, field):
    one = MORE["diamond"]
    graph = build(comm, one, method="hash")
    result = module.run(graph)
    for v in one.ids.tolist():
        for change in (0.25, -0.25, math.nan):
            values = result[field].copy()
            values[graph.rows_of([v])] += change
            wrong = replace(result, state={field: values})
            assert agreed_error(comm, VerifyError, lambda wrong=wrong: module.verify(graph, wrong))


def test_a_draw_of_sources_does_not_depend_on_the_ranks(comm):
    one = MORE["sparse"]
    for method in ("hash", None):
        graph = build(comm, one, method=method)
        drawn = sources.pick(graph, 6, seed=1)
        assert agree("draw", drawn.tobytes()) and set(drawn.tolist()) <= set(one.ids.tolist())
        assert len(set(drawn.tolist())) == 6
        assert sources.pick(graph, 6, seed=2).tolist() != drawn.tolist()
        assert sources.pick(graph, 1000).tolist() == one.ids.tolist() == sources.pick(graph, None).tolist()
        assert sources.pick(graph, "7, -20,1").tolist() == [7, -20, 1]
        assert sources.pick(graph, []).tolist() == sources.pick(graph, 0).tolist() == []


def test_sources_that_cannot_be_are_refused_on_every_rank(comm):
    graph = build(comm, MORE["sparse"])
    for wrong, kind, text in (
        ([-20, 999], GraphError, "source 999 is not a vertex"),
        ([-20, 1, -20], GraphError, "names a vertex twice"),
        (-1, ProgramError, "is negative"),
        ("a,b", ProgramError, "give how many vertices, or ids"),
        (2.5, ProgramError, "give how many vertices, or ids"),
        ([2**70], ProgramError, "give how many vertices, or ids"),
    ):
        for run in (msbfs.run, closeness.run, betweenness.run):
            assert text in agreed_error(comm, kind, lambda run=run, wrong=wrong: run(graph, sources=wrong))
