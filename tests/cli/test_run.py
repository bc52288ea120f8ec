"""`hpcmp run`: what it prints, writes and takes, on 1 and 3 ranks."""

import functools
import json

import jobs
import launch as launching
import pytest

from hpcmp import analysis

RANKS = (1, 3)
KEYS = {  # DESIGN.md, section 8
    "program",
    "params",
    "n_vertices",
    "n_edges",
    "ranks",
    "threads",
    "steps",
    "converged",
    "seconds",
    "halo",
    "peak_rss_bytes",
    "values",
    "digest",
    "output",
}
USER = """import hpcmp

lowest = hpcmp.Program(
    state={"low": "float64"},
    init=lambda vertex, ctx: vertex.id + ctx.shift,
    aggregate="min",
    update=lambda vertex, heard, ctx: min(vertex.low, heard),
    reduce={"least": hpcmp.Min(lambda vertex, ctx: vertex.low), "warm": hpcmp.Min(lambda vertex, ctx: 1 / (vertex.id * 0))},
    params={"shift": 0.5, "n": 3, "loud": False},
    steps=4,
)
"""
PROGRAMS = {
    "pagerank": [],
    "bfs": ["--source", 3],
    "sssp": ["--source", 3],
    "wcc": [],
    "cdlp": ["--steps", 3],
    "lcc": [],
    "triangles": [],
    "kcore": [],
    "msbfs": ["--set", "sources=3"],
    "closeness": ["--set", "normalized=true"],
    "betweenness": ["--set", "sources=3", "--set", "seed=2"],
    "degrees": [],
    "receptive_field": ["--source", 3],
}
VARIED = {  # name -> options that change no bit of PageRank
    "threads": ["--threads", 2],
    "no-overlap": ["--no-overlap"],
    "step-digests": ["--step-digests"],
    "check": ["--check"],
    "steps": ["--steps", 20],
    "damping": ["--set", "damping=0.85"],
}


def strict(text):
    """JSON as the standard has it: no NaN, no Infinity."""

    def refuse(word):
        raise ValueError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {ranks: tmp_path_factory.mktemp(f"P{ranks}") for ranks in RANKS}


@pytest.fixture(scope="module")
def said(folders):
    """``said(ranks)``: name of a run -> what it printed on so many ranks."""

    @functools.cache
    def on(ranks):
        folder = folders[ranks]
        (folder / "user.py").write_text(USER)
        graph = folder / "graph.h5"
        commands = {"graph": ["generate", "kronecker", "--scale", 6, "--weights", "0:1", "-o", graph]}
        for name, options in PROGRAMS.items():
            commands[name] = ["run", name, graph, *options, "--verify", "--json", "-o", folder / f"{name}.h5"]
        for name, options in VARIED.items():
            commands[f"varied {name}"] = [
                "run",
                "pagerank",
                graph,
                *options,
                "--json",
                "-o",
                folder / f"varied-{name}.h5",
            ]
        for mode in ("step", "frontier"):
            commands[f"bfs {mode}"] = ["run", "bfs", graph, "--source", 3, "--mode", mode, "--json"]
        user = ["run", f"{folder}/user.py:lowest", graph]
        commands["user"] = [*user, "--set", "shift=2", "--set", "n=4", "--set", "loud=true", "--json"]
        commands["nothing"] = [*user, "--steps", 0, "--json"]
        commands["plain"] = ["run", "pagerank", graph, "--verify", "-o", folder / "plain.h5"]
        search = ["run", "bfs", graph, "--source", 3]
        commands["counts"] = [*search, "--trace", "counts"]
        commands["counted"] = ["run", "wcc", graph, "--trace", "counts", "--json"]
        commands["headers"] = [*search, "--trail", folder / "trail", "--trace-steps", "0:1", "--json"]
        texts = jobs.run_commands(ranks, list(commands.values()), folder)
        return dict(zip(commands, texts, strict=True))

    return on


ranks = pytest.mark.parametrize("ranks", RANKS, ids=lambda ranks: f"P{ranks}")


@ranks
@pytest.mark.parametrize("name", [*PROGRAMS, "user", "nothing"])
def test_json_has_the_keys_of_the_design(said, ranks, name):
    printed = strict(said(ranks)[name])
    assert set(printed) - {"verified"} == KEYS
    assert set(printed["seconds"]) == {"read", "compile", "run", "write"}
    assert set(printed["halo"]) == {"rows", "bytes", "wait_s"}
    assert printed["ranks"] == ranks
    assert printed["peak_rss_bytes"] > ranks * 10_000_000


