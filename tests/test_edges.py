"""Edges on their way: delivered in pieces of any size, counted, shifted, asked about."""

import numpy as np
import pytest
from building import agreed_error, table
from graphs import GRAPHS

import hpcmp
from hpcmp import edges
from hpcmp.errors import GraphError


def runs(comm, n):
    """Bounds of runs of very different lengths."""
    return np.array([0, *sorted((n * k * k) // comm.size**2 for k in range(1, comm.size)), n])


def numbers(comm, m, n, seed):
    """This rank's m + rank numbers below n, and those of all ranks."""
    drawn = [np.random.default_rng((seed, r)).integers(0, n, m + r).astype(np.uint32) for r in range(comm.size)]
    return drawn[comm.rank], np.concatenate(drawn)


@pytest.mark.parametrize("at_once", [1, 3, 1000])
@pytest.mark.parametrize("both_ways", [False, True])
def test_rows_arrive_where_their_number_lies_with_all_their_columns(comm, monkeypatch, at_once, both_ways):
    monkeypatch.setattr(edges, "ROWS_AT_ONCE", at_once)
    bounds = runs(comm, 20)
    (src, all_src), (dst, all_dst) = numbers(comm, 17, 20, 1), numbers(comm, 17, 20, 2)
    expected = [(s, d, s * 100 + d) for s, d in zip(all_src.tolist(), all_dst.tolist())]
    expected += [(d, s, x) for s, d, x in expected if both_ways and s != d]
    mine = sorted(e for e in expected if bounds[comm.rank] <= e[1] < bounds[comm.rank + 1])
    columns = {"src": src, "dst": dst, "x": src * np.int64(100) + dst}
    for n_coming in (None, len(mine)):
        given = dict(columns)
        got = edges.deliver(comm, bounds, given, both_ways=both_ways, n_coming=n_coming)
        assert not given
        assert sorted(zip(*(got[name].tolist() for name in ("src", "dst", "x")))) == mine


@pytest.mark.parametrize("at_once", [1, 5])
def test_the_size_of_a_piece_changes_no_graph(comm, monkeypatch, at_once):
    one, expected = GRAPHS["zoo"], None
    for size in (edges.ROWS_AT_ONCE, at_once):
        monkeypatch.setattr(edges, "ROWS_AT_ONCE", size)
        graph, report = hpcmp.build_graph(comm, table(comm, one), drop_duplicates=True)
        expected = expected or (graph.digest, report)
        assert (graph.digest, report) == expected
        graph.close()


@pytest.mark.parametrize("n", [20, 2000])  # a table of all numbers, or only those that occur
def test_numbers_are_counted_and_values_are_found_where_they_lie(comm, n):
    bounds = runs(comm, n)
    (a, all_a), (b, all_b) = numbers(comm, 30, n, 3), numbers(comm, 5, n, 4)
    times = np.bincount(np.concatenate((all_a, all_b)), minlength=n)
    mine = edges.counted(comm, bounds, [a, b], n)
    assert mine.tolist() == times[bounds[comm.rank] : bounds[comm.rank + 1]].tolist()
    wanted = edges.distinct(a, n)
    assert wanted.tolist() == np.unique(a).tolist()
    assert edges.ask(comm, bounds, mine, wanted).tolist() == times[wanted].tolist()
    other = np.array([n * k // comm.size for k in range(comm.size + 1)])
    moved = edges.shift_runs(comm, bounds, other, mine)
    assert moved.tolist() == times[other[comm.rank] : other[comm.rank + 1]].tolist()


def test_keys_of_more_than_64_bits_are_refused_on_every_rank(comm):
    def sort():
        empty = np.empty(0, np.int64)
        edges.SortedEdges(comm, {"src": empty, "dst": empty}, 0, 2**33, 2**40)

    assert "do not fit 64 bits; use more ranks" in agreed_error(comm, GraphError, sort)
