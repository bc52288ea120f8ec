"""LDBC, MatrixMarket, METIS, GraphML, npz and N-Triples, across ranks."""

import gzip

import naive_read
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import edges, gathered, message, put, save

from hpcmp.errors import FormatError, InputError
from hpcmp.io import text
from hpcmp.io.readers import read_edges, read_vertices


def vertices(comm, table):
    return gathered(comm, table.vertices)


@pytest.fixture(params=[1, 20, 2**22], ids=lambda size: f"blocks{size}")
def block_bytes(request, monkeypatch):
    monkeypatch.setattr(text, "BLOCK_BYTES", request.param)


# ---------------------------------------------------------------- LDBC


def ldbc(comm, folder, properties=True, edge_lines="1 2 0.5\n2 7 1\n"):
    put(comm, folder / "x.v", "1\n2\n7\n9\n")
    if properties:
        put(
            comm,
            folder / "x.properties",
            "# comment\ngraph.x.directed = false\ngraph.x.edge-file = other.e\n"
            "graph.x.edge-properties.names = cost\ngraph.x.edge-properties.types = real\n",
        )
    return put(comm, folder / "x.e", edge_lines)[:-2]


@pytest.mark.parametrize("ending", ["", ".e", ".v", ".properties"])
def test_an_ldbc_pair_is_found_by_any_of_its_names(comm, shared_tmp, ending):
    table = read_edges(comm, ldbc(comm, shared_tmp) + ending)
    assert edges(comm, table) == [(1, 2, 0.5), (2, 7, 1.0)]
    assert vertices(comm, table) == [1, 2, 7, 9]
    assert table.directed is False and list(table.fields) == ["cost"]
    assert [source["name"] for source in table.sources] == ["x.v", "x.e", "x.properties"]


def test_without_properties_ldbc_does_not_say_whether_it_is_directed(comm, shared_tmp):
    table = read_edges(comm, ldbc(comm, shared_tmp, properties=False) + ".e")
    assert table.directed is None and list(table.fields) == ["weight"]


def test_an_ldbc_graph_may_have_no_edge(comm, shared_tmp):
    table = read_edges(comm, ldbc(comm, shared_tmp, edge_lines=""))
    assert edges(comm, table) == [] and vertices(comm, table) == [1, 2, 7, 9]
    assert {a.dtype for a in comm.allgather(table.fields["cost"])} == {np.dtype(np.float64)}


def test_ldbc_errors_say_what_is_missing(comm, shared_tmp):
    path = put(comm, shared_tmp / "y.e", "1 2\n")
    assert "y.v is missing" in message(comm, lambda: read_edges(comm, path), InputError)
    path = ldbc(comm, shared_tmp, edge_lines="1 2\n")
    assert "has 2 columns, its properties name 1" in message(comm, lambda: read_edges(comm, path), InputError)


LDBC_TESTS = ("example", "test-bfs", "test-cdlp", "test-lcc", "test-pr", "test-sssp", "test-wcc")


@pytest.mark.parametrize("name", LDBC_TESTS)
@pytest.mark.parametrize("kind", ["directed", "undirected"])
def test_ldbc_examples_equal_the_naive_reader(comm, data, name, kind):
    stem = data / "ldbc" / f"{name}-{kind}"
    table = read_edges(comm, str(stem))
    rows = naive_read.edges_of(stem.with_name(stem.name + ".e").read_bytes())
    assert edges(comm, table) == sorted(rows)
    assert vertices(comm, table) == [int(v) for v in stem.with_name(stem.name + ".v").read_text().split()]
    assert table.directed is (kind == "directed")


# ---------------------------------------------------------------- MatrixMarket


BANNER = "%%MatrixMarket matrix coordinate "


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_matrix_declares_all_of_its_rows(comm, shared_tmp, block_bytes, packed):
    content = f"{BANNER}real general\n% a comment\n\n5 5 3\n1 2 0.5\n5 1 1e3\n% one more\n2 2 -1\n".encode()
    table = read_edges(comm, put(comm, shared_tmp / "m.mtx", gzip.compress(content) if packed else content))
    assert edges(comm, table) == [(1, 2, 0.5), (2, 2, -1.0), (5, 1, 1000.0)]
    assert vertices(comm, table) == [1, 2, 3, 4, 5]
    assert table.directed is True


