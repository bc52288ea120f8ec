"""Algorithms against their naive twins, and verifiers that accept right answers and no others."""

import math
from collections import Counter
from dataclasses import replace

import naive
import numpy as np
import pytest
from building import agreed_error, as_column, build, everywhere, same_on_all, table
from graphs import GRAPHS, NAMES, ZOO, random, sample

import hpcmp
from hpcmp.algorithms import (
    NAMES as ALGORITHMS,
)
from hpcmp.algorithms import (
    bfs,
    cdlp,
    degrees,
    find,
    lcc,
    options,
    pagerank,
    receptive_field,
    sssp,
    triangles,
    wcc,
)
from hpcmp.errors import GraphError, ProgramError, VerifyError

FOUND = {}
FIELD = {
    "bfs": "depth",
    "sssp": "distance",
    "wcc": "component",
    "cdlp": "label",
    "lcc": "lcc",
    "triangles": "triangles",
}
FIELD |= {"pagerank": "rank", "receptive_field": "hops", "degrees": "in_degree"}


def source_of(name):
    """A vertex with out-edges where there is one."""
    one = GRAPHS[name]
    return int(one.src[0]) if len(one.src) else int(one.ids[0])


def agree(key, digest):
    """Whether all runs of this name, on whatever ranks, had one digest."""
    return FOUND.setdefault(key, digest) == digest


def check(comm, key, result, expected, field):
    assert everywhere(result.graph, result[field]) == expected
    assert same_on_all(comm, result.digest)
    assert agree(key, result.digest)


CROWDED = {d: random(90, 900, seed=3, directed=d, stride=2) for d in (True, False)}  # loops, repeats, many triangles
MORE = {
    "pairs": sample(range(-9, 51), [(k, k + 1) for k in range(-9, 50, 2)]),
    "ring": sample(range(70), [(k, (k + 1) % 70) for k in range(70)]),  # two ends a vertex, far apart
}
FULL = ["fewer_vertices_than_ranks", "sparse_ids", "undirected", "zoo"]


# ---------------------------------------------------------------- equal to the naive twins


@pytest.mark.parametrize("name", FULL)
def test_searches_are_the_naive_ones(comm, name):
    graph, source = build(comm, GRAPHS[name], method="hash"), source_of(name)
    depth = bfs.run(graph, source=source)
    check(comm, ("bfs", name), depth, naive.bfs(GRAPHS[name], source), "depth")
    bfs.verify(graph, depth, source=source)
    distance = sssp.run(graph, source=source)
    check(comm, ("sssp", name), distance, naive.sssp(GRAPHS[name], source), "distance")
    sssp.verify(graph, distance, source=source)


@pytest.mark.parametrize("name", ["empty", *FULL])
def test_components_and_communities_are_the_naive_ones(comm, name):
    graph = build(comm, GRAPHS[name], method="hash")
    labels = naive.wcc(GRAPHS[name])
    found = wcc.run(graph)
    check(comm, ("wcc", name), found, labels, "component")
    assert found.values == {"components": len(set(labels.values()))}
    wcc.verify(graph, found)
    for steps in (1, None) if name == "zoo" else (None,):
        found = cdlp.run(graph, steps)
        check(comm, ("cdlp", name, steps), found, naive.cdlp(GRAPHS[name], steps or 10), "label")
    cdlp.verify(graph, found)


@pytest.mark.parametrize("directed", [True, False])
@pytest.mark.parametrize("n_first, n_samples", [(0, 1), (1, 1), (2, 1024)])
def test_linking_finds_the_components_that_messages_find(comm, monkeypatch, directed, n_first, n_samples):
    monkeypatch.setattr(wcc, "N_FIRST", n_first)
    monkeypatch.setattr(wcc, "N_SAMPLES", n_samples)  # one sample: the guess of the largest component is often wrong
    for name in ("empty", "no_edges", "self_loop", "all_edges_on_one_rank", "sparse_ids", "zoo", "pairs", "ring"):
        one = MORE[name] if name in MORE else GRAPHS[name]
        one = one._replace(directed=directed)
        for threads in (1, 3):
            for method in ("hash", None):
                graph, _ = hpcmp.build_graph(comm, table(comm, one))
                graph = hpcmp.repartition(graph, method) if method else graph
                found = wcc.run(graph, threads=threads)
                check(comm, ("wcc by linking", name), found, naive.wcc(one), "component")
                assert found.n_steps == 0
                wcc.verify(graph, found)
    by_messages = wcc.run(graph, mode="step")
    assert by_messages.n_steps > 1 and by_messages.digest == found.digest


