"""What may go wrong in a model of agents: one error on all ranks that names agent, step, message, function and line."""

import re

import numpy as np
import pytest
from agent_models import RING, Note
from building import agreed_error, build

import hpcmp
from hpcmp import agents, analysis
from hpcmp.errors import MemoryLimitError, ProgramError
from hpcmp.graph import with_vertex_field

Small = agents.MessageType("small", x="int8", y="uint64")
Tick = agents.MessageType("tick")
Unread = agents.MessageType("unread")
Far = agents.MessageType("far", relation="likes", x="int64")


def tell(me, out, ctx):
    out.to_neighbours(Note, me.id)


def nothing(me, msg, out, ctx):
    pass


def model(act=tell, hear=nothing, kinds=(Note,), state=None):
    """Agents that act, and hear."""
    agent = agents.Agent("cell", state or {"n": "int64", "is_on": "bool"})
    for kind in kinds:
        agent.on(kind)(hear)
    agent.each_step(act)
    return [agent]


def wrong(comm, what, kind=ProgramError, of=RING, **more):
    """Text of the error of a run of a model on all ranks."""
    told = {"steps": 5, "check": True, **more}
    graph = told.pop("graph", None) or build(comm, of)
    return agreed_error(comm, kind, lambda: agents.simulate(graph, what, **told))


# ---------------------------------------------------------------- functions that do what they must not


def no_kind(me, out, ctx):
    out.send(3, me.id, 1)


def a_float_for_a_whole_number(me, out, ctx):
    out.send(Note, me.id, 0.5)


def too_few_values(me, out, ctx):
    out.to_neighbours(Note)


def an_id_that_is_a_float(me, out, ctx):
    out.send(Note, 3.5, 1)


def a_delay_that_is_a_float(me, out, ctx):
    out.send_later(1.5, Note, me.id, 1)


def a_name_that_is_not_there(me, out, ctx):
    out.send(Note, nobody, 1)  # noqa: F821


def no_such_parameter(me, out, ctx):
    out.send(Note, ctx.far, 1)


def no_such_verb(me, out, ctx):
    out.tell(Note, me.id, 1)


def a_float_in_a_whole_number(me, out, ctx):
    me.n = 0.5


def a_number_in_a_truth_value(me, out, ctx):
    me.is_on = 1


def another_id(me, out, ctx):
    me.id = 1


def no_such_state(me, out, ctx):
    me.m = 1


def no_such_field(me, msg, out, ctx):
    me.n += msg.z


def a_message_written(me, msg, out, ctx):
    msg.x = 1


NAMED = {
    no_kind: r"a MessageType is needed, int(64)? was given",
    a_float_for_a_whole_number: "message 'note': x is int64, float64 was given",
    too_few_values: "message 'note' has the fields x; 0 values were given",
    an_id_that_is_a_float: "an id is a whole number, float64 was given",
    a_delay_that_is_a_float: "a delay is a whole number, float64 was given",
    a_name_that_is_not_there: "name 'nobody' is not defined",
    no_such_parameter: r"ctx has no (field|attribute) 'far'",
    no_such_verb: r"out has no (field|attribute) 'tell'",
    a_float_in_a_whole_number: "n is int64, float64 was given",
    a_number_in_a_truth_value: "is_on is bool, int64 was given",
    another_id: "an agent's id stays as it is",
    no_such_state: r"has no field 'm' \(it has: id, n, is_on\)",
    no_such_field: r"has no field 'z' \(it has: sender, number, x\)",
    a_message_written: r"a message is read, not changed \('x'\)",
}


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("function", NAMED, ids=lambda function: function.__name__)
def test_a_function_that_cannot_run_is_named_with_file_and_line(comm, function, check):
    if comm.size > 1 and not check and function not in (a_float_for_a_whole_number, no_such_field):
        pytest.skip("each is compiled: of several ranks two")
    code = function.__code__
    what = model(hear=function) if "msg" in code.co_varnames else model(act=function)
    text = wrong(comm, what, check=check)
    where = f"({code.co_filename}, line {code.co_firstlineno + 1}, in {code.co_name})"
    assert re.search(NAMED[function], text) and where in text and len(text) < 400, text
    assert ("step 0: agent" in text or "step 1: agent" in text) if check else text.startswith("agent 'cell': "), text