def test_symmetric_is_undirected_integer_is_int64_and_pattern_has_no_weight(comm, shared_tmp):
    table = read_edges(comm, put(comm, shared_tmp / "a.mtx", f"{BANNER}integer symmetric\n2 2 1\n2 1 7\n"))
    assert table.directed is False and table.fields["weight"].dtype == np.int64
    table = read_edges(
        comm, put(comm, shared_tmp / "b.mtx", "%%matrixmarket MATRIX Coordinate pattern General\n2 2 0\n")
    )
    assert table.fields == {} and edges(comm, table) == [] and vertices(comm, table) == [1, 2]


BAD_MATRICES = {
    "no banner": ("2 2 1\n1 1 1\n", "does not start with '%%MatrixMarket"),
    "dense": ("%%MatrixMarket matrix array real general\n2 2\n", "is array: a dense matrix"),
    "complex": (f"{BANNER}complex general\n1 1 0\n", "is complex"),
    "hermitian": (f"{BANNER}real hermitian\n1 1 0\n", "is hermitian"),
    "rectangular": (f"{BANNER}real general\n2 3 1\n1 1 1\n", "is 2 x 3: only a square matrix is a graph"),
    "no sizes": (f"{BANNER}real general\n% c\n", "has no size line"),
    "too few": (f"{BANNER}pattern general\n3 3 2\n1 1\n", "has 1 entries, its size line says 2"),
    "too many": (f"{BANNER}pattern general\n3 3 1\n1 1\n2 2\n", "has 2 entries, its size line says 1"),
    "row 0": (f"{BANNER}pattern general\n3 3 1\n0 1\n", "row '0' is outside [1, 3] (m.mtx, line 3)"),
    "column 4": (f"{BANNER}pattern general\n3 3 1\n1 4\n", "column '4' is outside [1, 3] (m.mtx, line 3)"),
    "no value": (f"{BANNER}real general\n3 3 1\n1 1\n", "2 columns where 3 belong (m.mtx, line 3)"),
    "huge": (f"{BANNER}real general\n{10**15} {10**15} 0\n", f"declares {10**15} vertices"),
    "more than it holds": (f"{BANNER}real general\n3 3 {10**12}\n1 1 1\n", f"too few for the {10**12} entries"),
}


@pytest.mark.parametrize("case", BAD_MATRICES)
def test_a_matrix_that_breaks_a_rule_is_refused(comm, shared_tmp, case):
    content, expected = BAD_MATRICES[case]
    path = put(comm, shared_tmp / "m.mtx", content)
    assert expected in message(comm, lambda: read_edges(comm, path), InputError)


# ---------------------------------------------------------------- METIS


# figure 8 (b) of the METIS manual 5.0: edge weights
MANUAL = (
    "% c\n7 11 001\n5 1 3 2 2 1\n1 1 3 2 4 1\n5 3 4 2 2 2 1 2\n2 1 3 2 6 2 7 5\n1 1 3 3 6 2\n5 2 4 2 7 6\n6 6 4 5\n"
)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_metis_graph_gives_every_edge_once(comm, shared_tmp, block_bytes, packed):
    content = MANUAL.encode()
    table = read_edges(comm, put(comm, shared_tmp / "m.graph", gzip.compress(content) if packed else content))
    assert edges(comm, table) == sorted(naive_read.metis_edges(content))
    assert len(edges(comm, table)) == 11
    assert vertices(comm, table) == [1, 2, 3, 4, 5, 6, 7] and table.directed is False