@pytest.mark.parametrize("name", ["empty", *FULL])
def test_triangles_and_clustering_are_the_naive_ones(comm, name):
    graph = build(comm, GRAPHS[name], method="hash")
    expected = naive.triangles(GRAPHS[name])
    found = triangles.run(graph)
    check(comm, ("triangles", name), found, expected, "triangles")
    assert found.values["triangles"] == sum(expected.values()) // 3
    triangles.verify(graph, found)
    found = lcc.run(graph)
    check(comm, ("lcc", name), found, naive.lcc(GRAPHS[name]), "lcc")
    lcc.verify(graph, found)
    assert triangles.run(graph, threads=2).digest == triangles.run(graph).digest


@pytest.mark.parametrize("core", [0, 3, 70])
@pytest.mark.parametrize("directed", [True, False])
def test_the_size_of_the_core_changes_no_count_of_triangles(comm, monkeypatch, core, directed):
    monkeypatch.setattr(triangles, "CORE", core)
    one = CROWDED[directed]
    graph = build(comm, one, method="hash")
    expected = naive.triangles(one)
    found = triangles.run(graph, threads=2)
    check(comm, ("crowded", directed), found, expected, "triangles")
    assert found.values["triangles"] == sum(expected.values()) // 3
    check(comm, ("crowded lcc", directed), lcc.run(graph), naive.lcc(one), "lcc")


def test_repeats_in_several_relations_are_one_neighbour(comm):
    one = CROWDED[False]
    kind = (np.arange(len(one.src)) % 2).astype(np.uint16)
    graph = build(comm, one, relation=kind, relations=("a", "b"))
    assert everywhere(graph, triangles.run(graph)["triangles"]) == naive.triangles(one)
    assert everywhere(graph, lcc.run(graph)["lcc"]) == naive.lcc(one)


@pytest.mark.parametrize("variant", pagerank.VARIANTS)
@pytest.mark.parametrize("name", ["empty", "zoo"])
def test_ranks_are_the_naive_ones(comm, variant, name):
    graph = build(comm, GRAPHS[name], method="hash")
    found = pagerank.run(graph, variant=variant)
    expected = naive.pagerank_variant(GRAPHS[name], variant) if len(GRAPHS[name].ids) else {}
    check(comm, ("pagerank", variant, name), found, expected, "rank")
    pagerank.verify(graph, found, variant=variant)


def test_pagerank_takes_steps_damping_and_tolerance(comm):
    graph = build(comm, ZOO)
    found = pagerank.run(graph, 3, damping=0.5)
    assert everywhere(graph, found["rank"]) == naive.pagerank(ZOO, 3, 0.5)
    loose, tight = (pagerank.run(graph, 50, tolerance=t) for t in (1e-2, 1e-8))
    assert loose.converged and loose.n_steps < tight.n_steps
    assert agreed_error(comm, ProgramError, lambda: pagerank.run(graph, variant="x")).startswith(
        "variant 'x' is not one"
    )
    assert "damping = 1.5 is outside [0, 1]" in agreed_error(
        comm, ProgramError, lambda: pagerank.run(graph, damping=1.5)
    )


@pytest.mark.parametrize("name", ["self_loop", "sparse_ids", "zoo"])
def test_receptive_fields_are_the_naive_ones(comm, name):
    one, graph = GRAPHS[name], build(comm, GRAPHS[name], method="hash")
    last, first = int(one.ids[-1]), int(one.ids[0])
    for targets, steps in (([first, last], 50), ([last], 0)):
        found = hpcmp.receptive_field(graph, targets, steps)
        expected = naive.receptive_field(one, targets, steps)
        assert everywhere(graph, found["hops"]) == expected
        hops = Counter(h for h in expected.values() if h >= 0)
        assert [n for n in found.values["reached"] if n] == [hops[h] for h in sorted(hops)]
    found = receptive_field.run(graph, source=last)
    assert everywhere(graph, found["hops"]) == naive.receptive_field(one, [last], 2)
    receptive_field.verify(graph, found, source=last)


