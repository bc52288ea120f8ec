"""Never a stale kernel, and no kernel compiled twice."""

import json

import launch as launching
import numba
import numpy as np
from mpi4py import MPI

import hpcmp
from hpcmp import jit
from hpcmp.engine import bind
from hpcmp.graph import with_vertex_field
from hpcmp.io.table import EdgeTable

STEP = 1
PROGRAM = """
import enum
import hpcmp
import stale_helper

class Gain(enum.IntEnum):
    LOW = 2

def send(vertex, ctx):
    return vertex.value * (0 + Gain.LOW)

def message(sent, receiver, edge, ctx):
    return stale_helper.scaled(sent) if edge.sender in {0, 1} else 0.0

def update(vertex, total, ctx):
    return total + 1

chain = hpcmp.Program(
    state={"value": "float64"}, init=lambda vertex, ctx: 1.0, send=send, message=message, update=update
)
"""
HELPER = """
FACTOR = 3.0

def scaled(x):
    return x * FACTOR
"""
RUN = """
import json, sys
sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
import numpy as np
import numba.core.caching as caching
from mpi4py import MPI
import hpcmp
from hpcmp.io.table import EdgeTable
import stale_program
saved = []
save = caching.Cache.save_overload
caching.Cache.save_overload = lambda self, *args: (saved.append(1), save(self, *args))[1]
table = EdgeTable(np.array([0, 1]), np.array([1, 2]))
graph, _ = hpcmp.build_graph(MPI.COMM_WORLD, table)
result = hpcmp.run(stale_program.chain, graph, 1)
plain = hpcmp.run(stale_program.chain, graph, 1, check=True)
print(json.dumps({"compiled": result["value"].tolist(), "plain": plain["value"].tolist(), "saved": len(saved)}))
"""


def test_an_edit_of_a_users_module_or_its_helper_is_seen_and_nothing_is_compiled_twice(tmp_path):
    (tmp_path / "run.py").write_text(RUN)
    env = launching.environment({"HPCMP_CACHE_DIR": tmp_path / "cache"})

    def start(program=PROGRAM, helper=HELPER):
        (tmp_path / "stale_program.py").write_text(program)
        (tmp_path / "stale_helper.py").write_text(helper)
        argv = launching.command(None, tmp_path / "run.py", tmp_path)
        done = launching.run(argv, tmp_path, env)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout.splitlines()[-1])
        assert found["compiled"] == found["plain"]
        return found

    first = start()
    assert first["compiled"] == [1, 7, 7]
    assert first["saved"] > 0
    again = start()
    assert again["compiled"] == [1, 7, 7]
    assert again["saved"] == 0, "an unedited program was compiled again"
    assert start(helper=HELPER.replace("x * FACTOR", "x + FACTOR"))["compiled"] == [1, 6, 6]
    assert start(PROGRAM.replace("LOW = 2", "LOW = 5").replace("{0, 1}", "{0, 2}"))["compiled"] == [1, 16, 1]
    assert start()["saved"] == 0
    assert not [*(launching.ROOT / "hpcmp").rglob("*.nbi")], (
        "kernels beside the sources, where no key of the library guards them"
    )


def added(x):
    return x + STEP


def made_anew():
    def init(vertex, ctx):
        return added(0)

    return hpcmp.Program(
        state={"value": "int64"},
        init=init,
        send=lambda vertex, ctx: vertex.value,
        update=lambda vertex, total, ctx: total,
    )


def test_functions_made_anew_are_known_again_until_what_they_name_is_another(monkeypatch):
    graph, _ = hpcmp.build_graph(MPI.COMM_SELF, EdgeTable(np.array([0, 1]), np.array([1, 2])))

    def values():
        return hpcmp.run(made_anew(), graph, 0)["value"].tolist()

    assert values() == [1, 1, 1]
    known, made = len(jit._INLINED), []
    monkeypatch.setattr(
        numba, "jit", lambda *args, made=made, jit=numba.jit, **flags: made.append(1) or jit(*args, **flags)
    )
    assert values() == [1, 1, 1]
    assert not made, "a program that is run again makes its loops anew"
    assert len(jit._INLINED) == known, "each run leaves functions that numba keeps for ever"
    monkeypatch.setitem(globals(), "STEP", 5)
    assert values() == [5, 5, 5]
    monkeypatch.undo()
    assert values() == [1, 1, 1]


def value(vertex, ctx):
    return vertex.value


def seen(vertex, ctx):
    return vertex.seen


def weight(sent, receiver, edge, ctx):
    return edge.w


def as_heard(vertex, total, ctx):
    return total


def test_programs_that_differ_in_more_than_their_functions_have_loops_of_their_own(monkeypatch):
    keys = []
    monkeypatch.setattr(bind, "_MADE", {})
    monkeypatch.setattr(bind._Binder, "bind", lambda binder: keys.append(binder.depends_on()))  # nothing is compiled

    def graph(w=(2.5, 3.5)):
        table = EdgeTable(np.array([0, 1]), np.array([1, 2]), {"w": np.array(w)})
        return hpcmp.build_graph(MPI.COMM_SELF, table)[0]

    def use(graph, **fields):
        told = {"state": {"value": "float64"}, "init": value, "update": as_heard, **fields}
        bind.bind(hpcmp.Program(**told), graph, fields.get("params", {}))

    floats, narrow, wide = graph(), graph((2, 3)), {"value": ("float64", 2)}
    with_seen = [with_vertex_field(floats, "seen", np.ones((3, width))) for width in (1, 2)]
    for aggregate in ("sum", "max", "count"):
        use(floats, aggregate=aggregate)
    for g in (floats, narrow):
        use(g, message=weight)
    for reducer in (hpcmp.Sum, hpcmp.Max, hpcmp.Min):
        use(floats, reduce={"of_all": reducer(value)})
    for names in (("a", "b"), ("b", "a")):
        use(floats, state=dict.fromkeys(names, "float64"))
    for state in ({"value": "int32"}, wide, {"value": ("float64", 3)}):
        use(floats, state=state)
    for g in with_seen:
        use(g, init=seen, state=wide)
    for more in ({"only_changed": True}, {"sent": "float32"}, {"params": {"k": 1}}, {"params": {"k": 1.5}}):
        use(floats, **more)
    assert len(set(keys)) == len(keys) == 19
    keys.clear()
    for more in ({}, {"name": "a"}, {"steps": 3}, {"until": lambda ctx: ctx.step > 3}):
        use(floats, **more)
    use(floats, params={"k": 2.5})
    assert not keys, "made anew"