def test_blank_lines_of_metis_are_vertices_without_neighbours(comm, shared_tmp, block_bytes):
    table = read_edges(comm, put(comm, shared_tmp / "m.graph", "\n% c\n\n6 2\n\n3\n2 6\n% c\n\n  \n3\n\n\n"))
    assert edges(comm, table) == [(2, 3), (3, 6)]
    assert vertices(comm, table) == [1, 2, 3, 4, 5, 6]


def test_sizes_and_weights_of_metis_vertices_are_skipped(comm, shared_tmp, block_bytes):
    table = read_edges(comm, put(comm, shared_tmp / "m.graph", "2 1 111 2\n9 8 7 2 5\n6 6 6 1 5\n"))
    assert edges(comm, table) == [(1, 2, 5)]


BAD_METIS = {
    "no header": ("hello\n", "does not start with a header"),
    "bad fmt": ("2 1 012\n2\n1\n", "the fmt 012 of m.graph is not three digits"),
    "neighbour 0": ("2 1\n2\n0\n", "neighbour '0' is outside [1, 2] (m.graph, line 3)"),
    "neighbour 3": ("2 1\n3\n1\n", "neighbour '3' is outside [1, 2] (m.graph, line 2)"),
    "loop": ("% c\n2 1\n1 2\n1\n", "neighbour '1' is the vertex itself, a METIS graph has no loops (m.graph, line 3)"),
    "text": ("2 1\n2\nx\n", "entry 'x' is not an integer (m.graph, line 3)"),
    "one end only": ("3 1\n2\n\n2\n", "lists an edge at one end only"),
    "two weights": ("2 1 001\n2 5\n1 6\n", "lists an edge at one end only, or with two weights"),
    "too few entries": ("3 2\n2\n1\n\n", "lists 2 neighbours, its header's 2 edges make 4"),
    "too few lines": ("3 1\n2\n1\n", "has 2 vertex lines, its header says 3"),
    "too many lines": ("2 1\n2\n1\n\n1\n", "a line after those of all 2 vertices (m.graph, line 5)"),
    "no weight": ("2 1 001\n2\n1 1\n", "1 numbers for vertex 1 where the header says 0 sizes and weights"),
    "no vertex weight": (
        "% c\n2 0 010\n7\n\n",
        "0 numbers for vertex 2 where the header says 1 sizes and weights, then neighbours (m.graph, line 4)",
    ),
    "huge": (f"{10**12} 1\n1\n", f"declares {10**12} vertices"),
    "more than it holds": (f"3 {10**9}\n2\n1\n\n", f"too few for the 3 vertices and {10**9} edges"),
}


@pytest.mark.parametrize("case", BAD_METIS)
def test_a_metis_graph_that_breaks_a_rule_is_refused(comm, shared_tmp, case):
    content, expected = BAD_METIS[case]
    path = put(comm, shared_tmp / "m.graph", content)
    assert expected in message(comm, lambda: read_edges(comm, path), InputError)


@given(st.sets(st.tuples(st.integers(1, 9), st.integers(1, 9))), st.booleans(), st.integers(1, 30))
def test_any_metis_graph_equals_the_naive_reader(comm, shared_tmp, pairs, has_weight, size):
    pairs = {(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]}
    lines = [f"9 {len(pairs)} {int(has_weight)}"]
    for u in range(1, 10):
        near = sorted({v for pair in pairs for v in pair if u in pair and v != u})
        lines.append(" ".join(f"{v} {u * v}" if has_weight else f"{v}" for v in near))
    content = "\n".join([*lines, ""]).encode()
    path = put(comm, shared_tmp / "m.graph", content)
    before, text.BLOCK_BYTES = text.BLOCK_BYTES, size
    try:
        table = read_edges(comm, path)
    finally:
        text.BLOCK_BYTES = before
    expected = sorted(edge if has_weight else edge[:2] for edge in naive_read.metis_edges(content))
    assert all(comm.allgather(edges(comm, table) == expected))


# ---------------------------------------------------------------- GraphML


