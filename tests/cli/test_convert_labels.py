"""`hpcmp convert` for learning: reversed relations, and tables that give some of the vertices a label and a split."""

import csv
import functools
import gzip
import json
from collections import Counter

import jobs
import numpy as np
import pytest

from hpcmp import analysis

RANKS = (1, 3, 4)
LONG = "http://a.org/" + "long/" * 60  # N-Triples keep a fingerprint of such a name

TEXTS = {
    "cites.tsv": "1 2\n2 3\n3 3\n1 2\n",
    "writes.tsv": "9 1\n9 2\n",
    "weights.tsv": "1 2 cites 0.5\n9 1 writes 2\n2 3 cites 1.5\n",
    "train.csv": "note,paper,topic\nfirst,3,5\n,1,0\n",
    "val.csv": "paper,topic\n9,5\n",
    "test.csv": "topic,paper\n7,2\n",
    "train.tsv": "who\tteam\n1\tröd\n2\tblå\n",
    "rest.tsv": "who\tteam\n3\tblå\n9\t12\n",
    "all.tsv": "id\tlabel\tsplit\n1\t0\ttrain\n2\t7\ttest\n3\t5\ttrain\n9\t5\tval\n",
    "some.tsv": "id\tlabel\tsplit\n1\t0\ttrain\n2\t7\ttest\n3\t5\ttrain\n9\t-1\tnone\n",
    "people.csv": "Ann,Bob\nBob,Zoe\n",
    "people.train.csv": "who,team\nZoe,red\nAnn,blue\n",
    "g.nt": f'<http://a.org/Ann> <http://b.org/knows> <{LONG}> .\n<http://a.org/Ann> <http://b.org/says> "hi" .\n'
    "_:x <http://b.org/knows> <http://a.org/Ann> .\n",
    "g.train.tsv": f"team\tperson\nred\thttp://a.org/Ann\r\nblue\t{LONG}\n",
    "g.test.tsv": 'person\tteam\n_:x\tred\n"hi"\tgreen\n',
}

TOPICS = "--key paper --label topic"
COMMANDS = {  # words; @ is the folder of inputs, and -o is added
    "forward": "cites=@cites.tsv writes=@writes.tsv",
    "reversed": "cites=@cites.tsv writes=@writes.tsv --reverse-relations",
    "fewer": "cites=@cites.tsv writes=@writes.tsv --reverse-relations --drop-loops --drop-duplicates",
    "single": "cites=@cites.tsv --reverse-relations",
    "column": "@weights.tsv --columns src,dst,relation,weight --reverse-relations",
    "all": f"@cites.tsv @writes.tsv --train @train.csv --val @val.csv --test @test.csv {TOPICS}",
    "all by vertices": "@cites.tsv @writes.tsv --vertices @all.tsv",
    "some": f"@cites.tsv @writes.tsv --train @train.csv --test @test.csv {TOPICS}",
    "some by vertices": "@cites.tsv @writes.tsv --vertices @some.tsv",
    "texts": "@cites.tsv @writes.tsv --undirected --train @train.tsv --key who --label team",
    "every": "@cites.tsv @writes.tsv --train @train.tsv --test @rest.tsv --key who --label team",
    "people": "@people.csv --names --train @people.train.csv --key who --label team",
    "triples": "@g.nt --train @g.train.tsv --test @g.test.tsv --key person --label team --reverse-relations",
}


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """``said(ranks)``: name -> what was printed, with the path of the graph as ``output`` and ``notes``."""
    files = tmp_path_factory.mktemp("inputs")
    for name, text in TEXTS.items():
        (files / name).write_text(text, newline="")

    @functools.cache
    def on(ranks):
        folder = tmp_path_factory.mktemp(f"P{ranks}-")
        words = {name: line.replace("@", f"{files}/").split() for name, line in COMMANDS.items()}
        commands = [["convert", *w, "--json", "-o", folder / f"{name}.h5"] for name, w in words.items()]
        return dict(zip(words, converted(ranks, commands, folder), strict=True))

    return on


def converted(ranks, commands, folder):
    """What each command printed as JSON, and the ``notes`` it told. Local."""
    outcomes = jobs.outcomes_of(ranks, commands, folder)
    assert not [outcome["stderr"] for outcome in outcomes if outcome["code"]]
    assert not any(text for outcome in outcomes for text in outcome["stderr"][1:])
    lines = [outcome["stderr"][0].splitlines() for outcome in outcomes]
    notes = [[line for line in one if line.startswith("note: ")] for one in lines]
    return [json.loads(o["stdout"]) | {"notes": n} for o, n in zip(outcomes, notes, strict=True)]


