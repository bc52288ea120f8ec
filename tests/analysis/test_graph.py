"""Graphs read back: edges by id, degrees, views, and every index checked."""

import sys

import numpy as np
import pytest
import samples

import hpcmp
from hpcmp import analysis
from hpcmp.analysis import check, frame
from hpcmp.errors import FormatError, GraphError, MissingExtraError


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graphs")
    whole = samples.graph()
    graphs = {
        "plain": whole,
        "hashed": hpcmp.repartition(whole, "hash", 3),
        "undirected": samples.graph(directed=False),
        "named": samples.named_graph(),
        "empty": samples.graph([], [], []),
    }
    return {name: samples.write_graph(folder / f"{name}.h5", of) for name, of in graphs.items()}


KINDS = ("plain", "hashed", "undirected", "named", "empty")


def edge_set(graph):
    """Edges as sorted (src id, dst id, weight)."""
    weight = graph.edge("weight") if "weight" in graph.edge_fields else np.zeros(graph.n_edges)
    dst = np.repeat(graph.id, np.diff(graph.in_ptr))
    return sorted(zip(graph.id[graph.in_src].tolist(), dst.tolist(), weight.tolist(), strict=True))


EDGES = sorted(zip(samples.SRC, samples.DST, samples.WEIGHT.tolist(), strict=True))


@pytest.mark.parametrize("kind", ["plain", "hashed"])
def test_edges_are_those_that_were_given_whatever_the_partition(files, kind):
    assert edge_set(analysis.open(files[kind])) == EDGES


def test_an_undirected_edge_runs_both_ways_and_a_loop_once(files):
    back = [(b, a, w) for a, b, w in EDGES if a != b]
    assert edge_set(analysis.open(files["undirected"])) == sorted(EDGES + back)


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_of_edges_are_the_edges(files, kind, monkeypatch):
    graph = analysis.open(files[kind])
    for rows in (1, 2, 3, 100):
        monkeypatch.setattr(frame, "BLOCK_ROWS", rows)
        blocks = list(graph.edge_blocks())
        empty = [np.empty(0, np.int64)]
        np.testing.assert_array_equal(np.concatenate([*(b.src for b in blocks), *empty]), graph.in_src)
        dst = np.repeat(np.arange(graph.n_vertices), np.diff(graph.in_ptr))
        np.testing.assert_array_equal(np.concatenate([*(b.dst for b in blocks), *empty]), dst)
        for name in graph.edge_fields:
            np.testing.assert_array_equal(np.concatenate([*(b.fields[name] for b in blocks), []]), graph.edge(name))


@pytest.mark.parametrize("kind", KINDS)
def test_check_finds_a_good_file_good_and_recomputes_its_digest(files, kind, monkeypatch):
    graph = analysis.open(files[kind])
    assert check.check_graph(graph) == graph.digest
    monkeypatch.setattr(frame, "BLOCK_ROWS", 2)
    monkeypatch.setattr(check, "BLOCK_ROWS", 2)
    assert check.check_graph(graph) == graph.digest


def swapped_sources(handle):
    """Two sources of one row change places, which changes no edge."""
    ptr, src = handle["in_edges/ptr"][:], handle["in_edges/src"][:]
    row = next(k for k in range(len(ptr) - 1) if len(set(src[ptr[k] : ptr[k + 1]])) > 1)
    handle["in_edges/src"][ptr[row] : ptr[row + 1]] = src[ptr[row] : ptr[row + 1]][::-1]


def entry(name, row, value):
    return lambda handle: handle[name].__setitem__(row, value)


BAD_INDEX = {
    "pointers go back": (entry("in_edges/ptr", 1, 6), "in_edges/ptr goes back"),
    "pointers start late": (entry("in_edges/ptr", 0, 1), "in_edges/ptr|goes back|runs from 1"),
    "pointers end early": (entry("in_edges/ptr", -1, 6), "in_edges/ptr runs from 0 to 6|must rise from 0|goes back"),
    "source too large": (entry("in_edges/src", 3, 5), r"in_edges/src\[3\] = 5 is outside \[0, 5\)"),
    "source negative": (entry("in_edges/src", 0, -1), r"in_edges/src\[0\] = -1 is outside"),
    "order too large": (entry("vertices/order", 2, 5), r"vertices/order\[2\] = 5 is outside \[0, 5\)"),
    "order repeats": (entry("vertices/order", 2, 1), "vertices/order is no permutation, 2 is missing"),
    "ids repeat": (entry("vertices/id", 1, 10), "puts id 10 after id 10"),
    "degree": (entry("vertices/out_degree", 0, 9), r"vertices/out_degree\[0\] = 9, 3 edges leave vertex 10"),
    "canonical order": (swapped_sources, "comes after a source of higher order"),
    "weight": (entry("in_edges/weight", 0, 9.0), "have the digest .*, the file says"),
    "id": (entry("vertices/id", 4, 91), "have the digest .*, the file says"),
}


