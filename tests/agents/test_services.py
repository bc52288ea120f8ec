"""The example of a failing service: its trail leads from an alarm to the fault, and from the fault to all it reached.

Whom a fault reaches, and when, is also computed from the graph and the rule of the model alone.
"""

import importlib.util
import json
import re

import launch as launching
import numpy as np
import pytest
from mpi4py import MPI
from thorough import IS_LONG

import hpcmp
from hpcmp import agents, analysis
from hpcmp.analysis import causes
from hpcmp.analysis.lookup import select

SOURCE = launching.ROOT / "examples" / "services.py"
UP = np.iinfo(np.int64).max


def failing_steps(src, dst, n, patience, broken, at):
    """The step in which each service goes down, `UP` for never: from those of high ids to those of low ones."""
    called = [[] for _ in range(n)]
    for a, b in zip(src.tolist(), dst.tolist(), strict=True):
        called[min(a, b)].append(max(a, b))
    down = np.full(n, UP)
    down[broken] = at + 1
    for caller in reversed(range(broken)):
        told = min((down[service] for service in called[caller]), default=UP)
        if told < UP:
            down[caller] = told + 2 + caller % patience  # it reads of it in the next step, and waits
    return down


def follow(folder, down, broken):
    """Check the trail against the services that go down."""
    trail = analysis.open(folder)
    (fault,) = select(trail, kind="fault")
    assert (trail["sender"][fault], trail["receiver"][fault]) == (broken, broken)
    rows = causes.forward(trail, [fault])
    affected = np.flatnonzero(down < UP)
    assert causes.agents_reached(trail, rows).tolist() == affected.tolist()
    alarms = select(trail, kind="alarm")
    assert len(alarms) and set(alarms.tolist()) <= set(rows.tolist())
    for row in alarms:
        chain = causes.back(trail, row)
        assert chain[-1] == fault
        assert trail["step_sent"][row] == down[trail["sender"][row]]
        hops = [trail.types[kind] for kind in trail["type"][chain]]
        assert hops == ["alarm", *["time-out", "error"] * (len(hops) // 2 - 1), "fault"]
    return rows


def test_the_trail_leads_to_the_fault_and_to_all_it_reached(comm, shared_tmp):
    spec = importlib.util.spec_from_file_location("services", SOURCE)
    services = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(services)
    told = {"steps": 40, "seed": 1, "params": {"broken": 250, "at": 5}, "trace": "headers", "check": True}

    def on(comm, folder):
        graph = hpcmp.build_graph(comm, hpcmp.generate.erdos_renyi(comm, 260, 900), drop_loops=True)[0]
        return graph, agents.simulate(graph, [services.model], trail=folder, **told)

    graph, found = on(comm, shared_tmp / "trail")
    assert comm.size == 1 or found.trail_digest == on(MPI.COMM_SELF, None)[1].trail_digest
    edges = comm.gather((graph.id[graph.in_src], graph.id[graph.in_rows()]))
    states = comm.gather((graph.id[: graph.n_owned], found["down"]))
    if comm.rank == 0:
        src, dst = (np.concatenate(ids) for ids in zip(*edges, strict=True))
        down = failing_steps(src, dst, 260, services.PATIENCE, 250, 5)
        assert 20 < (down < UP).sum() < 200
        ids, since = (np.concatenate(a) for a in zip(*states, strict=True))
        assert since[np.argsort(ids)].tolist() == np.where(down < UP, down, -1).tolist()
        follow(shared_tmp / "trail", down, 250)


@pytest.mark.skipif(not IS_LONG, reason="10,000 services take a minute; HPCMP_LONG_TESTS=1")
def test_the_walk_of_its_first_lines(launch, tmp_path):
    networkx = pytest.importorskip("networkx")
    walk = re.findall(r"^    .*?hpcmp (.*?)(?:  +#.*)?$", SOURCE.read_text(), re.MULTILINE)
    generate, simulate, *questions = (line.replace("examples/services.py", str(SOURCE)).split() for line in walk)

    def asked(ranks, *args):
        done = launch(ranks, *args, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    asked(None, *generate)
    digests = {asked(ranks, *simulate[:-1], f"trail{ranks or ''}")["trail_digest"] for ranks in (2, 3, 4, None)}
    assert len(digests) == 1
    found, back, forward = (asked(None, *question) for question in questions)
    assert found["messages"][0]["message"] == questions[1][-1]
    assert back["messages"][-1]["message"] == questions[2][-1]

    graph = analysis.open(tmp_path / "shop.h5")
    blocks = [(graph.id[block.src], graph.id[block.dst]) for block in graph.edge_blocks()]
    src, dst = (np.concatenate(ids) for ids in zip(*blocks, strict=True))
    down = failing_steps(src, dst, graph.n_vertices, 4, 9990, 20)
    rows = follow(tmp_path / "trail", down, 9990)
    callers = networkx.DiGraph(zip(np.maximum(src, dst).tolist(), np.minimum(src, dst).tolist(), strict=True))
    affected = sorted({9990} | networkx.descendants(callers, 9990))
    assert affected == sorted(map(int, forward["agents"])) == np.flatnonzero(down < UP).tolist()
    assert forward["n"] == len(rows)
