"""Kinds of messages bound to relations: who gets them, what they mean, what is refused, what the trail tells."""

import importlib.util

import numpy as np
import pytest
from building import agreed_error, build, everywhere
from graphs import sample

import hpcmp
from hpcmp import agents, analysis
from hpcmp.analysis import flow
from hpcmp.errors import ProgramError
from hpcmp.io.table import EdgeTable, VertexTable

RELATIONS = ("likes", "owes", "knows")
PAIRS = [(i, (i * k + k) % 20, k % 3) for i in range(20) for k in range(1, 8)] + [(3, 4, 1), (3, 4, 1), (5, 5, 2)]
OF = sample(range(20), [(a, b) for a, b, _ in PAIRS], weight=[float(a * 100 + b) for a, b, _ in PAIRS])
NUMBERS = np.array([r for *_, r in PAIRS])

Plain = agents.MessageType("note", x="int64")
Like, Owe = Plain.over("likes"), Plain.over("owes")


def stage(comm, directed=True, **options):
    of = OF if directed else OF._replace(directed=False)
    return build(comm, of, relation=NUMBERS, relations=RELATIONS, **options)


def reader():
    """Agents that tell what they see of their neighbours, and count what comes over each relation."""
    state = {"seen": "int64", "edges": "float64", "wrong": "int64", "plain": "int64", "likes": "int64", "owes": "int64"}
    cell = agents.Agent("cell", state)

    @cell.on(Plain)
    def read(me, msg, out, ctx):
        me.plain = me.plain * 31 + msg.sender * 100 + msg.x

    @cell.on(Like)
    def like(me, msg, out, ctx):
        me.likes = me.likes * 31 + msg.sender * 100 + msg.x

    @cell.on(Owe)
    def owe(me, msg, out, ctx):
        me.owes = me.owes * 31 + msg.sender * 100 + msg.x

    @cell.each_step(alone=False)
    def look(me, out, ctx):
        if ctx.step == 0:
            for q in range(out.degree()):
                me.seen = me.seen * 31 + out.neighbour(q)
                me.edges = me.edges * 3.0 + out.edge(q).weight
            for q in range(out.degree(Owe)):
                other = out.neighbour(q, Owe)
                me.seen = me.seen * 37 + other
                me.edges = me.edges * 5.0 + out.edge(q, Owe).weight
                me.wrong += out.neighbour(out.place(other, Owe), Owe) != other
                if q % 2 == 0:
                    out.send(Owe, other, 1)
            me.wrong += out.place(99, Like) != -1
            out.to_neighbours(Plain, 2)
            out.to_neighbours(Like, 3)
            if out.degree(Like) > 0:
                out.send_later(2, Like, out.neighbour(0, Like), 4)

    return cell


def expected(directed):
    """What `reader` must come to, from the list of edges."""
    edges = PAIRS if directed else PAIRS + [(b, a, r) for a, b, r in PAIRS if a != b]
    weight = OF.weight.tolist() + ([] if directed else [w for (a, b, _), w in zip(PAIRS, OF.weight.tolist()) if a != b])
    rows = sorted((b, r, w, a) for (a, b, r), w in zip(edges, weight))
    near = {i: [(b, r, w) for b, r, w, a in rows if a == i] for i in range(20)}
    got = {i: {"seen": 0, "edges": 0.0, "plain": 0, "likes": 0, "owes": 0} for i in range(20)}
    mail = {(i, kind): [] for i in range(20) for kind in ("plain", "likes", "owes")}
    for a in range(20):
        for b, _, w in near[a]:
            got[a]["seen"], got[a]["edges"] = got[a]["seen"] * 31 + b, got[a]["edges"] * 3.0 + w
            mail[b, "plain"].append((1, a, 2))
        owes, likes = ([(b, w) for b, r, w in near[a] if r == number] for number in (1, 0))
        for q, (b, w) in enumerate(owes):
            got[a]["seen"], got[a]["edges"] = got[a]["seen"] * 37 + b, got[a]["edges"] * 5.0 + w
            if q % 2 == 0:
                mail[b, "owes"].append((1, a, 1))
        for b, _ in likes:
            mail[b, "likes"].append((1, a, 3))
        if likes:
            mail[likes[0][0], "likes"].append((2, a, 4))
    for (i, kind), messages in mail.items():
        for _, sender, x in sorted(messages, key=lambda m: m[:2]):
            got[i][kind] = (got[i][kind] * 31 + sender * 100 + x + 2**63) % 2**64 - 2**63
    wrapped = {i: {**row, "seen": (row["seen"] + 2**63) % 2**64 - 2**63} for i, row in got.items()}
    return {name: {i: row[name] for i, row in wrapped.items()} for name in wrapped[0]}


@pytest.mark.parametrize("directed", [True, False])
def test_a_kind_goes_along_its_relation_in_the_order_of_ids(comm, directed):
    want = expected(directed)
    for check in (False, True):
        graph = stage(comm, directed, method="hash" if check else None)
        with np.errstate(over="ignore"):
            run = agents.simulate(graph, [reader()], steps=9, check=check)
        for name, column in want.items():
            assert everywhere(graph, run[name]) == column, name
        assert not any(everywhere(graph, run["wrong"]).values())
        assert (run.ended, run.steps) == ("quiet", 3)