GRAPHML = """<?xml version="1.0" encoding="UTF-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
  <!-- <node id="not"/> <edge source="not" target="not"/> -->
  <key id="d0" for="edge" attr.name="weight" attr.type="double"/>
  <key id="d1" for="edge" attr.name="label" attr.type="string"/>
  <key id="d2" for="node" attr.name="age" attr.type="int"><default>30</default></key>
  <key attr.type='boolean' attr.name='fine' for='node' id='d3'/>
  <graph id="G" edgedefault="EDGEDEFAULT">
    <node id="n5"><data key="d2">41</data><data key="d3">true</data></node>
    <node id='n7'><data key="d3">false</data></node>
    <node id="n-2"><data key="d3">1</data></node>
    <edge id="a>b" source="n5" target='n7'><data key="d1">x &lt; y</data><data key="d0"> 0.5 </data></edge>
    <edge target="n5" id="e 'q' source='n9'" source="n-2"><data key="d0">1e-3</data></edge>
  </graph>
</graphml>
"""


@pytest.mark.parametrize("default", ["directed", "undirected"])
def test_graphml_gives_nodes_edges_and_numeric_data(comm, shared_tmp, default):
    path = put(comm, shared_tmp / "g.graphml", GRAPHML.replace("EDGEDEFAULT", default))
    table = read_edges(comm, path)
    assert edges(comm, table) == [(-2, 5, 1e-3), (5, 7, 0.5)]
    assert vertices(comm, table) == [5, 7, -2]
    assert table.directed is (default == "directed") and list(table.fields) == ["weight"]
    fields = read_vertices(comm, path)
    assert gathered(comm, fields.key) == [5, 7, -2]
    assert gathered(comm, fields.fields["age"]) == [41, 30, 30]
    assert gathered(comm, fields.fields["fine"]) == [True, False, True]
    assert {name: column.dtype for name, column in fields.fields.items()} == {"age": np.int32, "fine": np.bool_}


def test_graphml_names_are_kept_with_their_entities_replaced(comm, shared_tmp):
    content = GRAPHML.replace("EDGEDEFAULT", "directed").replace("n5", "A&amp;B &#228;&#x42;")
    table = read_edges(comm, put(comm, shared_tmp / "g.graphml", content))
    assert vertices(comm, table) == ["A&B äB".encode(), b"n7", b"n-2"]
    assert edges(comm, table)[0][:2] == ("A&B äB".encode(), b"n7")
    assert {a.dtype for a in comm.allgather(table.vertices)} == {table.src.dtype}


BAD_GRAPHML = {
    "not XML": ("<graphml><graph></graphml>", "is not well-formed XML: mismatched tag: line 1"),
    "another root": ("<html/>", "its first element is 'html'"),
    "an entity": ('<!DOCTYPE graphml [<!ENTITY a "b">]><graphml/>', "declares the entity 'a'"),
    "two graphs": ('<graphml><graph edgedefault="directed"/><graph edgedefault="directed"/></graphml>', "has 2 graphs"),
    "no default": ("<graphml><graph/></graphml>", "edgedefault of g.graphml is None"),
    "unknown node": (
        GRAPHML.replace("EDGEDEFAULT", "directed")
        .replace("'n7'>", "'n8'>", 1)
        .replace("<node id='n8'>", "<node id='n7'>")
        .replace("target='n7'", "target='n8'"),
        "ends at 8, which is no node of the file",
    ),
    "mixed": (
        GRAPHML.replace("EDGEDEFAULT", "directed").replace("<edge target", '<edge directed="false" target'),
        "is not directed as the rest",
    ),
    "no value": (
        GRAPHML.replace("EDGEDEFAULT", "directed").replace('<data key="d0">1e-3</data>', ""),
        "edge 2 of g.graphml has no weight",
    ),
    "no number": (
        GRAPHML.replace("EDGEDEFAULT", "directed").replace("1e-3", "soft"),
        "weight 'soft' is not a number (g.graphml, datum 2 of the edge key weight)",
    ),
    "CDATA": ("<graphml><![CDATA[<node]]></graphml>", "has CDATA sections"),
    "Latin": ('<?xml version="1.0" encoding="ISO-8859-1"?><graphml/>', "is encoded in ISO-8859-1"),
}


