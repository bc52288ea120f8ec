"""Agreeing on errors, routing rows, finding partners."""

import numpy as np
import pytest
from building import agreed_error, same_on_all
from hypothesis import given
from hypothesis import strategies as st

from hpcmp import comm as c
from hpcmp.errors import (
    FileError,
    GraphError,
    HpcmpError,
    InputError,
    LaunchError,
    MemoryLimitError,
    MissingExtraError,
    ProgramError,
    RemoteError,
    VerifyError,
)

# ---------------------------------------------------------------- errors


def test_nothing_is_raised_when_no_rank_failed(comm):
    c.raise_together(comm, None)


def test_the_lowest_failing_rank_speaks_for_all(comm):
    first = (comm.size - 1) // 2
    own = None if comm.rank < first else GraphError(f"finding of rank {comm.rank}")
    text = agreed_error(comm, GraphError, lambda: c.raise_together(comm, own))
    suffix = "" if first == 0 else f" (first seen on rank {first} of {comm.size})"
    assert text == f"finding of rank {first}{suffix}"


def test_an_error_of_all_ranks_names_no_rank(comm):
    assert agreed_error(comm, InputError, lambda: c.raise_together(comm, InputError("bad"))) == "bad"


@pytest.mark.parametrize("kind", [FileError, LaunchError, MissingExtraError, ProgramError, VerifyError, HpcmpError])
def test_the_kind_of_an_error_survives_the_journey(comm, kind):
    error = kind("what") if comm.rank == comm.size - 1 else None
    with pytest.raises(kind, match="what") as caught:
        c.raise_together(comm, error)
    assert type(caught.value) is kind
    assert caught.value.agreed


def test_a_rank_without_memory_is_told_as_what_does_not_fit(comm):
    error = MemoryError("9 GB") if comm.rank == comm.size - 1 else None
    assert "9 GB; use more machines" in agreed_error(comm, MemoryLimitError, lambda: c.raise_together(comm, error))


def test_an_unforeseen_error_reaches_the_others_with_its_trace(comm):
    last = comm.size - 1
    error = None
    if comm.rank == last:
        try:
            [][3]
        except IndexError as caught:
            error = caught
    with pytest.raises((IndexError, RemoteError)) as caught:
        c.raise_together(comm, error)
    assert caught.value.agreed
    if comm.rank == last:
        assert caught.value is error
    else:
        assert type(caught.value) is RemoteError
        assert f"rank {last} of {comm.size} failed: IndexError" in str(caught.value)
        assert "[][3]" in str(caught.value)


def test_together_passes_what_fails_on_one_rank_to_all(comm):
    def door():
        with c.together(comm):
            if comm.rank == comm.size - 1:
                raise GraphError("no")

    assert agreed_error(comm, GraphError, door).startswith("no")
    with c.together(comm):
        pass


def test_an_agreed_error_passes_and_leaves_the_communicator_usable(comm):
    with pytest.raises(GraphError), c.ends_all_ranks(comm):
        c.raise_together(comm, GraphError("no") if comm.rank == 0 else None)
    assert comm.allreduce(1) == comm.size


# ---------------------------------------------------------------- the singleton trap


@pytest.mark.parametrize("name", c.LAUNCHER_SIZES)
def test_one_rank_where_several_were_announced_is_a_trap(name):
    text = c.singleton_trap(1, {name: "4"})
    assert text.startswith(f"{name}=4 but this MPI world has 1 rank")
    assert "mpirun -n 4" in text
    assert "HPCMP_ALLOW_SINGLETON=1" in text


@pytest.mark.parametrize(
    "size, environ",
    [
        (1, {}),
        (1, {"SLURM_NTASKS": "1"}),
        (1, {"SLURM_NTASKS": ""}),
        (1, {"SLURM_NTASKS": "4(x2)"}),
        (1, {"SLURM_NTASKS": "4", "HPCMP_ALLOW_SINGLETON": "1"}),
        (4, {"SLURM_NTASKS": "4"}),
        (2, {"SLURM_NTASKS": "4"}),
    ],
)
def test_what_is_no_trap(size, environ):
    assert c.singleton_trap(size, environ) is None


def test_the_trap_is_refused_where_there_is_one_rank(comm):
    if comm.size > 1:
        c.refuse_singleton_trap(comm, {"SLURM_NTASKS": "4"})
    else:
        with pytest.raises(LaunchError, match="SLURM_NTASKS=4"):
            c.refuse_singleton_trap(comm, {"SLURM_NTASKS": "4"})


