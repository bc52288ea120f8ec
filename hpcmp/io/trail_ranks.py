"""A trail that all ranks write: each its segments, rank 0 the head, with the sums of all.

Segments are closed after about `ROWS` messages of all ranks or `SECONDS`, and written by a thread while the run goes on:
half of the time goes into waiting for the disk (measured: 40 ns a record, 11 of them at work). The head follows when the
next are closed, so that a run that is killed leaves a trail that is whole up to a step closed in one of the last two
rounds; memory holds no more than two. What fails in a thread is raised on all ranks at that time.
"""

import hashlib
import time

import numpy as np

from hpcmp.comm import gather_rows, together
from hpcmp.io import trail
from hpcmp.io.trail_segment import SegmentWriter
from hpcmp.io.whole_file import write_errors
from hpcmp.workers import Workers

ROWS = 1 << 21  # messages of all ranks between two heads
SECONDS = 30  # or so long, where the ranks tell each other


class TrailWriter:
    """Records, counts, digests and seconds of the steps of a run. Collective to make.

    Parameters
    ----------
    comm : MPI.Comm
    folder : path or None
        Of the trail; one that is there is replaced. None: digests alone.
    about : dict
        What `trail.write_head` writes of the run as a whole: ``level,
        message_types, agent_types, seed, first_step, sample``.
    earlier : dict, optional
        What `so_far` gave, of the trail that goes on: ``steps`` of all ranks,
        some of the rows of ``timing``, and the facts.
    replaces : bool
        Whether a trail in the folder may be one that is finished.

    Raises
    ------
    FileError
        The folder holds something else, or not what goes on. Raised on every
        rank.
    """

    def __init__(self, comm, folder, about, earlier=None, replaces=True):
        self.comm, self.folder, self.about = comm, folder, about
        self.counts, self.seconds = [], []  # of this rank, by step: int64 (COUNTS, types); one of each of PHASES
        self._sums = np.zeros((0, trail.N_SUMS), np.uint64)
        self._segments, self._n_since, self._writer = [], 0, None
        self._closed_at = time.monotonic()
        self._thread, self._pending, self._n_pending = None, None, 0  # a segment on its way, steps closed with it
        self._n_earlier = 0
        self._timing = {"step": np.zeros(0, np.int64), "rank": np.zeros(0, np.int64)}
        self._timing["seconds"] = np.zeros((0, len(trail.PHASES)))
        if earlier is not None:
            self._take_up(earlier)
        if folder is not None:
            with together(comm):
                if comm.rank == 0:
                    if earlier is not None:
                        trail.cut_back(folder, self._head(earlier["n_closed"], self._sums, np.array(self.counts)))
                    else:
                        if not replaces:
                            trail.refuse_other(folder, about)
                        trail.clear(folder)
            with together(comm):
                self._writer = SegmentWriter(folder, comm.rank)
            self._thread = Workers()

    def _take_up(self, earlier):
        """Go on from what `so_far` gave: rank 0 has counted it all."""
        digest, counts = earlier["steps"]["digest"], earlier["steps"]["counts"]
        mine = self.comm.rank == 0
        self._sums = digest.copy() if mine else np.zeros_like(digest)
        self.counts = list(counts if mine else np.zeros_like(counts))
        self._n_earlier, self._timing, self._segments = len(counts), earlier["timing"], list(earlier["segments"])

    def so_far(self, n_closed):
        """What a trail that goes on needs to know; all is on the disk. Collective.

        Parameters
        ----------
        n_closed : int
            Steps with a record for every message.

        Returns
        -------
        facts, steps, timing : dict
            What json can hold; a table on rank 0; rows of each rank.

        Raises
        ------
        FileError
            Segments could not be written. Raised on every rank.
        """
        self.close(n_closed)
        sums, counts = self._summed()
        self._settle(sums, counts)
        n = len(counts) if self.comm.rank == 0 else 0
        facts = {"segments": [segment for segment in self._segments if segment], "n_closed": n_closed}
        return facts, {"digest": sums[:n], "counts": counts[:n]}, self._seconds_so_far()

    @property
    def keeps_records(self):
        return self._writer is not None

    @property
    def is_late(self):
        """Whether this rank's clock says that segments are to be closed."""
        return self._writer is not None and time.monotonic() - self._closed_at > SECONDS

    def sums(self, n_steps):
        """Sums of hashes of this rank's records, to be added to. Local.

        Returns
        -------
        uint64 (n, 2)
            By step in which they were sent, from the first on, of ``n_steps`` or more.
        """
        if n_steps > len(self._sums):
            more = np.zeros((max(n_steps, 2 * len(self._sums)) - len(self._sums), trail.N_SUMS), np.uint64)
            self._sums = np.concatenate((self._sums, more))
        return self._sums

    def add(self, n, columns, payload=None):
        """Keep records, as `SegmentWriter.append` takes them. Local."""
        if self._writer is not None:
            self._writer.append(n, columns, payload)

    def end_step(self, counts, seconds, n_records, is_late=False):
        """Close a step: whether segments are to be closed, on all ranks. Local.

        Parameters
        ----------
        counts : int64 (COUNTS, types)
            Of this rank.
        seconds : (PHASES,) floats
        n_records : int
            Made by all ranks.
        is_late : bool
            Of any rank.
        """
        self.counts.append(counts)
        self.seconds.append(seconds)
        self._n_since += n_records
        return self._writer is not None and (is_late or self._n_since >= ROWS)

    def write_agents(self, ids, types=None, names=None):
        """Write the agents of all ranks; names are UTF-8 bytes. Collective."""
        given = {"ids": ids, "types": types, "names": names}
        every = {name: gather_rows(self.comm, a) for name, a in given.items() if a is not None}
        with together(self.comm):
            if self.comm.rank == 0:
                by_id = np.argsort(every["ids"])
                every = {name: a[by_id] for name, a in every.items()}
                if names is not None:
                    every["names"] = [name.decode() for name in every["names"].tolist()]
                trail.write_agents(self.folder, **every)

    def close(self, n_closed):
        """Close segments, with which so many steps are closed. Collective.

        Raises
        ------
        FileError
            Those closed before could not be written. Raised on every rank.
        """
        self._n_since, self._closed_at = 0, time.monotonic()
        if self._writer is not None:
            if self._pending is not None:
                self._settle(*self._summed())
            self._pending, self._n_pending = self._thread.submit(self._writer.take()), n_closed

    def _settle(self, sums, counts):
        """Wait for segments that are being written, and tell of them in the head. Collective."""
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        writer, self._writer = self._writer, None  # of a trail that lacks records the head says no more
        with together(self.comm), self._write_errors():
            segment = pending.result()
        self._writer = writer
        self._segments += self.comm.allgather(segment)
        with together(self.comm), self._write_errors():
            if self.comm.rank == 0:
                trail.write_head(self.folder, self._head(self._n_pending, sums, counts))

    def _write_errors(self):
        return write_errors(self.folder, (OSError, MemoryError))  # both leave a trail without some records

    def _head(self, n, sums, counts):
        """The head of n closed steps."""
        steps = {name: counts[:n, k] for k, name in enumerate(trail.COUNTS)} | {"digest": sums[:n]}
        last = self.about["first_step"] + n - 1
        return self.about | {"segments": self._segments, "steps": steps, "last_step": last}

    def finish(self, n_closed=None):
        """Write what there is and the timing: digests of steps, and of all. Collective.

        Parameters
        ----------
        n_closed : int, optional
            Steps with a record for every message; default: all.

        Returns
        -------
        list of str, str
        """
        self.close(len(self.counts) if n_closed is None else n_closed)
        sums, counts = self._summed()
        if self._writer is not None:
            self._settle(sums, counts)
            self.end()
            self._write_timing()
        return [f"{int(a):016x}{int(b):016x}" for a, b in sums], hashlib.sha256(sums.tobytes()).hexdigest()

    def end(self):
        """Let the thread go, when it has written what it has. Local."""
        if self._thread is not None:
            self._thread.close()

    def _summed(self):
        """Digests and counts of all steps, of all ranks. Collective."""
        n, n_types = len(self.counts), len(self.about["message_types"])
        sums = self._sum(self.sums(n)[:n].view(np.int64)).view(np.uint64)
        return sums, self._sum(np.array(self.counts, np.int64).reshape(n, len(trail.COUNTS), n_types))

    def _seconds_so_far(self):
        """Seconds of this rank's steps, and its share of those before the trail went on."""
        n = len(self.seconds)
        own = {"step": np.arange(n) + self.about["first_step"] + self._n_earlier, "rank": np.full(n, self.comm.rank)}
        own["seconds"] = np.array(self.seconds, np.float64).reshape(n, len(trail.PHASES))
        return {name: np.concatenate((self._timing[name], a)) for name, a in own.items()}

    def _write_timing(self):
        every = {name: gather_rows(self.comm, a) for name, a in self._seconds_so_far().items()}
        with together(self.comm):
            if self.comm.rank == 0:
                rows = np.lexsort((every["rank"], every["step"]))
                seconds = dict(zip(trail.PHASES, every["seconds"][rows].T, strict=True))
                trail.write_timing(self.folder, every["step"][rows], every["rank"][rows], seconds)

    def _sum(self, a):
        total = np.empty_like(a)
        self.comm.Allreduce(np.ascontiguousarray(a), total)
        return total