ranks = pytest.mark.parametrize("ranks", RANKS, ids=lambda ranks: f"P{ranks}")


def edges(found):
    """Edges of a graph file with their relations and fields: Counter of tuples."""
    graph = analysis.open(found["output"])
    ids, out = graph.name if graph.has_names else graph.id, Counter()
    for block in graph.edge_blocks():
        columns = [ids[block.src], ids[block.dst], np.array(graph.relations)[block.relation]]
        columns += [block.fields[name] for name in sorted(block.fields)]
        out.update(zip(*(column.tolist() for column in columns), strict=True))
    return out


def by_vertex(found, field, decode=False):
    graph = analysis.open(found["output"])
    keys = graph.name if graph.has_names else graph.id
    return dict(zip(keys.tolist(), graph.vertex(field, decode).tolist(), strict=True))


@pytest.mark.parametrize("name", COMMANDS)
def test_graph_does_not_depend_on_ranks(said, name):
    reports = [{k: v for k, v in said(ranks)[name].items() if k != "output"} for ranks in RANKS]
    assert all(report == reports[0] for report in reports)


# ---------------------------------------------------------------- reversed relations


@ranks
def test_each_relation_gets_one_of_its_reversed_edges(said, ranks):
    forward, both = said(ranks)["forward"], said(ranks)["reversed"]
    assert both["relations"] == ["cites", "writes", "^cites", "^writes"]
    there = edges(forward)
    back = Counter({(dst, src, f"^{relation}"): n for (src, dst, relation), n in there.items()})
    assert edges(both) == there + back and back[3, 3, "^cites"] == 1 and back[2, 1, "^cites"] == 2
    for count in ("n_lines", "n_loops", "n_duplicates", "n_isolated", "n_vertices"):
        assert both[count] == forward[count]
    assert both["n_edges"] == 2 * forward["n_edges"]


@ranks
def test_reversed_edges_keep_their_fields_and_one_relation_is_enough(said, ranks):
    assert edges(said(ranks)["column"]) == Counter(
        [
            (1, 2, "cites", 0.5), (2, 3, "cites", 1.5), (9, 1, "writes", 2.0),
            (2, 1, "^cites", 0.5), (3, 2, "^cites", 1.5), (1, 9, "^writes", 2.0),
        ]
    )  # fmt: skip
    assert edges(said(ranks)["single"]) == Counter(
        [(1, 2, "cites")] * 2 + [(2, 1, "^cites")] * 2 + [(2, 3, "cites"), (3, 2, "^cites")]
        + [(3, 3, "cites"), (3, 3, "^cites")]
    )  # fmt: skip


@ranks
def test_what_is_dropped_has_no_reverse(said, ranks):
    fewer = said(ranks)["fewer"]
    assert (fewer["n_lines"], fewer["n_loops"], fewer["n_duplicates"], fewer["n_edges"]) == (6, 1, 1, 8)
    assert max(edges(fewer).values()) == 1 and not any(src == dst for src, dst, _ in edges(fewer))


# ---------------------------------------------------------------- labels and splits


@pytest.mark.parametrize("name", ["all", "some"])
@ranks
def test_tables_of_splits_are_the_same_graph_as_a_table_of_all_vertices(said, name, ranks):
    assert said(ranks)[name]["digest"] == said(ranks)[f"{name} by vertices"]["digest"]
    graphs = [analysis.open(said(ranks)[one]["output"]) for one in (name, f"{name} by vertices")]
    assert graphs[0].categories == graphs[1].categories
    assert graphs[0].vertex_fields == graphs[1].vertex_fields


@ranks
def test_whole_numbers_stay_and_vertices_in_no_table_have_none(said, ranks):
    some = said(ranks)["some"]
    graph = analysis.open(some["output"])
    assert {name: str(field.dtype) for name, field in graph.vertex_fields.items()} == {
        "label": "int64",
        "split": "int32",
    }
    assert by_vertex(some, "label") == {1: 0, 2: 7, 3: 5, 9: -1}
    assert graph.categories == {"split": ("none", "test", "train")}
    assert by_vertex(some, "split") == {1: 2, 2: 1, 3: 2, 9: 0}
    assert some["notes"] == ["note: rows used: 2 of train.csv (train), 1 of test.csv (test); classes in topic: 3"]
    assert said(ranks)["all"]["notes"] == [
        "note: rows used: 2 of train.csv (train), 1 of val.csv (val), 1 of test.csv (test); classes in topic: 3"
    ]


