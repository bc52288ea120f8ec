"""The cost model: what it counts, the parts of its formula, and what it reads."""

import json

import building
import graphs
import numpy as np
import pytest

import hpcmp
from hpcmp import partition
from hpcmp.cli import cost

RATES = {
    "step_us": 100.0,
    "vertex_ns": 5.0,
    "edge_ns": [(10, 1.0), (1000, 3.0)],
    "slowdown": [(10, 1.0), (1000, 2.0)],
    "cores": 4,
    "kernel_bytes": 1000,
    "latency_us": 2.0,
    "bandwidth_GB_s": 4.0,
    "exchange_GB_s": 2.0,
    "allreduce_us": 6.0,
    "hop_us": 6.0,
    "network_ranks": 2,
    "base_bytes": 500,
    "open_bytes": {"vertices": 40, "edges": 4, "received": 50, "sent": 16},
    "run_bytes": {"vertices": 100, "edges": 4, "received": 40, "sent": 24},
}


def share(vertices=(10,), edges=(100,), interior=None, sent=None, received=None, messages=None):
    none = [0] * len(vertices)
    columns = {"vertices": vertices, "edges": edges, "interior_edges": interior or none, "sent": sent or none}
    columns |= {"received": received or none, "messages": messages or none}
    return {name: np.array(a, np.int64) for name, a in columns.items()} | {"edge_cut": 7}


def test_one_rank_pays_for_its_edges_vertices_and_the_step():
    found = cost.predict(share(), RATES)
    assert found["compute_s"] == pytest.approx(100 * 1e-9 + 10 * 5e-9)
    assert (found["halo_s"], found["reduce_s"]) == (0, pytest.approx(100e-6))
    assert found["step_s"] == pytest.approx(found["compute_s"] + found["reduce_s"])
    assert found["memory_bytes"] == 1500 + 4 * 100 + 100 * 10
    assert (found["ranks"], found["edge_cut"], found["imbalance"]) == (1, 7, 1)


def test_edges_cost_more_once_what_is_read_does_not_fit():
    small, middle, large = (cost.predict(share((n,), (10**6,)), RATES)["compute_s"] - n * 5e-9 for n in (5, 100, 10**6))
    assert small == pytest.approx(1e-3) and large == pytest.approx(3e-3)
    assert middle == pytest.approx(2e-3)  # halfway between 10 and 1000 in logarithms


def test_rows_that_are_heard_count_as_rows_that_are_read():
    alone = cost.predict(share((10, 10), (10**6, 10**6)), RATES, ranks_per_machine=1)
    hears = cost.predict(share((10, 10), (10**6, 10**6), received=(0, 990)), RATES, ranks_per_machine=1)
    assert hears["compute_s"] > 2.9 * alone["compute_s"]


def test_the_slowest_rank_sets_the_pace():
    found = cost.predict(share((10, 10), (100, 300)), RATES, ranks_per_machine=1)
    assert found["compute_s"] == pytest.approx(300e-9 + 50e-9)
    assert found["imbalance"] == pytest.approx(310 / 210)


def test_cores_that_work_at_once_slow_each_other():
    one = cost.predict(share((1000,) * 4, (10**6,) * 4), RATES, ranks_per_machine=1)["compute_s"]
    two = cost.predict(share((1000,) * 4, (10**6,) * 4), RATES, ranks_per_machine=2)["compute_s"]
    four = cost.predict(share((1000,) * 4, (10**6,) * 4), RATES, ranks_per_machine=4)["compute_s"]
    assert (two / one, four / one) == (pytest.approx(4 / 3), pytest.approx(2))
    threads = cost.predict(share((1000,) * 4, (10**6,) * 4), RATES, threads=4, ranks_per_machine=1)["compute_s"]
    assert threads == pytest.approx(one * 2 / 4)


def test_messages_and_bytes_are_hidden_by_interior_rows_but_packing_is_not():
    sent = (10**6, 10**6)
    bare = cost.predict(share((10, 10), (0, 0), sent=sent, received=sent, messages=(2, 2)), RATES)["halo_s"]
    wire, copy = 2e-6 + 8e6 / 4e9, 8e6 * (1 / 2e9 - 1 / 4e9)
    assert bare == pytest.approx(wire + copy)
    edges = (10**9, 10**9)
    hidden = cost.predict(share((10, 10), edges, edges, sent, sent, (2, 2)), RATES)["halo_s"]
    assert hidden == pytest.approx(copy)


