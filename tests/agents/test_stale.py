"""Never a stale kernel within a process: what functions of agents depend on may change between two runs."""

from agent_models import RING
from building import build
from mpi4py import MPI

from hpcmp import agents
from hpcmp.io.trail import PHASES

STEP = 1
First, Middle, Last = (agents.MessageType(name, x="int64") for name in ("a", "m", "z"))


def added(x):
    return x + STEP


def hear(me, msg, out, ctx):
    me.heard += added(msg.x)


def hear_nothing(me, msg, out, ctx):
    pass


def tell(me, out, ctx):
    out.send(Middle, me.id, me.id)


def heard(kind, trail):
    """What agents have heard that know another kind too, before or after `Middle` by name."""
    walker = agents.Agent("walker", {"heard": "int64"})
    walker.on(Middle)(hear)
    walker.on(kind)(hear_nothing)
    walker.each_step(tell)
    graph, told = build(MPI.COMM_SELF, RING), {"steps": 2, "trace": "headers", "trail": trail}
    plain, run = (agents.simulate(graph, [walker], check=check, **told) for check in (True, False))
    assert run["heard"].tolist() == plain["heard"].tolist()
    seconds, timing = run.result.seconds, run.trace.timing  # compiling is no part of a step
    assert seconds["compile"] > 0 and sum(timing[name].sum() for name in PHASES) < seconds["run"]
    return int(run["heard"].sum())


def test_functions_see_new_globals_and_other_kinds_beside_theirs(monkeypatch, tmp_path):
    assert heard(First, tmp_path / "trail") == 66 + 12
    assert heard(Last, tmp_path / "trail") == 66 + 12  # `Middle` has another number, all else is the same
    monkeypatch.setitem(globals(), "STEP", 10)
    assert heard(Last, tmp_path / "trail") == 66 + 120