@ranks
def test_messages_are_counted_or_recorded_where_it_is_asked(said, folders, ranks):
    counted, recorded = strict(said(ranks)["counted"]), strict(said(ranks)["headers"])
    assert set(recorded) == KEYS | {"counts", "trail", "trail_digest"} == set(counted)
    counts, trail = recorded["counts"], analysis.open(folders[ranks] / "trail")
    assert list(counts) == ["step", "active", "messages", "halo_rows", "halo_bytes"]
    assert counts["messages"][:2] == trail.head["steps"]["sent"][:2, 0].tolist() and counts["active"][0] == 1
    assert trail.n == sum(counts["messages"][:2]) > 0
    assert recorded["trail_digest"] == strict(said(1)["headers"])["trail_digest"] and trail.steps == (0, 2)
    lines = said(ranks)["counts"].splitlines()
    head = next(k for k, line in enumerate(lines) if line.split()[:3] == ["step", "active", "messages"])
    table = [[int(cell) for cell in line.split()] for line in lines[head + 1 : head + 1 + recorded["steps"]]]
    assert table == [list(row) for row in zip(*counts.values(), strict=True)]
    assert counted["counts"]["messages"][0] == counted["n_edges"] and counted["trail_digest"] == ""


@ranks
def test_verified_is_told_where_it_was_asked(said, ranks):
    assert strict(said(ranks)["pagerank"])["verified"] is True
    assert "verified" not in strict(said(ranks)["user"])


@pytest.mark.parametrize("name", [*PROGRAMS, "user", "nothing"])
def test_answers_do_not_depend_on_ranks(said, name):
    kept = [
        {k: v for k, v in strict(said(ranks)[name]).items() if k in ("steps", "values", "digest", "converged")}
        for ranks in RANKS
    ]
    assert kept[0] == kept[1]


@ranks
@pytest.mark.parametrize("name", VARIED)
def test_options_change_no_bit(said, folders, ranks, name):
    printed = strict(said(ranks)[f"varied {name}"])
    assert printed["digest"] == strict(said(ranks)["pagerank"])["digest"]
    assert analysis.open(folders[ranks] / f"varied-{name}.h5").verify_digest() == printed["digest"]


@ranks
def test_modes_change_no_bit(said, ranks):
    assert len({strict(said(ranks)[name])["digest"] for name in ("bfs", "bfs step", "bfs frontier")}) == 1


@ranks
@pytest.mark.parametrize("name", PROGRAMS)
def test_result_file_says_what_was_printed(said, folders, ranks, name):
    printed, path = strict(said(ranks)[name]), folders[ranks] / f"{name}.h5"
    assert printed["output"] == str(path)
    result = analysis.open(path)
    assert result.verify_digest() == printed["digest"]
    assert (result.program, result.n_vertices, result.n_steps) == (name, 64, printed["steps"])


@ranks
def test_settings_reach_the_program(said, ranks):
    printed = strict(said(ranks)["user"])
    assert printed["params"] == {"shift": 2.0, "n": 4, "loud": True}
    assert printed["program"].endswith("user.py:lowest")
    assert printed["values"] == {"least": 2.0, "warm": "inf"}
    assert printed["output"] is None


@ranks
def test_no_steps_leave_the_first_state(said, ranks):
    printed = strict(said(ranks)["nothing"])
    assert (printed["steps"], printed["values"]["least"], printed["halo"]["rows"]) == (0, 0.5, 0)


@ranks
def test_lines_for_people_say_the_same(said, ranks):
    lines = said(ranks)["plain"].splitlines()
    assert lines[0].startswith("pagerank on 64 vertices") and f"{ranks} ranks x 1 threads" in lines[0]
    assert "verified" in lines
    assert f"digest {strict(said(ranks)['pagerank'])['digest']}" in lines
    assert lines[-1].endswith("plain.h5")


def test_halo_rows_are_those_of_the_steps(said, folders):
    for ranks in RANKS:
        steps = analysis.open(folders[ranks] / "pagerank.h5").steps
        printed = strict(said(ranks)["pagerank"])["halo"]
        assert printed["rows"] == int(steps["halo_rows"].sum())
        assert printed["bytes"] == 8 * printed["rows"]
        assert (ranks == 1) == (printed["rows"] == 0)


@pytest.mark.parametrize("n", (1, 3))
def test_a_run_that_cannot_fit_ends_with_2_before_the_graph_is_loaded(tmp_path, n):
    jobs.run_commands(1, [["generate", "ring", "--vertices", 50, "-o", tmp_path / "ring.h5"]], tmp_path)
    argv = launching.command(n, "-m", "hpcmp", "run", "pagerank", tmp_path / "ring.h5")
    done = launching.run(argv, None, launching.environment({"HPCMP_MAX_MEMORY": "1K"}), 60)
    assert done.returncode == 2 and not done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("hpcmp: error: ")]
    assert len(lines) == 1 and "ring.h5 takes at least" in lines[0] and "HPCMP_MAX_MEMORY" in lines[0]
