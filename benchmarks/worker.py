"""One contestant's process: load, warm up, then one repetition for every line on standard input.

    python worker.py '{"name": "pagerank", "path": "s20.h5", ...}'

Answers are lines of JSON on standard output, from rank 0; whatever else is
printed goes to standard error. Ranks that wait for the next line sleep: a rank
that spins would take a core from the contestant that is being timed.
"""

import json
import os
import sys
import time
from types import SimpleNamespace


def main():
    """Serve repetitions until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    job = SimpleNamespace(**json.loads(sys.argv[1]))
    job.comm = None
    if job.ranks > 1:
        from mpi4py import MPI

        job.comm = MPI.COMM_WORLD

    def say(**facts):
        if job.comm is None or job.comm.rank == 0:
            answers.write(json.dumps(facts) + "\n")

    try:
        once = contestant(job)
        start = time.perf_counter()
        once(0)  # warm-up
        say(warm_up_s=time.perf_counter() - start)
    except (ImportError, AttributeError, NotImplementedError) as error:
        say(missing=f"{type(error).__name__}: {error}")
        return
    while (k := next_line(job.comm)) is not None:
        value = once(k)
        say(value=value if job.comm is None else max(job.comm.allgather(value)))


def contestant(job):
    """The function ``once(k)`` of a contestant, its data loaded. Collective."""
    import ours
    import rivals

    make = getattr(ours, job.name, None) or getattr(rivals, job.name)
    return make(job, **job.options)


def next_line(comm):
    """Number of the next repetition, None at the end. Collective."""
    if comm is None or comm.rank == 0:
        line = sys.stdin.readline()
        k = int(line) if line.strip() else None
        if comm is not None:
            for rank in range(1, comm.size):
                comm.send(k, rank, tag=1)
    else:
        while not comm.iprobe(source=0, tag=1):
            time.sleep(0.002)
        k = comm.recv(source=0, tag=1)
    if comm is not None:
        comm.Barrier()
    return k


if __name__ == "__main__":
    main()
