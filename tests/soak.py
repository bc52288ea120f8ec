"""Runs, leaves and goes on again and again: mpiexec -n 2 python tests/soak.py --minutes 30

Each round runs a program that is told to leave twice and goes on twice, and writes
and reads a result and a graph. Prints a table of memory, open files and threads of
all ranks, and exits with 1 if one grows after the first fifth.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import hpcmp
from hpcmp import generate
from hpcmp.algorithms import pagerank, wcc
from hpcmp.comm import world
from hpcmp.engine import checkpoints as policy
from hpcmp.errors import Suspended

ROWS = 30  # of the table
MAY_GROW = 0.02  # of the memory after the first fifth


def measured():
    """Resident bytes, open files and threads of this process. Local."""
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resident, len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


def one_round(comm, folder, graph):
    """What is done again and again; a digest, which must be the same each time. Collective."""
    asked = hpcmp.Checkpoints(folder / "ck", every=4, resume=True)
    for stop in (7, 15, None):
        policy.Wishes.of_step = lambda self, step, stop=stop: (int(step % 4 == 0), int(step == stop))
        try:
            found = pagerank.run(graph, 30, checkpoints=asked, progress=lambda text: None)
        except Suspended:
            continue
    labels = wcc.run(graph)
    labels.write(folder / "wcc.h5")
    hpcmp.write_graph(graph, folder / "copy.h5")
    copy = hpcmp.open_graph(comm, folder / "copy.h5")
    again = wcc.run(copy).digest
    copy.close()
    if comm.rank == 0:
        shutil.rmtree(folder / "ck")
    comm.Barrier()
    return found.digest, labels.digest, again


def main():
    """Soak, print the table, and tell whether it is flat. Collective."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    args, comm = parser.parse_args(), world()
    folder = Path(comm.bcast(tempfile.mkdtemp() if comm.rank == 0 else None))
    graph, _ = hpcmp.build_graph(comm, generate.kronecker(comm, scale=12))
    end, rows, digests, n = time.monotonic() + 60 * args.minutes, [], set(), 0
    begin = next_row = time.monotonic()
    while comm.bcast(time.monotonic() < end):
        digests.add(one_round(comm, folder, graph))
        n += 1
        if comm.bcast(time.monotonic() >= next_row):
            next_row += 60 * args.minutes / ROWS
            rows.append((time.monotonic() - begin, n, comm.allgather(measured())))
    is_flat = len(digests) == 1
    if comm.rank == 0:
        print("minute  rounds  MB by rank        files by rank  threads by rank")
        for seconds, rounds, ranks in rows:
            mb, files, threads = zip(*((f"{r / 1e6:.1f}", f, t) for r, f, t in ranks), strict=True)
            ends = f"{' '.join(map(str, files)):13}  {' '.join(map(str, threads))}"
            print(f"{seconds / 60:6.1f}  {rounds:6}  {' '.join(mb):16}  {ends}")
        first, last = rows[len(rows) // 5][2], rows[-1][2]
        for (before, files, threads), (after, files_after, threads_after) in zip(first, last, strict=True):
            is_flat &= after <= before * (1 + MAY_GROW) and files_after <= files and threads_after <= threads
        print(f"{n} rounds, {len(digests)} digest: {'flat' if is_flat else 'NOT flat'}")
        shutil.rmtree(folder)
    return 0 if comm.bcast(is_flat) else 1


if __name__ == "__main__":
    sys.exit(main())