@pytest.mark.parametrize("case", BAD_GRAPHML)
def test_graphml_that_breaks_a_rule_is_refused(comm, shared_tmp, case):
    content, expected = BAD_GRAPHML[case]
    path = put(comm, shared_tmp / "g.graphml", content)
    assert expected in message(comm, lambda: read_edges(comm, path), (FormatError, InputError))


# ---------------------------------------------------------------- npz


ROW, COL, VALUE = np.array([0, 0, 2, 3, 3]), np.array([1, 3, 2, 0, 1]), np.array([0.5, 1.0, 2.0, 3.0, 4.0])
ENTRIES = sorted(zip(ROW.tolist(), COL.tolist(), VALUE.tolist()))
PTR = np.array([0, 2, 2, 3, 5], np.int32)


@pytest.mark.parametrize("kind", ["coo", "csr", "csc"])
def test_a_sparse_matrix_gives_its_entries(comm, shared_tmp, kind):
    indices = {"row": ROW, "col": COL} if kind == "coo" else {"indptr": PTR, "indices": COL.astype(np.int32)}
    path = save(
        comm, shared_tmp / "m.npz", format=np.array(kind.encode()), shape=np.array([4, 4]), data=VALUE, **indices
    )
    table = read_edges(comm, path)
    expected = sorted((j, i, w) for i, j, w in ENTRIES) if kind == "csc" else ENTRIES
    assert edges(comm, table) == expected
    assert vertices(comm, table) == [0, 1, 2, 3] and table.directed is True


@pytest.mark.parametrize("order", ["C", "F"])
def test_edge_index_is_read_in_either_memory_order(comm, shared_tmp, order):
    index = np.array([ROW, COL], order=order)
    table = read_edges(comm, save(comm, shared_tmp / "m.npz", edge_index=index, cost=VALUE.astype(">f4")))
    assert edges(comm, table) == ENTRIES
    assert table.fields["cost"].dtype == np.dtype("=f4") and table.directed is None


def test_src_and_dst_are_read_with_all_other_arrays_as_fields(comm, shared_tmp):
    path = save(comm, shared_tmp / "m.npz", src=ROW.astype(np.uint64), dst=COL.astype(np.int16), weight=VALUE)
    assert edges(comm, read_edges(comm, path)) == ENTRIES


BAD_NPZ = {
    "objects": ({"src": np.array([1, None]), "dst": np.array([1, 2])}, "unpickles nothing"),
    "lengths": ({"src": ROW, "dst": COL[1:]}, "'dst' of m.npz has 4 numbers for 5 edges"),
    "no ends": ({"x": ROW}, "has no array 'src'; it holds x"),
    "float ids": ({"src": VALUE, "dst": COL}, "src of m.npz has the type float64"),
    "nan": ({"src": ROW, "dst": COL, "w": np.full(5, np.nan)}, "is nan (m.npz)"),
    "complex": ({"src": ROW, "dst": COL, "w": VALUE * 1j}, "hpcmp reads plain numbers"),
    "beyond int64": ({"src": np.array([2**63], np.uint64), "dst": COL[:1]}, "ids are integers below 2**63"),
    "index shape": ({"edge_index": np.zeros((3, 2), int)}, "edge_index of m.npz has the shape (3, 2)"),
    "rectangular": ({"format": b"coo", "shape": [4, 5], "row": ROW, "col": COL, "data": VALUE}, "only a square matrix"),
    "outside": ({"format": b"coo", "shape": [3, 3], "row": ROW, "col": COL, "data": VALUE}, "is outside [0, 3)"),
    "diagonal": ({"format": b"dia", "shape": [3, 3], "data": VALUE}, "is a dia matrix"),
    "huge": ({"format": b"coo", "shape": [10**15, 10**15], "row": ROW, "col": COL, "data": VALUE}, "declares"),
    "falling indptr": (
        {"format": b"csr", "shape": [4, 4], "indptr": [0, 3, 2, 4, 5], "indices": COL, "data": VALUE},
        "does not rise",
    ),
    "short indptr": (
        {"format": b"csr", "shape": [4, 4], "indptr": [0, 5], "indices": COL, "data": VALUE},
        "has 2 numbers for 4 rows",
    ),
}


