"""`hpcmp export`: tables that read back as the same bits, and files kept whole."""

import os
import subprocess

import numpy as np
import pytest
import samples
from hypothesis import given
from hypothesis import strategies as st

import hpcmp
from hpcmp import analysis
from hpcmp.analysis import frame
from hpcmp.cli import export
from hpcmp.comm import world
from hpcmp.errors import FileError, FormatError, GraphError, InputError, MissingExtraError


def exported(path, out, *flags):
    """What a command line writes to a file."""
    assert samples.run_verb(export, path, "-o", out, *flags) == 0
    return out.read_bytes()


def printed(capfdbinary, path, *flags):
    """What a command line writes to standard output."""
    assert samples.run_verb(export, path, *flags) == 0
    return capfdbinary.readouterr().out


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    fields = {"f": np.array([0.1, -0.0, np.inf]), "k": np.array([2**63 - 1, 0, -5]), "b": np.array([True, False, True])}
    return {
        "run": samples.write_run(folder / "run.h5"),
        "mixed": samples.write_state(folder / "mixed.h5", samples.named_graph(), **fields, v=np.eye(3, 2, dtype="f4")),
        "graph": samples.write_graph(folder / "graph.h5"),
        "undirected": samples.write_graph(folder / "undirected.h5", samples.graph(directed=False)),
        "named": samples.write_graph(folder / "named.h5", samples.named_graph()),
    }


def test_a_result_is_a_table_with_a_header(files, tmp_path):
    text = exported(files["mixed"], tmp_path / "t.csv")
    assert text == (b"id,b,f,k,v_0,v_1\n0,1,0.1,9223372036854775807,1.0,0.0\n1,0,-0.0,0,0.0,1.0\n2,1,inf,-5,0.0,0.0\n")


def test_the_ending_chooses_the_format_and_fields_choose_columns(files, tmp_path, capfdbinary):
    assert exported(files["mixed"], tmp_path / "t.tsv", "--fields", "k,f").startswith(b"id\tk\tf\n")
    assert exported(files["mixed"], tmp_path / "t.txt").startswith(b"id,b,f")
    assert printed(capfdbinary, files["mixed"], "--fields", "b", "--format", "tsv") == b"id\tb\n0\t1\n1\t0\n2\t1\n"


def test_names_stand_where_ids_would(files, tmp_path, capfdbinary):
    assert printed(capfdbinary, files["mixed"], "--names", "--fields", "k").decode() == (
        "name,k\nann,9223372036854775807\nböb,0\nzoe,-5\n"
    )
    edges = exported(files["named"], tmp_path / "e.csv", "--names").decode().splitlines()
    assert edges[0] == "src,dst,relation"
    assert sorted(edges[1:]) == ["ann,böb,knows", "böb,ann,knows", "zoe,ann,likes"]


def test_ldbc_has_no_header_and_spells_infinity(files, capfdbinary):
    assert (
        printed(capfdbinary, files["run"], "--format", "ldbc") == b"10 0.0\n20 1.0\n30 1.0\n70 infinity\n90 infinity\n"
    )
    assert printed(capfdbinary, files["mixed"], "--format", "ldbc", "--fields", "k").startswith(
        b"0 9223372036854775807\n"
    )


@given(st.lists(st.floats(), min_size=1, max_size=20), st.sampled_from(["f4", "f8"]))
def test_floats_read_back_as_the_same_bits(tmp_path_factory, values, dtype):
    with np.errstate(over="ignore"):
        values = np.array(values).astype(dtype)
    folder = tmp_path_factory.mktemp("floats")
    ids = np.arange(len(values))
    path = samples.write_state(folder / "r.h5", samples.graph(ids, ids, None), x=values)
    lines = exported(path, folder / "t.csv").decode().splitlines()[1:]
    back = np.array([float(line.split(",")[1]) for line in lines]).astype(dtype)
    np.testing.assert_array_equal(back, values)
    np.testing.assert_array_equal(np.signbit(back), np.signbit(values) & ~np.isnan(values))


@pytest.mark.parametrize("kind", ["run", "mixed", "graph", "undirected", "named"])
def test_blocks_change_no_byte(files, tmp_path, monkeypatch, kind):
    whole = exported(files[kind], tmp_path / "whole.csv")
    monkeypatch.setattr(frame, "BLOCK_ROWS", 2)
    assert exported(files[kind], tmp_path / "parts.csv") == whole


def test_the_edges_of_a_graph_are_those_of_its_frame(files, tmp_path):
    text = exported(files["graph"], tmp_path / "e.csv").decode().splitlines()
    assert text[0] == "src,dst,weight"
    rows = sorted((int(a), int(b), float(w)) for a, b, w in (line.split(",") for line in text[1:]))
    assert rows == sorted(zip(samples.SRC, samples.DST, samples.WEIGHT.tolist(), strict=True))


@pytest.mark.parametrize("kind", ["graph", "undirected"])
@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_an_exported_graph_converts_back_to_the_same_digest(files, tmp_path, kind, ending):
    from hpcmp.io.readers import read_edges

    exported(files[kind], tmp_path / f"e.{ending}")
    table = read_edges(world(), str(tmp_path / f"e.{ending}"))
    back, _ = hpcmp.build_graph(world(), table, directed=kind == "graph")
    assert back.digest == analysis.open(files[kind]).digest


def test_nothing_is_a_header(tmp_path, capfdbinary):
    empty = samples.graph([], [], [])
    path = samples.write_state(tmp_path / "r.h5", empty, x=np.zeros(0), v=np.zeros((0, 2)))
    assert printed(capfdbinary, path) == b"id,v_0,v_1,x\n"
    assert printed(capfdbinary, path, "--format", "ldbc", "--fields", "x") == b""
    assert printed(capfdbinary, samples.write_graph(tmp_path / "g.h5", empty)) == b"src,dst,weight\n"


