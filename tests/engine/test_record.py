"""The messages of programs, recorded: those that the program model says, the same on any ranks and whatever the way."""

from dataclasses import replace

import numpy as np
import programs
import pytest
from building import agreed_error, build
from graphs import GRAPHS
from mpi4py import MPI

import hpcmp
from hpcmp import analysis
from hpcmp.algorithms import bfs
from hpcmp.analysis import causes
from hpcmp.engine import record
from hpcmp.errors import ProgramError
from hpcmp.io import trail_ranks

ZOO = GRAPHS["zoo"]
RANDOM = GRAPHS["random"]
SOURCE = int(np.bincount(RANDOM.src - RANDOM.src.min()).argmax() + RANDOM.src.min())


def expected(sample, senders):
    """(step, sender, receiver) of each message of a graph, ascending: all out-edges of who sends."""
    both = [(int(a), int(b)) for a, b in zip(sample.src, sample.dst)]
    both += [] if sample.directed else [(b, a) for a, b in both]
    return sorted((step, a, b) for step, sending in enumerate(senders) for a, b in both if a in sending)


def recorded(folder):
    trail = analysis.open(folder)
    trail.check()
    return trail, sorted(zip(*(trail[name].tolist() for name in ("step_sent", "sender", "receiver")), strict=True))


@pytest.mark.parametrize("edges_at_once", [record.EDGES_AT_ONCE, 3])
def test_every_message_of_a_search_is_recorded_on_any_ranks(comm, shared_tmp, monkeypatch, edges_at_once):
    graph = build(comm, RANDOM, method="hash")
    alone = hpcmp.run(bfs.program(SOURCE), build(MPI.COMM_SELF, RANDOM), trace="headers")
    monkeypatch.setattr(record, "EDGES_AT_ONCE", edges_at_once)
    monkeypatch.setattr(trail_ranks, "ROWS", 5 if edges_at_once == 3 else trail_ranks.ROWS)
    plain = hpcmp.run(bfs.program(SOURCE), graph)
    for mode in ("auto", "step", "frontier"):
        found = hpcmp.run(bfs.program(SOURCE), graph, mode=mode, trace="headers", trail=shared_tmp / mode)
        assert found.trail_digest == alone.trail_digest and found.digest == plain.digest
        depth = found.gather("depth")
        ids = found.gather("id")
        if comm.rank == 0:
            senders = [set(ids[depth == step].tolist()) for step in range(found.n_steps)]
            trail, messages = recorded(shared_tmp / mode)
            assert messages == expected(RANDOM, senders) and len(messages) > 50
            assert found.steps["messages"].tolist() == trail.head["steps"]["sent"][:-1, 0].tolist()
            assert trail.types == ("bfs",) and trail.agents.tolist() == sorted(ids.tolist())
            far = int(ids[np.argmax(np.where(depth == bfs.UNREACHED, -1, depth))])
            cone = causes.cone_of_agent(trail, far, trail.steps[1])
            assert SOURCE in trail["sender"][cone]


def test_a_window_records_its_steps_and_no_other(comm, shared_tmp):
    graph, program = build(comm, ZOO), replace(programs.EVERY["sum"], name="heat")
    found = hpcmp.run(program, graph, 5, trace="headers", trail=shared_tmp / "some", trace_steps=(1, 2))
    alone = hpcmp.run(program, build(MPI.COMM_SELF, ZOO), 5, trace="headers", trace_steps=(1, 2))
    assert found.trail_digest == alone.trail_digest
    if comm.rank == 0:
        trail, messages = recorded(shared_tmp / "some")
        everybody = set(ZOO.src.tolist()) | set(ZOO.dst.tolist())
        assert messages == [m for m in expected(ZOO, [everybody] * 3) if m[0] > 0]
        assert (trail.steps, trail.types) == ((1, 3), ("heat",))
        assert len(trail.timing["step"]) == 3 * comm.size


def test_what_is_too_large_is_refused_before_it_begins(comm, monkeypatch):
    graph = build(comm, RANDOM)
    monkeypatch.setattr(record, "MAX_RECORDS", 2 * graph.n_edges)
    hpcmp.run(programs.EVERY["sum"], graph, 2, trace="headers")
    hpcmp.run(programs.EVERY["sum"], graph, 9, trace="headers", trace_steps=(3, 4))
    says = agreed_error(comm, ProgramError, lambda: hpcmp.run(programs.EVERY["sum"], graph, 3, trace="headers"))
    assert f"{3 * graph.n_edges} records are more than {2 * graph.n_edges}" in says
    assert "--trace-steps A:B" in says and "all messages of 2 steps would fit" in says
    monkeypatch.setattr(record, "MAX_RECORDS", 3)
    says = agreed_error(comm, ProgramError, lambda: hpcmp.run(bfs.program(SOURCE), graph, trace="headers"))
    assert "records are more than 3" in says


@pytest.mark.parametrize(
    "told, says",
    [
        ({"trace": "full"}, "trace = 'full' is none of off, counts, headers"),
        ({"trace": "counts", "mode": "async"}, "mode async has no steps"),
        ({"trail": "somewhere"}, "a trail keeps records of messages; trace = 'off' makes none"),
        ({"trace": "counts", "trace_steps": (0, 1)}, "records none, headers does"),
        ({"trace": "headers", "trace_steps": (3, 1)}, "the first step is 0 or more, and at most the last"),
    ],
)
def test_what_cannot_be_traced_is_refused(comm, told, says):
    graph = build(comm, RANDOM)
    assert says in agreed_error(comm, ProgramError, lambda: hpcmp.run(bfs.program(SOURCE), graph, **told))


def test_a_program_that_fails_leaves_its_messages(comm, shared_tmp):
    def broken(vertex, total, ctx):
        return 1 / (2 - ctx.step)

    program = replace(programs.EVERY["sum"], update=broken)
    graph = build(comm, ZOO)
    agreed_error(
        comm, ProgramError, lambda: hpcmp.run(program, graph, 5, check=True, trace="headers", trail=shared_tmp / "f")
    )
    if comm.rank == 0:
        trail, messages = recorded(shared_tmp / "f")
        assert trail.steps == (0, 2) and {m[0] for m in messages} == {0, 1}


def test_parallel_edges_are_messages_of_their_own(comm, shared_tmp):
    graph = build(comm, GRAPHS["double_edge"])
    hpcmp.run(programs.EVERY["sum"], graph, 2, trace="headers", trail=shared_tmp / "d")
    if comm.rank == 0:
        trail, messages = recorded(shared_tmp / "d")
        assert len(messages) == 2 * graph.n_edges
        assert len(set(zip(trail["sender"].tolist(), trail["number"].tolist()))) == trail.n
