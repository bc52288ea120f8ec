"""The command for agents: the same states and trail on any ranks, what is said, what is refused."""

import json

import jobs
import pytest

from hpcmp import analysis

RANKS = (1, 3)
RUMOUR = "rumour.py:model"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    import launch as launching

    folder = tmp_path_factory.mktemp("simulate")
    (folder / "rumour.py").write_text((launching.ROOT / "examples" / "rumour.py").read_text())
    jobs.run_commands(1, [["generate", "ring", "--vertices", "50", "--parts", "5", "-o", folder / "g.h5"]], folder)
    return folder


def simulate(files, *options, model=RUMOUR):
    return ["simulate", files / model, files / "g.h5", "--steps", "40", "--seed", "3", "--json", *options]


def test_states_and_trail_are_the_same_on_any_ranks(files, tmp_path):
    said, leaving = {}, ["--trace", "full", "--trail", tmp_path / "cut", "--checkpoint", tmp_path / "saved"]
    for ranks, more, code in zip(RANKS, (["--max-walltime", "0.001"], ["--resume"]), (85, 0), strict=True):
        trail = tmp_path / f"trail-{ranks}"
        options = ["--trace", "full", "--trail", trail, "-o", tmp_path / f"{ranks}.h5"]
        commands = [simulate(files, *options), simulate(files, *leaving, *more)]
        whole, cut = jobs.outcomes_of(ranks, commands, tmp_path)
        assert (whole["code"], cut["code"]) == (0, code), (whole, cut)
        said[ranks] = json.loads(whole["stdout"])
    first, then, went_on = said[1], said[3], json.loads(cut["stdout"])
    assert went_on["checkpoints"]["resumed_from"] == 1 < went_on["steps"] == first["steps"]
    assert all(went_on[name] == first[name] for name in ("digest", "trail_digest", "values", "ended"))
    assert first["digest"] == then["digest"] and first["trail_digest"] == then["trail_digest"] != ""
    assert first["values"] == then["values"] and first["values"]["sent"] > 40
    assert analysis.open(tmp_path / "3.h5")["knows"].sum() > 5
    (outcome,) = jobs.outcomes_of(1, [["trace", "diff", tmp_path / "trail-1", tmp_path / "trail-3"]], tmp_path)
    assert outcome["code"] == 0, outcome
    (text,) = jobs.run_commands(1, [["trace", "flow", tmp_path / "trail-3", "--json"]], tmp_path)
    assert json.loads(text)


BROKEN = """
from hpcmp import agents

Note = agents.MessageType("note", x="int64")
heavy = agents.Agent("heavy", {"total": "float64"})


@heavy.each_step
def add(me, out, ctx):
    for q in range(out.degree()):
        me.total += out.edge(q).weight


@heavy.on(Note)
def hear(me, msg, out, ctx):
    pass


def failing():
    return [heavy, 1 // 0]


def mixed():
    return [heavy, "agent"]


def fails():
    agent = agents.Agent("cell", {})

    @agent.each_step
    def act(me, out, ctx):
        out.send(Note, me.id + 9 // (ctx.step - 2), 1)

    return agent
"""
REFUSED = {  # model, options, exit code, what is said
    "no such field": ("rumour.py:model", ["--joins", "arrives"], 2, "the graph has no vertex field 'arrives'"),
    "no such trace": ("rumour.py:model", ["--trace", "all"], 2, "trace = 'all' is none of off"),
    "a trail of nothing": ("rumour.py:model", ["--trace", "off", "--trail", "t"], 2, "headers and full do"),
    "no checkpoints": ("rumour.py:model", ["--resume"], 2, "--resume needs --checkpoint DIR"),
    "no budget": ("rumour.py:model", ["--budget", "0"], 2, "budget = 0 is below 1"),
    "no threads": ("rumour.py:model", ["--threads", "0"], 2, "--threads must be at least 1"),
    "steps below 0": ("rumour.py:model", ["--steps", "-1"], 2, "--steps at least 0"),
    "a large seed": ("rumour.py:model", ["--seed", str(2**70)], 2, "does not fit 64 bits"),
    "no value": ("rumour.py:model", ["--set", "fade"], 2, "--set 'fade' has no value"),
    "a text": ("rumour.py:model", ["--set", "fade=a"], 2, "parameter fade = 'a' is no number"),
    "a name of ctx": ("rumour.py:model", ["--set", "step=3"], 2, "cannot be called 'step': ctx has it already"),
    "no name": ("rumour.py:model", ["--set", "a b=3"], 2, "cannot be called 'a b': it is no plain name"),
    "no file": ("nowhere.py:model", [], 2, "nowhere.py does not exist"),
    "no such model": ("rumour.py:nobody", [], 2, "has no 'nobody'; its agents: model"),
    "no agent": ("rumour.py:Tell", [], 2, "is no Agent, no list of them"),
    "no agents": ("broken.py:mixed", [], 2, "is no Agent, no list of them"),
    "no form": ("rumour", [], 2, "is not of the form path/to/file.py:name"),
    "a function that fails": ("broken.py:failing", [], 2, "broken.py:failing() failed: ZeroDivisionError"),
    "no graph": ("rumour.py:model", ["GRAPH"], 2, "nowhere.h5 does not exist"),
    "no folder": ("rumour.py:model", ["-o", "nowhere/out.h5"], 2, "nowhere"),
    "the graph itself": ("rumour.py:model", ["-o", "g.h5"], 2, "g.h5"),
    "a trail": ("rumour.py:model", ["--trail", "old"], 2, "old holds a trail already; write to another folder, or replace it"),
    "no trail": ("rumour.py:model", ["--trail", "."], 2, "which is no part of a trail"),
    "no place for a trail": ("rumour.py:model", ["--trail", "broken.py/t"], 2, "broken.py/t"),
    "a run that fails": ("broken.py:fails", ["--trail", "new", "--check"], 2, "step 0: agent 0 (cell) sends 'note' (its message"),
    "a trail replaced": ("rumour.py:model", ["--trail", "old", "--force", "--check"], 0, ""),
    "a parameter": ("rumour.py:model", ["--set", "steps=3", "--check"], 0, ""),
    "fields of edges": ("broken.py:heavy", ["--steps", "2", "--check"], 0, ""),
}  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(files):
    """What each of `REFUSED` did, in one job of three ranks."""
    (files / "broken.py").write_text(BROKEN)
    commands = [["generate", "ring", "--vertices", 50, "--weights", "1:2", "-o", "w.h5"]]
    commands.append(simulate(files, "--trail", "old", "--check"))
    for model, options, *_ in REFUSED.values():
        command = simulate(files, *(o for o in options if o != "GRAPH"), model=model)
        if options == ["GRAPH"]:
            command[2] = "nowhere.h5"
        if model == "broken.py:heavy":
            command[2] = "w.h5"
        commands.append(command)
    found = jobs.outcomes_of(3, commands, files)
    return dict(zip(REFUSED, found[2:], strict=True))


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_and_what_is_not(outcomes, what):
    (_, _, code, text), found = REFUSED[what], outcomes[what]
    assert found["code"] == code, found
    assert code == 0 or (text in found["stderr"][0] and len(found["stderr"][0].splitlines()) < 4), found
