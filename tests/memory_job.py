"""What a command adds to the memory of its ranks: mpiexec -n P python tests/memory_job.py WHAT PATH

WHAT: ``pagerank`` (open the graph file PATH and run it) or ``convert`` (read
the undirected edge list PATH, build its graph and write it). Kernels are
compiled and libraries loaded by a small graph first. Rank 0 prints JSON.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

import hpcmp
from hpcmp import generate
from hpcmp.algorithms import pagerank
from hpcmp.comm import world
from hpcmp.io.graph_head import read_head
from hpcmp.io.h5 import opened
from hpcmp.io.readers import read_edges
from hpcmp.io.room import bytes_to_open
from hpcmp.partition import ALPHA, deal


def status(name):
    """Bytes that the system counts for this process under a name."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


def run_pagerank(comm, path):
    graph = hpcmp.open_graph(comm, path, vertex_fields=(), edge_fields=())
    opened_peak = status("VmHWM")
    pagerank.run(graph)
    return {"n_edges": graph.n_edges, "n_vertices": graph.n_vertices}, opened_peak


def convert(comm, path):
    graph, report = hpcmp.build_graph(comm, read_edges(comm, path), directed=False)
    hpcmp.write_graph(graph, path.with_suffix(".h5"))
    return {"n_lines": report.n_lines, "n_vertices": graph.n_vertices}, status("VmHWM")


def main(comm, what, path):
    work = {"pagerank": run_pagerank, "convert": convert}[what]
    folder = Path(comm.bcast(tempfile.mkdtemp() if comm.rank == 0 else None))
    made = generate.kronecker(comm, 6)
    if what == "pagerank":
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
    found = comm.allreduce(np.array([base, opened_peak - base, status("VmHWM") - base]))
    facts |= dict(zip(("base", "opened", "peak"), found.tolist()))
    if what == "pagerank":
        with opened(path) as handle:
            head = read_head(handle, path, (), ())
        work_of_parts = np.diff(head["part_start"]) + ALPHA * np.diff(head["edge_start"])
        facts["predicted"] = int(bytes_to_open(head, deal(work_of_parts, comm.size)).sum())
    if comm.rank == 0:
        print(json.dumps(facts))


main(world(), sys.argv[1], Path(sys.argv[2]))