def test_functions_of_other_arguments_are_refused_where_they_are_declared():
    agent = agents.Agent("cell", {"n": "int64"})
    for declare in (agent.on(Note), agent.each_step, agent.begin, agent.goal, agent.measure(hpcmp.Sum)):
        with pytest.raises(ProgramError, match=r"agent 'cell': few is no function of \(me, "):
            declare(few)
    with pytest.raises(ProgramError, match=r"is no function of \(into, msg\)"):
        agent.on(Note, limit=1, policy=lambda into: None)(nothing)
    for limit in (0, 1.5, "many"):
        with pytest.raises(ProgramError, match="limit = .* is (below 1|no whole number)"):
            agent.on(Small, limit=limit)


def few(me):
    pass


# ---------------------------------------------------------------- what agents do in a run


def one_of_all(me, out, ctx):
    """What agent 3 does in step 2: one function, so that it is compiled once."""
    out.to_neighbours(Note, me.id)
    out.send_later(3, Tick, me.id)
    if me.id == 3 and ctx.step == 2:
        if ctx.case == 0:
            me.n = me.id // me.n
        elif ctx.case == 1:
            me.n = int(0.0 * me.n / me.n)
        elif ctx.case == 2:
            out.send(Note, out.neighbour(7), 1)
        elif ctx.case == 3:
            out.send(Small, me.id, 128, 0)
        elif ctx.case == 4:
            out.to_neighbours(Small, -128, me.n - 1)
        elif ctx.case == 5:
            out.send(Note, 9, 1)
        elif ctx.case == 6:
            out.send_later(ctx.step - 2, Note, me.id, 1)
        elif ctx.case == 7:
            while True:
                out.send(Note, me.id, 1)
        elif ctx.case == 8:
            raise ValueError("of its own")


IN_A_RUN = (
    r"step 2: agent 3 \(cell\): ZeroDivisionError",
    r"step 2: agent 3 \(cell\): ZeroDivisionError",
    r"step 2: agent 3 \(cell\): IndexError: the agent has not so many neighbours",
    r"step 2: agent 3 \(cell\) sends 'small' \(its message 6\) with x = 128, which int8 does not hold",
    r"step 2: agent 3 \(cell\) sends 'small' \(its message 6\) with y = -1, which uint64 does not hold",
    r"step 2: agent 3 \(cell\) sends 'note' \(its message 6\) to 9, which is neither a neighbour nor the sender of",
    r"step 2: agent 3 \(cell\) sends a message that would be read before the next step: a delay is at least 1",
    r"step 2: agent 3 \(cell\) sends more than 4 messages in one step; `budget` allows more",
    r"step 2: agent 3 \(cell\): ValueError: of its own",
)


@pytest.mark.parametrize("check", [False, True])
def test_what_goes_wrong_in_a_run_is_named_and_leaves_a_trail_of_the_steps_before(comm, shared_tmp, check):
    for case, want in enumerate(IN_A_RUN):
        what, folder = model(one_of_all, kinds=(Note, Small, Tick)), shared_tmp / f"{case}"
        kept = {"trace": "full", "trail": folder} if check else {}  # compiled, test_record looks at it
        text = wrong(comm, what, check=check, params={"case": case}, budget=4, **kept)
        assert re.search(want, text), text
        if kept and comm.rank == 0:
            trail = analysis.open(folder)
            trail.check()  # what was sent in step 0 is on its way until 3: no step is closed
            assert trail.steps == (0, -1) and trail.n == 0