@ranks
def test_texts_are_numbered_over_all_tables(said, ranks):
    assert by_vertex(said(ranks)["texts"], "label") == {1: 1, 2: 0, 3: -1, 9: -1}
    assert by_vertex(said(ranks)["texts"], "label", decode=True) == {1: "röd", 2: "blå", 3: None, 9: None}
    assert by_vertex(said(ranks)["texts"], "split", decode=True) == {1: "train", 2: "train", 3: "none", 9: "none"}
    every = analysis.open(said(ranks)["every"]["output"])
    assert every.categories == {"label": ("12", "blå", "röd"), "split": ("test", "train")}
    assert by_vertex(said(ranks)["every"], "label") == {1: 2, 2: 1, 3: 1, 9: 0}
    assert by_vertex(said(ranks)["people"], "label", decode=True) == {"Ann": "blue", "Bob": None, "Zoe": "red"}


@ranks
def test_tables_may_name_iris_without_brackets(said, ranks):
    labels = by_vertex(said(ranks)["triples"], "label", decode=True)
    (long,) = [name for name in labels if name.startswith("<~")]
    assert labels == {"<http://a.org/Ann>": "red", long: "blue", "_:x": "red", '"hi"': "green"}
    assert said(ranks)["triples"]["relations"] == [
        "<http://b.org/knows>", "<http://b.org/says>", "^<http://b.org/knows>", "^<http://b.org/says>"
    ]  # fmt: skip


def test_a_file_with_labels_is_sound_and_tells_its_categories(said, tmp_path):
    path = said(3)["texts"]["output"]
    (shown,) = jobs.run_commands(1, [["info", path, "--check", "--json"]], tmp_path)
    assert json.loads(shown)["categories"] == {"label": 2, "split": 2}


# ---------------------------------------------------------------- the data folder


@pytest.fixture(scope="module")
def aifb(data, tmp_path_factory):
    @functools.cache
    def on(ranks):
        folder, inputs = tmp_path_factory.mktemp(f"aifb-P{ranks}-"), data / "aifb"
        words = [
            "convert", inputs / "aifb_stripped.nt.gz", "--reverse-relations", "--train", inputs / "trainingSet.tsv",
            "--test", inputs / "testSet.tsv", "--key", "person", "--label", "label_affiliation",
        ]  # fmt: skip
        return converted(ranks, [[*words, "--json", "-o", folder / "aifb.h5"]], folder)[0]

    return on


def test_aifb_does_not_depend_on_ranks(aifb):
    assert aifb(1)["digest"] == aifb(3)["digest"]


@pytest.mark.parametrize("ranks", [1, 3], ids=lambda ranks: f"P{ranks}")
def test_aifb_is_what_its_description_says(aifb, data, ranks):
    found = aifb(ranks)
    assert (found["n_vertices"], found["n_lines"], found["n_edges"]) == (8285, 29_043, 2 * 29_043)
    assert len(found["relations"]) == 90 and found["relations"][45:] == [f"^{r}" for r in found["relations"][:45]]
    assert found["notes"] == [
        "note: rows used: 140 of trainingSet.tsv (train), 36 of testSet.tsv (test); classes in label_affiliation: 4"
    ]
    graph = analysis.open(found["output"])
    assert graph.categories["split"] == ("none", "test", "train")
    assert len(graph.categories["label"]) == 4
    labels, splits = by_vertex(found, "label", decode=True), by_vertex(found, "split", decode=True)
    for split, name, n in (("train", "trainingSet.tsv", 140), ("test", "testSet.tsv", 36)):
        with open(data / "aifb" / name, newline="") as file:
            rows = {f"<{row['person']}>": row["label_affiliation"] for row in csv.DictReader(file, delimiter="\t")}
        assert len(rows) == n
        assert {key for key, value in splits.items() if value == split} == set(rows)
        assert {key: labels[key] for key in rows} == rows
    assert Counter(value is None for value in labels.values()) == {True: 8285 - 176, False: 176}
    with gzip.open(data / "aifb" / "aifb_stripped.nt.gz", "rt") as file:
        predicates = Counter(line.split(None, 2)[1] for line in file if line.strip())
    numbers = np.concatenate([block.relation for block in graph.edge_blocks()])
    assert np.bincount(numbers).tolist() == [predicates[r] for r in found["relations"][:45]] * 2
