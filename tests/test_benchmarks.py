"""The benchmarks: their table of rows is sound, and one row is really measured."""

import dataclasses
import importlib
import json
import sys

import launch as launching
import pytest
from thorough import IS_LONG

FOLDER = launching.ROOT / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    """The modules of the folder, which is no package: scripts beside each other."""
    sys.path.insert(0, str(FOLDER))
    yield {name: importlib.import_module(name) for name in ("rows", "run", "timing", "ours", "rivals")}
    sys.path.remove(str(FOLDER))
    for name in ("rows", "run", "timing", "ours", "rivals"):
        sys.modules.pop(name, None)


def test_rows_have_names_of_their_own_and_contestants_that_exist(bench):
    rows = bench["rows"].ROWS
    assert len({row.key for row in rows}) == len(rows)
    for row in rows:
        for contestant in row.contestants.values():
            assert contestant.file in bench["rows"].FILES
            assert hasattr(bench["ours"], contestant.name) or hasattr(bench["rivals"], contestant.name)


def test_targets_are_bounds_from_the_right_side(bench):
    row = next(row for row in bench["rows"].ROWS if not row.is_least and row.target is not None)
    assert row.is_met(row.target * 0.9) and not row.is_met(row.target * 1.1)
    speed = next(row for row in bench["rows"].ROWS if row.is_least)
    assert speed.is_met(speed.target * 1.1) and not speed.is_met(speed.target * 0.9)


def test_a_row_without_a_target_is_neither_met_nor_missed(bench):
    rows = [row for row in bench["rows"].ROWS if row.target is None]
    assert {row.key.rpartition("-")[2] for row in rows} == {"igraph", "scipy", "csr"}
    for row in rows:
        assert row.is_met(0.1) is None
        facts = {"key": row.key, "text": row.text, "target": None, "unit": row.unit, "is_least": False}
        facts |= {"medians": {"hpcmp": 1.0, "other": 4.0}, "value": 0.25, "met": None}
        assert bench["run"].line(facts).endswith(f"| 0.25 | none; {row.unit} | - |")


@pytest.mark.parametrize(
    "name", ["bfs-igraph", "sssp-scipy", "triangles-igraph", *(["wcc-scipy", "pagerank-scipy"] if IS_LONG else [])]
)
def test_rivals_that_are_installed_are_measured(bench, tmp_path, name):
    pytest.importorskip(name.partition("-")[2])
    row = next(row for row in bench["rows"].ROWS if row.key == name)
    pool = bench["timing"].Pool([row], tmp_path, 8, 120)
    found = bench["timing"].measure(row, pool, 1)
    pool.done_with(row)
    assert all(seconds > 0 for seconds in found.values()) and row.figure(found) > 0


def test_one_row_is_measured_and_a_missing_contestant_is_told(bench, tmp_path):
    pool_of, measure = bench["timing"].Pool, bench["timing"].measure
    row = next(row for row in bench["rows"].ROWS if row.key == "tiny-1")
    gone = dataclasses.replace(
        row, contestants={"hpcmp": dataclasses.replace(row.contestants["hpcmp"], name="no_such")}
    )
    pool = pool_of([row, gone], tmp_path, 10, 120)
    found = measure(row, pool, 2)
    assert 0 < found["hpcmp"] < 0.1
    pool.done_with(row)
    with pytest.raises(bench["timing"].MissingError, match="no_such"):
        measure(gone, pool, 2)
    pool.done_with(gone, is_broken=True)
    assert not pool.workers


def test_rows_that_were_not_asked_for_stay_in_the_results(bench, tmp_path):
    run, (first, second) = bench["run"], bench["rows"].ROWS[:2]
    for row, value in ((first, 1.0), (second, 2.0), (first, 0.5)):
        facts = {"key": row.key, "text": row.text, "target": row.target, "unit": row.unit, "is_least": False}
        facts |= {"scale": 20, "date": "2000-01-01", "commit": "c0ffee", "medians": {"hpcmp": value}}
        run.write({row.key: facts | {"value": value, "met": value <= row.target}}, tmp_path)
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert {key: facts["value"] for key, facts in rows.items()} == {first.key: 0.5, second.key: 2.0}
    lines = (tmp_path / "RESULTS.md").read_text().splitlines()
    assert [line for line in lines if line.startswith(f"| {first.key} ")][0].endswith("| yes |")
    assert [line for line in lines if line.startswith(f"| {second.key} ")][0].endswith("| **no** |")


def test_the_folder_of_results_is_made_first_and_each_row_is_kept_at_once(bench, tmp_path, monkeypatch):
    run, rows = bench["run"], bench["rows"].ROWS[:2]

    def interrupted(row, args, pool):
        assert (tmp_path / "new" / "folder").is_dir()
        if row is rows[1]:
            raise KeyboardInterrupt
        facts = {"key": row.key, "text": row.text, "target": row.target, "unit": row.unit, "is_least": False}
        facts |= {"scale": 20, "date": "2000-01-01", "commit": "c0ffee", "medians": {"hpcmp": 0.5}}
        return facts | {"value": 0.5, "met": True}

    monkeypatch.setattr(run, "one_row", interrupted)
    monkeypatch.setattr(run, "ROWS", rows)
    argv = ["run.py", "--data", str(tmp_path / "data"), "--output", str(tmp_path / "new" / "folder")]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(KeyboardInterrupt):
        run.main()
    assert list(json.loads((tmp_path / "new/folder/results.json").read_text())["rows"]) == [rows[0].key]
    assert sorted(path.name for path in (tmp_path / "new/folder").iterdir()) == ["RESULTS.md", "results.json"]


def test_the_machine_tells_its_caches(bench, tmp_path):
    for k, (level, kind, size) in enumerate([(1, "Data", "32K"), (2, "Unified", "1024K"), (3, "Unified", "32768K")]):
        folder = tmp_path / f"index{k}"
        folder.mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(f"{text}\n")
    assert bench["run"].cache_sizes(tmp_path) == {"L2": "1024K", "L3": "32768K"}
    assert bench["run"].cache_sizes(tmp_path / "none") == {}
    assert ", caches " in bench["run"].machine()["machine"]


def test_help_and_list_need_no_rival():
    for flag in ("--help", "--list"):
        done = launching.run([sys.executable, str(FOLDER / "run.py"), flag], env=launching.environment())
        assert done.returncode == 0, done.stderr
    assert "pagerank-float32" in done.stdout
