"""`hpcmp trace`: each question, in lines and in JSON, and what it says of mistakes."""

import json

import numpy as np
import pytest
import samples
import trails

from hpcmp import analysis, cli
from hpcmp.analysis import causes, flow
from hpcmp.analysis import open as open_trail
from hpcmp.cli import info, trace
from hpcmp.errors import FileError, GraphError
from hpcmp.io import trail as files

STEPS = 12


@pytest.fixture(scope="module")
def records():
    return trails.in_order(trails.simulate(n_agents=6, n_steps=STEPS, seed=4))


@pytest.fixture(scope="module")
def folder(records, tmp_path_factory):
    folder = trails.write(tmp_path_factory.mktemp("t") / "trail", records, STEPS, 2)
    files.write_agents(folder, np.arange(6) * 10, names=["ann", "bob", "cy", "dan", "eve", "fay"])
    return str(folder)


def asked(capsys, *args):
    """(exit code, lines, JSON) of a question."""
    code = samples.run_verb(trace, *args)
    lines = capsys.readouterr().out.splitlines()
    assert samples.run_verb(trace, *args, "--json") == code
    return code, lines, samples.printed_json(capsys)


def longest(trail):
    return max(range(trail.n), key=lambda row: len(causes.back(trail, row)))


def test_back_prints_the_chain(folder, capsys):
    trail = open_trail(folder)
    row = longest(trail)
    chain = causes.back(trail, row)
    _, lines, found = asked(capsys, "back", folder, trail.called(row))
    assert lines[0] == f"{len(chain)} messages, from {trail.called(row)} back to its root"
    assert [m["message"] for m in found["messages"]] == [trail.called(k) for k in chain]
    assert len(lines) == len(chain) + 1
    assert all(f"  {trail.called(k)}  " in line for k, line in zip(chain, lines[1:], strict=True))
    by_name = f"{trail.name_of(trail['sender'][row])}:{trail['number'][row]}"
    assert asked(capsys, "back", folder, by_name)[1][1:] == lines[1:]


def test_forward_tells_what_followed_and_whom_it_reached(folder, capsys):
    trail = open_trail(folder)
    root = causes.back(trail, longest(trail))[-1]
    rows = causes.forward(trail, [root])
    _, lines, found = asked(capsys, "forward", folder, trail.called(root), "--limit", "2")
    assert (found["n"], len(found["messages"]), found["left_out"]) == (len(rows), 2, len(rows) - 2)
    assert lines[-1] == f"... and {len(rows) - 2} more (--limit 0 shows all)"
    assert set(found["agents"]) <= {"ann", "bob", "cy", "dan", "eve", "fay"}
    assert asked(capsys, "forward", folder, "--agent", "bob")[2]["start"] == (trail["sender"] == 10).sum()
    assert asked(capsys, "forward", folder, "--step", "0")[2]["start"] == (trail["step_sent"] == 0).sum()


def test_cones_by_time_hold_those_by_cause(folder, capsys):
    place = ["cone", folder, "--agent", "cy", "--step", "7", "--limit", "0"]
    by_time, by_cause = (asked(capsys, *place, "--by", by)[2] for by in ("time", "cause"))
    names = [{m["message"] for m in found["messages"]} for found in (by_time, by_cause)]
    assert names[1] <= names[0]
    assert 0 < by_cause["n"] <= by_time["n"] < by_time["of"]


def test_find_tells_where_to_start(folder, records, capsys):
    lost = [r for r in records if r["status"] == 2 and r["step_sent"] <= 9]
    _, lines, found = asked(capsys, "find", folder, "--status", "dropped", "--steps", "0:9")
    assert [m["message"] for m in found["messages"]] == [f"{r['sender']}:{r['number']}" for r in lost] != []
    assert lines[0] == f"{len(lost)} of {len(records)} messages"
    of = [r for r in records if {r["sender"], r["receiver"]} & {0, 20}]
    assert asked(capsys, "find", folder, "--agents", "ann,cy", "--limit", "1")[2]["n"] == len(of)
    assert asked(capsys, "find", folder, "--type", "ping")[2]["n"] == sum(r["type"] == 2 for r in records)


def test_history_of_an_agent_and_of_a_conversation(folder, capsys):
    trail = open_trail(folder)
    _, lines, found = asked(capsys, "history", folder, "dan", "--limit", "0")
    assert (found["agent"], found["sent"]) == (30, (trail["sender"] == 30).sum())
    assert lines[0] == f"agent dan: {found['addressed']} messages to it, {found['sent']} from it"
    row = longest(trail)
    found = asked(capsys, "history", folder, "--conversation", trail.called(row), "--limit", "0")[2]
    assert [m["message"] for m in found["messages"]] == [trail.called(k) for k in causes.conversation(trail, row)]


