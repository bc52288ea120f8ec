"""How much memory work takes, and that what cannot fit is refused before it is loaded."""

import json

import jobs
import numpy as np
import pytest
from building import agreed_error, build
from graphs import GRAPHS

import hpcmp
from hpcmp.errors import MemoryLimitError
from hpcmp.io import free, room

SLACK_BYTES = 12 << 20  # a rank: buffers of pieces and of MPI, which do not grow with the graph


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A Kronecker graph of scale 17 as a text of edges and as a graph file."""
    from hpcmp.comm import world
    from hpcmp.io.text import format_columns

    alone, folder = world(), tmp_path_factory.mktemp("memory")
    weighted = hpcmp.generate.kronecker(alone, 17, weights=(1, 255, "int"))
    hpcmp.write_graph(hpcmp.build_graph(alone, weighted)[0], folder / "weighted.h5")
    table = hpcmp.generate.kronecker(alone, 17)
    (folder / "edges.tsv").write_bytes(format_columns([table.src, table.dst]))
    hpcmp.write_graph(hpcmp.build_graph(alone, table)[0], folder / "graph.h5")
    return folder


def told(n, what, path):
    done = jobs.run_script(n, "memory_job.py", what, path)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("n", [1, 2])
def test_pagerank_takes_8_bytes_an_edge_and_80_a_vertex_and_opening_what_was_predicted(files, n):
    found = told(n, "pagerank", files / "graph.h5")
    assert found["peak"] < 8 * found["n_edges"] + 80 * found["n_vertices"] + n * SLACK_BYTES, found
    opening = found["predicted_opening"]
    assert 0.5 * opening < found["opened"] < 1.7 * opening + n * SLACK_BYTES, found


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("name", ["pagerank", "bfs", "sssp"])
def test_a_run_takes_what_was_predicted(files, n, name):
    found = told(n, name, files / ("weighted.h5" if name == "sssp" else "graph.h5"))
    running = found["predicted_running"]
    assert 0.6 * running < found["peak"] < 1.4 * running + n * SLACK_BYTES, found


def test_a_run_that_cannot_fit_is_refused_on_every_rank_before_it_starts(comm, shared_tmp, monkeypatch):
    graph = build(comm, GRAPHS["random"])
    bfs = hpcmp.algorithms.bfs.run(graph, source=int(comm.bcast(graph.id[0] if graph.n_owned else 0)))
    monkeypatch.setenv(room.LIMIT, "1K")
    text = agreed_error(comm, MemoryLimitError, lambda: hpcmp.algorithms.pagerank.run(graph))
    assert text.startswith("running pagerank takes") and room.LIMIT in text
    monkeypatch.setenv(room.LIMIT, "1G")
    assert hpcmp.algorithms.bfs.run(graph, source=bfs.params["source"]).digest == bfs.digest


def test_what_is_held_counts_where_a_limit_says_how_much_there_is(comm, monkeypatch):
    monkeypatch.setenv(room.LIMIT, str(100 * comm.size))
    room.refuse_what_cannot_fit(comm, "it takes", 60, 40)
    agreed_error(comm, MemoryLimitError, lambda: room.refuse_what_cannot_fit(comm, "it takes", 60, 41))
    monkeypatch.delenv(room.LIMIT)
    monkeypatch.setattr(room, "free_bytes", lambda: 100 * comm.size)  # what is held is gone from that
    room.refuse_what_cannot_fit(comm, "it takes", 100, 10**6)
    agreed_error(comm, MemoryLimitError, lambda: room.refuse_what_cannot_fit(comm, "it takes", 101, 0))


@pytest.mark.parametrize("n", [1, 2])
def test_converting_a_text_takes_80_bytes_a_line(files, n):
    found = told(n, "convert", files / "edges.tsv")
    assert found["peak"] < 80 * found["n_lines"] + n * SLACK_BYTES, found


# ---------------------------------------------------------------- refusing


def test_a_graph_that_cannot_fit_is_refused_on_every_rank(comm, shared_tmp, monkeypatch):
    graph = build(comm, GRAPHS["random"])
    hpcmp.write_graph(graph, shared_tmp / "g.h5")
    monkeypatch.setenv(room.LIMIT, "1K")
    text = agreed_error(comm, MemoryLimitError, lambda: hpcmp.open_graph(comm, shared_tmp / "g.h5"))
    assert "g.h5 takes at least" in text and f"{comm.size} ranks" in text and room.LIMIT in text
    for enough in ("0", "1G"):
        monkeypatch.setenv(room.LIMIT, enough)
        assert hpcmp.open_graph(comm, shared_tmp / "g.h5").digest == graph.digest


def test_a_limit_that_is_no_number_is_refused_on_every_rank(comm, shared_tmp, monkeypatch):
    hpcmp.write_graph(build(comm, GRAPHS["random"]), shared_tmp / "g.h5")
    monkeypatch.setenv(room.LIMIT, "plenty")
    text = agreed_error(comm, MemoryLimitError, lambda: hpcmp.open_graph(comm, shared_tmp / "g.h5"))
    assert text.startswith("HPCMP_MAX_MEMORY='plenty' is no number of bytes")


@pytest.mark.parametrize(
    "said, expected", [("1000", 1000), ("3k", 3072), ("2M", 2 << 20), ("4GB", 4 << 30), ("0", None), ("0G", None)]
)
def test_a_limit_may_have_a_unit(said, expected):
    assert free.free_bytes({room.LIMIT: said}) == expected


def test_the_machine_says_how_much_is_free():
    assert 1 << 20 < free.free_bytes({}) < 1 << 50


@pytest.mark.parametrize("version", [1, 2])
def test_the_tightest_control_group_counts_and_caches_of_files_are_free(tmp_path, version):
    top = tmp_path / ("memory" if version == 1 else "")
    limit, used = ("limit_in_bytes", "usage_in_bytes") if version == 1 else ("max", "current")
    for folder, most, now, cached in (("", "max", 500, 0), ("job", 1000, 400, 50), ("job/step", 2000, 300, 7)):
        group = top / folder
        group.mkdir(parents=True, exist_ok=True)
        (group / f"memory.{limit}").write_text(f"{most}\n")
        (group / f"memory.{used}").write_text(f"{now}\n")
        (group / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\nactive_file 1\n")
    own = tmp_path / "own"
    own.write_text("9:cpu:/job/step\n" + ("4:memory:" if version == 1 else "0::") + "/job/step\n")
    assert sorted(free._group_rooms(own, tmp_path)) == [651, 1708]


def test_what_a_rank_needs_grows_with_its_rows_edges_and_fields():
    datasets = {
        "vertices/x": (0, np.dtype("f4"), (100, 8)),
        "in_edges/weight": (0, np.dtype("f8"), (1000,)),
        "in_edges/relation": (0, np.dtype("u2"), (1000,)),
    }
    head = {
        "n_vertices": 100,
        "part_start": np.array([0, 40, 100]),
        "edge_start": np.array([0, 300, 1000]),
        "vertex_fields": [],
        "edge_fields": [],
        "has_names": False,
        "has_relation": False,
        "datasets": datasets,
    }
    bounds = np.array([0, 1, 2])
    plain = room.bytes_to_open(head, bounds)
    assert plain.tolist() == [40 * 40 + 300 * 4 + 500, 60 * 40 + 700 * 4 + 500]
    assert room.bytes_to_open(head, bounds, 50).tolist() == [
        40 * 90 + 300 * 4,
        60 * 90 + 700 * 4,
    ]  # more than the table
    more = head | {"vertex_fields": ["x"], "edge_fields": ["weight"], "has_relation": True}
    assert (room.bytes_to_open(more, bounds) - plain).tolist() == [40 * 32 + 300 * 10, 60 * 32 + 700 * 10]
