"""Two files compared: the first vertex and the first step that differ."""

import numpy as np
import pytest
import samples

import hpcmp
from hpcmp import analysis
from hpcmp.analysis import frame
from hpcmp.errors import FormatError, GraphError


def opened(path):
    return analysis.open(path)


def state(tmp_path, name, of=None, **fields):
    return opened(samples.write_state(tmp_path / name, of, **fields))


def test_a_file_equals_itself_and_a_second_run(tmp_path):
    a, b = (opened(samples.write_run(tmp_path / name)) for name in ("a.h5", "b.h5"))
    found = analysis.compare(a, b)
    assert found.is_same_bits
    assert found.is_equal
    assert found.step is None


@pytest.mark.parametrize("rows", [2, 1000])
def test_the_first_vertex_and_the_largest_difference_are_found(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(frame, "BLOCK_ROWS", rows)
    a = state(tmp_path, "a.h5", x=np.array([1.0, 2.0, 3.0, 4.0, 5.0]), y=np.arange(5))
    b = state(tmp_path, "b.h5", x=np.array([1.0, 2.0, 3.5, 4.0, 9.0]), y=np.arange(5))
    (found,) = analysis.compare(a, b).fields
    assert (found.name, found.n_rows, found.first_id, found.first_channel) == ("x", 2, 30, None)
    assert found.first_values == (3.0, 3.5)
    assert (found.max_absolute, found.max_relative) == (4.0, 4.0 / 9.0)


def test_a_tolerance_lets_near_values_pass_and_counts_those_outside(tmp_path):
    a = state(tmp_path, "a.h5", x=np.array([1.0, 1.0, np.inf, np.nan, 0.0]))
    b = state(tmp_path, "b.h5", x=np.array([1.01, 1.1, np.inf, np.nan, 1e-9]))
    assert not analysis.compare(a, b).is_equal
    found = analysis.compare(a, b, rtol=0.05)
    assert not found.is_equal
    assert (found.fields[0].n_rows, found.fields[0].n_outside, found.fields[0].first_id) == (3, 2, 20)
    found = analysis.compare(a, b, rtol=0.2, atol=1e-6)
    assert found.is_equal
    assert not found.is_same_bits


def test_bits_are_compared_unless_there_is_a_tolerance(tmp_path):
    a = state(tmp_path, "a.h5", x=np.array([0.0, np.nan, 1.0, 1.0, 1.0]))
    b = state(tmp_path, "b.h5", x=np.array([-0.0, np.nan, 1.0, 1.0, 1.0]))
    found = analysis.compare(a, b)
    assert (found.fields[0].n_rows, found.fields[0].first_id, found.fields[0].max_absolute) == (1, 10, 0.0)
    assert not found.is_equal
    assert analysis.compare(a, b, atol=1e-300).is_equal


@pytest.mark.parametrize(("x", "y"), [(np.nan, 1.0), (np.inf, 1.0), (1.0, np.inf), (np.inf, -np.inf), (1.0, np.nan)])
def test_infinity_and_nan_are_near_no_number(tmp_path, x, y):
    a, b = (state(tmp_path, name, x=np.array([v, 0, 0, 0, 0])) for name, v in (("a.h5", x), ("b.h5", y)))
    found = analysis.compare(a, b, rtol=0.5, atol=1e9)
    assert not found.is_equal
    assert found.fields[0].max_absolute == np.inf


def test_the_channel_of_a_vector_is_named(tmp_path):
    values = np.zeros((5, 3), np.float32)
    other = values.copy()
    other[2, 1] = 7
    a, b = state(tmp_path, "a.h5", v=values, w=values == 0), state(tmp_path, "b.h5", v=other, w=other == 0)
    v, w = analysis.compare(a, b).fields
    assert (v.first_id, v.first_channel, v.first_values) == (30, 1, (0.0, 7.0))
    assert (w.first_id, w.first_channel, w.first_values) == (30, 1, (True, False))


def test_fields_that_one_lacks_and_other_types_are_named(tmp_path):
    a = state(tmp_path, "a.h5", x=np.zeros(5), y=np.zeros(5))
    b = state(tmp_path, "b.h5", x=np.zeros(5, np.float32), z=np.zeros(5))
    x, y, z = analysis.compare(a, b).layout
    assert "the field x is float64 in" in x
    assert "float32 in" in x
    assert y.startswith("the field y is only in") and y.endswith("a.h5")
    assert z.endswith("b.h5")


@pytest.mark.parametrize(
    ("src", "only", "holder"), [([10, 20, 40], 30, "b.h5"), ([10, 20], 30, "b.h5"), ([5, 10, 20, 30], 5, "a.h5")]
)
@pytest.mark.parametrize("rows", [1, 1000])
def test_a_vertex_that_only_one_has_is_named(tmp_path, monkeypatch, src, only, holder, rows):
    monkeypatch.setattr(frame, "BLOCK_ROWS", rows)
    a = state(tmp_path, "a.h5", samples.graph(src, src, None), x=np.zeros(len(src)))
    b = state(tmp_path, "b.h5", samples.graph([10, 20, 30], [10, 20, 30], None), x=np.zeros(3))
    for pair in ((a, b), (b, a)):
        (found,) = analysis.compare(*pair).layout
        assert f"vertex {only} is only in" in found
        assert found.endswith(holder)


def test_the_first_step_that_differs_is_found_by_its_digest(tmp_path):
    a = opened(samples.write_run(tmp_path / "a.h5", step_digests=True))
    b = opened(samples.write_run(tmp_path / "b.h5", step_digests=True, times=2.0))
    found = analysis.compare(a, b)
    assert found.has_step_digests
    assert found.step.step == 0
    assert list(found.step.columns) == ["digest"]
    assert any(note.startswith("params: ") for note in found.notes)


def test_the_first_step_that_differs_is_found_by_a_value(tmp_path):
    a = opened(samples.write_run(tmp_path / "a.h5"))
    b = opened(samples.write_run(tmp_path / "b.h5", source=70))
    found = analysis.compare(a, b)
    assert not found.has_step_digests
    assert (found.step.step, found.step.columns) == (0, {"value_reached": (3, 2)})


def test_seconds_are_no_difference(tmp_path):
    path = samples.write_run(tmp_path / "a.h5")
    slow = samples.changed(path, tmp_path / "b.h5", lambda f: f["steps/total_s"].__setitem__(0, 99.0))
    found = analysis.compare(opened(path), opened(slow))
    assert found.is_same_bits
    assert found.step is None


def test_runs_of_other_lengths_are_compared_as_far_as_both_go(tmp_path):
    a, b = (opened(samples.write_run(tmp_path / f"{n}.h5", n)) for n in (3, 2))
    found = analysis.compare(a, b)
    assert found.n_steps == (3, 2)
    assert found.step is None
    assert found.is_same_bits


def test_graphs_with_other_parts_are_the_same(tmp_path):
    of = samples.graph()
    a, b = (
        opened(samples.write_graph(tmp_path / n, g))
        for n, g in (("a.h5", of), ("b.h5", hpcmp.repartition(of, "hash", 2)))
    )
    found = analysis.compare(a, b)
    assert found.is_equal
    assert found.notes[0].startswith("the partition differs")


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"directed": False}, "directed: True and False"),
        ({"src": [*samples.SRC[:-1], 20]}, "the edges differ"),
        ({"weight": samples.WEIGHT * 2}, "the edge field weight differs"),
        ({"weight": samples.WEIGHT.astype("f4")}, "the edge field weight is float64 in .* and float32 in"),
        ({"weight": None}, "the edge field weight is only in .*a.h5"),
        ({"src": [*samples.SRC[:4], 71, 10, 10]}, "the vertices differ .ids."),
    ],
)
def test_what_differs_between_graphs_is_named(tmp_path, other, says):
    import re

    a = opened(samples.write_graph(tmp_path / "a.h5"))
    b = opened(samples.write_graph(tmp_path / "b.h5", samples.graph(**other)))
    found = analysis.compare(a, b)
    assert not found.is_equal
    assert any(re.search(says, line) for line in found.layout), found.layout


def test_a_graph_is_no_result(tmp_path):
    a, b = opened(samples.write_graph(tmp_path / "g.h5")), opened(samples.write_run(tmp_path / "r.h5"))
    with pytest.raises(FormatError, match="g.h5 is a graph, .*r.h5 a result; compare two of a kind"):
        analysis.compare(a, b)


@pytest.mark.parametrize("bad", [-1.0, float("nan")])
def test_a_tolerance_is_not_negative(tmp_path, bad):
    a = opened(samples.write_run(tmp_path / "r.h5"))
    with pytest.raises(GraphError, match="must be 0 or more"):
        analysis.compare(a, a, rtol=bad)