def test_what_goes_wrong_while_a_message_is_read_is_told_with_the_message(comm, shared_tmp):
    def hear(me, msg, out, ctx):
        if ctx.step == 4 and me.id == 3:
            out.send(Note, 8, msg.x)

    lacking = model(hear=lambda me, msg, out, ctx: me.nothing)
    assert "step 1: agent 0 (cell), reading message 0 of agent 11: AttributeError: it has no" in wrong(comm, lacking)
    text = wrong(comm, model(hear=hear), trace="full", trail=shared_tmp / "heard", steps=9)
    assert "step 4: agent 3 (cell), reading message 3 of agent 2, sends 'note' (its message 4) to 8, which is" in text
    if comm.rank == 0:
        trail = analysis.open(shared_tmp / "heard")
        trail.check()
        assert trail.steps == (0, 2) and trail.n == 3 * 12


def raises(*arguments):
    me, ctx = arguments[0], arguments[-1]
    if me.id == 3 and ctx.step in (-1, 2):
        raise KeyError("of its own")


def test_a_goal_a_beginning_a_measure_a_policy_and_an_end_that_fail_are_named(comm, shared_tmp):
    def begin(me, ctx):
        raises(me, ctx)

    for declare, want in {
        "begin": r"begin of agent 3 \(cell\): KeyError: 'of its own' \(.*test_wrong.py, line \d+, in raises\)",
        "goal": r"step 2, goal of agent 3 \(cell\): KeyError",
    }.items():
        what = model()
        getattr(what[0], declare)(begin)
        text = wrong(comm, what, trace="full", trail=shared_tmp / declare)
        assert re.search(want, text), text
    if comm.rank == 0:
        analysis.open(shared_tmp / "goal").check()
    what = model()
    what[0].measure(hpcmp.Sum, "worth")(begin)
    assert "step 2, measure 'worth' of agent 3 (cell): KeyError" in wrong(comm, what)

    def join(into, msg):
        if msg.x == 2:
            raise OverflowError("of its own")
        into.x += msg.x

    def twice(me, out, ctx):
        out.to_neighbours(Note, 1 + (me.id == 4 and ctx.step == 1))
        out.to_neighbours(Note, 1 + (me.id == 4 and ctx.step == 1))

    agent = agents.Agent("cell", {"n": "int64"})
    agent.on(Note, limit=1, policy=join)(nothing)
    agent.each_step(twice)
    assert "step 2, policy of agent 5 (cell), message 3 of agent 4: OverflowError: of its own" in wrong(comm, [agent])
    assert "`until` failed: KeyError: 'n'" in wrong(comm, model(), until=lambda now: now["n"] > 1)


def test_messages_that_nobody_there_can_read_are_named(comm):
    def shout(me, out, ctx):
        out.send(Unread, me.id)

    text = wrong(comm, model(shout))
    assert re.search(
        r"step 1: agent \d+ \(cell\) reads no message 'unread', which agent \d+ sent it \(its message 0\)", text
    )


# ---------------------------------------------------------------- what is asked of a run


def ask(**more):
    return lambda comm: wrong(comm, model(), **more)


def field(name, values):
    """Asks for a run on a graph with a vertex field."""

    def call(comm, **more):
        graph = build(comm, RING)
        values_here = np.asarray(values)[graph.id[: graph.n_owned]]
        what = (
            [*model(), agents.Agent("other", {"m": "int8"})]
            if name == "role"
            else model(state={"n": "int64", "m": "int8"})
        )
        joins = name if name == "comes" else None
        return wrong(comm, what, graph=with_vertex_field(graph, name, values_here), joins=joins)

    return call


