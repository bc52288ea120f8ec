"""Sources of many searches at once: which vertices, and in which channels."""

import time

import numpy as np

from hpcmp.comm import raise_together
from hpcmp.engine.run import run as run_program
from hpcmp.errors import GraphError, ProgramError
from hpcmp.graph import with_vertex_field
from hpcmp.random import word

SAMPLED = 0x50C  # stream of random numbers


def pick(graph, sources, seed=0):
    """Ids of the sources: int64 (k,), the same on all ranks. Collective.

    Parameters
    ----------
    sources : None, int, str or sequence of int
        All vertices; so many, drawn without repetition from all of them (the
        same whatever the ranks); or these ids, as numbers or as "3,17,5".
    seed : int
        Of the draw.

    Raises
    ------
    GraphError, ProgramError
        An id is no vertex or comes twice, or the number is negative. Raised
        on every rank.
    """
    own = graph.id[: graph.n_owned]
    if sources is None:
        return np.sort(np.concatenate(graph.comm.allgather(own)))
    if isinstance(sources, int | np.integer):
        if sources < 0:
            raise_together(graph.comm, ProgramError(f"sources = {sources} is negative; give a number or ids"))
        with np.errstate(over="ignore"):  # words wrap around
            lot = word(seed, 0, SAMPLED, graph.order)
        first = np.lexsort((own, lot))[:sources]
        lot, ids = (np.concatenate(part) for part in zip(*graph.comm.allgather((lot[first], own[first])), strict=True))
        return np.sort(ids[np.lexsort((ids, lot))[:sources]])
    ids = _listed(graph, sources)
    known = np.concatenate(graph.comm.allgather(own[np.isin(own, ids)]))
    unknown = np.setdiff1d(ids, known)
    if len(unknown):
        raise_together(
            graph.comm, GraphError(f"source {unknown[0]} is not a vertex of this graph; `hpcmp info` shows ids")
        )
    if len(known) < len(ids):
        raise_together(graph.comm, GraphError(f"sources = {ids.tolist()} names a vertex twice"))
    return ids


def marked(graph, ids, width):
    """The graph with the field ``is_source``: column k marks ids[k]. Local.

    Columns beyond the ids mark nobody.
    """
    is_source = np.zeros((graph.n_owned, width), np.bool_)
    if len(ids):
        by_id, own = np.argsort(ids), graph.id[: graph.n_owned]
        place = np.minimum(np.searchsorted(ids[by_id], own), len(ids) - 1)
        rows = np.flatnonzero(ids[by_id][place] == own)
        is_source[rows, by_id[place[rows]]] = True
    return with_vertex_field(graph, "is_source", is_source)


def is_any_source(vertex, ctx):
    """Whether a search starts at a vertex of a `marked` graph; for programs. Local."""
    for k in range(vertex.is_source.size):  # noqa: SIM110 (compiled functions have no generators)
        if vertex.is_source[k]:
            return True
    return False


def batches(ids, width):
    """The ids in runs of at most so many: list of arrays. Local."""
    return [ids[lo : lo + width] for lo in range(0, len(ids), width)]


class Clock:
    """Seconds of several programs, compiling and digests apart."""

    def __init__(self):
        self.start, self.compile_s, self.program_s, self.outside_s = time.perf_counter(), 0.0, 0.0, 0.0

    def program(self, *args, **how):
        """`hpcmp.run`, with the time it takes. Collective."""
        start = time.perf_counter()
        result = run_program(*args, **how)
        self.compile_s += result.seconds["compile"]
        self.outside_s += time.perf_counter() - start - result.seconds["run"]
        return result

    def seconds(self):
        """What a result's ``seconds`` hold: dict. Local."""
        run_s = time.perf_counter() - self.start - self.outside_s
        return {"compile": self.compile_s, "run": run_s}


def _listed(graph, sources):
    parts = sources.split(",") if isinstance(sources, str) else sources
    try:
        return np.array([int(part) for part in parts], np.int64).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        raise_together(
            graph.comm, ProgramError(f"sources = {sources!r}; give how many vertices, or ids such as '3,17,5'")
        )
