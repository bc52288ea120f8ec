"""A user's program: a short plain file runs on any ranks, compiled or not, and compiles once."""

import json
import re
import shutil

import launch as launching
import pytest

EXAMPLE = launching.ROOT / "examples" / "heat.py"
HEAT = f"{EXAMPLE}:heat"


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    path = tmp_path_factory.mktemp("heat") / "grid.h5"
    argv = ("generate", "grid", "--height", 7, "--width", 9, "--weights", "0.5:1.5", "-o", path)
    done = launching.run(launching.command(None, "-m", "hpcmp", *argv), env=launching.environment())
    assert done.returncode == 0, done.stderr
    return path


def run(launch, ranks, *argv, env=None):
    """What `hpcmp run --json` prints."""
    done = launch(ranks, "run", *argv, "--json", env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"stdout": done.stdout, "stderr": done.stderr}


def test_example_is_short():
    text = EXAMPLE.read_text()
    assert len(text.splitlines()) < 25
    for part in ('("float64", 2)', "edge.weight", "until="):
        assert part in text


def test_example_ends_by_its_rule_and_gives_one_digest_on_any_ranks(launch, grid):
    found = [run(launch, ranks, HEAT, grid) for ranks in (None, 2, 3)]
    assert len({f["digest"] for f in found}) == 1
    for f in found:
        assert f["converged"] is True
        assert 1 < f["steps"] < 1000
        assert f["values"]["change"] < f["params"]["tolerance"]


def test_uncompiled_it_gives_the_same_digest(launch, grid, tmp_path):
    compiled = run(launch, 2, HEAT, grid, "-o", "heat.h5")
    plain = run(launch, 2, HEAT, grid, "-o", "plain.h5", "--check")
    assert plain["digest"] == compiled["digest"]
    assert plain["steps"] == compiled["steps"]
    assert (tmp_path / "heat.h5").exists() and (tmp_path / "plain.h5").exists()


def test_second_start_compiles_nothing(launch, grid, tmp_path):
    # An own cache, so that the first start compiles; NUMBA_DEBUG_CACHE tells what is saved and loaded.
    env = {"HPCMP_CACHE_DIR": tmp_path / "cache", "NUMBA_DEBUG_CACHE": 1, "PYTHONDONTWRITEBYTECODE": ""}
    shutil.copy(EXAMPLE, tmp_path)
    first = run_saying(launch, 2, f"{EXAMPLE.name}:heat", grid, env=env)
    second = run_saying(launch, 2, f"{EXAMPLE.name}:heat", grid, env=env)
    assert not list(tmp_path.glob("__pycache__")), "an edit within a second would be missed"
    assert first["saved"] > 0
    assert second["saved"] == 0
    assert second["loaded"] >= first["saved"]
    assert first["digest"] == second["digest"]


def run_saying(launch, ranks, *argv, env):
    done = launch(ranks, "run", *argv, "--json", env=env)
    assert done.returncode == 0, done.stderr
    said = next(json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"program"'))
    text = done.stdout + done.stderr
    return said | {
        "saved": len(re.findall(r"\[cache\] data saved to", text)),
        "loaded": len(re.findall(r"\[cache\] data loaded from", text)),
    }


def test_heat_is_kept_and_evens_out(launch, grid, tmp_path):
    # Conductances are the same both ways, so the sum of each metal stays; and no vertex leaves the range it started in.
    from hpcmp import analysis

    sums = []
    for name, steps in (("start.h5", 0), ("end.h5", 500)):
        run(launch, 2, HEAT, grid, "--steps", steps, "--set", "tolerance=0.001", "-o", name)
        celsius = analysis.open(tmp_path / name)["celsius"]
        assert celsius.shape == (63, 2)
        sums.append(celsius.sum(axis=0))
        assert celsius[:, 0].min() >= 20 and celsius[:, 0].max() <= 100
        assert celsius[:, 1].min() >= 0 and celsius[:, 1].max() <= 60
    assert sums[1] == pytest.approx(sums[0], rel=1e-12)
    assert celsius[:, 0].max() - celsius[:, 0].min() < 5
