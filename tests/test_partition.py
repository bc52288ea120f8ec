"""Cutting into parts: independent of ranks, and judged as the naive report judges."""

import naive
import numpy as np
import pytest
from building import agreed_error, as_column, build, everywhere, same_on_all
from graphs import GRAPHS, NAMES, ZOO
from hypothesis import given
from hypothesis import strategies as st

import hpcmp
from hpcmp import partition
from hpcmp.errors import PartitionError

METHODS = ("block", "degree", "hash", "metis")


def part_of(graph):
    """id -> part, the same on all ranks."""
    return everywhere(graph, graph.part_of_rows())


def cut(comm, sample, method, n_parts=8):
    return hpcmp.repartition(build(comm, sample), method, n_parts)


@pytest.mark.parametrize("method", METHODS)
def test_parts_do_not_depend_on_ranks(comm, method):
    if method == "metis":
        pytest.importorskip("pymetis")
    alone = comm.Split(comm.rank)
    for name in ("random", "sparse_ids", "empty"):
        graph = cut(comm, GRAPHS[name], method)
        single, _ = hpcmp.build_graph(alone, alone_table(GRAPHS[name]))
        single = hpcmp.repartition(single, method, 8)
        assert part_of(graph) == part_of(single)
        assert np.array_equal(graph.part_start, single.part_start)
        single.close()
    alone.Free()


def alone_table(sample):
    from hpcmp.io.table import EdgeTable

    return EdgeTable(sample.src, sample.dst, {"weight": sample.weight}, vertices=sample.ids, directed=sample.directed)


@pytest.mark.parametrize("name", NAMES)
def test_block_parts_are_even_runs_of_ids(comm, name):
    found, ids = part_of(cut(comm, GRAPHS[name], "block", 5)), GRAPHS[name].ids.tolist()
    bounds = [k * len(ids) // 5 for k in range(6)]
    assert found == {v: q for q in range(5) for v in ids[bounds[q] : bounds[q + 1]]}


def test_hashed_parts_are_a_hash_of_the_id(comm):
    found = part_of(cut(comm, ZOO, "hash", 7))
    assert found == {v: naive.mix64(v % 2**64) % 7 for v in ZOO.ids.tolist()}


@pytest.mark.parametrize("name", NAMES)
def test_degree_parts_are_runs_of_ids_of_equal_work(comm, name):
    sample, n_parts = GRAPHS[name], 4
    found = part_of(cut(comm, sample, "degree", n_parts))
    rows = naive.in_edges(sample)
    work = [1 + len(rows[v]) for v in sample.ids.tolist()]
    before = np.cumsum([0, *work])
    expected = {v: int(before[k] * n_parts // before[-1]) for k, v in enumerate(sample.ids.tolist())}
    assert found == expected


def test_metis_cuts_fewer_edges_than_hashing(comm):
    pytest.importorskip("pymetis")
    grid, _ = hpcmp.build_graph(comm, hpcmp.generate.grid(comm, 12, 12))
    by_method = {m: partition.report(comm, hpcmp.repartition(grid, m, 4))[-1] for m in ("metis", "hash")}
    assert by_method["metis"]["edge_cut"] < by_method["hash"]["edge_cut"] / 3
    assert by_method["metis"]["imbalance"] < 1.2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["block", "hash"])
def test_the_report_is_that_of_the_naive_twin(comm, name, method):
    graph = cut(comm, GRAPHS[name], method)
    found = partition.report(comm, graph)
    assert found == naive.partition_report(GRAPHS[name], part_of(graph), 8)
    assert same_on_all(comm, found)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=12), st.integers(1, 6))
def test_parts_are_dealt_where_the_weight_is_nearest_to_even_shares(weights, size):
    assert partition.deal(np.array(weights, float), size).tolist() == naive.deal(weights, size)


def test_ranks_own_runs_of_whole_parts(comm):
    for name in ("empty", "fewer_vertices_than_ranks", "zoo"):
        graph = build(comm, GRAPHS[name], method="hash")
        first, end = graph.gid_bounds[comm.rank : comm.rank + 2]
        assert {int(first), int(end)} <= set(graph.part_start.tolist())
        assert graph.n_owned == end - first
        assert comm.allreduce(graph.n_owned) == len(GRAPHS[name].ids)


def test_a_file_of_parts_is_obeyed(comm):
    sample = GRAPHS["random"]
    graph = build(comm, sample)
    wanted = {v: k * k % 5 for k, v in enumerate(sample.ids.tolist())}
    moved = hpcmp.repartition(graph, "file", part=as_column(graph, wanted, np.int64))
    assert part_of(moved) == wanted
    assert moved.n_parts == 5
    more = hpcmp.repartition(graph, "file", 9, part=as_column(graph, wanted, np.int64))
    assert more.n_parts == 9


@pytest.mark.parametrize("n, parts", [(0, 16), (1000, 16), (20_000, 32), (10**6, 1024), (10**9, 4096)])
def test_the_default_number_of_parts_is_a_power_of_2_that_suits(n, parts):
    assert partition.default_parts(n) == parts


@pytest.mark.parametrize(
    "method, n_parts, part, text",
    [
        ("block", -1, None, "parts = -1 is outside [1, 1048576]"),
        ("hash", 2**20 + 1, None, "parts = 1048577 is outside [1, 1048576]"),
        ("spectral", 4, None, "method 'spectral' is not one of block, degree, hash, metis, file"),
        ("file", 4, 4, "has part 4, outside [0, 4)"),
        ("file", 4, -1, "has part -1, outside [0, 4)"),
    ],
)
def test_a_cut_that_cannot_be_is_refused_on_every_rank(comm, method, n_parts, part, text):
    graph = build(comm, GRAPHS["random"])
    given_parts = None if part is None else np.full(graph.n_owned, part)
    found = agreed_error(comm, PartitionError, lambda: hpcmp.repartition(graph, method, n_parts, part=given_parts))
    assert text in found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", [None, *METHODS])
def test_rows_of_a_part_are_numbered_by_falling_degree_then_by_order(comm, name, method):
    if method == "metis":
        pytest.importorskip("pymetis")
    graph = build(comm, GRAPHS[name]) if method is None else cut(comm, GRAPHS[name], method)
    degree = graph.in_degree + graph.out_degree
    keys = list(zip(graph.part_of_rows().tolist(), (-degree).tolist(), graph.order.tolist()))
    assert keys == sorted(keys)
