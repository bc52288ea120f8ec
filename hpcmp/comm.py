"""MPI, as hpcmp uses it: agreeing on errors, routing rows, finding partners.

A communicator is always the first argument and never a global. Arrays move by
the upper-case calls; the lower-case ones carry small objects while building.
"""

import contextlib
import fcntl
import functools
import os
import sys
import termios
import time
import traceback

import numpy as np

from hpcmp import errors, pulse
from hpcmp.errors import HpcmpError, LaunchError, MemoryLimitError, RankLost, RemoteError

MAX_COUNT = 2**31 - 1  # rows in one MPI call; the standard's int
TAG_SPARSE = 7_001
TAG_HALO = 7_100

# variables by which launchers tell a process how many there are
LAUNCHER_SIZES = ("SLURM_NTASKS", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PALS_SIZE", "MV2_COMM_WORLD_SIZE")


def world():
    """The communicator of all processes; starts MPI. Local."""
    import mpi4py

    # Sums of objects would go over a communicator of mpi4py's own, and who waits in it is not woken when a rank dies.
    mpi4py.rc.fast_reduce = False
    from mpi4py import MPI

    return MPI.COMM_WORLD


def refuse_singleton_trap(comm, environ=os.environ):
    """Refuse to run P copies of a one-rank job by mistake. Local.

    When the launcher and the MPI library do not speak the same protocol,
    every process believes it is alone and all write the same output.

    Raises
    ------
    LaunchError
        ``environ`` announces several tasks but ``comm`` has one rank.
    """
    trap = singleton_trap(comm.size, environ)
    if trap:
        raise LaunchError(trap)


def singleton_trap(size, environ):
    """Why this process is wrongly alone, or None. Local."""
    if size != 1 or environ.get("HPCMP_ALLOW_SINGLETON") == "1":
        return None
    for name in LAUNCHER_SIZES:
        value = environ.get(name, "")
        if value.isdigit() and int(value) > 1:
            return (
                f"{name}={value} but this MPI world has 1 rank: the launcher and the MPI library did not find each other, "
                f"so {value} processes would each do the whole job. "
                f"Start with `mpirun -n {value} hpcmp ...` of the MPI that mpi4py uses, "
                "or with `srun --mpi=pmi2` or `--mpi=pmix`, whichever it speaks (`hpcmp doctor` tells); "
                "set HPCMP_ALLOW_SINGLETON=1 if one process is meant"
            )
    return None


# ---------------------------------------------------------------- errors


def raise_together(comm, error):
    """Raise on every rank if any rank has an error; else return. Collective.

    Parameters
    ----------
    comm : MPI.Comm
    error : Exception or None
        This rank's own finding.

    Raises
    ------
    HpcmpError
        The lowest failing rank's error, on every rank, with ``agreed`` set;
        of a MemoryError a MemoryLimitError.
    RemoteError
        On the other ranks, when that error is not an HpcmpError.
    """
    n_failed = comm.allreduce(0 if error is None else 1)
    pulse.beat()
    if n_failed == 0:
        return
    findings = comm.allgather(None if error is None else _describe(error))
    first, (name, text, details) = next((r, f) for r, f in enumerate(findings) if f is not None)
    if n_failed < comm.size:
        text = f"{text} (first seen on rank {first} of {comm.size})"
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, HpcmpError):
        agreed = kind(text)
        agreed.agreed = True
        raise agreed from None
    if error is not None and first == comm.rank:
        error.agreed = True
        raise error
    raise RemoteError(f"rank {first} of {comm.size} failed: {name}: {text}\n{details}")


@contextlib.contextmanager
def together(comm):
    """What fails inside on one rank is raised on all. Collective.

    The body must not communicate: it is the place to check input at the door.
    """
    error = None
    try:
        yield
    except Exception as caught:
        error = caught
    raise_together(comm, error)


def on_rank_0(comm, work, others_sleep=False):
    """What ``work()`` gives on rank 0, or its error, on all ranks. Collective.

    With ``others_sleep`` no other rank takes a core meanwhile, as one does
    that waits in MPI: for what is timed.
    """
    made, error = None, None
    if comm.rank == 0:
        try:
            made = work()
        except Exception as caught:
            error = caught
    if others_sleep:
        wait_asleep(comm)
    raise_together(comm, error)
    return comm.bcast(made)


def wait_asleep(comm):
    """A barrier in which a rank that waits leaves its core to others. Collective."""
    done = comm.Ibarrier()
    while not done.Test():
        time.sleep(0.002)


