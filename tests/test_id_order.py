"""Rows in ascending id, and digests that no partition changes."""

import naive
import numpy as np
import pytest
from building import build, same_on_all
from graphs import GRAPHS, NAMES

from hpcmp.hashing import DIGEST_ROWS
from hpcmp.id_order import IdOrder, at_ids


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["block", "hash"])
def test_taken_columns_are_in_ascending_id(comm, name, method):
    graph = build(comm, GRAPHS[name], method=method)
    order = IdOrder(graph)
    owned = graph.id[: graph.n_owned]
    assert [v for part in comm.allgather(order.id.tolist()) for v in part] == GRAPHS[name].ids.tolist()
    wide = np.stack((owned, owned * 2), axis=1).astype(np.float32)
    assert np.array_equal(order.take(wide), np.stack((order.id, order.id * 2), axis=1).astype(np.float32))
    assert sum(comm.allgather(len(order.id))[: comm.rank]) == order.first


@pytest.mark.parametrize("name", NAMES)
def test_the_digest_is_the_naive_one_on_any_ranks_and_parts(comm, name):
    ids = GRAPHS[name].ids
    column = (ids % 1000).astype(np.float32) / 7
    expected = naive.digest(ids, {"x": column})
    for method in ("block", "hash"):
        graph = build(comm, GRAPHS[name], method=method)
        order = IdOrder(graph)
        mine = (graph.id[: graph.n_owned] % 1000).astype(np.float32) / 7
        found = order.digest({"x": order.take(mine)})
        assert found == expected
        assert same_on_all(comm, found)


def test_a_digest_of_several_blocks_is_shared_by_the_ranks(comm):
    from types import SimpleNamespace

    n = 3 * DIGEST_ROWS + 11
    rows = np.random.default_rng(0).permutation(n)[comm.rank :: comm.size]
    graph = SimpleNamespace(comm=comm, n_vertices=n, order=rows, id=2 * rows, n_owned=len(rows))
    order = IdOrder(graph)
    ids = 2 * np.arange(n, dtype=np.int64)
    assert order.digest({"y": order.take(rows % 5)}) == naive.digest(ids, {"y": np.arange(n) % 5})
    if comm.size <= 3:
        assert min(comm.allgather(len(order.id))) > 0
    asked = np.random.default_rng(comm.rank).integers(-9, 2 * n + 9, 500)  # even ones there are
    is_there = (asked % 2 == 0) & (asked >= 0) & (asked < 2 * n)
    assert np.array_equal(at_ids(graph, asked, rows * 3), np.where(is_there, asked // 2 * 3, -1))


@pytest.mark.parametrize("name", NAMES)
def test_a_column_is_found_by_ids_on_any_ranks(comm, name):
    graph = build(comm, GRAPHS[name], method="hash")
    asked = np.append(GRAPHS[name].ids, [-(2**60), 2**60])
    found = at_ids(graph, asked, np.full(graph.n_owned, comm.rank))
    owner = dict.fromkeys(asked.tolist(), -1)
    for rank, ids in enumerate(comm.allgather(graph.id[: graph.n_owned].tolist())):
        owner |= dict.fromkeys(ids, rank)
    assert found.tolist() == [owner[id] for id in asked.tolist()]
