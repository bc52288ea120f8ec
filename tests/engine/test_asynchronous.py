"""Runs without steps: the bits of the step loop, an end that all ranks find, nothing left on its way."""

from dataclasses import replace

import numpy as np
import programs as p
import pytest
from building import agreed_error, build, same_on_all
from graphs import GRAPHS

import hpcmp
from hpcmp import generate
from hpcmp.algorithms import pagerank
from hpcmp.errors import ProgramError
from hpcmp.mail import TAG_MAIL

SPREAD = replace(p.SPREAD, monotone=True)
NEAR = replace(p.NEAR, monotone=True)
FIXED = p.of("mean", lambda vertex, total, ctx: 0.25 * total + vertex.mass, message=None, contraction=1e-9)


def burnt(vertex, smallest, ctx):
    if vertex.id == 8:
        raise ValueError("too hot")
    return min(vertex.label, smallest)


@pytest.mark.parametrize("name", ["empty", "undirected", "zoo"])
@pytest.mark.parametrize("program", [SPREAD, NEAR], ids=["spread", "near"])
def test_monotone_programs_end_in_the_bits_of_the_step_loop(comm, program, name):
    graph = build(comm, GRAPHS[name], method="hash")
    steps = hpcmp.run(program, graph, mode="step")
    for how in ({}, {"threads": 2}, {"check": True}):
        result = hpcmp.run(program, graph, mode="async", **how)
        assert result.digest == steps.digest
        assert result.converged is True
    assert not comm.iprobe(tag=TAG_MAIL)
    assert same_on_all(comm, {k: v.tolist() for k, v in result.steps.items()})
    graph.close()


def test_many_runs_one_after_the_other_leave_no_message_to_the_next(comm):
    graph = build(comm, GRAPHS["random"], method="hash")
    digests = {hpcmp.run(SPREAD, graph, mode="async").digest for _ in range(10)}
    assert digests == {hpcmp.run(SPREAD, graph).digest}


def test_a_contraction_ends_in_the_answer_of_many_steps(comm):
    graph = build(comm, GRAPHS["zoo"], method="hash")
    graph = hpcmp.graph.with_vertex_field(graph, "mass", (graph.id[: graph.n_owned] % 5 + 1) / 4)
    found, expected = hpcmp.run(FIXED, graph, mode="async"), hpcmp.run(FIXED, graph, 100)
    assert np.allclose(found["value"], expected["value"], rtol=0, atol=1e-8)
    assert comm.size == 1 or comm.allreduce(found.halo["rows"]) > 0


@pytest.mark.parametrize("variant", ["gap", "pregel"])
def test_pagerank_without_steps_is_pagerank(comm, variant):
    graph = build(comm, GRAPHS["random"], method="hash")
    found = pagerank.run(graph, variant=variant, mode="async")
    pagerank.verify(graph, found, variant=variant)
    steps = pagerank.run(graph, 200, variant=variant, tolerance=-1.0)
    assert np.allclose(found["rank"], steps["rank"], rtol=1e-6, atol=0)


REFUSED = {
    "no promise": (p.SPREAD, {}, "promises neither monotone"),
    "a sum": (replace(p.FROM_SOME, monotone=True, steps=None), {}, "aggregate 'sum' of these messages"),
    "vectors": (replace(p.COLOURS, monotone=True), {}, "may not hear one twice"),
    "the number of the step": (
        replace(SPREAD, update=lambda vertex, smallest, ctx: min(ctx.step, smallest)),
        {},
        "asks for ctx.step",
    ),
    "global values": (
        replace(FIXED, reduce={"all": hpcmp.Sum(lambda vertex, ctx: vertex.value)}),
        {},
        "values could be",
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_needs_steps_is_refused(comm, why):
    program, how, text = REFUSED[why]
    graph = build(comm, GRAPHS["random"])
    graph = hpcmp.graph.with_vertex_field(graph, "mass", np.ones(graph.n_owned))
    error = agreed_error(comm, ProgramError, lambda: hpcmp.run(program, graph, mode="async", **how))
    assert "mode async" in error and text in error


def flipped(vertex, total, ctx):
    return 1.0 - total


# Values of a ring of odd length that are 1 less the one before: 0 and 1 follow each other around it for ever.
UNSETTLED = replace(p.of("sum", flipped, message=None), init=lambda vertex, ctx: 0.0, contraction=1e-9)


PROMISES = {  # in turn: across ranks, on every rank alone, of changes that are pushed
    "a ring": (UNSETTLED, "contraction=1e-09"),
    "a vertex": (replace(UNSETTLED, update=lambda vertex, total, ctx: 1.0 - vertex.value), "contraction=1e-09"),
    "ever less": (replace(SPREAD, send=lambda vertex, ctx: vertex.label - 1), "monotone"),
}


@pytest.mark.parametrize("what", PROMISES)
def test_a_false_promise_ends_in_an_error_on_all_ranks(comm, what):
    program, promise = PROMISES[what]
    graph, _ = hpcmp.build_graph(comm, generate.ring(comm, 51, directed=True))
    error = agreed_error(comm, ProgramError, lambda: hpcmp.run(program, graph, 200, mode="async"))
    assert "rows still change after 200 rounds" in error and f"the promise {promise}" in error
    assert hpcmp.run(SPREAD, graph, mode="async").digest == hpcmp.run(SPREAD, graph).digest


def test_a_function_that_fails_on_one_rank_ends_all_and_leaves_nothing(comm):
    graph = build(comm, GRAPHS["undirected"], method="hash")
    program = replace(SPREAD, update=burnt)
    for _ in range(3):
        error = agreed_error(comm, ProgramError, lambda: hpcmp.run(program, graph, mode="async", check=True))
        assert "too hot" in error
    assert hpcmp.run(SPREAD, graph, mode="async").digest == hpcmp.run(SPREAD, graph).digest