def test_the_largest_rank_sets_the_memory_by_running_or_by_opening():
    ghosts = share((10, 20), (100, 50), sent=(7, 3), received=(3, 7))
    run = (10 * 100 + 400 + 3 * 40 + 7 * 24, 20 * 100 + 200 + 7 * 40 + 3 * 24)
    assert cost.predict(ghosts, RATES)["memory_bytes"] == 1500 + max(run)
    small = share((10,) * 64, (1,) * 64)  # each marks 640 vertices while it numbers its sources
    assert cost.predict(small, RATES)["memory_bytes"] == 1500 + 10 * 40 + 4 + 5 * 640


def test_an_all_reduce_grows_with_the_logarithm_of_ranks():
    found = {n: cost.predict(share((1,) * n, (1,) * n), RATES)["reduce_s"] for n in (1, 2, 16)}
    assert found[2] - found[1] == pytest.approx(6e-6) and found[16] - found[1] == pytest.approx(24e-6)


@pytest.fixture
def graph(comm):
    table = hpcmp.generate.kronecker(comm, 7, 8)
    made, _ = hpcmp.build_graph(comm, table, drop_loops=True, drop_duplicates=True, n_parts=12)
    return made


def test_shares_are_what_ranks_really_hold(comm, graph):
    """Against the graph as this very number of ranks holds it."""
    found = cost.shares(graph, [comm.size])[comm.size]
    halo = graph.halo
    interior = int(graph.in_degree[graph.interior].sum())
    mine = [
        graph.n_owned,
        graph.n_in,
        interior,
        halo.n_send,
        graph.n_ghost,
        len(halo.send_ranks) + len(halo.recv_ranks),
    ]
    names = ("vertices", "edges", "interior_edges", "sent", "received", "messages")
    assert {n: found[n].tolist() for n in names} == dict(zip(names, map(list, zip(*comm.allgather(mine)))))


def test_shares_agree_with_the_report_and_do_not_depend_on_ranks_here(comm, graph):
    report = {row["ranks"]: row for row in partition.report(comm, graph)}
    found = cost.shares(graph, [1, 2, 8, 40])
    for size in (2, 8):
        assert found[size]["edge_cut"] == report[size]["edge_cut"]
        assert found[size]["received"].sum() == found[size]["sent"].sum() == report[size]["halo_rows"]
        assert found[size]["received"].max() == report[size]["halo_max"]
    assert found[1]["edge_cut"] == 0 and found[1]["interior_edges"].tolist() == [graph.n_edges]
    assert len(found[40]["vertices"]) == 40 and found[40]["vertices"].sum() == graph.n_vertices
    assert np.count_nonzero(found[40]["vertices"]) <= graph.n_parts


@pytest.mark.parametrize("name", ["empty", "one_vertex", "no_edges", "star", "fewer_vertices_than_ranks"])
def test_awkward_graphs_have_a_prediction(comm, name):
    sample = graphs.GRAPHS[name]
    made = building.build(comm, sample)
    for size, one in cost.shares(made, [1, 3, 64]).items():
        assert len(one["edges"]) == size and one["edges"].sum() == made.n_edges
        found = cost.predict(one, RATES | {"edge_ns": [], "slowdown": []})
        assert found["step_s"] >= 99e-6 and found["imbalance"] >= 0


def test_calibration_gives_rates_that_predict(comm, graph, monkeypatch):
    monkeypatch.setattr(cost, "SAMPLE_S", 0.01)
    monkeypatch.setattr(cost, "RING_ROWS", 1 << 10)
    rates = cost.calibrate(graph, 10**6)
    assert comm.allgather(rates) == [rates] * comm.size
    assert (rates["network_ranks"] > 0) == (comm.size > 1)
    for row in (cost.predict(one, rates) for one in cost.shares(graph, [1, 2, 4096]).values()):
        assert 0 < row["step_s"] < 10 and row["memory_bytes"] > 10**6
    taken = cost.calibrate(graph, 10**6, {name: RATES[name] for name in (*cost.KERNEL_RATES, *cost.ASSUMED)})
    assert taken["edge_ns"] == RATES["edge_ns"] and taken["hop_us"] == 6.0


def test_rates_of_a_file(tmp_path):
    doctor = {
        "ranks": 8,
        "ping_pong": {"latency_us": 1.5, "bandwidth_GB_s": 9, "allreduce_us": 9.0, "exchange_GB_s": 3},
    }
    assert cost.read_rates(doctor) == doctor["ping_pong"] | {"network_ranks": 8}
    assert cost.read_rates({"ranks": 1, "ping_pong": {}}) == {}
    rates = cost.read_rates(json.loads(json.dumps(doctor | {"rates": RATES})))
    assert rates["edge_ns"] == [[10, 1.0], [1000, 3.0]] and rates["latency_us"] == 1.5
    assert "base_bytes" not in rates  # of the process that measured, not of this one
    assert cost.read_rates({"rates": RATES})["latency_us"] == 2.0