def test_diff_ends_with_0_or_3(folder, records, tmp_path, capsys):
    same = trails.write(tmp_path / "same", records, STEPS, 3, 5)
    code, lines, found = asked(capsys, "diff", folder, same)
    assert (code or 0, found["equal"]) == (0, True)
    assert lines == [f"{folder} and {same}: the same messages up to step 11"]
    changed = [dict(r) for r in records]
    changed[9]["receiver"] = 990
    code, lines, found = asked(capsys, "diff", folder, trails.write(tmp_path / "other", changed, STEPS))
    r = records[9]
    assert code == 3
    assert (found["step"], found["message"]) == (r["step_sent"], f"{r['sender']}:{r['number']}")
    assert lines[1] == f"receiver: {r['receiver']} and 990"


def test_ranks_find_the_bottlenecks_of_exported_traffic(folder, tmp_path, capsys):
    tsv, graph, result = (str(tmp_path / name) for name in ("who.tsv", "who.h5", "traffic.h5"))
    samples.run_verb(trace, "export", folder, "--format", "edges", "-o", tsv)
    counted = ("--set", "counts=true", "--set", "normalized=true")
    for command in (["convert", tsv, "-o", graph], ["run", "betweenness", graph, *counted, "-o", result]):
        with pytest.raises(SystemExit, match="^0$"):
            cli.main(command)
    found, trail = analysis.open(result), open_trail(folder)
    expected = flow.bottlenecks(trail).traffic
    assert expected.max() > 0
    np.testing.assert_allclose(found["betweenness"], expected[np.isin(trail.agents, found.id)], atol=1e-15)


def test_flow_and_bottlenecks(folder, records, capsys):
    _, lines, found = asked(capsys, "flow", folder, "--bins", "3", "--top", "0")
    assert sum(step[name] for step in found["steps"] for name, _ in trails.TYPES) == len(records)
    assert sum(edge["messages"] for edge in found["edges"]) == len(records) == sum(found["status"].values())
    assert lines[2].split() == ["step", "query", "reply", "ping"]
    _, lines, found = asked(capsys, "bottlenecks", folder, "--top", "2")
    trail = open_trail(folder)
    whole = flow.bottlenecks(trail)
    assert found["top"][0]["traffic"] == whole.traffic.max()
    assert len(lines) == 3
    assert "estimated from 2 of 6" in asked(capsys, "bottlenecks", folder, "--sources", "2")[1][0]


def test_unanswered_and_patterns(folder, records, capsys):
    _, lines, found = asked(
        capsys, "unanswered", folder, "--pair", "query:reply", "--pair", "ping:query", "--limit", "1"
    )
    assert [p["queries"] for p in found["pairs"]] == [sum(r["type"] == k for r in records) for k in (0, 2)]
    assert lines[0].startswith(f"{found['pairs'][0]['unanswered']} of {found['pairs'][0]['queries']} messages query")
    _, lines, found = asked(capsys, "patterns", folder, "--loops", "2", "--starving", "1")
    assert found["loops"]["n"] == sum(found["loops"]["by_length"].values()) > 0
    assert found["starving"]["n"] > 0 and found["repeats"]["n"] > 0
    assert f"{found['repeats']['n']} messages were sent again with the same payload" in lines


def test_reach_and_import(tmp_path, capsys):
    log, out = tmp_path / "l.csv", str(tmp_path / "out")
    log.write_text("who,whom,when\nx,y,1\ny,z,2\n")
    _, lines, found = asked(capsys, "import", str(log), "-o", out)
    assert (found["records"], found["agents"], found["output"]) == (2, 3, out)
    assert lines[1] == "note: line 1 was taken as a header: who whom when"
    _, lines, found = asked(capsys, "reach", out)
    assert found == {"pairs": 3, "best": {"agent": "x", "reaches": 2}, "none": 1}
    assert lines[0] == "3 ordered pairs of agents, of 3; 1 agents reach none"
    log.write_text("7 8 1\n")
    asked(capsys, "import", str(log), "--separator", "space", "-o", out)
    assert asked(capsys, "reach", out)[2]["best"] == {"agent": 7, "reaches": 1}


@pytest.mark.parametrize("form", ["chrome", "otel", "ocel", "dot", "graphml"])
def test_export_writes_a_file_or_to_standard_output(folder, tmp_path, capsysbinary, form):
    out = tmp_path / "out"
    chosen = ["export", folder, "--format", form, "--steps", "2:5", "--agents", "ann,bob"]
    samples.run_verb(trace, *chosen, "-o", out)
    samples.run_verb(trace, *chosen)
    assert capsysbinary.readouterr().out == out.read_bytes() != b""
    with pytest.raises(FileError, match="exists and is no graph or result file"):
        samples.run_verb(trace, *chosen, "-o", out)


def test_report_writes_one_page(folder, tmp_path, capsys):
    out = tmp_path / "r.html"
    samples.run_verb(trace, "report", folder, "-o", out)
    assert out.read_text().startswith("<!DOCTYPE html>")
    with pytest.raises(FileError, match="lies in the folder of the trail"):
        samples.run_verb(trace, "report", folder, "-o", f"{folder}/trail.h5")


