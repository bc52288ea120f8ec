"""What a run remembers of itself: one row a step, one row a rank.

Always on; a step costs a few clock readings. Seconds of a step are those of
the slowest rank, phase by phase; counts are sums over ranks.
"""

import resource
import socket
import sys
import time

import numpy as np

PHASES = ("send", "interior", "wait", "boundary", "reduce")


class History:
    """Rows of the tables ``steps`` and ``ranks`` while a run goes on."""

    def __init__(self, value_names):
        self.columns = {name: [] for name in ("active", "messages", "halo_rows", "halo_bytes", "digest")}
        self.values = {name: [] for name in value_names}
        self.seconds = {name: [] for name in (*PHASES, "total")}
        self.own_rows = self.own_bytes = 0
        self._clock = time.perf_counter
        self.phase = ""  # the last that was done in this step

    def begin_step(self):
        """Start the clocks of a step. Local."""
        self._step_start = self._last = self._clock()
        for seconds in self.seconds.values():
            seconds.append(0.0)
        self.phase = ""

    def lap(self, phase):
        """Seconds since the last lap belong to this phase. Local."""
        now = self._clock()
        self.seconds[phase][-1] += now - self._last
        self._last, self.phase = now, phase

    def carried(self, pending):
        """Count what this rank sent in an exchange. Local."""
        self.own_rows += pending.n_rows
        self.own_bytes += pending.n_bytes

    def end_step(self, n_active, n_messages, counts, values):
        """Close a step with the sums of all ranks. Local."""
        self.seconds["total"][-1] = self._clock() - self._step_start
        self.columns["active"].append(n_active)
        self.columns["messages"].append(n_messages)
        for name in ("halo_rows", "halo_bytes", "digest"):
            self.columns[name].append(counts[name])
        for name, value in values.items():
            self.values[name].append(value)

    def go_on_from(self, table):
        """Take up the steps of a table that `steps_table` gave. Local."""
        for name, column in self.columns.items():
            column[:] = table[name].tolist()
        for name, column in self.values.items():
            column[:] = table[f"value_{name}"].tolist()
        for name, column in self.seconds.items():
            column[:] = table[f"{name}_s"].tolist()

    @property
    def n_steps(self):
        return len(self.columns["active"])

    def steps_table(self, comm, with_digest):
        """Columns of the table of steps, the same on all ranks. Collective."""
        from mpi4py import MPI

        slowest = np.array([self.seconds[name] for name in self.seconds], np.float64).reshape(len(self.seconds), -1)
        comm.Allreduce(MPI.IN_PLACE, slowest, op=MPI.MAX)
        table = {"step": np.arange(self.n_steps, dtype=np.int64)}
        for name, column in self.columns.items():
            if name != "digest" or with_digest:
                table[name] = np.array(column, np.int64)
        table |= {f"value_{name}": np.array(v) for name, v in self.values.items()}
        table |= {f"{name}_s": slowest[k] for k, name in enumerate(self.seconds)}
        return table

    def ranks_table(self, comm, graph):
        """Columns of the table of ranks, the same on all ranks. Collective."""
        row = {
            "n_owned": graph.n_owned,
            "n_ghost": graph.n_ghost,
            "n_in_edges": graph.n_in,
            "n_boundary": len(graph.boundary),
            "halo_rows": self.own_rows,
            "halo_bytes": self.own_bytes,
            **{f"{name}_s": sum(self.seconds[name]) for name in self.seconds},
            "peak_rss_bytes": peak_rss_bytes(),
        }
        rows = comm.allgather((row, socket.gethostname()))
        table = {"rank": np.arange(comm.size, dtype=np.int64)}
        table |= {name: np.array([r[name] for r, _ in rows]) for name in row}
        table["host"] = np.array([h.encode() for _, h in rows])
        work = table["n_owned"] + table["n_in_edges"]
        table["imbalance"] = work / max(work.mean(), 1e-300)
        return table


def peak_rss_bytes():
    """Largest resident memory of this process so far. Local."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