def test_a_receptive_field_holds_all_that_can_change_an_answer(comm):
    one, graph = GRAPHS["random"], build(comm, GRAPHS["random"])
    target, steps = int(one.ids[7]), 2
    inside = everywhere(graph, hpcmp.receptive_field(graph, [target], steps)["hops"])
    program = hpcmp.Program(
        state={"value": "float64"},
        init=lambda vertex, ctx: 1.0 if vertex.id == ctx.struck else 0.0,
        update=lambda vertex, total, ctx: vertex.value + total,
        params={"struck": 0},
    )
    for struck in one.ids[::4].tolist():
        found = hpcmp.run(program, graph, steps, params={"struck": struck}, check=True)
        hears = everywhere(graph, found["value"])[target] > 0
        assert hears == (inside[struck] >= 0)


@pytest.mark.parametrize("name", NAMES)
def test_degrees_are_counted(comm, name):
    graph = build(comm, GRAPHS[name], method="hash")
    found = degrees.run(graph)
    into = {v: len(row) for v, row in naive.in_edges(GRAPHS[name]).items()}
    out = naive.out_degree(GRAPHS[name])
    assert everywhere(graph, found["in_degree"]) == into
    assert everywhere(graph, found["out_degree"]) == out
    values = found.values
    assert values["max_in_degree"] == max(into.values(), default=0)
    assert values["max_out_degree"] == max(out.values(), default=0)
    assert values["sources"] == sum(d == 0 for d in into.values())
    assert values["sinks"] == sum(d == 0 for d in out.values())
    assert values["isolated"] == sum(into[v] == out[v] == 0 for v in into)
    bins = Counter(d.bit_length() for d in into.values())
    assert values["in_histogram"] == [bins[k] for k in range(max(bins, default=0) + 1)]
    degrees.verify(graph, found)


def test_triangles_of_edges_are_what_both_ends_share(comm):
    graph, near = build(comm, ZOO, method="hash"), naive.neighbour_sets(ZOO)
    pairs = [(s, d) for s, d, _ in naive.edges_of(ZOO) if s != d][::3]
    src, dst = (np.array([p[k] for p in pairs]) for k in (0, 1))
    assert triangles.edge_triangles(graph, src, dst).tolist() == [len(near[s] & near[d]) for s, d in pairs]
    with pytest.raises(GraphError, match="-99 is not a vertex of this graph"):
        triangles.edge_triangles(graph, np.array([-99]), dst[:1])


def test_a_complete_graph_has_all_triangles(comm):
    graph = build(comm, sample(range(9), [(a, b) for a in range(9) for b in range(a)], directed=False))
    assert triangles.run(graph).values["triangles"] == 84
    assert np.all(lcc.run(graph)["lcc"] == 1.0)


# ---------------------------------------------------------------- verifiers refuse what is wrong


LOOPY = sample(
    range(8), [(0, 1), (1, 2), (2, 0), (2, 3), (3, 3), (4, 4), (5, 6)], weight=[1.0, 2.0, 0.5, 1.0, 0.0, 0.0, 3.0]
)
RIGHT = {
    "bfs": lambda graph: bfs.run(graph, source=0),
    "sssp": lambda graph: sssp.run(graph, source=0),
    "wcc": wcc.run,
    "cdlp": cdlp.run,
    "lcc": lcc.run,
    "triangles": triangles.run,
    "receptive_field": lambda graph: receptive_field.run(graph, source=0),
    "degrees": degrees.run,
    "pagerank ldbc": pagerank.run,
    "pagerank networkx": lambda graph: pagerank.run(graph, variant="networkx"),
    "pagerank gap": lambda graph: pagerank.run(graph, variant="gap"),
    "pagerank pregel": lambda graph: pagerank.run(graph, variant="pregel"),
}


def others(name, value):
    """Wrong values near a right one."""
    if name in ("lcc", "sssp") or "pagerank" in name:
        return [value + 0.125, value - 0.0625, 0.5, 5.0, math.nan] if value < math.inf else [5.0, math.nan, 0.0]
    if name == "bfs":
        return [0, 1, 2, 3, naive.UNREACHED, -1]
    if name == "receptive_field":
        return [-1, 0, 1, 2]
    return [value + 1, value - 1, 0, 77, -5]


