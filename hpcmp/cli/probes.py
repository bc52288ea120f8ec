"""Short measurements of the machine: messages between ranks, and which cores a rank may use."""

PING_ROUNDS = 200
LARGE_BYTES = 8 << 20
EXCHANGE_ROWS = 1 << 20
REPEATS = 5


def network(comm, n_rows=EXCHANGE_ROWS):
    """Latency and bandwidth between ranks; empty for one rank. Collective.

    Returns
    -------
    dict
        ``latency_us`` and ``bandwidth_GB_s`` of a bare ping-pong between rank
        0 and the last, ``allreduce_us`` of 64 bytes over all ranks,
        ``exchange_GB_s`` of a halo that every rank sends to the next, packing
        and unpacking included, in bytes sent a rank.
    """
    if comm.size == 1:
        return {}
    return ping_pong(comm) | {"allreduce_us": allreduce_us(comm), "exchange_GB_s": exchange(comm, n_rows)}


def ping_pong(comm):
    """Latency and bandwidth between rank 0 and the last rank. Collective."""
    import time

    import numpy as np

    partner = {0: comm.size - 1, comm.size - 1: 0}.get(comm.rank)
    out = {}
    for name, n_bytes, rounds in (("latency_us", 8, PING_ROUNDS), ("bandwidth_GB_s", LARGE_BYTES, 10)):
        buffer = np.zeros(n_bytes, np.uint8)
        start = time.perf_counter()
        for k in range(rounds + 5):
            if k == 5:
                start = time.perf_counter()  # the first rounds open connections
            if comm.rank == 0:
                comm.Send(buffer, partner)
                comm.Recv(buffer, partner)
            elif partner is not None:
                comm.Recv(buffer, partner)
                comm.Send(buffer, partner)
        one_way_s = (time.perf_counter() - start) / rounds / 2
        out[name] = round(one_way_s * 1e6, 2) if name == "latency_us" else round(n_bytes / one_way_s / 1e9, 2)
    return comm.bcast(out)


def allreduce_us(comm):
    """Microseconds of a small all-reduce over all ranks. Collective."""
    import time

    import numpy as np

    mine, total = np.zeros(8), np.empty(8)
    for k in range(PING_ROUNDS + 5):
        if k == 5:
            start = time.perf_counter()
        comm.Allreduce(mine, total)
    return round(max(comm.allgather(time.perf_counter() - start)) / PING_ROUNDS * 1e6, 2)


def exchange(comm, n_rows=EXCHANGE_ROWS):
    """GB/s that a rank sends to the next in a halo of float64 rows. Collective."""
    import statistics
    import time

    import numpy as np

    from hpcmp import halo

    n = 2 * n_rows
    following = (comm.rank + 1) % comm.size
    ghosts = np.arange(0, n, 2, dtype=np.int64) + n * following  # every second row: they have to be gathered
    plan = halo.build(comm, np.arange(comm.size + 1, dtype=np.int64) * n, ghosts)
    x, seconds = np.ones(plan.n_local), []
    for _ in range(REPEATS + 1):
        comm.Barrier()
        start = time.perf_counter()
        plan.forward(x)
        seconds.append(max(comm.allgather(time.perf_counter() - start)))
    plan.close()
    return round(8 * n_rows / statistics.median(seconds[1:]) / 1e9, 3)


def cores():
    """Cores this process may run on: tuple of int. Local."""
    import os

    return tuple(sorted(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)))


def as_ranges(numbers):
    """Ascending numbers as text, ``0-3,8``. Local."""
    runs = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(lo) if lo == hi else f"{lo}-{hi}" for lo, hi in runs)


def too_many_threads(comm, threads):
    """What is wrong with so many threads a rank, or None. Collective."""
    import socket

    found = comm.allgather((socket.gethostname(), cores()))
    for rank, (host, mine) in enumerate(found):
        if threads > len(mine):
            return (
                f"--threads {threads} is more than the {len(mine)} cores that rank {rank} may use on {host} "
                f"({as_ranges(mine)}); give it more (mpirun --bind-to none, srun --cpus-per-task={threads}) or use fewer"
            )
    for host in dict.fromkeys(host for host, _ in found):
        sets = [set(mine) for h, mine in found if h == host]
        n_cores = len(set().union(*sets))
        if len(sets) * threads > n_cores > 0 and threads > 1:
            return f"{len(sets)} ranks x {threads} threads share {n_cores} cores on {host}; use fewer of either"
    return None
