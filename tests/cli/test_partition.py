"""`hpcmp partition`: other parts, the same graph, and the report."""

import functools
import json

import jobs
import pytest

RANKS = (1, 3)
METHODS = ("block", "degree", "hash", "metis", "file")
COLUMNS = {"ranks", "edge_cut", "cut_share", "halo_rows", "halo_max", "imbalance"}
N_PARTS = 8
SIDE = 12


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """``said(ranks)``: name of a command -> what it printed."""

    @functools.cache
    def on(ranks):
        folder = tmp_path_factory.mktemp(f"P{ranks}-")
        graph = folder / "grid.h5"
        # Eight parts of 3 x 6 blocks; ids shuffled, to show that lines `id part` may come in any order.
        parts = [(r // 3) * 2 + c // 6 for r in range(SIDE) for c in range(SIDE)]
        order = sorted(range(SIDE * SIDE), key=lambda v: v * 89 % 144)
        (folder / "by-id.txt").write_text("".join(f"{v} {parts[v]}\n" for v in order))
        (folder / "in-order.txt").write_text("".join(f"{p}\n" for p in parts))
        commands = {"graph": ["generate", "grid", "--height", SIDE, "--width", SIDE, "--json", "-o", graph]}
        for method in METHODS:
            given = ["--from", folder / "by-id.txt"] if method == "file" else ["--parts", N_PARTS]
            path = folder / f"{method}.h5"
            commands[method] = ["partition", graph, "--method", method, *given, "--json", "-o", path]
            commands[f"{method} look"] = ["partition", path, "--report", "--json"]
            commands[f"{method} pagerank"] = ["run", "pagerank", path, "--json"]
        commands["in order"] = [
            "partition",
            graph,
            "--method",
            "file",
            "--from",
            folder / "in-order.txt",
            "--json",
            "-o",
            folder / "i.h5",
        ]
        commands["pagerank"] = ["run", "pagerank", graph, "--json"]
        commands["as many"] = ["partition", graph, "--method", "hash", "--json", "-o", folder / "many.h5"]
        commands["plain"] = ["partition", graph, "--parts", N_PARTS, "-o", folder / "plain.h5"]
        texts = jobs.run_commands(ranks, list(commands.values()), folder)
        return {k: json.loads(t) if t.startswith("{") else t for k, t in zip(commands, texts, strict=True)}

    return on


ranks = pytest.mark.parametrize("ranks", RANKS, ids=lambda ranks: f"P{ranks}")


@ranks
@pytest.mark.parametrize("method", METHODS)
def test_report_says_cut_halo_and_imbalance_for_powers_of_two(said, method, ranks):
    found = said(ranks)[method]
    assert set(found) == {"method", "n_parts", "report", "digest", "output"}
    assert (found["method"], found["n_parts"]) == (method, N_PARTS)
    assert [row["ranks"] for row in found["report"]] == [2, 4, 8]
    for row in found["report"]:
        assert set(row) == COLUMNS
        assert row["cut_share"] == pytest.approx(row["edge_cut"] / found_edges(said, ranks))
        assert 0 < row["halo_max"] <= row["halo_rows"] <= row["edge_cut"]
        assert row["imbalance"] >= 1


def found_edges(said, ranks):
    return said(ranks)["graph"]["n_edges"]


@pytest.mark.parametrize("method", METHODS)
def test_parts_do_not_depend_on_ranks(said, method):
    reports = [said(ranks)[method]["report"] for ranks in RANKS]
    assert reports[0] == reports[1]


@ranks
@pytest.mark.parametrize("method", METHODS)
def test_file_holds_the_parts_that_were_reported(said, method, ranks):
    look = said(ranks)[f"{method} look"]
    assert look["report"] == said(ranks)[method]["report"]
    assert (look["method"], look["output"]) == (None, None)


@ranks
@pytest.mark.parametrize("method", METHODS)
def test_other_parts_are_the_same_graph_and_the_same_answer(said, method, ranks):
    found = said(ranks)
    assert found[method]["digest"] == found["graph"]["digest"]
    assert found[f"{method} pagerank"]["digest"] == found["pagerank"]["digest"]


@ranks
def test_given_parts_are_taken_by_id_or_in_order(said, ranks):
    assert said(ranks)["in order"]["report"] == said(ranks)["file"]["report"]
    # Cuts of the 3 x 6 blocks: 12 edges between two columns of blocks, 12 between two rows of which there are 3; both ways.
    assert said(ranks)["file"]["report"][-1]["edge_cut"] == 2 * (12 + 3 * 12)


@ranks
def test_metis_cuts_less_than_hash(said, ranks):
    assert said(ranks)["metis"]["report"][-1]["edge_cut"] < said(ranks)["hash"]["report"][-1]["edge_cut"] / 2


@ranks
def test_parts_stay_as_many_unless_asked(said, ranks):
    assert said(ranks)["as many"]["n_parts"] == said(ranks)["graph"]["n_parts"]


@ranks
def test_lines_for_people_are_a_table(said, ranks):
    lines = said(ranks)["plain"].splitlines()
    assert lines[0].startswith(f"{N_PARTS} parts of 144 vertices")
    assert "edge cut" in lines[1] and "imbalance" in lines[1]
    assert len(lines) == 2 + 3 + 1 and lines[-1].startswith("-> ")


def test_time_and_memory_are_predicted_from_rates_of_a_file(launch, tmp_path):
    graph, rates = tmp_path / "g.h5", tmp_path / "rates.json"
    assert launch(2, "generate", "grid", "--height", 12, "--width", 12, "--parts", 8, "-o", graph).returncode == 0
    kernel = {"step_us": 100.0, "vertex_ns": 5.0, "edge_ns": [[10, 1.0]], "slowdown": [[10, 1.0]], "cores": 2}
    network = {"latency_us": 2.0, "bandwidth_GB_s": 4.0, "allreduce_us": 6.0, "exchange_GB_s": 2.0}
    rates.write_text(json.dumps({"ranks": 2, "ping_pong": network, "rates": kernel | {"kernel_bytes": 0}}))
    look = ("partition", graph, "--report", "--ranks", "1,2,4096", "--rates", rates)
    one, two = (json.loads(launch(ranks, *look, "--json").stdout)["prediction"] for ranks in (None, 2))
    assert [row["ranks"] for row in one] == [1, 2, 4096]
    for alone, together in zip(one, two, strict=True):  # who asks does not change what is predicted
        assert alone["step_s"] == together["step_s"] and alone["halo_rows"] == together["halo_rows"]
    assert one[0]["step_s"] == pytest.approx(100e-6 + 144 * 5e-9 + 528 * 1e-9)
    text = launch(None, *look).stdout
    assert "step ms" in text and "network measured between 2 ranks" in text
    assert "4088 or more would own no part" in text


def test_mistakes_in_a_prediction_are_told(launch, tmp_path):
    graph, text = tmp_path / "g.h5", tmp_path / "rates.txt"
    assert launch(None, "generate", "ring", "--vertices", 20, "-o", graph).returncode == 0
    text.write_text("fast")
    for more, said in (
        (("--ranks", "2,many"), "'2,many' is not a list of numbers"),
        (("--ranks", "0"), "--ranks 0 is outside"),
        (("--ranks", "2", "--threads", 0), "--threads 0 must be at least 1"),
        (("--ranks", "2", "--per-machine", 0), "--per-machine 0 must be at least 1"),
        (("--ranks", "2", "--rates", tmp_path / "gone"), "cannot be read"),
        (("--ranks", "2", "--rates", text), "is not what `hpcmp doctor --json` prints"),
    ):
        done = launch(2, "partition", graph, "--report", *more)
        assert done.returncode == 2 and said in done.stderr, done.stderr
