"""Small graph and result files of one rank, for tests of what reads them."""

import argparse
import json
import shutil

import h5py
import numpy as np

import hpcmp
from hpcmp.comm import world
from hpcmp.engine.result import make_result
from hpcmp.io.table import EdgeTable, VertexTable

SRC, DST = [10, 20, 30, 30, 70, 10, 10], [20, 30, 10, 30, 90, 30, 30]  # a loop, a double edge, sparse ids
WEIGHT = np.array([0.5, 1 / 3, 0.25, 1.0, 2.0, 0.125, 0.0625])
PEOPLE, FRIENDS = ["zoe", "ann", "böb"], ["ann", "böb", "ann"]


def hops(times=1.0):
    """A program whose steps and values can be told apart."""
    return hpcmp.Program(
        state={"hops": "float64"},
        init=lambda vertex, ctx: 0.0 if vertex.id == ctx.source else np.inf,
        send=lambda vertex, ctx: vertex.hops,
        message=lambda sent, receiver, edge, ctx: sent + ctx.times,
        aggregate="min",
        update=lambda vertex, best, ctx: min(vertex.hops, best),
        reduce={"reached": hpcmp.Sum(lambda vertex, ctx: 1 if vertex.hops < np.inf else 0)},
        params={"source": 10, "times": times},
        name="hops",
    )


def graph(src=SRC, dst=DST, weight=WEIGHT, **options):
    """A graph on one rank."""
    fields = {} if weight is None else {"weight": np.asarray(weight)}
    table = EdgeTable(np.asarray(src, np.int64), np.asarray(dst, np.int64), fields)
    return hpcmp.build_graph(_comm(), table, **options)[0]


def named_graph():
    """A graph with names, two relations, and a vertex field of labels."""
    src, dst = (np.char.encode(np.array(names), "utf-8") for names in (PEOPLE, FRIENDS))
    width = max(src.dtype, dst.dtype)
    table = EdgeTable(src.astype(width), dst.astype(width), {}, np.array([0, 1, 1], np.uint16), ("likes", "knows"))
    key = np.unique(table.src)
    vertices = VertexTable(key, {"role": np.array([1, 0, 1], np.int32), "x": np.eye(3, 2)}, {"role": ("test", "train")})
    return hpcmp.build_graph(_comm(), table, vertices=vertices, n_parts=2)[0]


def write_graph(path, of=None):
    """A graph file."""
    hpcmp.write_graph(graph() if of is None else of, path, command="made by a test")
    return path


def write_run(path, steps=3, of=None, step_digests=False, program=None, **params):
    """The result file of a run."""
    program = program or hops()
    result = hpcmp.run(
        program, graph() if of is None else of, steps, params=params, check=True, step_digests=step_digests
    )
    result.write(path, command="made by a test")
    return path


def write_state(path, of=None, **state):
    """A result file with a given state, by ascending id."""
    of = graph() if of is None else of
    rows = {name: np.asarray(a)[of.order] for name, a in state.items()}
    make_result(of, "given", rows).write(path, command="made by a test")
    return path


def changed(path, to, change):
    """A copy of a file after ``change(handle)``."""
    shutil.copy(path, to)
    with h5py.File(to, "r+") as handle:
        change(handle)
    return to


def run_verb(verb, *argv):
    """Parse a command line and run a verb that needs no MPI; its exit code."""
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    return verb.run_on_rank_0(parser.parse_args([str(a) for a in argv])) or 0


def printed_json(capsys):
    """The one JSON object that was printed."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(capsys.readouterr().out, parse_constant=refuse)


def _comm():
    from mpi4py import MPI

    return MPI.COMM_SELF if world().size > 1 else world()