# ---------------------------------------------------------------- counting


@given(st.integers(0, 10**15), st.integers(1, 300))
def test_blocks_are_even_and_cover_all(n, size):
    sizes = np.diff(c.block_bounds(n, size))
    assert sizes.sum() == n
    assert sizes.max() - sizes.min() <= 1


@given(st.lists(st.integers(0, 4), min_size=1, max_size=9))
def test_every_index_has_the_owner_whose_block_holds_it(sizes):
    bounds = np.concatenate(([0], np.cumsum(sizes)))
    expected = [p for p, n in enumerate(sizes) for _ in range(n)]
    assert c.owner_of(bounds, np.arange(sum(sizes))).tolist() == expected


def test_exclusive_sum_counts_the_ranks_before(comm):
    assert c.exclusive_sum(comm, 10**11 + comm.rank) == (
        comm.rank * 10**11 + comm.rank * (comm.rank - 1) // 2,
        comm.size * 10**11 + comm.size * (comm.size - 1) // 2,
    )


# ---------------------------------------------------------------- moving rows


def columns(comm, n):
    rng = np.random.default_rng(comm.rank)
    yield comm.rank * 1000 + np.arange(n)
    yield rng.random((n, 3)).astype(np.float32)
    yield rng.random(n) < 0.5
    yield np.array([f"name {k}".encode() for k in range(n)], "S12")


@pytest.mark.parametrize("n", [0, 1, 57])
def test_a_route_there_and_back_is_the_identity(comm, n):
    n = n if comm.rank % 2 == 0 else n // 2
    destination = np.random.default_rng(comm.rank + 9).integers(0, comm.size, n)
    route = c.Route(comm, destination)
    for column in columns(comm, n):
        back = route.back(route.there(column))
        assert back.dtype == column.dtype
        assert np.array_equal(back, column)


def test_a_route_brings_every_row_to_its_destination_in_order_of_the_senders(comm):
    destination = np.arange(5 + comm.rank) % comm.size
    rows = np.stack((np.full(len(destination), comm.rank), np.arange(len(destination)), destination), axis=1)
    there = c.Route(comm, destination).there(rows)
    expected = [[p, k, comm.rank] for p in range(comm.size) for k in range(5 + p) if k % comm.size == comm.rank]
    assert there.tolist() == expected


def test_answers_return_to_the_row_that_asked(comm):
    asked = np.random.default_rng(comm.rank).integers(0, 40, 23)
    route = c.Route(comm, asked % comm.size)
    assert np.array_equal(route.back(route.there(asked) ** 2), asked**2)


def test_a_sparse_exchange_is_the_dense_one_also_twice_in_a_row(comm):
    rng = np.random.default_rng(3)
    for turn in range(2):
        # lengths[p, q]: what p sends to q; -1: nothing at all
        lengths = rng.integers(-1, 4, (comm.size, comm.size))
        sent = {
            q: np.array([[turn, comm.rank, q, k] for k in range(n)], np.int64).reshape(-1)
            for q, n in enumerate(lengths[comm.rank].tolist())
            if n >= 0
        }
        dense = comm.alltoall([sent.get(q) for q in range(comm.size)])
        found = c.sparse_exchange(comm, sent, np.int64)
        assert list(found) == [p for p in range(comm.size) if dense[p] is not None]
        assert all(np.array_equal(found[p], dense[p]) for p in found)


def test_a_sparse_exchange_of_nothing_ends(comm):
    assert c.sparse_exchange(comm, {}, np.float32) == {}


def test_rows_are_gathered_in_the_order_of_ranks(comm):
    for root in {0, comm.size - 1}:
        rows = np.full((comm.rank, 2), comm.rank, np.int16)
        found = c.gather_rows(comm, rows, root)
        if comm.rank == root:
            assert found.dtype == np.int16
            assert found.tolist() == [[p, p] for p in range(comm.size) for _ in range(p)]
        else:
            assert found is None


def test_counts_that_one_call_cannot_move_are_refused_on_every_rank(comm, monkeypatch):
    monkeypatch.setattr(c, "MAX_COUNT", 3)
    text = agreed_error(comm, HpcmpError, lambda: c.Route(comm, np.zeros(4, np.int64)))
    assert "the limit of one MPI call is 3; use more ranks" in text
    with pytest.raises(HpcmpError, match="rows do not fit on one rank"):
        c.gather_rows(comm, np.zeros(4))
    assert same_on_all(comm, comm.size)