@pytest.mark.parametrize("name", RIGHT)
def test_a_verifier_accepts_the_right_answer_and_refuses_it_with_any_one_value_changed(comm, name):
    graph = build(comm, LOOPY, method="hash")
    module, _, variant = name.partition(" ")
    result = RIGHT[name](graph)
    how = {"variant": variant} if variant else {"source": 0}
    find(module).verify(graph, result, **how)
    field, accepted, is_slow = FIELD[module], [], module in ("cdlp", "pagerank", "lcc", "triangles")
    right = everywhere(graph, result[field])
    for v in LOOPY.ids.tolist():
        for wrong in [w for w in others(name, right[v]) if w != right[v]][: 1 if is_slow else None]:
            column = result[field].copy()
            column[graph.rows_of([v])] = wrong
            error = None
            try:
                find(module).verify(graph, replace(result, state={**result.state, field: column}), **how)
            except VerifyError as caught:
                error = caught
            texts = comm.allgather(None if error is None else (str(error), error.agreed))
            assert len(set(texts)) == 1, texts
            if error is None:
                accepted.append(f"{field} of {v} changed from {right[v]} to {wrong}")
    assert not accepted


def test_verifiers_refuse_answers_to_another_question(comm):
    graph = build(comm, ZOO, method="hash")
    for module in (bfs, sssp):
        source, other = int(ZOO.ids[0]), int(ZOO.ids[-3])
        result = module.run(graph, source=source)
        with pytest.raises(VerifyError, match=f"the source {other} has"):
            module.verify(graph, result, source=other)
    merged = replace(wcc.run(graph), state={"component": np.full(graph.n_owned, int(ZOO.ids[0]))})
    with pytest.raises(VerifyError, match="the labels name 1 components"):
        wcc.verify(graph, merged)
    largest = {v: max(u for u, c in naive.wcc(ZOO).items() if c == label) for v, label in naive.wcc(ZOO).items()}
    renamed = replace(merged, state={"component": as_column(graph, largest, np.int64)})
    with pytest.raises(VerifyError, match="larger than its own id"):
        wcc.verify(graph, renamed)
    split = replace(merged, state={"component": graph.id[: graph.n_owned].copy()})
    with pytest.raises(VerifyError, match="has a neighbour of another component"):
        wcc.verify(graph, split)


# ---------------------------------------------------------------- requests that cannot be


def test_a_source_that_is_no_vertex_is_refused_on_every_rank(comm):
    graph = build(comm, GRAPHS["random"])
    for run in (bfs.run, sssp.run):
        text = agreed_error(comm, GraphError, lambda run=run: run(graph, source=12345))
        assert text.startswith("source 12345 is not a vertex of this graph")
    text = agreed_error(comm, GraphError, lambda: hpcmp.receptive_field(graph, [12345], 1))
    assert text.startswith("12345 is not a vertex of this graph")


@pytest.mark.parametrize(
    "weight, text", [(-0.5, "has weight -0.5; shortest paths need weights of at least 0"), (math.nan, "has weight nan")]
)
def test_weights_that_make_no_paths_are_refused_on_every_rank(comm, weight, text):
    one = GRAPHS["star"]
    bad = one._replace(weight=np.where(np.arange(len(one.src)) == 3, weight, one.weight))
    found = agreed_error(comm, GraphError, lambda: sssp.run(build(comm, bad), source=0))
    assert text in found and "the edge 0 -> 4" in found


def test_shortest_paths_need_weights(comm):
    graph = build(comm, GRAPHS["star"], weight=None)
    found = agreed_error(comm, GraphError, lambda: sssp.run(graph, source=0))
    assert found.startswith("this needs the edge field 'weight' (the graph has: none)")


def test_shortest_paths_take_whole_weights_too(comm):
    one = ZOO._replace(weight=np.floor(ZOO.weight * 4))
    source = int(ZOO.src[-1])
    found = sssp.run(build(comm, one, weight="int32"), source=source)
    assert everywhere(found.graph, found["distance"]) == naive.sssp(one, source)


# ---------------------------------------------------------------- by name


def test_algorithms_are_found_by_name_with_their_options():
    for name in ALGORITHMS:
        assert find(name).run.__doc__ and find(name).verify.__doc__
    assert find("nothing") is None
    assert options(pagerank) == {"damping": 0.85, "variant": "ldbc", "tolerance": None, "dtype": "float64"}
    assert options(bfs) == {"source": 0}
