"""What a command adds to the memory of its ranks: mpiexec -n P python tests/memory_job.py WHAT PATH

WHAT: ``pagerank``, ``bfs`` or ``sssp`` (open the graph file PATH and run it) or
``convert`` (read the undirected edge list PATH, build its graph and write it).
Kernels are compiled and libraries loaded by a small graph first. Rank 0 prints
JSON: bytes of all ranks together.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

import hpcmp
from hpcmp import algorithms, generate
from hpcmp.comm import world
from hpcmp.engine import run as engine_run
from hpcmp.io import graph_file
from hpcmp.io.readers import read_edges

predicted = {}  # of this rank, when it asks whether there is room


def note_prediction(comm, what, needed, held=0):
    """Stands where `room.refuse_what_cannot_fit` is called."""
    predicted[what.split()[0]] = int(needed) + int(held)


engine_run.room.refuse_what_cannot_fit = graph_file.refuse_what_cannot_fit = note_prediction


def status(name):
    """Bytes that the system counts for this process under a name."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


def run(name):
    """Make the work of opening a graph and running a built-in program."""
    module = algorithms.find(name)

    def work(comm, path):
        graph = hpcmp.open_graph(comm, path, vertex_fields=(), edge_fields=getattr(module, "FIELDS", ()))
        opened_peak = status("VmHWM")
        module.run(graph, **({"source": 0} if "source" in algorithms.options(module) else {}))
        return {"n_edges": graph.n_edges, "n_vertices": graph.n_vertices}, opened_peak

    return work


def convert(comm, path):
    graph, report = hpcmp.build_graph(comm, read_edges(comm, path), directed=False)
    hpcmp.write_graph(graph, path.with_suffix(".h5"))
    return {"n_lines": report.n_lines, "n_vertices": graph.n_vertices}, status("VmHWM")


def main(comm, what, path):
    work = convert if what == "convert" else run(what)
    folder = Path(comm.bcast(tempfile.mkdtemp() if comm.rank == 0 else None))
    made = generate.kronecker(comm, 6, weights=(1, 9, "int"))
    if what != "convert":
        small = folder / "small.h5"
        hpcmp.write_graph(hpcmp.build_graph(comm, made)[0], small)
    else:
        small = folder / "small.tsv"
        if comm.rank == 0:
            small.write_text("".join(f"{k}\t{k * 7 % 50}\n" for k in range(100)))
        comm.Barrier()
    work(comm, small)
    base = status("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins anew
    comm.Barrier()
    facts, opened_peak = work(comm, path)
    measured = [base, opened_peak - base, status("VmHWM") - base]
    asked = [predicted.get(key, 0) for key in ("opening", "running")]
    found = comm.allreduce(np.array(measured + asked))
    names = ("base", "opened", "peak", "predicted_opening", "predicted_running")
    if comm.rank == 0:
        print(json.dumps(facts | dict(zip(names, found.tolist(), strict=True))))


main(world(), sys.argv[1], Path(sys.argv[2]))
