"""Simulations: one history on any ranks, partitions and threads; conservation; order, limits, timers; what is refused."""

import re

import agent_models as models
import numpy as np
import pytest
from agent_models import RING, Note, stage
from building import agreed_error, build, everywhere
from graphs import sample
from mpi4py import MPI

import hpcmp
from hpcmp import agents, analysis
from hpcmp.agents import post
from hpcmp.agents.post import Post
from hpcmp.errors import ProgramError
from hpcmp.graph import with_vertex_field

STEPS = 25


def history(graph, threads=1, seed=7, **more):
    run = agents.simulate(
        graph, models.everything(), steps=STEPS, seed=seed, params={"fade": 0.9}, joins="arrives", trace="full",
        threads=threads, **more,
    )  # fmt: skip
    measures = {name: values.tolist() for name, values in run.measures.items()}
    return (
        run.digest,
        run.step_digests,
        run.counts,
        measures,
        {name: everywhere(graph, run[name]) for name in run.result.state},
    )


def test_one_history_on_any_ranks_partitions_and_threads(comm, monkeypatch):
    alone = history(stage(MPI.COMM_SELF))
    assert sum(c["dropped"] for c in alone[2]) > 20 and sum(c["delivered"] for c in alone[2]) > 500
    assert alone == history(stage(comm))
    monkeypatch.setattr(post, "LEAST_WORK", 0)  # blocks of 4 agents, in segments that two threads take
    monkeypatch.setattr(post, "MOST_BLOCK_BITS", 2)
    assert alone == history(stage(comm, n_parts=13, method="hash"), threads=2, budget=64)


def test_the_same_functions_as_plain_python_give_the_same(comm):
    assert history(stage(comm)) == history(stage(comm), check=True)


def test_another_seed_is_another_history(comm):
    graph = stage(comm)
    first, again, other = (history(graph, seed=seed)[0] for seed in (1, 1, 2))
    assert first == again != other


def test_measures_are_of_all_agents_after_each_step(comm, shared_tmp):
    flooded = agents.simulate(build(comm, RING), [models.flood()], steps=9)
    assert flooded.measures["n_know"].tolist() == list(range(1, 10))
    flooded.result.write(shared_tmp / "states.h5")
    assert analysis.open(shared_tmp / "states.h5").steps["value_n_know"].tolist() == list(range(1, 10))
    half = agents.simulate(build(comm, RING), [models.flood()], steps=9, until=lambda now: now["n_know"] > 6)
    assert (half.steps, half.ended) == (7, "goal")

    # of those that are there: who left with more than 6 done does not count
    run = agents.simulate(stage(comm), models.everything(), steps=STEPS, params={"fade": 0.9})
    done = everywhere(run.graph, run["done"]).values()
    assert max(done) > 6 >= run.measures["busiest"][-1] == max(n for n in done if n <= 6)


def test_measures_that_do_not_fit_are_refused(comm):
    one, other = models.flood(), agents.Agent("other", {})
    other.measure(hpcmp.Max, "n_know")(one.measures["n_know"].function)
    text = agreed_error(comm, ProgramError, lambda: agents.simulate(stage(comm), [one, other], steps=1))
    assert "'n_know' in different ways" in text
    with pytest.raises(ProgramError, match="two measures 'n_know'"):
        one.measure(hpcmp.Sum)(one.measures["n_know"].function)
    with pytest.raises(ProgramError, match="takes Sum, Min, Max"):
        one.measure("sum")
    graph = build(comm, RING)
    text = agreed_error(
        comm, ProgramError, lambda: agents.simulate(graph, [models.flood()], steps=9, until=lambda now: now["nobody"])
    )
    assert "`until` failed: KeyError: 'nobody'" in text


def test_every_message_ends_once_or_is_on_its_way(comm):
    counts = history(stage(comm))[2]
    sent = ended = 0
    for row in counts:
        sent, ended = sent + row["sent"], ended + row["delivered"] + row["dropped"]
        assert sent == ended + row["in_flight"]


