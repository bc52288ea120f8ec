"""What a program must be: every rule, with its text, and on every rank."""

import math
import random

import numpy as np
import programs as p
import pytest
from building import agreed_error, build, everywhere
from graphs import GRAPHS

import hpcmp
from hpcmp.errors import ProgramError

TWO, THREE = (lambda vertex, ctx: 0.0), (lambda vertex, total, ctx: total)

RULES = {
    "state is empty": ({"state": {}}, "state is empty; a program needs at least one field"),
    "a field named like a built-in": ({"state": {"id": "int64"}}, "state field 'id' must be a Python name other than"),
    "a field that is no name": ({"state": {"a b": "int64"}}, "state field 'a b' must be a Python name"),
    "a field that is hidden": ({"state": {"_a": "int64"}}, "state field '_a' must be a Python name"),
    "a field of a result file's own": ({"state": {"steps": "int64"}}, "state field 'steps' must be a Python name"),
    "another field of a result file's own": ({"state": {"ranks": "int64"}}, "state field 'ranks' must be a Python"),
    "a type that is none": (
        {"state": {"a": "complex128"}},
        "state field 'a' has type 'complex128'; use one of bool, int8",
    ),
    "uint64": ({"state": {"a": "uint64"}}, "use one of"),
    "a width of nothing": ({"state": {"a": ("float32", 0)}}, "has width 0; a width is a whole number of at least 1"),
    "a width of a half": ({"state": {"a": ("float32", 0.5)}}, "has width 0.5"),
    "a parameter of the context": ({"params": {"step": 1}}, "parameter or reduction 'step' must be a Python name"),
    "a parameter that is a text": (
        {"params": {"a": "x"}},
        "parameter 'a' is a str; use an int, a float, a bool or an array",
    ),
    "a name used twice": (
        {"params": {"a": 1}, "reduce": {"a": hpcmp.Sum(TWO)}},
        "'a' is both a parameter and a reduction; rename one of them",
    ),
    "a reduction that is a function": (
        {"reduce": {"a": TWO}},
        "reduce['a'] is a function; use Sum, Min, Max, Any or All",
    ),
    "a reduction of one argument": (
        {"reduce": {"a": hpcmp.Sum(lambda v: v)}},
        "reduce['a'] takes 1 arguments; it must be",
    ),
    "init that is a number": ({"init": 0.0}, "init is a float; give a function (vertex, ctx) or, filling rows,"),
    "init of one argument": (
        {"init": lambda vertex: 0.0},
        "init takes 1 arguments; it must be a function (vertex, ctx)",
    ),
    "send of no arguments": ({"send": lambda: 0.0}, "send takes 0 arguments"),
    "message of three arguments": (
        {"message": lambda a, b, c: a},
        "message takes 3 arguments; it must be a function (sent,",
    ),
    "update of two arguments": (
        {"update": TWO},
        "update takes 2 arguments; it must be a function (vertex, total, ctx)",
    ),
    "update that is missing": ({"update": None}, "update is a NoneType; give a function"),
    "until of two arguments": ({"until": TWO}, "until takes 2 arguments; it must be a function (ctx)"),
    "a message of a relation": ({"messages": {"a": TWO}}, "messages['a'] takes 2 arguments"),
    "an aggregate by a wrong name": ({"aggregate": "median"}, "aggregate 'median' is not one of sum, mean, min, max"),
    "neighbours of no kind": ({"neighbours": "all"}, "neighbours = 'all' is not one of in, out, both"),
    "bucket without only_changed": ({"bucket": TWO}, "bucket is for programs with only_changed=True"),
    "message and messages": (
        {"message": lambda s, r, e, c: s, "messages": {"a": lambda s, r, e, c: s}},
        "give message or messages (one per relation), not both",
    ),
    "active without only_changed": ({"active": TWO}, "active says who sends first when only_changed=True"),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_program_that_breaks_a_rule_is_refused_where_it_is_made(rule):
    parts, text = RULES[rule]
    with pytest.raises(ProgramError) as caught:
        hpcmp.Program(**({"state": {"a": "float64"}, "init": TWO, "update": THREE} | parts))
    assert text in str(caught.value)


def refused(comm, program, text, graph=None, **how):
    graph = graph or build(comm, GRAPHS["random"])
    found = agreed_error(comm, ProgramError, lambda: hpcmp.run(program, graph, **({"steps": 2} | how)))
    assert text in found, found
    assert comm.allreduce(1) == comm.size
    return found


def test_requests_that_do_not_fit_the_program_are_refused_on_every_rank(comm):
    program = p.of("sum", params={"whole": 3, "part": 0.5, "flag": True, "table": np.array([1.0, 2.0])})
    for params, text in (
        ({"dumping": 1}, "'dumping' is not a parameter of this program (it has: flag, part, table, whole)"),
        ({"whole": 0.5}, "whole = 0.5 is a float; this parameter is a int"),
        ({"whole": True}, "whole = True is a bool; this parameter is a int"),
        ({"part": "x"}, "part = 'x' is a str; this parameter is a float"),
        ({"flag": 1}, "flag = 1 is a int; this parameter is a bool"),
        ({"table": "x"}, "table = 'x' is no array of float64"),
    ):
        refused(comm, program, text, params=params, check=True)
    refused(comm, program, "this program has no rule to end by", steps=None)
    refused(comm, program, "steps = -1 is negative", steps=-1)
    refused(comm, program, "mode 'push' is not one of auto, step, frontier", mode="push")
    refused(comm, program, "mode frontier is for programs with only_changed=True", mode="frontier")
    refused(comm, p.RELATIONS, "messages names the relation 'cites', the graph has one relation without a name")


def lonely(vertex, ctx):
    return "far"


def pair(vertex, total, ctx):
    return total, 1.0


def lost(vertex, total, ctx):
    return vertex.velocity + total


def strange(sent, receiver, edge, ctx):
    return sent * edge.colour


def unknown(vertex, total, ctx):
    return total + nowhere  # noqa: F821


def dictionary(vertex, total, ctx):
    return {k: k for k in range(3)}[1] + sorted([total], key=str)[0]


WRONG = {
    "a text": (p.of("sum", init=lonely), ["init does not compile", "unicode"]),
    "a text to send": (p.of("sum", send=lonely), ["send", "unicode"]),
    "two values for one field": (p.of("sum", pair), ["the step does not compile", "2 values were given for 1 field"]),
    "an unknown vertex field": (p.of("sum", lost), ["velocity", "A vertex has value"]),
    "an unknown edge field": (p.of("sum", message=strange), ["colour", "edge"]),
    "an unknown name": (p.of("sum", unknown), ["nowhere"]),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_function_that_does_not_compile_is_explained_on_every_rank(comm, what):
    program, texts = WRONG[what]
    found = refused(comm, program, texts[0])
    for text in texts:
        assert text in found, found
    assert "check=True" in found or "returns" in found or "given" in found, found


def test_two_values_for_one_field_are_refused_in_plain_python_too(comm):
    refused(comm, p.of("sum", pair), "2 values were given for 1 field", check=True)


def raises_at_one(vertex, total, ctx):
    if vertex.id == 7 and ctx.step == 1:
        raise ValueError("vertex 7 is not well")
    return total


@pytest.mark.parametrize("check", [False, True])
def test_an_error_at_one_vertex_is_raised_on_every_rank_and_the_ranks_go_on(comm, check):
    graph = build(comm, GRAPHS["random"], method="hash")
    assert 7 in GRAPHS["random"].ids
    found = refused(comm, p.of("sum", raises_at_one), "ValueError: vertex 7 is not well", graph, check=check)
    assert "in step 1" in found
    if check:
        assert "test_program.py" in found and "raises_at_one" in found
    fine = hpcmp.run(p.AGGREGATES["sum"], graph, 2)
    assert fine.digest == hpcmp.run(p.AGGREGATES["sum"], build(comm, GRAPHS["random"]), 2).digest


@pytest.mark.parametrize("where", ["init", "send", "message", "update", "reduce", "active", "until"])
def test_an_error_in_any_function_reaches_every_rank(comm, where):
    def boom(*args):
        raise ZeroDivisionError("boom")

    parts = {
        "init": {"init": lambda vertex, ctx: boom()},
        "send": {"send": lambda vertex, ctx: boom()},
        "message": {"message": lambda sent, receiver, edge, ctx: boom()},
        "update": {"update": lambda vertex, total, ctx: boom()},
        "reduce": {"reduce": {"a": hpcmp.Max(lambda vertex, ctx: boom())}},
        "active": {"only_changed": True, "active": lambda vertex, ctx: boom()},
        "until": {"until": lambda ctx: boom()},
    }
    for name in ("random", "fewer_vertices_than_ranks"):
        refused(comm, p.of("sum", **parts[where]), "ZeroDivisionError: boom", build(comm, GRAPHS[name]), check=True)


def test_of_several_errors_of_a_step_the_first_is_told(comm):
    def boom(text):
        raise ValueError(text)

    program = p.of("sum", lambda vertex, total, ctx: boom("second"), send=lambda vertex, ctx: boom("first"))
    refused(comm, program, "ValueError: first", check=True)


@pytest.mark.parametrize("on", ["random", "fewer_vertices_than_ranks", "empty"])
def test_plain_python_may_do_what_numba_cannot(comm, on):
    def send_two(vertex, ctx):
        return {"a": vertex.value}["a"], float(str(3))

    def message(sent, receiver, edge, ctx):
        return sorted([sent[0] * sent[1]], key=str)[0]

    graph = build(comm, GRAPHS[on], method="hash")
    odd = hpcmp.run(p.of("sum", send=send_two, message=message), graph, 1, check=True)
    plain = hpcmp.run(
        p.of("sum", send=lambda vertex, ctx: vertex.value, message=lambda sent, receiver, edge, ctx: sent * 3.0),
        graph,
        1,
        check=True,
    )
    assert odd.digest == plain.digest


def test_divisions_by_zero_are_ieee_in_compiled_and_plain_functions(comm):
    program = p.of("sum", divided, init=lambda vertex, ctx: 0.0)
    graph = build(comm, GRAPHS["random"])
    compiled = hpcmp.run(program, graph, 1)
    plain = hpcmp.run(program, graph, 1, check=True)
    assert plain.digest == compiled.digest
    heard = graph.in_degree > 0
    assert np.all(np.isposinf(compiled["value"][~heard]))


def divided(vertex, total, ctx):
    return 1.0 / total


def test_vectors_of_different_widths_need_functions_that_fill_rows(comm):
    program = hpcmp.Program(
        state={"a": ("float32", 2), "b": ("float32", 3)}, init=lambda vertex, ctx: (0.0, 0.0), update=THREE
    )
    refused(comm, program, "differ in width (2, 3); give it an argument `out` and fill rows")


def test_functions_that_fill_rows_need_vector_fields(comm):
    program = p.of("sum", lambda vertex, total, ctx, out: None)
    refused(comm, program, "update fills rows, but no state field is a vector; return the value instead")


@pytest.mark.parametrize("aggregate, n", [("argmin", 3), ("softmax_sum", 1), ("sum", 2)])
def test_messages_of_a_wrong_number_of_values_are_refused(comm, aggregate, n):
    program = p.of(aggregate, message=lambda sent, receiver, edge, ctx: (1.0, 2.0, 3.0)[:n] if n > 1 else 1.0)
    refused(comm, program, f"aggregate {aggregate!r} takes messages of")


def test_default_send_and_message_carry_the_state(comm):
    graph = build(comm, GRAPHS["random"])
    bare = hpcmp.Program(state={"value": "float64"}, init=p.small_start, update=p.take)
    spelt = hpcmp.Program(
        state={"value": "float64"},
        init=p.small_start,
        update=p.take,
        send=p.send_value,
        message=lambda sent, receiver, edge, ctx: sent,
    )
    assert hpcmp.run(bare, graph, 2, check=True).digest == hpcmp.run(spelt, graph, 2, check=True).digest


def test_floats_are_rounded_and_integers_wrap_when_stored(comm):
    program = hpcmp.Program(
        state={"small": "int8", "single": "float32"},
        init=lambda vertex, ctx: (vertex.id + 256, math.pi),
        update=lambda vertex, total, ctx: (vertex.small, vertex.single),
        send=lambda vertex, ctx: vertex.single,
    )
    graph = build(comm, GRAPHS["star"])
    for check in (False, True):
        result = hpcmp.run(program, graph, 0, check=check)
        assert everywhere(graph, result["small"]) == {v: v for v in range(12)}  # 256 more wraps around in int8
        assert set(result["single"].tolist()) <= {float(np.float32(math.pi))}


@pytest.mark.parametrize("draw", [lambda vertex, ctx: random.random(), lambda vertex, ctx: np.random.rand()])  # noqa: NPY002
def test_generators_with_a_past_are_refused(comm, draw):
    program = hpcmp.Program(state={"a": "float64"}, init=draw, update=lambda vertex, total, ctx: total, steps=1)
    with pytest.raises(ProgramError, match="use hpcmp.uniform"):
        hpcmp.run(program, build(comm, GRAPHS["star"]))
