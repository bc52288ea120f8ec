"""`hpcmp info`: the same facts for people and for machines."""

import numpy as np
import pytest
import samples

from hpcmp import analysis
from hpcmp.cli import UsageError, info
from hpcmp.errors import FileError, FormatError, GraphError


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("info")
    return {
        "result": samples.write_run(folder / "run.h5"),
        "named": samples.write_state(folder / "named.h5", samples.named_graph(), x=np.array([0.1, np.inf, 2.0])),
        "graph": samples.write_graph(folder / "graph.h5", samples.named_graph()),
    }


@pytest.mark.parametrize("kind", ["result", "named", "graph"])
@pytest.mark.parametrize("flags", [[], ["--check"]])
def test_people_and_machines_are_told_the_same(files, capsys, kind, flags):
    assert samples.run_verb(info, files[kind], *flags) == 0
    text = capsys.readouterr().out
    samples.run_verb(info, files[kind], "--json", *flags)
    facts = samples.printed_json(capsys)
    found = analysis.open(files[kind])
    assert facts["digest"] == found.digest
    assert facts["n_vertices"] == found.n_vertices
    assert ("checked" in facts) == bool(flags)
    for name, value in facts.items():
        if isinstance(value, str | int) and value != "" and not isinstance(value, bool):
            assert str(value) in text, name


def test_a_graph_is_told_with_its_fields_parts_and_relations(files, capsys):
    samples.run_verb(info, files["graph"], "--json")
    facts = samples.printed_json(capsys)
    assert facts["kind"] == "graph"
    assert facts["vertex_fields"] == {"role": "int32", "x": "float64 x 2"}
    assert facts["relations"] == ["likes", "knows"]
    assert facts["categories"] == {"role": 2}
    assert facts["parts"]["n"] == 2
    assert facts["names"] is True


def test_a_result_is_told_with_its_program_and_values(files, capsys):
    samples.run_verb(info, files["result"], "--json")
    facts = samples.printed_json(capsys)
    assert (facts["kind"], facts["program"], facts["steps"]) == ("result", "hops", 3)
    assert facts["params"] == {"source": 10, "times": 1.0}
    assert facts["values"] == {"reached": 3}
    assert facts["fields"] == {"hops": "float64"}


def test_top_shows_the_largest_by_value_then_id(files, capsys):
    samples.run_verb(info, files["result"], "--top", "hops", "3")
    lines = capsys.readouterr().out.splitlines()[-4:]
    assert [line.split() for line in lines] == [["id", "hops"], ["70", "inf"], ["90", "inf"], ["20", "1.0"]]
    samples.run_verb(info, files["named"], "--top", "x", "9")
    lines = capsys.readouterr().out.splitlines()[-4:]
    assert [line.split() for line in lines] == [["name", "x"], ["böb", "inf"], ["zoe", "2.0"], ["ann", "0.1"]]


def test_json_holds_no_infinity(files, capsys):
    samples.run_verb(info, files["named"], "--json", "--top", "x", "2")
    assert samples.printed_json(capsys)["top"] == [
        {"id": 1, "name": "böb", "x": "inf"},
        {"id": 2, "name": "zoe", "x": 2.0},
    ]


def test_without_check_a_wrong_number_is_not_looked_for(files, capsys, tmp_path):
    path = samples.changed(files["result"], tmp_path / "bad.h5", lambda f: f["hops"].__setitem__(0, 9.0))
    assert samples.run_verb(info, path) == 0
    with pytest.raises(FormatError, match="bad.h5: the rows have the digest"):
        samples.run_verb(info, path, "--check")
    path = samples.changed(files["graph"], tmp_path / "bad.h5", lambda f: f["in_edges/src"].__setitem__(0, 99))
    assert samples.run_verb(info, path) == 0
    with pytest.raises(FormatError, match=r"in_edges/src\[0\] = 99 is outside"):
        samples.run_verb(info, path, "--check")


def test_mistakes_are_named(files, tmp_path):
    with pytest.raises(FileError, match="does not exist"):
        samples.run_verb(info, tmp_path / "none.h5")
    with pytest.raises(GraphError, match="'rank' is not a field"):
        samples.run_verb(info, files["result"], "--top", "rank", "3")
    with pytest.raises(UsageError, match="'0' is no number of vertices; write --top hops 10"):
        samples.run_verb(info, files["result"], "--top", "hops", "0")
    with pytest.raises(UsageError, match="'x' is no number of vertices"):
        samples.run_verb(info, files["result"], "--top", "hops", "x")
    with pytest.raises(GraphError, match="is a graph; --top needs the result of a run"):
        samples.run_verb(info, files["graph"], "--top", "role", "3")


def test_one_of_three_ranks_speaks(files, launch):
    done = launch(3, "info", files["result"], "--check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("kind ") == 1


def test_a_bad_file_ends_three_ranks_with_one_message(launch, tmp_path):
    (tmp_path / "edges.h5").write_text("1 2\n")
    done = launch(3, "info", "edges.h5")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("hpcmp: error: edges.h5 is not an HDF5 file that can be read") == 1
    assert "Traceback" not in done.stderr