def test_a_message_that_is_lost_ends_the_run(comm, monkeypatch):
    whole = Post.deliver

    def losing(self, boxes, error, step):
        whole(self, boxes, error, step)
        if self.comm.rank == 0 and step == 3:
            block = np.argmax(self.counts[: self.n_blocks])
            self.writes[1][:, block] = 0  # an empty list
            self.counts[block] = 0

    monkeypatch.setattr(Post, "deliver", losing)
    assert "are on their way" in agreed_error(comm, ProgramError, lambda: history(stage(comm)))


def test_a_flood_is_breadth_first_search_and_ends_at_its_goal(comm):
    graph = build(comm, RING)
    run = agents.simulate(graph, [models.flood()], steps=50)
    assert everywhere(graph, run["hops"]) == {k: k for k in range(12)}
    assert (run.ended, run.steps) == ("goal", 12)
    late = with_vertex_field(graph, "comes", np.where(graph.id[: graph.n_owned] == 11, 20, 0))
    run = agents.simulate(late, [models.flood()], steps=15, joins="comes")
    assert (run.ended, run.steps) == ("steps", 15)  # one that has not come has not reached it


def test_a_run_ends_when_nothing_is_on_its_way(comm):
    echo = agents.Agent("echo", {"n": "int64"})

    @echo.on(Note)
    def hear(me, msg, out, ctx):
        me.n += 1

    run = agents.simulate(build(comm, RING), [echo], steps=50)
    assert (run.ended, run.steps) == ("quiet", 1)


def test_messages_are_read_in_the_order_of_sender_and_number(comm):
    star = sample(range(40), [(k, 39) for k in range(39)])
    hub = agents.Agent("hub", {"wrong": "int64", "n": "int64", "sender": "int64", "number": "int64"})

    @hub.each_step
    def tell(me, out, ctx):
        if out.degree() > 0 and ctx.step < 3:
            out.send_later(3 - ctx.step, Note, 39, 0)  # three steps' messages come at once
            out.to_neighbours(Note, 1)

    @hub.on(Note)
    def hear(me, msg, out, ctx):
        if me.n > 0 and ctx.step == 3 and (msg.sender, msg.number) <= (me.sender, me.number):
            me.wrong += 1
        me.sender, me.number, me.n = msg.sender, msg.number, me.n + 1
        if ctx.step != 3:
            me.n = 0

    graph = build(comm, star)
    run = agents.simulate(graph, [hub], steps=6)
    assert everywhere(graph, run["wrong"])[39] == 0 and everywhere(graph, run["n"])[39] == 4 * 39


def test_what_comes_before_an_agent_or_after_it_is_counted_as_dropped(comm):
    graph = build(comm, RING)
    graph = with_vertex_field(graph, "arrives", np.where(graph.id[: graph.n_owned] == 5, 3, 0))
    cell = agents.Agent("cell", {"n": "int64"})

    @cell.each_step
    def tell(me, out, ctx):
        out.to_neighbours(Note, 1)
        if me.id == 7 and ctx.step == 1:
            out.leave()

    @cell.on(Note)
    def hear(me, msg, out, ctx):
        me.n += 1

    run = agents.simulate(graph, [cell], steps=6, joins="arrives")
    # in step t an agent reads what was sent in t - 1: to 5 from 3 on; to 7 until 1; of 5 from 4 on, of 7 until 2;
    # what came to 5 before 3 and to 7 after 1 is dropped
    assert everywhere(graph, run["n"]) == {k: {5: 3, 6: 2, 7: 1, 8: 2}.get(k, 5) for k in range(12)}
    assert [c["dropped"] for c in run.counts] == [0, 1, 2, 1, 1, 1]