def test_info_shows_and_checks_a_trail(folder, records, capsys):
    samples.run_verb(info, folder, "--check", "--json")
    found = samples.printed_json(capsys)
    assert (found["kind"], found["records"], found["checked"]) == ("trail", len(records), "every index and the digest")
    samples.run_verb(info, folder)
    assert "message types" in capsys.readouterr().out


@pytest.mark.parametrize(
    "args, says",
    [
        (["back", "TRAIL", "17"], "'17' names no message; write SENDER:NUMBER"),
        (["back", "TRAIL", "bob:99999"], "has no message 10:99999"),
        (["back", "TRAIL", "zoe:1"], "'zoe' is no agent"),
        (["forward", "TRAIL"], "name one of: a message S:N, --agent A, --step T"),
        (["forward", "TRAIL", "10:0", "--step", "3"], "name one of"),
        (["cone", "TRAIL"], "name what the cone is of"),
        (["cone", "TRAIL", "--step", "3"], "--step goes with --agent"),
        (["cone", "TRAIL", "--message", "10:0", "--agent", "bob"], "both name a cone"),
        (["history", "TRAIL"], "name an agent, or a conversation"),
        (["unanswered", "TRAIL", "--pair", "query"], "has no colon"),
        (["unanswered", "TRAIL", "--pair", "query:x"], "'x' is no message type of .* .it has: query, reply, ping"),
        (["bottlenecks", "TRAIL", "--sources", "0"], "is no number of agents"),
        (["export", "TRAIL", "--format", "dot", "--steps", "a:b"], "is no range of steps"),
        (["find", "TRAIL", "--steps", "5:2"], "'5:2' is empty"),
        (["find", "TRAIL", "--steps", "5:12"], "step 12 is outside of .*trail, which has steps 0 to 11"),
        (["find", "TRAIL", "--type", "x"], "'x' is no message type"),
        (["find", "TRAIL", "--agents", "bob,zoe"], "'zoe' is no agent"),
        (["forward", "TRAIL", "--step", "-1"], "step -1 is outside"),
        (["cone", "TRAIL", "--agent", "bob", "--step", "99"], "step 99 is outside"),
    ],
)
def test_mistakes_are_named(folder, args, says):
    with pytest.raises(GraphError, match=says):
        samples.run_verb(trace, *(folder if a == "TRAIL" else a for a in args))


@pytest.mark.parametrize("question", [name for name in trace.QUESTIONS if name != "import"])
def test_what_is_no_trail_is_told_in_one_line_with_exit_code_2(question, tmp_path, capsys):
    for path, says in ((tmp_path, "holds no trail"), (tmp_path / "x", "does not exist")):
        argv = [
            str(path) if word in ("trail", "other") else word for word in trace.QUESTIONS[question][1][0].split()[1:]
        ]
        argv = [*argv[:-1], str(tmp_path / "out")] if question in ("export", "report") else argv
        with pytest.raises(SystemExit) as ended:
            cli.main(argv)
        told = capsys.readouterr().err
        assert (ended.value.code, told.count("\n")) == (2, 1)
        assert told.startswith("hpcmp: error: ") and says in told


def test_the_command_needs_no_mpi(folder, launch):
    done = launch(None, "trace", "reach", folder, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pairs"] > 0


@pytest.mark.parametrize("question", trace.QUESTIONS)
def test_every_question_explains_itself(question, capsys):
    with pytest.raises(SystemExit):
        cli.main(["trace", question, "--help"])
    text = capsys.readouterr().out
    assert "examples:" in text and "--json" in text
    for example in trace.QUESTIONS[question][1]:
        assert example in text
        assert cli.make_parser().parse_args(example.split()[1:]).asked == question


def test_answers_of_a_sample_say_so(records, tmp_path, capsys):
    folder, kept = trails.write_sample(tmp_path / "few", records, STEPS, 0.5)
    files.write_timing(folder, [0, 1], [0, 0], dict.fromkeys(files.PHASES, [0.25, 0.5]))
    for question in (
        ["flow"],
        ["unanswered", "--pair", "query:reply"],
        ["patterns", "--starving", "2"],
        ["bottlenecks"],
    ):
        assert samples.run_verb(trace, question[0], str(folder), *question[1:]) in (0, None)
        said = capsys.readouterr()
        assert said.err == f"note: {folder} is a sample of 50 % of conversations\n"
        assert samples.run_verb(trace, question[0], str(folder), *question[1:], "--json") in (0, None)
        assert samples.printed_json(capsys)["sample"] == 0.5
        if question[0] == "patterns":
            assert "agents that got nothing are not told: the trail is a sample" in said.out
    found = asked(capsys, "flow", str(folder))[2]
    assert found["messages"] == len(kept)
    assert [row["step"] for row in found["slow_steps"]] == [1, 0]
    assert found["slow_steps"][0] == {"step": 1, "rank": 0, "seconds": 1.5, "act": 0.5, "exchange": 0.5, "record": 0.5}
