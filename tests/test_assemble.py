"""From tables to a graph: the same graph however the input lies, and other when anything in it differs."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from building import agreed_error, build, everywhere, listed_edges, same_on_all, share, table
from graphs import GRAPHS, NAMES, Sample, sample

import hpcmp
from hpcmp.directory import unique_inverse
from hpcmp.errors import GraphError, InputError, PartitionError
from hpcmp.graph import digest_of
from hpcmp.io.table import EdgeTable, FeatureTable, VertexTable
from hpcmp.parts import part_of_rows

DEALS = ("cyclic", "first", "last", "shuffled")


def graph_of(comm, one, **options):
    return hpcmp.build_graph(comm, table(comm, one), **options)


# ---------------------------------------------------------------- one graph, however it comes


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_does_not_depend_on_how_its_input_lies(comm, name):
    alone = comm.Split(comm.rank)
    expected, _ = hpcmp.build_graph(alone, table(alone, GRAPHS[name]))
    edges = sorted(listed_edges(expected))
    for deal in DEALS:
        graph = build(comm, GRAPHS[name], deal=deal)
        assert graph.digest == expected.digest
        assert sorted(listed_edges(graph)) == edges
        assert np.array_equal(graph.part_start, expected.part_start)
    expected.close()
    alone.Free()


@pytest.mark.parametrize("name", ["empty", "fewer_vertices_than_ranks", "zoo"])
@pytest.mark.parametrize("method", ["block", "degree", "hash", "metis", "file"])
def test_other_parts_are_the_same_graph(comm, name, method):
    if method == "metis":
        pytest.importorskip("pymetis")
    relation = np.arange(len(GRAPHS[name].src)) % 2
    graph = build(comm, GRAPHS[name], relation=relation, relations=("a", "b"))
    mark = graph.id[: graph.n_owned] % 97
    marked = replace(graph, vertex_fields={"mark": mark, "wide": np.stack((mark, -mark), axis=1)})
    marked = replace(marked, digest=digest_of(marked))
    part = (graph.id[: graph.n_owned] % 3).astype(np.int64) if method == "file" else None
    other = hpcmp.repartition(marked, method, 6, part=part)
    assert digest_of(other) == marked.digest == other.digest
    assert sorted(listed_edges(other)) == sorted(listed_edges(graph))
    assert everywhere(other, other.out_degree) == everywhere(graph, graph.out_degree)
    assert everywhere(other, other.order) == everywhere(graph, graph.order)
    owned = other.id[: other.n_owned]
    assert np.array_equal(other.vertex_fields["mark"], owned % 97)
    assert np.array_equal(other.vertex_fields["wide"], np.stack((owned % 97, -(owned % 97)), axis=1))
    assert other.n_parts == 6
    assert other.relations == ("a", "b")
    order = other.local_order()[other.in_src]
    rows = other.in_rows()
    kind = np.zeros(other.n_in, int) if other.relation is None else other.relation
    keys = list(zip(rows.tolist(), kind.tolist(), order.tolist(), other.edge_fields["weight"].tolist()))
    assert keys == sorted(keys)
    other.close()


BASE = sample(range(6), [(0, 1), (1, 2), (2, 2), (0, 1), (4, 3)], weight=[1.0, 2.0, 3.0, 4.0, 5.0])
CHANGES = {
    "a weight": BASE._replace(weight=BASE.weight + np.array([0, 0, 1e-16 + 2**-50, 0, 0])),
    "weights of two edges change places": BASE._replace(weight=BASE.weight[[1, 0, 2, 3, 4]]),
    "an edge more": sample(range(6), [(0, 1), (1, 2), (2, 2), (0, 1), (4, 3), (3, 4)], weight=[1, 2, 3, 4, 5, 6]),
    "an edge less": Sample(BASE.ids, BASE.src[:-1], BASE.dst[:-1], BASE.weight[:-1]),
    "an edge turned": BASE._replace(src=BASE.src[[0, 1, 2, 3, 4]] - [0, 0, 0, 0, 1], dst=BASE.dst + [0, 0, 0, 0, 1]),
    "an id": BASE._replace(ids=np.array([0, 1, 2, 3, 4, 6])),
    "a vertex more": BASE._replace(ids=np.arange(7)),
    "undirected": BASE._replace(directed=False),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_digest_changes_with(comm, what):
    assert build(comm, CHANGES[what]).digest != build(comm, BASE).digest


def test_a_digest_changes_with_relations_names_and_vertex_fields(comm):
    graph, relation = build(comm, BASE), np.array([0, 1, 0, 1, 0])
    digests = [graph.digest, build(comm, BASE, weight=None).digest]
    for kinds, names in ((relation, ("a", "b")), (relation, ("a", "c")), (1 - relation, ("a", "b"))):
        digests.append(build(comm, BASE, relation=kinds, relations=names).digest)
    for column in (0, 1, 0.5):
        field = np.where(graph.id[: graph.n_owned] == 3, column, 7)
        digests += [digest_of(replace(graph, vertex_fields={name: field})) for name in ("x", "y")]
    texts = np.array([b"n%d" % v for v in graph.id[: graph.n_owned]], "S5")
    digests.append(digest_of(replace(graph, name=texts)))
    digests.append(digest_of(replace(graph, name=np.char.add(texts, b"!"))))
    assert len(set(digests)) == len(digests)


def test_a_digest_does_not_see_signs_of_zeros_and_takes_nan_as_one_value(comm):
    weight = np.array([0.0, np.nan, -0.0, 0.0, np.nan])
    assert build(comm, BASE._replace(weight=weight)).digest == build(comm, BASE._replace(weight=np.abs(weight))).digest


def test_edges_of_many_fields_are_ordered_by_all_of_them(comm):
    one = sample([0, 1], [(0, 1)] * 30)
    rng = np.random.default_rng(3)
    fields = {"b": rng.integers(0, 3, 30), "a": rng.integers(0, 2, 30).astype(bool), "c": rng.random(30)}
    found = [[e[3:] for e in listed_edges(build(comm, one, deal=deal, weight=None, fields=fields))] for deal in DEALS]
    expected = sorted(zip(fields["a"].tolist(), fields["b"].tolist(), fields["c"].tolist()))
    assert found == [expected] * len(DEALS)


# ---------------------------------------------------------------- loops and duplicates


@pytest.mark.parametrize("name", ["undirected", "zoo"])
@pytest.mark.parametrize("drop", [(), ("loops",), ("duplicates",), ("loops", "duplicates")])
def test_loops_and_duplicates_are_counted_and_dropped_as_asked(comm, name, drop):
    one = GRAPHS[name]
    graph, report = graph_of(comm, one, drop_loops="loops" in drop, drop_duplicates="duplicates" in drop, n_parts=5)
    lines = [(s, d) if one.directed else (min(s, d), max(s, d)) for s, d in zip(one.src.tolist(), one.dst.tolist())]
    loops = [line for line in lines if line[0] == line[1]]
    kept = [line for line in lines if not ("loops" in drop and line[0] == line[1])]
    repeats = len(kept) - len(set(kept))
    kept = list(set(kept)) if "duplicates" in drop else kept
    expected = Counter(kept) + (Counter() if one.directed else Counter((d, s) for s, d in kept if s != d))
    assert Counter((s, d) for s, d, *_ in listed_edges(graph)) == expected
    touched = {v for edge in expected for v in edge}
    assert (report.n_lines, report.n_loops, report.n_duplicates) == (len(lines), len(loops), repeats)
    assert report.n_isolated == len(one.ids) - len(touched)
    assert report.dropped == drop
    assert same_on_all(comm, report)
    graph.close()


def test_of_duplicates_the_first_in_canonical_order_is_kept(comm):
    one = sample([0, 1], [(0, 1)] * 4 + [(1, 0)] * 2, weight=[4.0, 2.0, 3.0, 9.0, 1.0, 1.0])
    graph, report = graph_of(comm, one, drop_duplicates=True)
    assert listed_edges(graph) == [(1, 0, 0, 1.0), (0, 1, 0, 2.0)] or sorted(listed_edges(graph)) == [
        (0, 1, 0, 2.0),
        (1, 0, 0, 1.0),
    ]
    assert report.n_duplicates == 4


def test_edges_of_different_relations_are_no_duplicates(comm):
    one = sample([0, 1], [(0, 1)] * 4)
    relation = np.array([0, 1, 1, 0])
    given = table(comm, one, relation=relation, relations=("a", "b"))
    graph, report = hpcmp.build_graph(comm, given, drop_duplicates=True)
    assert (graph.n_edges, report.n_duplicates) == (2, 2)


# ---------------------------------------------------------------- names, vertex tables, features


def named(comm, deal="cyclic", width=None):
    src, dst = [b"zoe", "böb".encode(), b"ann", b"zoe"], [b"ann", b"ann", b"zoe", b"a"]
    mine = share(comm, 4, deal)
    text = np.dtype(f"S{width}") if width else np.array(src + dst).dtype
    return EdgeTable(np.array(src, text)[mine], np.array(dst, text)[mine], vertices=np.empty(0, text))


def test_names_get_ids_in_their_sorted_order(comm):
    graph, _ = hpcmp.build_graph(comm, named(comm))
    names = [b"a", b"ann", "böb".encode(), b"zoe"]
    assert everywhere(graph, graph.name) == dict(enumerate(names))
    assert sorted(e[:2] for e in listed_edges(graph)) == [(1, 3), (2, 1), (3, 0), (3, 1)]


@pytest.mark.parametrize("deal", DEALS)
def test_a_graph_of_names_does_not_depend_on_how_they_lie_nor_on_the_width_they_are_kept_in(comm, deal):
    graph, _ = hpcmp.build_graph(comm, named(comm, deal))
    wide, _ = hpcmp.build_graph(comm, named(comm, deal, width=4 if deal == "cyclic" else 41))
    assert graph.digest == wide.digest


def vertex_table(comm, deal="cyclic", keys=(0, 1, 2, 3, 4, 5)):
    keys = np.array(keys, np.int64)
    mine = share(comm, len(keys), deal)
    fields = {"age": keys[mine] * 10, "x": np.stack((keys[mine], keys[mine] ** 2), axis=1).astype(np.float32)}
    return VertexTable(keys[mine], fields | {"role": (keys[mine] % 2).astype(np.int32)}, {"role": ("dog", "cat")})


@pytest.mark.parametrize("deal", DEALS)
def test_vertex_fields_reach_their_vertices(comm, deal):
    bare = replace(table(comm, BASE), vertices=np.empty(0, np.int64))
    graph, _ = hpcmp.build_graph(comm, bare, vertices=vertex_table(comm, deal))
    owned = graph.id[: graph.n_owned]
    assert np.array_equal(graph.vertex_fields["age"], owned * 10)
    assert np.array_equal(graph.vertex_fields["x"], np.stack((owned, owned**2), axis=1))
    assert np.array_equal(graph.vertex_fields["role"], owned % 2)
    assert graph.categories == {"role": ("dog", "cat")}
    assert graph.n_vertices == 6


def features(comm, deal="cyclic", entries=((0, 1, 0.5), (5, 0, -1.0), (0, 2, 2.0))):
    mine = [entries[k] for k in share(comm, len(entries), deal)]
    key, column, value = (np.array([e[k] for e in mine]) for k in range(3))
    return FeatureTable(key.astype(np.int64), column.astype(np.int64), value.astype(np.float32), 4)


@pytest.mark.parametrize("deal", DEALS)
def test_sparse_features_become_a_dense_field(comm, deal):
    graph, _ = hpcmp.build_graph(comm, table(comm, BASE), features=features(comm, deal))
    expected = {v: [0.0] * 4 for v in range(6)}
    expected[0], expected[5] = [0.0, 0.5, 2.0, 0.0], [-1.0, 0.0, 0.0, 0.0]
    assert everywhere(graph, graph.vertex_fields["x"]) == expected
    assert graph.vertex_fields["x"].dtype == np.float32


# ---------------------------------------------------------------- tables that contradict


def wrong(comm, kind, text, edges=BASE, **options):
    found = agreed_error(comm, kind, lambda: hpcmp.build_graph(comm, table(comm, edges), **options))
    assert text in found, found


def test_vertices_listed_twice_or_not_at_all_are_refused(comm):
    wrong(
        comm,
        InputError,
        "vertex 0 is listed 2 times in the vertex list",
        BASE._replace(ids=np.array([0, 0, *range(1, 6)])),
    )
    wrong(
        comm,
        InputError,
        "vertex 3 is an endpoint of an edge but is not in the vertex list",
        BASE._replace(ids=np.array([0, 1, 2, 4])),
    )
    wrong(
        comm,
        InputError,
        "vertex 2 is listed 2 times in the vertex table",
        vertices=vertex_table(comm, keys=(0, 1, 2, 2, 3, 4, 5)),
    )
    wrong(
        comm,
        InputError,
        "vertex 5 is an endpoint of an edge but is not in the vertex table",
        vertices=vertex_table(comm, keys=(0, 1, 2, 3, 4)),
    )


def test_features_of_strangers_or_given_twice_are_refused(comm):
    wrong(
        comm,
        InputError,
        "vertex 9 has features but is not in the graph",
        features=features(comm, entries=((0, 1, 1.0), (9, 1, 1.0))),
    )
    wrong(
        comm,
        InputError,
        "vertex 4 has feature 3 2 times; give it once",
        features=features(comm, entries=((4, 3, 1.0), (4, 3, 1.0))),
    )


def test_ids_in_one_table_and_names_in_another_are_refused(comm):
    def mixed():
        key = np.array([b"a"], "S1")[share(comm, 1)]
        return hpcmp.build_graph(comm, table(comm, BASE), vertices=VertexTable(key, {}))

    assert "by ids in one place and by names in another" in agreed_error(comm, InputError, mixed)


def test_a_direction_that_contradicts_the_input_is_refused(comm):
    wrong(comm, InputError, "the input says it is directed, the command says undirected", directed=False)
    wrong(comm, InputError, "the input says it is undirected", BASE._replace(directed=False), directed=True)
    given = replace(table(comm, BASE), directed=None)
    assert hpcmp.build_graph(comm, given)[0].directed
    assert not hpcmp.build_graph(comm, given, directed=False)[0].directed


@pytest.mark.parametrize("name", ["sender", "relation", "a b", "_x", "ptr", "src"])
def test_edge_fields_that_functions_or_files_could_not_tell_apart_are_refused(comm, name):
    given = table(comm, BASE, fields={name: BASE.weight})
    text = agreed_error(comm, GraphError, lambda: hpcmp.build_graph(comm, given))
    assert f"edge field {name!r} cannot be" in text


@pytest.mark.parametrize("name", ["id", "in_degree", "order", "name", "9"])
def test_vertex_fields_that_functions_or_files_could_not_tell_apart_are_refused(comm, name):
    given = VertexTable(vertex_table(comm).key, {name: vertex_table(comm).fields["age"]})
    text = agreed_error(comm, GraphError, lambda: hpcmp.build_graph(comm, table(comm, BASE), vertices=given))
    assert f"vertex field {name!r} cannot be" in text


def test_fields_that_are_no_numbers_are_refused(comm):
    given = table(comm, BASE, fields={"c": BASE.weight.astype(complex)})
    text = agreed_error(comm, GraphError, lambda: hpcmp.build_graph(comm, given))
    assert "edge field 'c' has dtype complex128, which is no number hpcmp computes with" in text


def test_parts_that_cannot_be_are_refused_before_anything_is_built(comm):
    wrong(comm, PartitionError, "parts = -3 is outside", n_parts=-3)


# ---------------------------------------------------------------- files of parts


def test_parts_from_lines_reach_their_vertices(comm):
    one = GRAPHS["sparse_ids"]
    graph, n = build(comm, one, method="hash"), len(one.ids)
    wanted = {v: k % 3 for k, v in enumerate(one.ids.tolist())}
    for deal in DEALS:
        lines = np.random.default_rng(1).permutation(n)[share(comm, n, deal)]
        found = part_of_rows(graph, one.ids[lines], lines % 3)
        assert everywhere(graph, found) == wanted
    mine = slice(n * comm.rank // comm.size, n * (comm.rank + 1) // comm.size)
    assert everywhere(graph, part_of_rows(graph, None, (np.arange(n) % 3)[mine])) == wanted


def test_lines_of_parts_that_do_not_fit_are_refused(comm):
    one = GRAPHS["random"]
    graph, n = build(comm, one), len(one.ids)
    few = share(comm, n - 1)
    text = agreed_error(comm, InputError, lambda: part_of_rows(graph, one.ids[few], few, "p.tsv"))
    assert text == f"p.tsv has {n - 1} lines, the graph {n} vertices; give each vertex one part"
    mine = share(comm, n)
    ids = np.where(mine == 4, one.ids[5], one.ids[mine])
    text = agreed_error(comm, InputError, lambda: part_of_rows(graph, ids, mine, "p.tsv"))
    assert f"p.tsv has no line for vertex {one.ids[4]}" in text


@pytest.mark.parametrize("keys", [[], [7], [3, 3, 1], [5, 4, 5, 6], [0, 10**12, -5], [-(2**63), 2**63 - 1]])
def test_unique_inverse_is_numpys(keys):
    keys = np.array(keys, np.int64)
    for found, expected in zip(unique_inverse(keys), np.unique(keys, return_inverse=True)):
        assert np.array_equal(found, expected)