TWELVE = np.arange(12)
ASKED = {
    "steps below 0": (ask(steps=-1), "steps = -1 is below 0"),
    "half a step": (ask(steps=2.5), "steps = 2.5 is no whole number"),
    "a seed of many bits": (ask(seed=2**63), f"seed = {2**63} does not fit 64 bits"),
    "no budget": (ask(budget=0), "budget = 0 is below 1"),
    "no threads": (ask(threads=0), "threads = 0 is below 1"),
    "a text": (ask(params={"a": "b"}), "parameter a = 'b' is no number"),
    "a complex number": (ask(params={"a": 1j}), "parameter a = 1j is no number"),
    "a number of many bits": (ask(params={"a": 2**64}), "parameter a = .* does not fit 64 bits"),
    "a parameter called step": (ask(params={"step": 1}), "cannot be called 'step': ctx has it already"),
    "a parameter called class": (ask(params={"class": 1}), "cannot be called 'class': it is no plain name"),
    "a list of parameters": (ask(params=[1]), r"params is a dict of name to number, not \[1\]"),
    "no trace": (ask(trace="all"), "trace = 'all' is none of off, counts, headers, full"),
    "a trail of nothing": (ask(trail="t"), "a trail keeps records"),
    "no such field": (ask(joins="comes"), "the graph has no vertex field 'comes'"),
    "a role out of range": (field("role", TWELVE % 3), r"vertex \d+ has 'role' 2; there are 2 agent types"),
    "a role that is a float": (field("role", TWELVE / 12), "field 'role' is float64; whole numbers are needed"),
    "coming before the start": (field("comes", TWELVE - 4), r"vertex \d joins in step -\d \('comes'\); steps begin with 0"),
    "coming at no number": (field("comes", TWELVE * np.nan), "field 'comes' is float64; whole numbers are needed"),
    "a state that is a float in the graph": (field("n", TWELVE * 1.0), "field 'n' is float64, which the state int64 does not"),
    "a state that is too large": (field("m", TWELVE * 20), r"field 'm' is (140|160|180|200|220) at \d+, which int8 does not"),
    "a state of several numbers": (field("n", np.ones((12, 2), np.int64)), "field 'n' has 2 numbers a vertex"),
    "one agent, no list": (lambda comm: wrong(comm, model()[0]), r"a model is a list of Agents, not Agent\('cell'\)"),
    "no agents": (lambda comm: wrong(comm, []), r"a model is a list of Agents, not \[\]"),
    "one name of two types": (lambda comm: wrong(comm, model() + model()), "two agent types are named 'cell'"),
    "one name of two kinds": (
        lambda comm: wrong(comm, model(kinds=(Note, agents.MessageType("note")))[:1]), "has two functions for message 'note'"
    ),
    "a state of two dtypes": (
        lambda comm: wrong(comm, [*model(), agents.Agent("other", {"n": "float64"})]),
        "state 'n' is int64 of agents 'cell' and float64 of 'other'",
    ),
    "a policy without a limit": (
        lambda comm: wrong(comm, [agents.Agent("cell", {}).on(Note, policy="drop_new")]),
        "agent 'cell': a policy for message 'note' needs a limit",
    ),
    "a relation of no graph": (
        lambda comm: wrong(comm, model(kinds=(Note, Far))),
        r"message 'far' goes along the relation 'likes', which the graph has not \(it has none\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", ASKED)
def test_what_is_asked_of_a_run_is_checked(comm, what):
    call, want = ASKED[what]
    try:
        text = call(comm)
    except ProgramError as error:  # where the model is made
        text = str(error)
    assert re.search(want, text), text


def test_messages_that_do_not_fit_are_refused_with_figures(comm, monkeypatch):
    monkeypatch.setenv("HPCMP_MAX_MEMORY", "50M")

    def double(me, msg, out, ctx):
        out.to_neighbours(Note, 1)
        out.to_neighbours(Note, 1)

    text = wrong(comm, model(hear=double), MemoryLimitError, steps=40, budget=1 << 20, check=False)
    assert re.search(r"step \d+: room for \d+ messages of 40 bytes takes .* MB on one rank, 52.4 MB are free", text), (
        text
    )
    assert isinstance(MemoryLimitError(text), MemoryError)
    text = wrong(comm, model(), MemoryLimitError, budget=10**15)
    assert re.search(
        r"step 0: room for \d+ messages of 40 bytes takes .*; there is none for more than 4294967296", text
    ), text
