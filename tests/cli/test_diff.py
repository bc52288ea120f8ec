"""`hpcmp diff`: its exit codes, and the first difference in words."""

import numpy as np
import pytest
import samples

from hpcmp.cli import diff
from hpcmp.errors import FileError, FormatError


def test_equal_files_end_with_0(tmp_path, capsys):
    a, b = (samples.write_run(tmp_path / name) for name in ("a.h5", "b.h5"))
    assert samples.run_verb(diff, a, b) == 0
    assert capsys.readouterr().out == f"{a} and {b}: the same bits\n"
    samples.run_verb(diff, a, b, "--json")
    found = samples.printed_json(capsys)
    assert (found["same_bits"], found["equal"]) == (True, True)


def test_different_results_end_with_3_and_name_the_first_vertex(tmp_path, capsys):
    a = samples.write_state(tmp_path / "a.h5", x=np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    b = samples.write_state(tmp_path / "b.h5", x=np.array([1.0, 2.0, 3.5, 4.0, np.inf]))
    assert samples.run_verb(diff, a, b) == 3
    out = capsys.readouterr().out
    assert "x: 2 of 5 vertices differ, first vertex 30: 3.0 and 3.5; largest difference inf" in out
    assert "--step-digests" in out
    assert samples.run_verb(diff, a, b, "--json") == 3
    (field,) = samples.printed_json(capsys)["fields"]
    assert (field["first_id"], field["first_values"], field["max_absolute"]) == (30, [3.0, 3.5], "inf")


def test_a_tolerance_makes_near_results_equal(tmp_path, capsys):
    a = samples.write_state(tmp_path / "a.h5", x=np.ones(5))
    b = samples.write_state(tmp_path / "b.h5", x=np.ones(5) + 1e-9)
    assert samples.run_verb(diff, a, b) == 3
    assert samples.run_verb(diff, a, b, "--rtol", "1e-6") == 0
    out = capsys.readouterr().out
    assert "equal within rtol 1e-06 and atol 0" in out
    assert "(0 outside the tolerance)" in out


def test_the_first_step_is_named(tmp_path, capsys):
    a = samples.write_run(tmp_path / "a.h5", step_digests=True)
    b = samples.write_run(tmp_path / "b.h5", step_digests=True, times=3.0)
    assert samples.run_verb(diff, a, b) == 3
    out = capsys.readouterr().out
    assert "first differing step: 0 (digest " in out
    assert "also params: " in out
    assert "rerun" not in out and "run both" not in out


def test_different_graphs_end_with_3(tmp_path, capsys):
    a = samples.write_graph(tmp_path / "a.h5")
    b = samples.write_graph(tmp_path / "b.h5", samples.graph(weight=samples.WEIGHT + 1))
    assert samples.run_verb(diff, a, a) == 0
    assert samples.run_verb(diff, a, b) == 3
    assert "the edge field weight differs" in capsys.readouterr().out


def test_mistakes_are_named(tmp_path):
    a, g = samples.write_run(tmp_path / "a.h5"), samples.write_graph(tmp_path / "g.h5")
    with pytest.raises(FormatError, match="compare two of a kind"):
        samples.run_verb(diff, a, g)
    with pytest.raises(FileError, match="b.h5 does not exist"):
        samples.run_verb(diff, a, tmp_path / "b.h5")


def test_three_ranks_end_with_the_same_code(launch, tmp_path):
    samples.write_state(tmp_path / "a.h5", x=np.ones(5))
    samples.write_state(tmp_path / "b.h5", x=np.zeros(5))
    done = launch(3, "diff", "a.h5", "b.h5")
    assert done.returncode == 3
    assert done.stdout.count("different") == 1
    assert done.stderr == ""
    assert launch(None, "diff", "a.h5", "a.h5").returncode == 0
    assert "exit code 0: equal, 3: different" in " ".join(launch(None, "diff", "--help").stdout.split())