@pytest.mark.parametrize("case", BAD_INDEX)
@pytest.mark.parametrize("rows", [2, 1000])
def test_check_finds_every_number_that_is_wrong(files, tmp_path, case, rows, monkeypatch):
    change, says = BAD_INDEX[case]
    path = samples.changed(files["plain"], tmp_path / "bad.h5", change)
    monkeypatch.setattr(frame, "BLOCK_ROWS", rows)
    monkeypatch.setattr(check, "BLOCK_ROWS", rows)
    with pytest.raises(FormatError, match=says) as caught:
        check.check_graph(analysis.open(path))
    assert "bad.h5" in str(caught.value)


def test_check_finds_a_relation_and_a_category_out_of_range(files, tmp_path):
    for name, says in (
        ("in_edges/relation", r"relation\[0\] = 7 is outside \[0, 2\)"),
        ("vertices/role", r"role\[0\] = 7"),
    ):
        path = samples.changed(files["named"], tmp_path / "bad.h5", entry(name, 0, 7))
        with pytest.raises(FormatError, match=says):
            check.check_graph(analysis.open(path))


def test_degrees_are_those_of_the_edges(files):
    graph = analysis.open(files["hashed"])
    in_degree, out_degree = graph.degrees()
    assert dict(zip(graph.id.tolist(), in_degree.tolist(), strict=True)) == {10: 1, 20: 1, 30: 4, 70: 0, 90: 1}
    assert dict(zip(graph.id.tolist(), out_degree.tolist(), strict=True)) == {10: 3, 20: 1, 30: 2, 70: 1, 90: 0}


def test_names_and_categories_come_back_as_texts(files):
    graph = analysis.open(files["named"])
    rows = dict(zip(graph.name, graph.vertex("role", decode=True), strict=True))
    assert rows == {"ann": "train", "böb": "test", "zoe": "train"}
    assert set(graph.vertex("role")) == {0, 1}
    assert graph.relations == ("likes", "knows")
    assert graph.vertex_fields["x"].width == 2


def test_a_code_without_a_category_has_no_text(files, tmp_path):
    path = samples.changed(files["named"], tmp_path / "bad.h5", entry("vertices/role", 0, -1))
    assert analysis.open(path).vertex("role", decode=True)[0] is None


def test_scipy_has_a_row_for_each_source_by_ascending_id(files):
    pytest.importorskip("scipy")
    dense = np.zeros((5, 5))
    place = {10: 0, 20: 1, 30: 2, 70: 3, 90: 4}
    for a, b, w in EDGES:
        dense[place[a], place[b]] += w
    for kind in ("plain", "hashed"):
        np.testing.assert_array_equal(analysis.open(files[kind]).to_scipy("weight").toarray(), dense)
        assert analysis.open(files[kind]).to_scipy()[0, 2] == 2.0


def test_pandas_frames_hold_edges_and_vertices(files):
    pytest.importorskip("pandas")
    table = analysis.open(files["plain"]).to_pandas_edges()
    assert sorted(table.itertuples(index=False, name=None)) == EDGES
    named = analysis.open(files["named"])
    assert sorted(named.to_pandas_edges()["relation"]) == ["knows", "knows", "likes"]
    vertices = named.to_pandas_vertices()
    assert vertices["name"].tolist() == ["ann", "böb", "zoe"]
    assert vertices["x_0"].sum() == vertices["x_1"].sum() == 1.0


def test_what_is_not_there_is_named(files, monkeypatch):
    graph = analysis.open(files["plain"])
    with pytest.raises(GraphError, match="'cost' is not a field of the edges of .*plain.h5 .it has: weight."):
        graph.edge("cost")
    with pytest.raises(GraphError, match="'cost' is not a field of the vertices .* .it has: none."):
        graph.vertex("cost")
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(MissingExtraError, match="package scipy"):
        graph.to_scipy()
