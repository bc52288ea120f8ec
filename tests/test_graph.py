"""The graph on a rank: canonical rows, degrees, and graphs made from graphs."""

from collections import Counter

import naive
import numpy as np
import pytest
from building import as_column, build, everywhere, listed_edges
from graphs import GRAPHS, NAMES

from hpcmp import graph as g

RELATIONS = ("cites", "knows", "writes")


def with_relations(comm, name, **options):
    relation = np.arange(len(GRAPHS[name].src)) * 5 % 3
    return build(comm, GRAPHS[name], relation=relation, relations=RELATIONS, **options), relation


def counted(graph):
    """Edges without fields, each as often as it occurs."""
    return Counter((s, d) for s, d, *_ in listed_edges(graph))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", [None, "hash"])
def test_every_edge_lies_with_the_owner_of_its_end(comm, name, method):
    graph = build(comm, GRAPHS[name], method=method)
    expected = sorted((s, d, 0, w) for s, d, w in naive.edges_of(GRAPHS[name]))
    assert sorted(listed_edges(graph)) == expected
    assert graph.n_edges == len(expected)
    assert graph.n_vertices == len(GRAPHS[name].ids)


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_in_canonical_order(comm, name):
    graph, _ = with_relations(comm, name, method="hash")
    order = graph.local_order()
    assert np.array_equal(order, np.searchsorted(GRAPHS[name].ids, graph.id))
    keys = list(
        zip(graph.in_rows(), graph.relation, order[graph.in_src], graph.edge_fields["weight"])
        if graph.relation is not None
        else []
    )
    assert keys == sorted(keys)


@pytest.mark.parametrize("name", NAMES)
def test_degrees_are_those_of_the_naive_twin(comm, name):
    graph = build(comm, GRAPHS[name], method="hash")
    assert everywhere(graph, graph.out_degree) == naive.out_degree(GRAPHS[name])
    rows = naive.in_edges(GRAPHS[name])
    assert everywhere(graph, graph.in_degree) == {v: len(row) for v, row in rows.items()}


@pytest.mark.parametrize("name", NAMES)
def test_interior_rows_hear_owned_ones_only_and_boundary_rows_a_ghost(comm, name):
    graph = build(comm, GRAPHS[name], method="hash")
    hears_ghost = np.zeros(graph.n_owned, bool)
    hears_ghost[graph.in_rows()[graph.in_src >= graph.n_owned]] = True
    assert graph.boundary.tolist() == np.flatnonzero(hears_ghost).tolist()
    assert sorted([*graph.boundary.tolist(), *graph.interior.tolist()]) == list(range(graph.n_owned))
    assert graph.boundary.dtype == graph.interior.dtype == graph.in_src.dtype == np.uint32
    assert graph.in_ptr.dtype == np.uint64


@pytest.mark.parametrize("name", NAMES)
def test_ghosts_are_exactly_the_other_ranks_vertices_that_are_heard(comm, name):
    graph = build(comm, GRAPHS[name], method="hash")
    assert np.all(np.diff(graph.ghosts) > 0)
    assert set(graph.in_src[graph.in_src >= graph.n_owned].tolist()) == set(range(graph.n_owned, graph.n_local))
    first, end = graph.gid_bounds[comm.rank : comm.rank + 2]
    assert not np.any((graph.ghosts >= first) & (graph.ghosts < end))


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_heard_by_those_that_hear_them(comm, name):
    graph = build(comm, GRAPHS[name], method="hash")
    expected = naive.transpose(graph.in_ptr, graph.in_src, graph.n_local)
    for (ptr, rows), sources in (
        (graph.heard_by, range(graph.n_owned)),
        (graph.ghosts_heard_by, range(graph.n_owned, graph.n_local)),
    ):
        ptr = ptr.astype(np.int64)
        found = [sorted(i for i in rows[ptr[j] : ptr[j + 1]].tolist() if i < graph.n_owned) for j in sources]
        assert found == [expected[j] for j in sources]


@pytest.mark.parametrize("name", NAMES)
def test_both_ways_adds_every_reverse_once(comm, name):
    graph, _ = with_relations(comm, name)
    both = g.both_ways(graph)
    expected = counted(graph)
    if graph.directed:
        expected = expected + Counter({(d, s): n for (s, d), n in expected.items()})
    else:
        assert both is graph
    assert counted(both) == expected
    assert everywhere(both, both.in_degree) == {
        v: sum(n for (_, d), n in expected.items() if d == v) for v in GRAPHS[name].ids.tolist()
    }


@pytest.mark.parametrize("name", NAMES)
def test_reversed_twice_is_the_graph_itself(comm, name):
    graph, _ = with_relations(comm, name, method="hash")
    back = g.reversed_edges(graph)
    assert sorted((d, s, *more) for s, d, *more in listed_edges(back)) == sorted(
        listed_edges(graph) if graph.directed else [(d, s, *more) for s, d, *more in listed_edges(graph)]
    )
    again = g.reversed_edges(back)
    assert listed_edges(again) == listed_edges(graph)
    assert g.digest_of(again) == graph.digest
    assert np.array_equal(again.out_degree, graph.out_degree)


@pytest.mark.parametrize("name", NAMES)
def test_simplified_has_no_loops_and_no_repeats(comm, name):
    for graph in (build(comm, GRAPHS[name], method="hash"), with_relations(comm, name)[0]):
        plain = g.simplified(graph)
        expected = {(s, d) for s, d, _ in naive.edges_of(GRAPHS[name]) if s != d}
        assert counted(plain) == Counter(expected)
        assert plain.relation is None
        assert not plain.edge_fields and not plain.vertex_fields


@pytest.mark.parametrize("kept", [["knows"], ["cites", "writes"], [], list(RELATIONS)])
def test_only_relations_keeps_their_edges_and_numbers(comm, kept):
    graph, relation = with_relations(comm, "random", method="hash")
    chosen = [RELATIONS.index(name) for name in kept]
    part = g.only_relations(graph, kept)
    assert sorted(listed_edges(part)) == sorted(e for e in listed_edges(graph) if e[2] in chosen)
    assert part.relations == RELATIONS
    assert part.n_edges == int(np.isin(relation, chosen).sum())


def test_rows_are_found_by_id(comm):
    for name in NAMES:
        graph = build(comm, GRAPHS[name], method="hash")
        wanted = [*GRAPHS[name].ids.tolist(), 10**15, -3]
        found = graph.id[graph.rows_of(wanted)].tolist()
        assert found == [v for v in wanted if v in set(graph.id[: graph.n_owned].tolist())]


def test_local_rows_are_found_by_gid_and_strangers_told_apart(comm):
    graph = build(comm, GRAPHS["random"], method="hash")
    gids = np.arange(graph.n_vertices)
    rows, is_local = g.local_rows_of_gids(graph, gids)
    known = graph.local_gids()
    assert is_local.tolist() == [v in set(known.tolist()) for v in gids.tolist()]
    assert np.array_equal(known[rows[is_local]], gids[is_local])


def test_a_field_more_leaves_the_graph_as_it_was(comm):
    graph = build(comm, GRAPHS["random"])
    values = as_column(graph, {v: v % 3 for v in GRAPHS["random"].ids.tolist()})
    more = g.with_vertex_field(graph, "kind", values)
    assert list(more.vertex_fields) == ["kind"]
    assert not graph.vertex_fields
