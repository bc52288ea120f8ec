"""`hpcmp check`: sound files pass, all others are told with exit code 2, whatever they do to who reads them."""

import gzip
import json
import re
import struct
import sys

import fuzz
import pytest
import samples
import trails

from hpcmp.cli import check, checking
from hpcmp.errors import FileError

ASKED = {"format": None, "columns": None, "names": False}
LIMIT = 1 << 30


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("check")
    samples.write_graph(folder / "graph.h5")
    samples.write_run(folder / "result.h5")
    trails.write(folder / "trail", trails.simulate(4, 6), 6)
    (folder / "edges.tsv").write_text("0\t1\n1\t2\n")
    (folder / "bomb.tsv.gz").write_bytes(gzip.compress(b"0 1\n" * 10**7, 1))
    samples.changed(folder / "graph.h5", folder / "bad.h5", lambda f: f["in_edges/src"].__setitem__(0, 99))
    samples.changed(folder / "result.h5", folder / "edited.h5", lambda f: f["hops"].__setitem__(0, 99.0))
    return folder


def test_sound_files_are_told_with_what_they_are(files, capsys):
    names = [str(files / name) for name in ("graph.h5", "trail", "edges.tsv")]
    assert samples.run_verb(check, *names) == 0
    graph, trail, edges = capsys.readouterr().out.splitlines()
    assert graph == f"{names[0]}: hpcmp-graph, ok, vertices 5, edges 7"
    assert trail.startswith(f"{names[1]}: hpcmp-trail, ok, records ")
    assert edges == f"{names[2]}: edgelist, ok, edges 2"


def test_what_is_wrong_is_told_of_each_file_and_the_others_are_read_too(files, capsys):
    names = [str(files / name) for name in ("bad.h5", "none.h5", "result.h5", "edited.h5")]
    assert samples.run_verb(check, "--json", *names) == 2
    bad, none, good, edited = map(json.loads, capsys.readouterr().out.splitlines())
    assert [one["file"] for one in (bad, none, good, edited)] == names
    assert [one["ok"] for one in (bad, none, good, edited)] == [False, False, True, False]
    assert "in_edges/src[0] = 99 is outside" in bad["says"] and "does not exist" in none["says"]
    assert "digest" in edited["says"] and good["kind"] == "hpcmp-result"


def test_a_packed_text_that_needs_more_than_the_limit_is_told(files, capsys):
    assert samples.run_verb(check, files / "bomb.tsv.gz", "--memory-limit", "20M") == 2
    assert "20 MB are free" in capsys.readouterr().out.replace("21 MB", "20 MB")


def test_a_good_file_or_folder_of_each_kind_is_sound(tmp_path):
    fuzz.make_seeds(tmp_path)
    kinds = {}
    for path in sorted(tmp_path.iterdir()):
        found = checking.check(path, checking.Asked(**fuzz.CALLED.get(path.name, {})))
        kinds[path.name] = found["kind"]
    assert set(checking.CHECKS) - {"hdf5"} <= set(kinds.values()) | {"training"}
    assert {"hpcmp-graph", "hpcmp-result", "hpcmp-checkpoint", "hpcmp-history"} <= set(kinds.values())
    assert checking.check(tmp_path / "snapshot" / "step-000000000003")["checkpoints"] == 1
    assert checking.check(tmp_path) == {
        "kind": "training",
        "files": 2,
    }  # a checkpoint and the history, the rest is let be


TAKES = "from hpcmp.cli.checking import _limit; _limit(1 << 26, {seconds});"
ENDS = {  # what the process that reads does -> what is told
    "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)": r"crashed \(SIGSEGV\)",
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)": "was killed",
    "import os; os.abort()": r"crashed \(SIGABRT\)",
    TAKES.format(seconds=0.1) + "\nwhile True: pass": r"more than 0\.1 s",
    TAKES.format(seconds=9) + "bytearray(1 << 30)": "MemoryError",
    "raise KeyError('x')": "KeyError: 'x'.* fault of hpcmp",
    "pass": "it said nothing",
}


@pytest.mark.parametrize("program", ENDS, ids=ENDS.get)
def test_whatever_ends_the_process_is_told_of_the_file(files, monkeypatch, program):
    monkeypatch.setattr(check, "_program", lambda: f"import sys; sys.path[:] = {sys.path!r}; {program}")
    found = check.outcome(str(files / "graph.h5"), ASKED, LIMIT, 0.1)
    assert found["ok"] is False
    assert re.search(ENDS[program], found["says"]), found


def test_the_process_loads_no_plugins_whatever_the_user_has_set(monkeypatch):
    monkeypatch.setenv("HDF5_PLUGIN_PRELOAD", "/somewhere")
    assert check._environment(1)["HDF5_PLUGIN_PRELOAD"] == "::"


def test_a_process_that_waits_for_ever_is_ended(files, monkeypatch):
    monkeypatch.setattr(check, "START_S", 0.2)
    monkeypatch.setattr(check, "_program", lambda: "import time; time.sleep(100)")
    assert "more than 0.1 s" in check.outcome(str(files / "graph.h5"), ASKED, LIMIT, 0.1)["says"]


def test_the_process_does_not_import_from_where_it_is_started(files, tmp_path, monkeypatch):
    (tmp_path / "hpcmp.py").write_text("raise SystemExit(99)")
    (tmp_path / "h5py.py").write_text("raise SystemExit(99)")
    monkeypatch.chdir(tmp_path)
    assert check.outcome(str(files / "graph.h5"), ASKED, LIMIT, 60)["ok"] is True


KINDS = {  # name -> content, kind
    "a.h5": (b"", "hdf5"),
    "a": (b"\x89HDF\r\n\x1a\n", "hdf5"),
    "b.txt": (b"PK\x03\x04", "npz"),
    "c": (struct.pack("<Q", 2) + b"{}", "safetensors"),
    "d": (b"%%MatrixMarket matrix", "matrixmarket"),
    "e.txt": (b"\xef\xbb\xbf<?xml?>", "graphml"),
    "f.gz": (gzip.compress(b"%%MatrixMarket"), "matrixmarket"),
    "g": (b'{"sender": 1}', "log"),
    "h": (b"# c\n<a> <b> <c> .\n", "ntriples"),
    "i.graph": (b"3 2\n", "metis"),
    "j.txt": (b"0 1\n", "edgelist"),
    "k.e": (b"0 1\n", "ldbc"),
    "l.toml": (b"[data]\n", "config"),
    "m.gz": (b"\x1f\x8b damaged", "edgelist"),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_is_told_by_its_content_then_by_its_name(tmp_path, name):
    content, kind = KINDS[name]
    (tmp_path / name).write_bytes(content)
    assert checking.kind_of(tmp_path / name) == kind


def test_a_folder_of_nothing_is_refused(tmp_path):
    with pytest.raises(FileError, match="a folder of nothing that hpcmp knows"):
        checking.kind_of(tmp_path)


@pytest.mark.parametrize("option", [("--memory-limit", "much"), ("--memory-limit", "0"), ("--time-limit", "0")])
def test_limits_that_are_none_are_refused(files, option):
    with pytest.raises(FileError, match=option[0]):
        samples.run_verb(check, files / "graph.h5", *option)


def test_control_characters_do_not_reach_a_terminal(tmp_path, capsys):
    assert samples.run_verb(check, tmp_path / "none\x1b[2J.h5") == 2
    assert r"none\x1b[2J.h5" in capsys.readouterr().out