def test_a_run_with_relations_goes_on_from_a_checkpoint(comm, shared_tmp):
    alone = agents.simulate(stage(comm), [reader()], steps=9)
    agents.simulate(stage(comm), [reader()], steps=1, checkpoints=hpcmp.Checkpoints(shared_tmp, 1))
    asked = hpcmp.Checkpoints(shared_tmp, resume=True)
    found = agents.simulate(stage(comm, method="hash"), [reader()], steps=9, checkpoints=asked)
    assert (found.digest, found.counts, found.ended) == (alone.digest, alone.counts, "quiet")


@pytest.mark.parametrize("check", [False, True])
def test_a_receiver_along_another_relation_is_refused_with_the_name_of_the_relation(comm, check):
    cell = agents.Agent("cell", {"n": "int64"})
    cell.on(Owe)(lambda me, msg, out, ctx: None)

    @cell.each_step
    def act(me, out, ctx):
        if me.id == 2 and ctx.step == 1:
            out.send(Owe, ctx.to, 7)

    likes = [b for a, b, r in PAIRS if a == 2 and r == 0]
    for to in (likes[0], 2, 99):  # by another relation; oneself; nobody
        text = agreed_error(
            comm, ProgramError,
            lambda: agents.simulate(stage(comm), [cell], steps=3, params={"to": to}, any_receiver=True, check=check),  # noqa: B023
        )  # fmt: skip
        assert f"step 1: agent 2 (cell) sends 'note' (its message 0) to {to}, to which it has no edge of" in text
        assert "the relation 'owes'" in text


def test_a_relation_that_the_graph_has_not_is_refused(comm):
    cell = agents.Agent("cell", {"n": "int64"})
    cell.on(Plain.over("hates"))(lambda me, msg, out, ctx: None)
    text = agreed_error(comm, ProgramError, lambda: agents.simulate(stage(comm), [cell], steps=3))
    assert "the relation 'hates', which the graph has not (it has likes, owes, knows)" in text
    with pytest.raises(ProgramError, match=r"two functions for message 'note \(likes\)'"):
        for kind in (Like, Plain.over("likes")):
            cell.on(kind)(lambda me, msg, out, ctx: None)


# ---------------------------------------------------------------- the example


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    import launch as launching

    spec = importlib.util.spec_from_file_location("team", launching.ROOT / "examples" / "team.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("team")
    module.write(folder)
    return module, {
        name: np.loadtxt(folder / f"{name}.tsv", np.int64) for name in ("assigns", "hands_over", "reports_to", "tells")
    }


def team_graph(comm, tables):
    """The example's graph, all of it read by rank 0."""
    mine = {name: rows if comm.rank == 0 else rows[:0] for name, rows in tables.items()}
    src, dst = np.concatenate(list(mine.values())).T
    number = np.repeat(np.arange(len(mine)), [len(rows) for rows in mine.values()]).astype(np.uint16)
    ids = np.arange(32 if comm.rank == 0 else 0)
    role = np.searchsorted([4, 24], ids, "right").astype(np.int32)
    edges = EdgeTable(src, dst, relation=number, relations=tuple(mine), directed=True)
    return hpcmp.build_graph(comm, edges, vertices=VertexTable(ids, {"role": role}, {}))[0]


def check_law(trail, tickets, managers):
    """Each ticket passes the test once, after its last build, and its manager hears of it once."""
    kinds = [k for k in trail.types if k not in ("tested",)]
    events = []
    for kind in kinds:
        rows, values = trail.payloads(kind)
        events += zip(trail["step_sent"][rows].tolist(), [kind] * len(rows), values["id"].tolist(), rows.tolist())
    assert (trail["status"] == 0).all()
    n_broken = 0
    for ticket in range(tickets * managers):
        story = sorted((step, kind, row) for step, kind, id, row in events if id == ticket)
        words = [kind for _, kind, _ in story]
        again = ["built", "ticket (hands_over)", "ticket (reports_to)"]
        n = (len(words) - 5) // 3
        assert words == [
            "ticket (assigns)",
            *again * n,
            "built",
            "ticket (hands_over)",
            "passed (reports_to)",
            "ticket (tells)",
        ]
        assert trail["receiver"][story[-1][2]] == trail["sender"][story[0][2]] == ticket // tickets
        root = trail.called(story[0][2]).split(":")
        of = (trail["conversation_sender"] == int(root[0])) & (trail["conversation_number"] == int(root[1]))
        assert of.sum() == len(story) + n + 1  # and the tests
        n_broken += n
    return n_broken


def test_each_ticket_of_a_team_passes_the_test_once_after_its_last_build(comm, shared_tmp, team):
    module, tables = team
    graph = team_graph(comm, tables)
    run = agents.simulate(graph, module.model, steps=1000, seed=7, trace="full", trail=shared_tmp / "trail", check=True)
    assert run.ended == "goal"
    if comm.rank == 0:
        trail = analysis.open(shared_tmp / "trail")
        trail.check()
        n_broken = check_law(trail, module.TICKETS, 4)
        assert n_broken > 10 and sum(c["sent"] for c in run.counts) == trail.n
        assert trail.head["relations"][trail.type_number("passed")] == "reports_to"
        assert flow.by_step(trail)[1].sum(axis=0)[trail.type_number("ticket (tells)")] == 4 * module.TICKETS
    assert sum(everywhere(graph, run["broken"]).values()) == comm.bcast(n_broken if comm.rank == 0 else None)