@pytest.mark.parametrize("case", BAD_NPZ)
def test_arrays_that_break_a_rule_are_refused(comm, shared_tmp, case):
    arrays, expected = BAD_NPZ[case]
    path = save(comm, shared_tmp / "m.npz", **arrays)
    assert expected in message(comm, lambda: read_edges(comm, path), InputError)


@pytest.mark.parametrize("damage", ["cut", "not a zip", "flipped"])
def test_a_damaged_npz_is_refused(comm, shared_tmp, damage):
    path = save(comm, shared_tmp / "m.npz", src=np.arange(5000) ** 3, dst=np.arange(5000))
    content = bytearray((shared_tmp / "m.npz").read_bytes())
    comm.Barrier()
    if damage == "flipped":
        content[len(content) // 3] ^= 255
    put(comm, shared_tmp / "m.npz", {"cut": content[:-100], "not a zip": b"x" * 50, "flipped": content}[damage])
    message(comm, lambda: read_edges(comm, path), FormatError)


def test_a_flipped_bit_in_an_array_stored_unpacked_is_found(comm, shared_tmp):
    path = save(comm, shared_tmp / "m.npz", is_packed=False, src=np.arange(1000), dst=np.arange(1000))
    content = bytearray((shared_tmp / "m.npz").read_bytes())
    comm.Barrier()
    content[2000] ^= 1
    put(comm, shared_tmp / "m.npz", content)
    assert "CRC" in message(comm, lambda: read_edges(comm, path), FormatError)


# ---------------------------------------------------------------- N-Triples


def test_triples_are_named_edges_with_relations(comm, shared_tmp, block_bytes):
    long = '"' + "so it goes " * 100
    content = '# c\n<a> <p> <b> .\n<a> <q> "two  words"@en.\n<b>\t<p>\t<c> .\n'
    content += f'<b> <q> {long}1" .\n<c> <q> {long}2" .\n<a> <q> {long}1" .\n'
    table = read_edges(comm, put(comm, shared_tmp / "g.nt", content))
    rows = sorted(
        zip(
            gathered(comm, table.src),
            gathered(comm, table.relation),
            gathered(comm, table.dst),
        )
    )
    assert table.relations == ("<p>", "<q>") and table.directed is True
    assert (b"<a>", 0, b"<b>") in rows and (b"<a>", 1, b'"two  words"@en') in rows and (b"<b>", 0, b"<c>") in rows
    long_names = [dst for _, _, dst in rows if dst.startswith(b'"~')]
    assert len(long_names) == 3 and len(set(long_names)) == 2


def test_a_long_name_does_not_depend_on_the_texts_beside_it(comm, shared_tmp, block_bytes):
    same, longer = f'"{"x" * 300}"', f'"{"y" * 900}"'
    content = "".join(f"<{k}> <p> {same if k % 5 else longer} .\n" for k in range(12))
    table = read_edges(comm, put(comm, shared_tmp / "g.nt", content))
    assert len(set(gathered(comm, table.dst))) == 2


@pytest.mark.parametrize("line", ["<a> <b> <c>", "<a> <b> .", "."])
def test_a_line_that_is_no_triple_is_refused(comm, shared_tmp, line):
    path = put(comm, shared_tmp / "g.nt", f"<a> <b> <c> .\n{line}\n")
    assert (
        message(comm, lambda: read_edges(comm, path))
        == "a triple that is not 'subject predicate object .' (g.nt, line 2)"
    )


def test_aifb_has_its_triples_and_relations(comm, data):
    table = read_edges(comm, str(data / "aifb" / "aifb_stripped.nt.gz"))
    assert comm.allreduce(len(table.src)) == 29_043 and len(table.relations) == 45
