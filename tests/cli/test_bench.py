"""`hpcmp bench`: every built-in program is timed, on any number of ranks, with the same answers."""

import json

import launch as launching
import pytest

from hpcmp.algorithms import NAMES

NETWORK = {"latency_us", "bandwidth_GB_s", "allreduce_us", "exchange_GB_s"}


def bench(launch, ranks, *args):
    done = launch(ranks, "bench", "--scale", 8, "--repeat", 2, "--json", *args)
    assert done.returncode == 0, done.stderr
    assert not launching.still_running(done)
    return json.loads(done.stdout)


def test_every_program_is_timed_and_ranks_change_no_answer(launch):
    one, three = (bench(launch, ranks, "--programs", ",".join(NAMES)) for ranks in (None, 3))
    assert (one["ranks"], three["ranks"]) == (1, 3)
    assert (one["n_vertices"], one["n_edges"]) == (three["n_vertices"], three["n_edges"])
    assert one["network"] == {} and set(three["network"]) == NETWORK
    assert all(value > 0 for value in three["network"].values())
    for alone, together in zip(one["programs"], three["programs"], strict=True):
        assert alone["digest"] == together["digest"], alone["program"]
        assert alone["halo"]["bytes"] == 0
        for row in (alone, together):
            assert row["edges_per_s"] == pytest.approx(row["messages"] / row["seconds"]["run"])
            assert row["imbalance"] >= 1 and row["peak_rss_bytes"] > 0
    pagerank = next(row for row in three["programs"] if row["program"] == "pagerank")
    assert pagerank["steps"] == 20 and pagerank["halo"]["bytes"] > 0
    assert pagerank["messages"] == 20 * three["n_edges"]


def test_lines_for_people_and_too_many_threads(launch):
    done = launch(2, "bench", "--scale", 6, "--programs", "pagerank", "--threads", 4096, "--repeat", 1)
    assert done.returncode == 0, done.stderr
    assert "--threads 4096 is more than" in done.stderr
    assert "edges per s" in done.stdout and "latency" in done.stdout


def test_mistakes_are_told(launch):
    for args, text in (
        (("--programs", "pagerank,nothing"), "'nothing' is not a built-in program"),
        (("--repeat", 0), "--repeat 0 must be at least 1"),
        (("--threads", 0), "--threads 0 must be at least 1"),
        (("--scale", 99), "scale = 99"),
    ):
        done = launch(2, "bench", "--scale", 6, *args)
        assert done.returncode == 2 and text in done.stderr, done.stderr