@contextlib.contextmanager
def ends_all_ranks(comm):
    """An error that the ranks did not agree on ends the whole job. Collective.

    Without this a rank that fails leaves the others waiting for it forever.
    On one rank the exception simply passes. That a rank has died is told to all
    the others as `RankLost`, where the MPI library lets them live.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, RankLost) and _has_lost_ranks(comm):
            comm.Revoke()  # wakes those that wait for somebody else
            raise RankLost(f"a rank of {comm.size} has died") from error
        if comm.size == 1 or getattr(error, "agreed", False) or isinstance(error, GeneratorExit):
            raise
        abort(comm, error)


def _has_lost_ranks(comm):
    """Whether a rank has died and the others live. Then any error is due to that: a collective may give garbage."""
    return comm.size > 1 and may_lose_ranks(comm) and (comm.Is_revoked() or comm.Get_failed().size > 0)


def may_lose_ranks(comm, environ=os.environ):
    """Whether the others may go on when a rank dies: ULFM is there and on. Local."""
    from mpi4py import MPI

    return (
        hasattr(comm, "Shrink")
        and "Open MPI" in MPI.Get_library_version()
        and environ.get("OMPI_MCA_mpi_ft_enable") in ("1", "true")
    )


def collective(function):
    """Wrap a function that all ranks call in `ends_all_ranks`. Local.

    One of its arguments is a communicator, or has one as ``comm``.
    """

    @functools.wraps(function)
    def guarded(*args, **kwargs):
        with ends_all_ranks(_comm_among((*args, *kwargs.values()))):
            return function(*args, **kwargs)

    return guarded


def _comm_among(values):
    for value in values:
        if hasattr(value, "comm"):
            return value.comm
        if hasattr(value, "Allreduce"):
            return value
    raise TypeError("a communicator, or a graph that has one, is missing among the arguments")


def abort(comm, error):
    """Say which rank failed and why, then end every rank. Local."""
    code = error.exit_code if isinstance(error, HpcmpError) else errors.EXIT_BUG
    if isinstance(error, KeyboardInterrupt):
        code = errors.EXIT_INTERRUPTED
        sys.stderr.write(f"hpcmp: rank {comm.rank} of {comm.size} was interrupted\n")
    elif isinstance(error, HpcmpError):
        sys.stderr.write(f"hpcmp: rank {comm.rank} of {comm.size}: {error}\n")
    else:
        trace = "".join(traceback.format_exception(error))
        sys.stderr.write(f"hpcmp: rank {comm.rank} of {comm.size} failed, ending all ranks:\n{trace}")
    sys.stderr.flush()
    _let_launcher_read(sys.stderr)
    comm.Abort(code)
    os._exit(code)  # MPICH returns from Abort and ends the process later; until then it must not go on


def _let_launcher_read(stream, wait_s=2.0, hop_s=0.2):
    """Wait until the launcher has taken what was written to a pipe. Local.

    Launchers drop what a process wrote last when that process aborts: first
    wait for the pipe to be empty, then for the hops behind it.
    """
    end = time.monotonic() + wait_s
    with contextlib.suppress(OSError, ValueError):  # no file, or no pipe
        while any(fcntl.ioctl(stream.fileno(), termios.FIONREAD, bytes(4))) and time.monotonic() < end:
            time.sleep(0.01)
    time.sleep(hop_s)


def _describe(error):
    if isinstance(error, MemoryError) and not isinstance(error, HpcmpError):
        return MemoryLimitError.__name__, f"{error or 'memory is full'}; use more machines", ""
    details = "" if isinstance(error, HpcmpError) else "".join(traceback.format_exception(error))
    return type(error).__name__, str(error), details


# ---------------------------------------------------------------- counting


def exclusive_sum(comm, count):
    """Sum of ``count`` over the ranks before this one, and over all. Collective."""
    counts = np.array(comm.allgather(int(count)), np.int64)
    return int(counts[: comm.rank].sum()), int(counts.sum())


def block_bounds(n, size):
    """Bounds of ``size`` even blocks of ``0..n-1``: int64 (size + 1,). Local."""
    return (np.arange(size + 1, dtype=np.int64) * int(n)) // int(size)


def owner_of(bounds, index):
    """Which block of ``bounds`` each index lies in: int64, shape of index. Local."""
    return np.searchsorted(bounds, index, side="right") - 1


# ---------------------------------------------------------------- moving rows


def row_type(array):
    """Committed MPI type of one row of ``array``; free it after use. Local."""
    from mpi4py import MPI

    row_bytes = int(array.dtype.itemsize * np.prod(array.shape[1:], dtype=np.int64))
    if row_bytes > MAX_COUNT:
        raise HpcmpError(f"a row of {row_bytes} bytes is too wide to send; the limit is {MAX_COUNT} bytes")
    return MPI.BYTE.Create_contiguous(row_bytes).Commit()


def alltoallv(comm, rows, send_counts, recv_counts, out=None):
    """Send consecutive runs of rows to the ranks 0, 1, ... in turn. Collective.

    Parameters
    ----------
    rows : (sum(send_counts), ...) array
        The first ``send_counts[0]`` rows go to rank 0, and so on.
    send_counts, recv_counts : int64 (size,)
    out : array, optional
        What is returned, filled.

    Returns
    -------
    (sum(recv_counts), ...) array
        Grouped by sender, in the senders' order.
    """
    rows = np.ascontiguousarray(rows)
    received = np.empty((int(recv_counts.sum()), *rows.shape[1:]), rows.dtype) if out is None else out
    row = row_type(rows)
    try:
        comm.Alltoallv(_parts(rows, send_counts, row), _parts(received, recv_counts, row))
    finally:
        row.Free()
    pulse.beat()
    return received


def _parts(rows, counts, row):
    starts = np.concatenate(([0], np.cumsum(counts[:-1])))
    return [rows, (counts, starts), row]


def exchange_counts(comm, send_counts):
    """How many rows each rank will send here: int64 (size,). Collective."""
    from mpi4py import MPI

    send_counts = np.ascontiguousarray(send_counts, np.int64)
    recv_counts = np.empty(comm.size, np.int64)
    comm.Alltoall([send_counts, MPI.INT64_T], [recv_counts, MPI.INT64_T])
    with together(comm):
        for counts in (send_counts, recv_counts):
            if counts.sum() > MAX_COUNT:
                raise HpcmpError(
                    f"a rank moves {int(counts.sum())} rows at once, the limit of one MPI call is {MAX_COUNT}; use more ranks"
                )
    return recv_counts


class Route:
    """Rows on their way to the ranks that own them, and answers on the way back.

    Built once from the destination of each row, then used for any number of
    columns: ``there(column)`` delivers, ``back(answers)`` returns one answer
    per delivered row to where the row came from. Building is collective, as
    are both verbs.
    """

    def __init__(self, comm, destination):
        self.comm = comm
        self.by_rank = np.argsort(destination, kind="stable")
        self.send_counts = np.bincount(destination, minlength=comm.size).astype(np.int64)
        self.recv_counts = exchange_counts(comm, self.send_counts)

    def there(self, column):
        """Deliver a column: rows grouped by sender. Collective."""
        return alltoallv(self.comm, column[self.by_rank], self.send_counts, self.recv_counts)

    def back(self, answers):
        """Return answers in the order of the rows that asked. Collective."""
        sorted_answers = alltoallv(self.comm, answers, self.recv_counts, self.send_counts)
        out = np.empty_like(sorted_answers)
        out[self.by_rank] = sorted_answers
        return out


def sparse_exchange(comm, outgoing, dtype):
    """Send arrays to a few ranks without telling the others. Collective.

    The non-blocking consensus of Hoefler, Siebert and Lumsdaine (PPoPP 2010):
    synchronous sends, and a barrier entered once they have all been received.
    Cost grows with the number of partners, not of ranks.

    Parameters
    ----------
    outgoing : dict of int to 1-D array of dtype
        Rank to what it shall receive.

    Returns
    -------
    dict of int to 1-D array
        Sender to what it sent here, ascending by sender.
    """
    from mpi4py import MPI

    dtype = np.dtype(dtype)
    unit = MPI.BYTE.Create_contiguous(dtype.itemsize).Commit()
    kept = {r: np.ascontiguousarray(a, dtype) for r, a in outgoing.items()}
    sends = [comm.Issend([a, unit], dest=r, tag=TAG_SPARSE) for r, a in kept.items()]
    incoming, status, barrier = {}, MPI.Status(), None
    while True:
        message = comm.Improbe(tag=TAG_SPARSE, status=status)
        if message is not None:
            array = np.empty(status.Get_count(unit), dtype)
            message.Recv([array, unit])
            incoming[status.Get_source()] = array
        if barrier is None:
            if MPI.Request.Testall(sends):
                barrier = comm.Ibarrier()
        elif barrier.Test():
            break
    unit.Free()
    # All messages were received, but a rank may not know it yet: it would take those of the next exchange for ours.
    comm.Barrier()
    return dict(sorted(incoming.items()))


def gather_rows(comm, rows, root=0):
    """All ranks' rows, one after the other, on root; None elsewhere. Collective."""
    counts = np.array(comm.allgather(len(rows)), np.int64)
    rows = np.ascontiguousarray(rows)
    with together(comm):
        if counts.sum() > MAX_COUNT:
            raise HpcmpError(f"{counts.sum()} rows do not fit on one rank; the limit of one MPI call is {MAX_COUNT}")
    total = np.empty((int(counts.sum()) if comm.rank == root else 0, *rows.shape[1:]), rows.dtype)
    row = row_type(rows)
    comm.Gatherv([rows, len(rows), row], _parts(total, counts, row) if comm.rank == root else None, root=root)
    row.Free()
    return total if comm.rank == root else None
