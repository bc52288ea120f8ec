"""`hpcmp convert`: every option, the same graph on any ranks, and the files of the data folder."""

import functools
import gzip
import json

import jobs
import numpy as np
import pytest

from hpcmp import analysis

RANKS = (1, 3)

TEXTS = {
    "plain.tsv": "# a comment\n10 20\n20 30\n30 30\n10 20\n",
    "weights.tsv": "1\t2\t0.5\n2\t3\t1e-3\n3\t1\t7\n",
    "table.csv": "from,to,kilometres,lanes\n1,2,0.5,2\n2,3,1.5,1\n",
    "lengths.tsv": "1 2 5 0.25\n2 3 6 0.5\n",
    "names.csv": 'Ann,Bob\nBob,Zoe\n"Jr, Al",Ann\n',
    "semicolons.txt": "1;2\n2;3\n",
    "cites.tsv": "1 2\n2 3\n3 4\n",
    "writes.tsv": "9 1\n9 2\n",
    "labelled.tsv": "1 2 cites\n9 1 writes\n2 3 cites\n",
    "people.tsv": "name\theight\tteam\nZoe\t1.7\tred\nAnn\t1.5\tblue\nBob\t1.9\tred\nJr, Al\t1.6\tblue\n",
    "seven.tsv": "id\tage\n7\t70\n1\t10\n2\t20\n3\t30\n",
    "features.tsv": "1\t0\t0.5\n3\t4\t2\n",
    "square.mtx": "%%MatrixMarket matrix coordinate real symmetric\n3 3 2\n2 1 0.5\n3 2 1.5\n",
    "path.graph": "3 2\n2\n1 3\n2\n",
    "small.graphml": """<?xml version="1.0"?><graphml xmlns="http://graphml.graphdrawing.org/xmlns">
<key id="w" for="edge" attr.name="weight" attr.type="double"/><graph edgedefault="undirected">
<node id="a"/><node id="b"/><node id="c"/>
<edge source="a" target="b"><data key="w">0.5</data></edge><edge source="b" target="c"><data key="w">1.5</data></edge>
</graph></graphml>""",
}
COMMANDS = {  # words; @ is the folder of inputs, and -o is added
    "plain": "@plain.tsv",
    "gz": "@plain.txt.gz",
    "undirected": "@plain.tsv --undirected",
    "dropped": "@plain.tsv --drop-loops --drop-duplicates",
    "weights": "@weights.tsv",
    "header": "@table.csv --header --columns src,dst,kilometres,lanes --weight kilometres",
    "columns": "@lengths.tsv --columns src,dst,_,weight",
    "typed": "@lengths.tsv --columns src,dst,time:int32,length:float32",
    "semicolons": "@semicolons.txt --separator ;",
    "names": "@names.csv --names",
    "relations": "cites=@cites.tsv writes=@writes.tsv",
    "swapped": "writes=@writes.tsv cites=@cites.tsv",
    "labelled": "@labelled.tsv --columns src,dst,relation",
    "people": "@names.csv --vertices @people.tsv",
    "ids": "@weights.tsv --vertices @seven.tsv --features @features.tsv",
    "mtx": "@square.mtx",
    "metis": "@path.graph",
    "graphml": "@small.graphml",
    "npz": "@edges.npz",
    "parts": "@cites.tsv --parts 2 --method hash",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    (folder / "plain.txt.gz").write_bytes(gzip.compress(TEXTS["plain.tsv"].encode()))
    np.savez(folder / "edges.npz", src=np.array([1, 2, 3]), dst=np.array([2, 3, 1]), weight=np.array([0.5, 1e-3, 7]))
    return folder


@pytest.fixture(scope="module")
def said(files, tmp_path_factory):
    """``said(ranks)``: name -> what was printed, with the path of the graph as ``output``."""

    @functools.cache
    def on(ranks):
        folder = tmp_path_factory.mktemp(f"P{ranks}-")
        words = {name: line.replace("@", f"{files}/").split() for name, line in COMMANDS.items()}
        commands = [["convert", *w, "--json", "-o", folder / f"{name}.h5"] for name, w in words.items()]
        texts = jobs.run_commands(ranks, commands, folder)
        return dict(zip(words, map(json.loads, texts), strict=True))

    return on


ranks = pytest.mark.parametrize("ranks", RANKS, ids=lambda ranks: f"P{ranks}")


def edges(found):
    """Edges of a graph file by the names or ids of their ends: sorted list of tuples."""
    graph = analysis.open(found["output"])
    ids = graph.name if graph.has_names else graph.id
    out = []
    for block in graph.edge_blocks():
        columns = [ids[block.src], ids[block.dst], *(block.fields[name] for name in sorted(block.fields))]
        if block.relation is not None:
            columns.append(np.array(graph.relations)[block.relation])
        out += zip(*(column.tolist() for column in columns), strict=True)
    return sorted(out)


@pytest.mark.parametrize("name", COMMANDS)
def test_graph_does_not_depend_on_ranks(said, name):
    digests = {said(ranks)[name]["digest"] for ranks in RANKS}
    reports = [{k: v for k, v in said(ranks)[name].items() if k != "output"} for ranks in RANKS]
    assert len(digests) == 1
    assert reports[0] == reports[1]


@ranks
def test_a_line_that_is_taken_as_a_header_is_told_once(files, tmp_path, ranks):
    (tmp_path / "long.tsv").write_text(f"{'x' * 500} y\n1 2\n")
    words = {
        "guessed": [files / "table.csv"],
        "said": [files / "table.csv", "--header"],
        "none": [files / "weights.tsv"],
        "several": [f"a={files}/table.csv", f"b={files}/table.csv"],
        "long": [tmp_path / "long.tsv"],
    }
    commands = [["convert", *w, "-o", tmp_path / f"{name}.h5"] for name, w in words.items()]
    outcomes = dict(zip(words, jobs.outcomes_of(ranks, commands, tmp_path), strict=True))
    assert not any(text for outcome in outcomes.values() for text in outcome["stderr"][1:])
    told = {
        name: [line for line in outcome["stderr"][0].splitlines() if line.startswith("note: ")]
        for name, outcome in outcomes.items()
    }
    guessed = "note: the first line of table.csv ('from,to,kilometres,lanes') was taken as a header and skipped"
    assert told["guessed"] == [guessed] and told["several"] == [guessed] * 2
    assert told["said"] == told["none"] == []
    assert len(told["long"]) == 1 and len(told["long"][0]) < 200


@ranks
def test_counts_of_loops_and_duplicates(said, ranks):
    plain = said(ranks)["plain"]
    assert (plain["n_lines"], plain["n_loops"], plain["n_duplicates"], plain["n_edges"]) == (4, 1, 1, 4)
    assert plain["directed"] is True
    dropped = said(ranks)["dropped"]
    assert dropped["dropped"] == ["loops", "duplicates"]
    assert edges(dropped) == [(10, 20), (20, 30)]
    undirected = said(ranks)["undirected"]
    assert undirected["directed"] is False and undirected["n_edges"] == 7  # 2 x 3, and the loop once


@ranks
def test_packed_text_is_the_text(said, ranks):
    assert said(ranks)["gz"]["digest"] == said(ranks)["plain"]["digest"]


@ranks
def test_third_column_is_the_weight(said, ranks):
    assert edges(said(ranks)["weights"]) == [(1, 2, 0.5), (2, 3, 1e-3), (3, 1, 7.0)]
    assert said(ranks)["npz"]["digest"] == said(ranks)["weights"]["digest"]


@ranks
def test_columns_have_names_types_and_may_be_skipped(said, ranks):
    assert edges(said(ranks)["header"]) == [(1, 2, 2, 0.5), (2, 3, 1, 1.5)]  # lanes, weight
    assert edges(said(ranks)["columns"]) == [(1, 2, 0.25), (2, 3, 0.5)]
    fields = analysis.open(said(ranks)["typed"]["output"]).edge_fields
    assert {name: str(field.dtype) for name, field in fields.items()} == {"time": "int32", "length": "float32"}
    assert edges(said(ranks)["semicolons"]) == [(1, 2), (2, 3)]


@ranks
def test_names_are_kept_and_ids_are_in_their_order(said, ranks):
    graph = analysis.open(said(ranks)["names"]["output"])
    assert graph.name.tolist() == ["Ann", "Bob", "Jr, Al", "Zoe"]
    assert graph.id.tolist() == [0, 1, 2, 3]
    assert edges(said(ranks)["names"]) == [("Ann", "Bob"), ("Bob", "Zoe"), ("Jr, Al", "Ann")]


@ranks
def test_relations_by_file_or_by_column(said, ranks):
    found = said(ranks)
    assert found["relations"]["relations"] == ["cites", "writes"]
    assert found["swapped"]["digest"] == found["relations"]["digest"]
    assert edges(found["relations"]) == [
        (1, 2, "cites"),
        (2, 3, "cites"),
        (3, 4, "cites"),
        (9, 1, "writes"),
        (9, 2, "writes"),
    ]
    assert edges(found["labelled"]) == [(1, 2, "cites"), (2, 3, "cites"), (9, 1, "writes")]


@ranks
def test_vertex_tables_become_fields(said, ranks):
    people = analysis.open(said(ranks)["people"]["output"])
    assert people.name.tolist() == ["Ann", "Bob", "Jr, Al", "Zoe"]
    assert people.vertex("height").tolist() == [1.5, 1.9, 1.6, 1.7]
    assert people.categories["team"] == ("blue", "red")
    assert people.vertex("team").tolist() == [0, 1, 0, 1]
    ids = analysis.open(said(ranks)["ids"]["output"])
    assert ids.id.tolist() == [1, 2, 3, 7]
    assert ids.vertex("age").tolist() == [10, 20, 30, 70]
    assert ids.vertex("x").tolist() == [[0.5, 0, 0, 0, 0], [0] * 5, [0, 0, 0, 0, 2], [0] * 5]
    assert said(ranks)["ids"]["n_isolated"] == 1


@ranks
def test_formats_say_themselves_what_they_are(said, ranks):
    found = said(ranks)
    assert [found[name]["directed"] for name in ("mtx", "metis", "graphml")] == [False] * 3
    assert edges(found["mtx"]) == [(1, 2, 0.5), (2, 1, 0.5), (2, 3, 1.5), (3, 2, 1.5)]
    assert edges(found["metis"]) == [(1, 2), (2, 1), (2, 3), (3, 2)]
    assert edges(found["graphml"]) == [("a", "b", 0.5), ("b", "a", 0.5), ("b", "c", 1.5), ("c", "b", 1.5)]


@ranks
def test_parts_are_as_asked(said, ranks):
    assert said(ranks)["parts"]["n_parts"] == 2


# ---------------------------------------------------------------- the data folder


@pytest.fixture(scope="module")
def from_data(data, tmp_path_factory):
    @functools.cache
    def on(ranks):
        folder = tmp_path_factory.mktemp(f"data-P{ranks}-")
        cora, aifb = data / "cora", data / "aifb"
        commands = {
            "cora": [
                "convert", cora / "cora.edges.tsv", "--undirected", "--vertices", cora / "cora.vertices.tsv",
                "--features", cora / "cora.features.tsv",
            ],
            "aifb": ["convert", aifb / "aifb_stripped.nt.gz"],
            "messages": ["convert", data / "collegemsg" / "CollegeMsg.txt", "--columns", "src,dst,time:int64"],
        }  # fmt: skip
        full = [[*words, "--json", "-o", folder / f"{name}.h5"] for name, words in commands.items()]
        return dict(zip(commands, map(json.loads, jobs.run_commands(ranks, full, folder)), strict=True))

    return on


@pytest.mark.parametrize("name", ["cora", "aifb", "messages"])
def test_data_do_not_depend_on_ranks(from_data, name):
    assert len({from_data(ranks)[name]["digest"] for ranks in RANKS}) == 1


@ranks
def test_cora_is_what_its_description_says(from_data, data, ranks):
    cora = from_data(ranks)["cora"]
    assert (cora["n_vertices"], cora["n_edges"], cora["n_duplicates"]) == (2708, 2 * 5278, 0)
    graph = analysis.open(cora["output"])
    assert graph.vertex("x").shape == (2708, 1433)
    assert len(np.unique(graph.vertex("label"))) == 7
    split = {name: int((graph.vertex("split") == code).sum()) for code, name in enumerate(graph.categories["split"])}
    assert [split[name] for name in ("train", "val", "test")] == [140, 500, 1000]
    lines = np.loadtxt(data / "cora" / "cora.features.tsv")
    dense = np.zeros((2708, 1433), np.float32)
    dense[lines[:, 0].astype(int), lines[:, 1].astype(int)] = lines[:, 2]
    assert np.array_equal(graph.vertex("x"), dense[graph.id])  # rows lie by part and degree


@ranks
def test_aifb_is_what_its_description_says(from_data, ranks):
    aifb = from_data(ranks)["aifb"]
    assert (aifb["n_edges"], len(aifb["relations"])) == (29_043, 45)
    assert analysis.open(aifb["output"]).has_names


@ranks
def test_messages_keep_their_times(from_data, ranks):
    messages = from_data(ranks)["messages"]
    assert (messages["n_vertices"], messages["n_edges"], messages["edge_fields"]) == (1899, 59_835, ["time"])
