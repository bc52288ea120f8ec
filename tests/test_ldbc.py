"""The answers of LDBC Graphalytics, through the command line, on 1 to 4 ranks.

Compared as the benchmark says: BFS and CDLP equal, WCC equal up to renaming,
PR, LCC and SSSP within 1e-4 relative.
"""

import functools
import math

import jobs
import launch as launching
import pytest

ALGORITHMS = {"BFS": "bfs", "CDLP": "cdlp", "LCC": "lcc", "PR": "pagerank", "SSSP": "sssp", "WCC": "wcc"}
N_ANSWERS = 24
RELATIVE = 1e-4


def answers(folder):
    """(graph, algorithm) of every answer file, sorted."""
    found = [path.name.rpartition("-") for path in folder.iterdir() if path.suffix == ""]
    return sorted((graph, kind) for graph, _, kind in found if kind in ALGORITHMS)


def properties(folder, graph):
    """What the .properties file says, without the graph's name in front."""
    lines = (folder / f"{graph}.properties").read_text().splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {key.strip().removeprefix(f"graph.{graph}."): value.strip() for key, _, value in pairs}


def arguments(folder, graph, kind):
    """Arguments of `hpcmp run` that the .properties file asks for."""
    said = properties(folder, graph)
    return {
        "BFS": lambda: ["--source", said["bfs.source-vertex"]],
        "SSSP": lambda: ["--source", said["sssp.source-vertex"]],
        "PR": lambda: ["--steps", said["pr.num-iterations"], "--set", f"damping={said['pr.damping-factor']}"],
        "CDLP": lambda: ["--steps", said["cdlp.max-iterations"]],
    }.get(kind, list)()


@functools.cache
def exported(ranks, ldbc, folder):
    """Converts, runs and exports everything on so many ranks, once: folder of answers."""
    commands = [["convert", ldbc / f"{g}.e", "-o", folder / f"{g}.h5"] for g in sorted({g for g, _ in answers(ldbc)})]
    for graph, kind in answers(ldbc):
        name = folder / f"{graph}-{kind}"
        program = ALGORITHMS[kind]
        commands.append(
            ["run", program, folder / f"{graph}.h5", *arguments(ldbc, graph, kind), "--verify", "-o", f"{name}.h5"]
        )
        commands.append(["export", f"{name}.h5", "--format", "ldbc", "-o", name])
    jobs.run_commands(ranks, commands, folder)
    return folder


def check(kind, got, expected):
    """Assert that an answer is the expected one by the rule of its algorithm."""
    assert got.keys() == expected.keys()
    if kind in ("BFS", "CDLP"):
        assert {i: int(v) for i, v in got.items()} == {i: int(v) for i, v in expected.items()}
    elif kind == "WCC":
        pairs = {(got[i], expected[i]) for i in got}
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}), "not a renaming"
    else:
        for i, value in expected.items():
            a, b = float(got[i]), float(value)
            assert a == b or math.isclose(a, b, rel_tol=RELATIVE), f"vertex {i}: {a}, expected {b}"


@pytest.fixture(scope="module")
def ldbc(data):
    return data / "ldbc"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    folders = {ranks: tmp_path_factory.mktemp(f"P{ranks}") for ranks in (1, 2, 3, 4)}
    return folders.__getitem__


def test_there_are_24_answers(ldbc):
    assert len(answers(ldbc)) == N_ANSWERS


@pytest.mark.parametrize("kind", ALGORITHMS)
@pytest.mark.parametrize("ranks", [1, 2, 3, 4], ids=lambda ranks: f"P{ranks}")
def test_answers_are_those_of_the_benchmark(ldbc, outputs, ranks, kind):
    folder = exported(ranks, ldbc, outputs(ranks))
    graphs = [graph for graph, k in answers(ldbc) if k == kind]
    assert len(graphs) == N_ANSWERS // len(ALGORITHMS)
    for graph in graphs:
        name = f"{graph}-{kind}"
        check(kind, jobs.read_ldbc(folder / name), jobs.read_ldbc(ldbc / name))


def test_answers_are_the_same_bytes_on_any_ranks(ldbc, outputs):
    folders = [exported(ranks, ldbc, outputs(ranks)) for ranks in (1, 2, 3, 4)]
    for graph, kind in answers(ldbc):
        texts = {(folder / f"{graph}-{kind}").read_bytes() for folder in folders}
        assert len(texts) == 1, f"{graph}-{kind} differs between ranks"


def test_three_commands_of_a_shell_lead_from_edge_list_to_answer(ldbc, launch, tmp_path):
    # As a user types them, one launch each.
    graph, kind = "example-directed", "SSSP"
    for ranks, *argv in (
        (2, "convert", ldbc / f"{graph}.e", "-o", "graph.h5"),
        (3, "run", "sssp", "graph.h5", *arguments(ldbc, graph, kind), "-o", "result.h5"),
        (2, "export", "result.h5", "--format", "ldbc", "-o", "answer"),
    ):
        done = launch(ranks, *argv)
        assert done.returncode == 0, done.stderr
        assert not launching.still_running(done)
    check(kind, jobs.read_ldbc(tmp_path / "answer"), jobs.read_ldbc(ldbc / f"{graph}-{kind}"))


def test_the_comparison_can_fail(ldbc):
    expected = jobs.read_ldbc(ldbc / "example-directed-WCC")
    wrong = {i: str(i) for i in expected}
    with pytest.raises(AssertionError):
        check("WCC", wrong, expected)
    ranks = jobs.read_ldbc(ldbc / "example-directed-PR")
    with pytest.raises(AssertionError):
        check("PR", {i: float(v) * 1.001 for i, v in ranks.items()}, ranks)
