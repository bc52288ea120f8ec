"""Examples run as their first lines say, short, with the same answer on any ranks."""

import ast
import importlib.util
import json
import shlex

import jobs
import launch as launching
import pytest

EXAMPLES = {"hetero.py": "test accuracy", "edge_net.py": "largest error of a gradient"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_gives_the_same_on_any_ranks(name):
    path, said = launching.ROOT / "examples" / name, set()
    assert len(path.read_text().splitlines()) < 60
    for ranks in (None, 2, 3):
        done = launching.run(launching.command(ranks, path), env=launching.environment())
        assert done.returncode == 0, done.stderr
        assert EXAMPLES[name] in done.stdout
        said.add(done.stdout)
        if name == "edge_net.py":
            assert float(done.stdout.rpartition(":")[2]) < 1e-6
    assert len(said) == 1 or name == "edge_net.py"  # an error of differences is no promise


def test_the_team_works_by_the_commands_of_its_first_lines(tmp_path):
    path = launching.ROOT / "examples" / "team.py"
    spec = importlib.util.spec_from_file_location("team", path)
    team = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(team)
    lines = team.__doc__.replace("\\\n", " ").replace("examples/team.py", str(path)).splitlines()
    said = [shlex.split(line, comments=True) for line in lines if line.startswith("    ")]
    assert said[0] == ["python", str(path), "team"]
    team.write(tmp_path / "team")
    commands = [words[words.index("hpcmp") + 1 :] for words in said[1:]]
    commands[1] += ["--check", "--json"]
    *_, run, flow, story = jobs.run_commands(2, commands, tmp_path)
    assert json.loads(run)["ended"] == "goal"
    assert "ticket (hands_over)" in flow and "ticket (tells) id=3" in story


def test_a_layer_of_ones_own_takes_under_30_lines():
    tree = ast.parse((launching.ROOT / "examples" / "edge_net.py").read_text())
    layer = next(node for node in tree.body if isinstance(node, ast.ClassDef))
    assert layer.name == "EdgeNet" and layer.end_lineno - layer.lineno + 1 < 30
