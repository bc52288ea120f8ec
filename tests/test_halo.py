"""Ghosts: two directions, each the transpose of the other, and no row too many."""

import naive
import numpy as np
import pytest
from building import agreed_error, build, listed_edges
from graphs import GRAPHS, NAMES, ZOO, sample
from hypothesis import given
from hypothesis import strategies as st

import hpcmp
from hpcmp import changed_rows, exchange, halo
from hpcmp.comm import block_bounds, row_type
from hpcmp.errors import GraphError

# Hashing cuts a ring almost everywhere: long lists of rows for every peer.
RING = sample(range(600), [(k, (k + 1) % 600) for k in range(600)])


def whole(graph, width, dtype, seed, low=0, high=4):
    """Small whole numbers on all local rows; products and sums of them are exact in any type."""
    shape = (graph.n_local,) if width is None else (graph.n_local, width)
    return np.random.default_rng((seed, graph.comm.rank)).integers(low, high, shape).astype(dtype)


def dot(comm, x, y):
    return comm.allreduce(int((x.astype(np.int64) * y.astype(np.int64)).sum()))


@pytest.mark.parametrize("name", [*NAMES, "no_edges", "all_edges_on_one_rank"])
def test_reverse_is_the_transpose_of_forward(comm, name):
    graph = build(comm, GRAPHS[name], method="hash")
    n = graph.n_owned
    for seed, (width, dtype) in enumerate([(None, "float64"), (3, "float32"), (None, "int32"), (2, "int64")]):
        x, y = whole(graph, width, dtype, seed), whole(graph, width, dtype, seed + 50)
        forward, reverse = x.copy(), y.copy()
        graph.halo.forward(forward)
        graph.halo.reverse(reverse)
        assert dot(comm, forward, y) == dot(comm, x[:n], reverse[:n])
        assert np.array_equal(forward[:n], x[:n])
        assert np.array_equal(reverse[n:], y[n:])


def test_the_transpose_holds_for_tuples_of_arrays(comm):
    graph = build(comm, ZOO, method="hash")
    n, kinds = graph.n_owned, ((None, "int8"), (3, "float32"), (None, "float64"), (1, "int64"))
    x = tuple(whole(graph, w, t, 1) for w, t in kinds)
    y = tuple(whole(graph, w, t, 2) for w, t in kinds)
    forward, reverse = tuple(a.copy() for a in x), tuple(a.copy() for a in y)
    graph.halo.forward(forward)
    graph.halo.reverse(reverse)
    left = sum(dot(comm, a, b) for a, b in zip(forward, y))
    assert left == sum(dot(comm, a[:n], b[:n]) for a, b in zip(x, reverse))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["block", "hash"])
