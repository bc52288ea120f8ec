"""What a run leaves: the state, what it cost, and its digest."""

from dataclasses import dataclass, field, replace

import numpy as np

from hpcmp.comm import collective, gather_rows
from hpcmp.errors import GraphError
from hpcmp.hashing import hash_sum
from hpcmp.id_order import IdOrder


@dataclass(frozen=True)
class Result:
    """State and record of one run. ``result[field]`` is this rank's owned rows."""

    graph: object
    program: str
    params: dict
    state: dict  # name -> (n_owned,) or (n_owned, width)
    values: dict = field(default_factory=dict)  # global answers: last values of reductions, counts of an algorithm
    n_steps: int = 0
    converged: bool | None = None  # None: the program has no rule to end by
    steps: dict = field(default_factory=dict)  # column -> (n_steps,); the same on all ranks
    ranks: dict = field(default_factory=dict)  # column -> (size,)
    seconds: dict = field(default_factory=dict)  # phase -> wall seconds of this rank
    halo: dict = field(
        default_factory=lambda: {"rows": 0, "bytes": 0, "wait_s": 0.0}
    )  # sums; wait_s of the slowest rank
    threads: int = 1
    mode: str = "auto"
    peak_rss_bytes: int = 0  # sum over ranks
    digest: str = ""  # of (id, fields) in ascending id; the same on any ranks
    trail: object = None  # folder of the records of messages, if there are any
    trail_digest: str = ""  # SHA-256 of the digests of its steps
    checkpoints: dict | None = None  # what those of this start took, see `Keeper.costs`

    @property
    def comm(self):
        return self.graph.comm

    def __getitem__(self, name):
        if name not in self.state:
            raise GraphError(f"{name!r} is not a field of this result (it has: {', '.join(self.state)})")
        return self.state[name]

    @collective
    def compute_digest(self):
        """Digest of the state: 64 hex digits. Collective."""
        order = IdOrder(self.graph)
        return order.digest({name: order.take(a) for name, a in self.state.items()})

    @collective
    def gather(self, name):
        """A field of all vertices in ascending id on rank 0, None elsewhere. Collective.

        ``name`` may be ``id``.
        """
        order = IdOrder(self.graph)
        return gather_rows(self.graph.comm, order.id if name == "id" else order.take(self[name]))

    def write(self, path, **provenance):
        """Write the result file. Collective.

        Raises
        ------
        FileError
            The file cannot be written. Raised on every rank; a file that was
            there before is untouched.
        """
        from hpcmp.io.result_file import write_result

        write_result(self, path, **provenance)


def make_result(graph, program, state, *, params=None, values=None, seconds=None, **more):
    """Result of an algorithm that is not a `Program`. Collective."""
    from hpcmp.engine.history import History, peak_rss_bytes

    result = Result(
        graph=graph,
        program=program,
        params=dict(params or {}),
        state={name: np.ascontiguousarray(a) for name, a in state.items()},
        values=dict(values or {}),
        seconds=dict(seconds or {}),
        ranks=History(()).ranks_table(graph.comm, graph),
        peak_rss_bytes=graph.comm.allreduce(peak_rss_bytes()),
        **more,
    )
    return replace(result, digest=result.compute_digest())


def state_hash(ids, state):
    """Order-free hash of this rank's rows: int64, to be summed over ranks. Local."""
    return np.uint64(hash_sum([ids, *(state[name] for name in sorted(state))], 3)).view(np.int64)
