"""Checkpoints in memory: those that live hold the rows of the dead, or know that they do not."""

import numpy as np
import programs as p
import pytest
from building import build
from graphs import ZOO

import hpcmp
from hpcmp.engine import checkpoints as policy
from hpcmp.engine.partners import Partners
from hpcmp.errors import Suspended

N = 50


def kept(comm, partners, step):
    mine = np.arange(comm.rank, N, comm.size)
    partners.keep(comm, step, {"of": step}, {"rows": {"n": mine, "pair": np.stack([mine, mine * step], 1)}})


def without(comm, dead):
    """The ranks but some; those have a communicator of their own."""
    return comm.Split(color=int(comm.rank in dead), key=comm.rank)


def test_the_rows_of_a_rank_that_dies_are_with_the_next(comm):
    partners = Partners()
    for step in (3, 5, 8):
        kept(comm, partners, step)
    for dead in range(comm.size if comm.size > 1 else 0):
        left = without(comm, {dead})
        if comm.rank != dead:
            found = partners.newest(left)
            assert (found.step, found.facts) == (8, {"of": 8})
            rows = {name: np.concatenate(left.allgather(a)) for name, a in found.tables["rows"].items()}
            order = np.argsort(rows["n"])
            assert np.array_equal(rows["n"][order], np.arange(N))
            assert np.array_equal(rows["pair"][order, 1], 8 * np.arange(N))
        left.Free()


@pytest.mark.parametrize("late", [{0}, {0, 1}])
def test_of_one_that_some_had_not_got_the_one_before_is_taken_unless_others_have_all(comm, late):
    partners = Partners()
    kept(comm, partners, 3)
    kept(comm, partners, 5)
    if comm.rank in late:
        partners.copies.pop()
    assert partners.newest(comm).step == (5 if len(late) == 1 < comm.size else 3)


def test_two_neighbours_that_die_take_it_with_them(comm):
    if comm.size < 3:
        pytest.skip("three ranks and more can lose two")
    partners = Partners()
    kept(comm, partners, 3)
    left = without(comm, {0, 1})
    if comm.rank > 1:
        assert partners.newest(left) is None
    left.Free()


def test_a_run_goes_on_from_memory_with_the_same_bits(comm, shared_tmp, monkeypatch):
    program, partners = p.SPREAD, Partners()
    whole = hpcmp.run(program, build(comm, ZOO, method="hash"))
    asked = hpcmp.Checkpoints(shared_tmp / "ck", every=1, resume=True, partners=partners)
    of_step = policy.Wishes.of_step
    monkeypatch.setattr(policy.Wishes, "of_step", lambda self, step: (of_step(self, step)[0], int(step == 3)))
    with pytest.raises(Suspended):
        hpcmp.run(program, build(comm, ZOO, method="hash"), checkpoints=asked)
    monkeypatch.undo()
    comm.Barrier()
    left = without(comm, {comm.size - 1} if comm.size > 1 else set())
    if comm.size == 1 or comm.rank < comm.size - 1:
        run = hpcmp.run(program, build(left, ZOO, method="block"), checkpoints=asked)
        assert (run.digest, run.n_steps) == (whole.digest, whole.n_steps)
        assert run.checkpoints["resumed_from"] == 2  # that of step 3 was for leaving, on the disk alone