def test_a_ghost_equals_its_owner(comm, name, method):
    graph = build(comm, GRAPHS[name], method=method)
    columns = (np.full(graph.n_local, -1, np.int64), np.zeros((graph.n_local, 2), bool), np.zeros(graph.n_local, "S9"))
    owned = graph.id[: graph.n_owned]
    columns[0][: graph.n_owned] = owned
    columns[1][: graph.n_owned] = np.stack((owned % 2 == 0, owned % 3 == 0), axis=1)
    columns[2][: graph.n_owned] = owned % 10**8
    graph.halo.forward(columns)
    assert np.array_equal(columns[0], graph.id)
    assert np.array_equal(columns[1], np.stack((graph.id % 2 == 0, graph.id % 3 == 0), axis=1))
    assert np.array_equal(columns[2], (graph.id % 10**8).astype("S9"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["block", "hash"])
def test_one_row_travels_for_each_boundary_vertex_and_peer_and_no_more(comm, name, method):
    graph = build(comm, GRAPHS[name], method=method)
    owner = {}
    for p, ids in enumerate(comm.allgather(graph.id[: graph.n_owned].tolist())):
        owner.update(dict.fromkeys(ids, p))
    edges = [(s, d) for s, d, *_ in listed_edges(graph)]
    pairs = naive.halo_pairs(edges, owner)
    pending = graph.halo.forward(np.zeros((graph.n_local, 3), np.float32))
    assert pending.n_rows == sum(owner[v] == comm.rank for v, _ in pairs)
    assert pending.n_bytes == pending.n_rows * 12
    assert graph.n_ghost == sum(p == comm.rank for _, p in pairs)
    peers = {p for v, p in pairs if owner[v] == comm.rank}
    assert graph.halo.send_ranks.tolist() == sorted(peers)


@pytest.mark.parametrize("fold, identity", [("sum", 0), ("min", 99), ("max", -99)])
def test_reverse_folds_what_all_peers_bring(comm, fold, identity):
    graph = build(comm, ZOO, method="hash")
    y = whole(graph, None, "int64", 7, -50, 50)
    brought = [pair for part in comm.allgather(list(zip(graph.id.tolist(), y.tolist()))) for pair in part]
    by_id = {}
    for v, value in brought:
        by_id.setdefault(v, []).append(value)
    graph.halo.reverse(y, fold)
    function = {"sum": sum, "min": min, "max": max}[fold]
    assert y[: graph.n_owned].tolist() == [function(by_id[v]) for v in graph.id[: graph.n_owned].tolist()]


def test_several_exchanges_may_be_in_flight_and_end_in_any_order(comm):
    graph = build(comm, ZOO, method="hash")
    for turn in range(3):
        x = [np.zeros(graph.n_local) for _ in range(3)] + [np.zeros((graph.n_local, 2), np.float32)]
        for k, a in enumerate(x):
            a[: graph.n_owned] = ((graph.id[: graph.n_owned] + k + turn) % 1000).reshape(-1, *([1] * (a.ndim - 1)))
        y = np.ones(graph.n_local, np.int64)
        pending = [graph.halo.forward_begin(a) for a in x]
        back = graph.halo.reverse_begin(y)
        for k in (2, 0, 3, 1):
            graph.halo.forward_end(x[k], pending[k])
        graph.halo.reverse_end(y, back)
        for k, a in enumerate(x):
            assert np.array_equal(a.reshape(graph.n_local, -1)[:, 0], (graph.id + k + turn) % 1000)
        assert comm.allreduce(int(y[: graph.n_owned].sum())) == comm.allreduce(graph.n_local)


def test_ranks_may_end_their_exchanges_in_different_orders(comm):
    graph = hpcmp.repartition(build(comm, GRAPHS["random"]), "hash")
    x = [np.where(np.arange(graph.n_local) < graph.n_owned, graph.id + k, 0) for k in range(2)]
    for _ in range(2):  # in the second turn the buffers of the first are taken again
        pending = [graph.halo.forward_begin(a) for a in x]
        for k in (0, 1) if comm.rank % 2 else (1, 0):
            graph.halo.forward_end(x[k], pending[k])
        assert all(np.array_equal(a, graph.id + k) for k, a in enumerate(x))
        for a in x:
            a[graph.n_owned :] = 0


def test_buffers_are_made_once_for_a_layout(comm):
    graph = hpcmp.repartition(build(comm, GRAPHS["random"]), "hash")
    n_before = len(graph.halo.made)
    for _ in range(5):
        graph.halo.forward(np.zeros((graph.n_local, 5)))
    has_peers = graph.halo.n_send or graph.halo.n_ghost
    assert len(graph.halo.made) == n_before + (1 if has_peers else 0)
    graph.close()


@pytest.mark.parametrize("method", ["block", "hash"])  # of blocks of a ring, peers want rows that lie together
def test_bound_arrays_are_forwarded_again_and_again(comm, method):
    graph = build(comm, RING, method=method)
    n, kinds = graph.n_owned, ((None, "float64"), (3, "float32"))
    one, two = (np.zeros((graph.n_local, *([w] if w else [])), t) for w, t in kinds)
    exchanges = [
        (graph.halo.bind((one,)), (one,)),
        (graph.halo.bind((two,)), (two,)),
        (graph.halo.bind((one, two)), (one, two)),
    ]
    for turn in range(3):
        for bound, arrays in exchanges:
            for a in arrays:
                a[:n] = (graph.id[:n] * 10 + turn).reshape(-1, *[1] * (a.ndim - 1))
                a[n:] = -1
            bound.end(bound.begin())
            for a in arrays:
                assert np.array_equal(
                    a, np.broadcast_to((graph.id * 10 + turn).reshape(-1, *[1] * (a.ndim - 1)), a.shape)
                )
    tags = [buffers.tag for buffers in graph.halo.made]
    assert len(set(tags)) == len(tags)
    exchanges[0][0].close()
    assert graph.halo.bind((one,)).buffers.tag == min(tags[-3:])  # tags are few, and taken again
    graph.close()


def test_arrays_of_the_wrong_length_are_refused(comm):
    graph = build(comm, GRAPHS["random"])
    with pytest.raises(GraphError, match=rf"x has {graph.n_local + 1} rows, the graph has {graph.n_local} local vert"):
        graph.halo.forward_begin(np.zeros(graph.n_local + 1))


# ---------------------------------------------------------------- exchanges of what changed


def flags_of(graph, share):
    changed = np.zeros(graph.n_local, bool)
    n = graph.n_owned
    rng = np.random.default_rng((4, graph.comm.rank))
    if share == "one":
        changed[: min(n, 1)] = True
    elif share == "bits of all but one":
        changed[: max(n - 1, 0)] = True
    else:
        changed[:n] = rng.random(n) < share
    changed[n:] = True  # flags of ghosts are overwritten
    return changed


@pytest.mark.parametrize("share", [0.0, "one", 0.01, 0.3, "bits of all but one", 1.0])
@pytest.mark.parametrize("name", ["empty", "fewer_vertices_than_ranks", "sparse_ids", "random", "ring"])
def test_a_changed_exchange_is_the_forward_of_the_changed_rows(comm, name, share):
    graph = build(comm, RING if name == "ring" else GRAPHS[name], method="hash")
    n = graph.n_owned
    arrays = (whole(graph, None, "float64", 1), whole(graph, 3, "int16", 2), whole(graph, None, "bool", 3, 0, 2))
    changed = flags_of(graph, share)
    full, flags = tuple(a.copy() for a in arrays), np.where(np.arange(graph.n_local) < n, changed, False)
    graph.halo.forward(full)
    graph.halo.forward(flags)
    found = tuple(a.copy() for a in arrays)
    pending = graph.halo.changed_begin(found, changed)
    graph.halo.changed_end(found, changed, pending)
    assert np.array_equal(changed, flags)
    for a, f, g in zip(arrays, full, found):
        assert np.array_equal(g[:n], a[:n])
        is_fresh = flags.reshape(-1, *([1] * (a.ndim - 1)))[n:]
        assert np.array_equal(g[n:], np.where(is_fresh, f[n:], a[n:]))
    assert pending.n_rows == sum(changed[rows].sum() for rows in np.split(graph.halo.send_rows, graph.halo.send_ptr))


@given(st.integers(0, 300).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, max(n - 1, 0)), max_size=n))))
def test_packed_changes_unpack_to_the_same_rows_in_bits_and_in_offsets(drawn):
    n, picked = drawn
    is_changed = np.zeros(n, bool)
    is_changed[sorted(picked & set(range(n)))] = True
    rows = np.arange(n) * 2  # rows of the sender, which the receiver keeps from row 5 on
    arrays = np.arange(2.0 * n + 1), np.arange(4 * n + 2, dtype=np.int16).reshape(-1, 2)
    message, n_picked = changed_rows.pack(arrays, rows, is_changed)
    row_bytes = sum(changed_rows.row_bytes(a) for a in arrays)
    assert n_picked == is_changed.sum()
    assert len(message) <= changed_rows.longest(n, row_bytes)
    assert message.nbytes < 8 + min(-(-n // 8), 4 * n_picked) + 8 + n_picked * row_bytes + 8  # the last fills a word
    found, changed = (np.full(n + 5, -1.0), np.full((n + 5, 2), -1, np.int16)), np.zeros(n + 5, bool)
    changed_rows.unpack(found, 5, n, message, changed)
    assert np.array_equal(changed[5:], is_changed)
    assert np.array_equal(found[0][5:], np.where(is_changed, arrays[0][rows], -1))
    assert np.array_equal(found[1][5:], np.where(is_changed[:, None], arrays[1][rows], -1))


# ---------------------------------------------------------------- rows of varying length


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["int64", "uint8"])
def test_ragged_rows_arrive_whole(comm, name, dtype):
    graph = build(comm, GRAPHS[name], method="hash")
    rows = [np.arange(v % 5) + v % 100 for v in graph.id.tolist()]
    ptr = np.concatenate(([0], np.cumsum([len(r) for r in rows[: graph.n_owned]]))).astype(np.int64)
    values = np.concatenate([*rows[: graph.n_owned], np.empty(0)]).astype(dtype)
    ghost_ptr, ghost_values = graph.halo.forward_ragged(ptr, values)
    ghost_rows = [ghost_values[lo:hi].tolist() for lo, hi in zip(ghost_ptr[:-1], ghost_ptr[1:])]
    assert ghost_rows == [r.tolist() for r in rows[graph.n_owned :]]
    assert ghost_values.dtype == dtype


# ---------------------------------------------------------------- plans from anywhere


@given(st.data())
def test_any_plan_obeys_the_transpose(comm, data):
    sizes = data.draw(st.lists(st.integers(0, 6), min_size=comm.size, max_size=comm.size))
    bounds = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    wanted = [
        data.draw(st.sets(st.integers(0, max(int(bounds[-1]) - 1, 0)), max_size=6)) if bounds[-1] else set()
        for _ in range(comm.size)
    ]
    first, end = bounds[comm.rank : comm.rank + 2]
    ghosts = np.array(sorted(g for g in wanted[comm.rank] if not first <= g < end), np.int64)
    plan = halo.build(comm, bounds, ghosts)
    gids = np.concatenate((np.arange(first, end), ghosts))
    x = np.where(np.arange(plan.n_local) < plan.n_owned, 3 * gids + 1, -1)
    plan.forward(x)
    heard = np.ones(plan.n_local, np.int64)
    plan.reverse(heard)
    times = np.sum([np.isin(np.arange(first, end), g) for g in comm.allgather(ghosts)], axis=0)
    verdict = np.array_equal(x, 3 * gids + 1) and np.array_equal(heard[: plan.n_owned], 1 + times)
    plan.close()
    assert all(comm.allgather(bool(verdict)))


def test_a_ghost_that_is_owned_or_nobodys_is_refused_on_every_rank(comm):
    bounds = block_bounds(10, comm.size)
    for ghost in (int(bounds[-2]), 10, -1):
        ghosts = np.array([ghost] if comm.rank == comm.size - 1 else [], np.int64)
        text = agreed_error(comm, GraphError, lambda ghosts=ghosts: halo.build(comm, bounds, ghosts))
        assert "a ghost lies outside [0, 10) or is owned here" in text


def test_what_is_still_in_flight_when_an_exchange_is_given_up_stays_valid():
    from mpi4py import MPI

    sent, received = np.arange(5), np.zeros(5, np.int64)
    row = row_type(received)
    expected = MPI.COMM_SELF.Recv_init([received, 5, row], 0, 7)
    expected.Start()
    done = MPI.COMM_SELF.Recv_init([received, 5, row], 0, 8)  # never started
    exchange._free([expected, done], row)
    assert done == MPI.REQUEST_NULL and expected != MPI.REQUEST_NULL
    MPI.COMM_SELF.Send(sent, 0, 7)
    expected.Wait()
    assert received.tolist() == sent.tolist()
    expected.Free()
    exchange._left_in_flight.remove(expected)