def refused():
    quiet = agents.Agent("quiet", {"n": "int64"})
    quiet.each_step(lambda me, out, ctx: out.to_neighbours(Note, 1))

    def model(act, **limits):
        agent = agents.Agent("cell", {"n": "int64"})
        agent.on(Note, **limits)(lambda me, msg, out, ctx: None)
        agent.each_step(act)
        return [agent]

    def fails(me, out, ctx):
        if me.id == 5 and ctx.step == 2:
            raise ValueError("no")

    def floods(me, out, ctx):
        for _ in range(2000):
            out.send(Note, me.id, 1)

    def twice(me, out, ctx):
        out.to_neighbours(Note, 1)
        out.to_neighbours(Note, 2)

    return {
        "a message that nobody reads": ([quiet], r"agent \d+ \(quiet\) reads no message 'note'"),
        "a receiver that is not near": (model(lambda me, out, ctx: out.send(Note, 99, 1)), "to 99, which is neither"),
        "a function that fails": (model(fails), r"step 2: agent 5 \(cell\): ValueError: no"),
        "a function without end": (model(floods), r"sends more than 1024 messages in one step"),
        "no delay": (model(lambda me, out, ctx: out.send_later(0, Note, me.id, 1)), "a delay is at least 1"),
        "too many values": (model(lambda me, out, ctx: out.to_neighbours(Note, 1, 2)), "has the fields x; 2 values"),
        "an inbox that overflows": (
            model(twice, limit=1),
            r"gets more messages than its limit of 1 'note'",
        ),
    }


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("what", refused())
def test_what_goes_wrong_is_named_on_all_ranks(comm, what, check):
    model, text = refused()[what]
    graph = build(comm, RING)
    error = agreed_error(comm, ProgramError, lambda: agents.simulate(graph, model, steps=5, check=check))
    assert re.search(text, error), error


def test_any_receiver_is_found_where_asked_for(comm):
    caller = agents.Agent("caller", {"n": "int64"})

    @caller.each_step
    def call(me, out, ctx):
        if ctx.step == 0:
            out.send(Note, (me.id * 5 + 3) % ctx.modulus, 1)

    @caller.on(Note)
    def hear(me, msg, out, ctx):
        me.n += 1
        if msg.x == 1:
            out.send(Note, msg.sender, 2)

    graph = build(comm, RING)
    run = agents.simulate(graph, [caller], steps=3, params={"modulus": 12}, any_receiver=True)
    assert set(everywhere(graph, run["n"]).values()) == {2}
    error = agreed_error(
        comm, ProgramError,
        lambda: agents.simulate(graph, [caller], steps=3, params={"modulus": 1000}, any_receiver=True),
    )  # fmt: skip
    assert "which does not exist" in error


def test_edges_are_those_to_the_neighbours_in_both_kinds_of_graphs(comm):
    reader = agents.Agent("reader", {"total": "float64", "wrong": "int64"})

    @reader.each_step(alone=False)
    def read(me, out, ctx):
        for q in range(out.degree()):
            me.total += out.edge(q).weight
            me.wrong += out.edge(out.place(out.neighbour(q))).weight != out.edge(q).weight
        me.wrong += out.place(99) != -1
        if ctx.step == 0:
            out.to_neighbours(Note, 1)

    @reader.on(Note)
    def hear(me, msg, out, ctx):
        pass

    for directed in (True, False):
        of = RING._replace(directed=directed)
        want = dict.fromkeys(range(12), 0.0)
        for u, v, w in zip(of.src.tolist(), of.dst.tolist(), of.weight.tolist()):
            want[u] += 2 * w
            want[v] += 0 if directed else 2 * w
        graph = build(comm, of)
        for check in (False, True):
            run = agents.simulate(graph, [reader], steps=9, check=check)
            assert everywhere(graph, run["total"]) == pytest.approx(want)
            assert not any(everywhere(graph, run["wrong"]).values())
            assert (run.ended, run.steps) == ("quiet", 2)