def test_parquet_holds_the_same_values(files, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    exported(files["mixed"], tmp_path / "t.parquet", "--names")
    table = parquet.read_table(tmp_path / "t.parquet").to_pydict()
    assert table["name"] == ["ann", "böb", "zoe"]
    assert table["k"] == [2**63 - 1, 0, -5]
    assert table["f"] == [0.1, -0.0, np.inf]
    assert table["b"] == [True, False, True]


def test_parquet_without_its_package_or_without_a_file_is_refused(files, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'hpcmp\[parquet\]'"):
        samples.run_verb(export, files["run"], "-o", tmp_path / "t.parquet")
    assert not list(tmp_path.iterdir())


def test_what_a_format_cannot_hold_is_refused(files, tmp_path):
    for flags, error, says in (
        (["--format", "ldbc"], GraphError, "ldbc holds one field and .* has b, f, k, v; choose with --fields"),
        (["--format", "ldbc", "--fields", "v"], GraphError, "v has 2 channels; use csv"),
        (["--fields", "rank"], GraphError, "--fields: 'rank' is not a field of .* .it has: b, f, k, v."),
    ):
        with pytest.raises(error, match=says):
            samples.run_verb(export, files["mixed"], *flags)
    with pytest.raises(GraphError, match="is a graph, ldbc a format of results; use --format tsv"):
        samples.run_verb(export, files["graph"], "--format", "ldbc")
    with pytest.raises(GraphError, match="has no names of vertices; leave out --names"):
        samples.run_verb(export, files["run"], "--names")


def damaged_late(files, folder):
    """A graph whose last edge comes from no vertex: found only while it is written."""
    return samples.changed(files["graph"], folder / "bad.h5", lambda f: f["in_edges/src"].__setitem__(6, 99))


def test_a_failure_leaves_the_old_output_and_nothing_else(files, tmp_path, monkeypatch):
    monkeypatch.setattr(frame, "BLOCK_ROWS", 2)
    bad = damaged_late(files, tmp_path)
    out = tmp_path / "e.csv"
    out.write_text("old")
    with pytest.raises(FormatError, match=r"in_edges/src\[6\] = 99"):
        samples.run_verb(export, bad, "--force", "-o", out)
    assert out.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.h5", "e.csv"]


def test_a_name_that_would_break_its_line_is_refused(tmp_path):
    names = np.array([b"a,b", b"c"])
    table = hpcmp.io.table.EdgeTable(names, names[::-1].copy())
    of = hpcmp.build_graph(world(), table)[0]
    path = samples.write_state(tmp_path / "r.h5", of, x=np.zeros(2))
    with pytest.raises(InputError, match="use another separator"):
        samples.run_verb(export, path, "--names", "-o", tmp_path / "t.csv")
    assert exported(path, tmp_path / "t.tsv", "--names") == b"name\tx\na,b\t0.0\nc\t0.0\n"


def test_a_place_that_cannot_be_written_is_named(files, tmp_path):
    with pytest.raises(FileError, match="is a folder; name a file in it"):
        samples.run_verb(export, files["run"], "-o", tmp_path)
    with pytest.raises(FileError, match="the folder .*no does not exist"):
        samples.run_verb(export, files["run"], "-o", tmp_path / "no" / "t.csv")
    with pytest.raises(FileError, match="is the file to export; write to another"):
        samples.run_verb(export, files["run"], "-o", files["run"])
    with pytest.raises(FileError, match="/dev/full cannot be written: No space left on device"):
        samples.run_verb(export, files["run"], "-o", "/dev/full")
    analysis.open(files["run"]).verify_digest()


def test_a_text_that_is_there_is_replaced_only_by_force(files, tmp_path):
    out = tmp_path / "t.csv"
    out.write_text("a table by hand")
    with pytest.raises(FileError, match=r"t\.csv exists and is no graph or result file of hpcmp; .* --force"):
        samples.run_verb(export, files["run"], "-o", out)
    assert out.read_text() == "a table by hand"
    samples.run_verb(export, files["run"], "--force", "-o", out)
    forced = out.read_bytes()
    out.write_bytes(b"")  # as mktemp leaves it
    samples.run_verb(export, files["run"], "-o", out)
    assert out.read_bytes() == forced != b""


def test_a_full_disk_leaves_the_old_output(files, tmp_path, monkeypatch):
    out = tmp_path / "t.csv"
    out.write_text("old")

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match="t.csv cannot be written: No space left on device"):
        samples.run_verb(export, files["run"], "--force", "-o", out)
    assert out.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_a_device_is_written_and_a_link_is_kept(files, tmp_path):
    assert samples.run_verb(export, files["run"], "-o", "/dev/null") == 0
    assert not os.path.isfile("/dev/null")
    (tmp_path / "link.csv").symlink_to("real.csv")
    text = exported(files["run"], tmp_path / "link.csv")
    assert (tmp_path / "real.csv").read_bytes() == text
    assert (tmp_path / "link.csv").is_symlink()


def test_one_of_three_ranks_writes(files, launch, tmp_path):
    done = launch(3, "export", files["run"], "--format", "ldbc")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["10 0.0", "20 1.0", "30 1.0", "70 infinity", "90 infinity"]


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    import launch as launching

    ids = np.arange(200_000)
    path = samples.write_state(tmp_path / "r.h5", samples.graph(ids, ids, None), x=ids)
    command = launching.command(None, "-m", "hpcmp", "export", path)
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{' '.join(map(str, command))} | head -n 2"],
        env=launching.environment(),
        capture_output=True,
        text=True,
    )
    assert done.stdout == "id,x\n0,0\n"
    assert done.stderr == ""
