"""The contract net by its trail alone: what was announced, bid, awarded and done, whatever the agents say of it."""

import inspect
import types

import pytest
from agent_models import MARKET
from building import build

from hpcmp import analysis
from hpcmp.agents.coordination import contract

BREAKS = {  # what the text of the model becomes, and which law that breaks
    "late bids are taken": ("msg.deadline != me.deadline or ctx.step > me.deadline", "False", "came in time"),
    "a task is awarded again": ("me.n_awards += 1", "me.n_awards += 0", "awarded once"),
    "somebody wins unasked": (
        "me.winner = NOBODY\n        me.awarded",
        "me.winner = 20\n        me.awarded",
        "did bid",
    ),
    "the dearest wins": ("msg.price < me.price", "msg.price > me.price", "is the cheapest"),
    "the award comes late": ("ctx.step == me.deadline:", "ctx.step == me.deadline + 1:", "at the deadline"),
}
CAREFUL = (  # contractors do not take a task that they did not bid on: the run of a broken model does not fail by itself
    ("if msg.winner == me.id:", "if msg.winner == me.id and msg.sender == me.answer_to and not me.busy:"),
    ("elif msg.sender == me.answer_to:", "elif msg.sender == me.answer_to and not me.busy:"),
)


def trade(comm, module, folder):
    """Trade on the market with slow bidders; the trail on rank 0."""
    graph = build(comm, MARKET)
    work = 1.0 + graph.id[: graph.n_owned] * 13 % 7
    module.run(
        graph, graph.id[: graph.n_owned] >= 20, work=work, speed=work / 2, patience=2, slowness=4, rounds=30,
        steps=100, seed=2, trace="full", trail=folder, check=True,
    )  # fmt: skip
    return analysis.open(folder) if comm.rank == 0 else None


def messages(trail, kind):
    """(sender, receiver, step sent, step delivered, payload) of a type."""
    rows, values = trail.payloads(kind)
    columns = [trail[name][rows].tolist() for name in ("sender", "receiver", "step_sent", "step_delivered")]
    return list(zip(*columns, values, strict=True))


def check_laws(trail):
    """Each task is awarded once at most, at its deadline, to the cheapest of those who bid in time, who does it."""
    announced = {(m, c, int(p["deadline"])): sent for m, c, sent, _, p in messages(trail, "announce")}
    bids = {}
    for c, m, sent, came, p in messages(trail, "bid"):
        assert announced[m, c, int(p["deadline"])] < sent, "a bid follows its announcement"
        bids.setdefault((m, int(p["deadline"])), []).append((came, float(p["price"]), c))
    awards = {(m, sent, int(p["winner"])) for m, _, sent, _, p in messages(trail, "award")}
    won = [(m, at, winner) for m, at, winner in awards if winner != contract.NOBODY]
    assert len({m for m, *_ in won}) == len(won), "each task is awarded once"
    for m, at, winner in awards:
        assert (m, at) in {(a, d) for a, _, d in announced}, "the award is told at the deadline"
        of_round = bids.get((m, at), [])
        in_time = [(price, c) for came, price, c in of_round if 0 <= came <= at]
        if winner == contract.NOBODY:
            assert not in_time, "nobody wins if nobody did bid"
        else:
            assert winner in {c for _, _, c in of_round}, "who wins did bid"
            assert winner in {c for _, c in in_time}, "the bid that wins came in time"
            assert (min(in_time)[0], winner) in in_time and winner == min(in_time)[1], "who wins is the cheapest"
    done = [(c, m) for c, m, *_ in messages(trail, "done")]
    assert sorted(done) == sorted((winner, m) for m, _, winner in won), "who wins does the task, once"
    return len(won), sum(came > deadline for (_, deadline), rows in bids.items() for came, *_ in rows)


def test_the_trail_of_a_contract_net_obeys_its_laws(comm, shared_tmp):
    trail = trade(comm, contract, shared_tmp / "trail")
    if comm.rank == 0:
        trail.check()
        n_won, n_late = check_laws(trail)
        assert n_won == 19 and n_late > 5


@pytest.mark.parametrize("what", BREAKS)
def test_the_laws_are_broken_by_a_broken_model(comm, shared_tmp, what):
    old, new, law = BREAKS[what]
    source = inspect.getsource(contract)
    for a, b in ((old, new), *CAREFUL):
        assert source.count(a) == 1
        source = source.replace(a, b)
    broken = types.ModuleType("broken_contract")
    exec(source, broken.__dict__)
    trail = trade(comm, broken, shared_tmp / "trail")
    if comm.rank == 0:
        with pytest.raises(AssertionError, match=law):
            check_laws(trail)
