"""Vertices in the order of their keys (ids or names), over all ranks.

The position of a key among all distinct ones is its `order`. Where ids are
about as many as the numbers they span, every rank keeps a table of all of
them and answers by itself; else each rank keeps a run of the sorted keys, and
the others ask it.
"""

from dataclasses import dataclass

import numpy as np

from hpcmp.comm import Route, block_bounds
from hpcmp.kernels import building

SAMPLES_PER_RANK = 256  # keys from which the splitters of the sort are chosen


@dataclass(frozen=True)
class Directory:
    """All keys of a graph in sorted order, a run on each rank."""

    comm: object
    keys: np.ndarray  # this rank's, ascending, distinct
    bounds: np.ndarray  # int64 (size + 1,) orders kept by each rank
    splitters: np.ndarray | None = None  # (size - 1,) rank p keeps keys in [splitters[p - 1], splitters[p])
    low: int = 0  # lowest id, with a table
    table: np.ndarray | None = None  # (high - low + 1,) order of each id from low on; -1: there is no such vertex

    @property
    def n(self):
        return int(self.bounds[-1])

    def order_of(self, keys, dtype=np.int64):
        """Position of each key among all, -1 where absent. Collective.

        Parameters
        ----------
        dtype : numpy dtype
            Of the answer; an unsigned one only if no key is absent.
        """
        if self.table is not None:
            out = np.empty(len(keys), dtype)
            building.look_up(keys, self.low, self.table, out)
            return out
        distinct, inverse = unique_inverse(keys)
        route = Route(self.comm, np.searchsorted(self.splitters, distinct, side="right"))
        asked = route.there(distinct)
        at = np.minimum(np.searchsorted(self.keys, asked), max(len(self.keys) - 1, 0))
        found = self.keys[at] == asked if len(self.keys) else np.zeros(len(asked), np.bool_)
        return route.back(np.where(found, self.bounds[self.comm.rank] + at, -1)).astype(dtype)[inverse]


def number_vertices(comm, *columns):
    """Sort the distinct keys of some columns of all ranks. Collective."""
    low, high, n_keys = _span(comm, columns)
    if low <= high and high - low < n_keys // comm.size:
        return _with_table(comm, columns, low, high)
    keys = unique(np.concatenate([unique(column) for column in columns]))
    step = max(len(keys) // SAMPLES_PER_RANK, 1)
    samples = np.sort(np.concatenate(comm.allgather(keys[::step])))
    at = block_bounds(len(samples), comm.size)[1:-1]
    splitters = samples[at] if len(samples) else np.zeros(comm.size - 1, keys.dtype)
    mine = unique(Route(comm, np.searchsorted(splitters, keys, side="right")).there(keys))
    bounds = np.concatenate(([0], np.cumsum(comm.allgather(len(mine))))).astype(np.int64)
    return Directory(comm, mine, bounds, splitters)


def _span(comm, columns):
    """Lowest and highest id of all ranks and the number of keys; names span nothing."""
    filled = [c for c in columns if len(c) and c.dtype.kind == "i"]
    own = (min((int(c.min()) for c in filled), default=None), max((int(c.max()) for c in filled), default=None))
    lows, highs, counts = zip(*comm.allgather((*own, sum(map(len, filled)))), strict=True)
    lows, highs = [v for v in lows if v is not None], [v for v in highs if v is not None]
    return (min(lows), max(highs), sum(counts)) if lows else (0, -1, 0)


def _with_table(comm, columns, low, high):
    from mpi4py import MPI

    is_key = np.zeros(high - low + 1, np.uint8)
    for column in columns:
        building.mark_from(column, low, is_key)
    comm.Allreduce(MPI.IN_PLACE, is_key, MPI.MAX)
    place = np.cumsum(is_key, dtype=np.int32 if high - low < 2**31 else np.int64)
    bounds = block_bounds(int(place[-1]), comm.size)
    keys = np.flatnonzero(is_key)[bounds[comm.rank] : bounds[comm.rank + 1]] + low
    place[is_key == 0] = 0
    place -= 1
    return Directory(comm, keys, bounds, low=low, table=place)


def unique(keys):
    """Distinct keys, ascending. Local."""
    present, low = _present(keys)
    return np.unique(keys) if present is None else np.flatnonzero(present) + low


def unique_inverse(keys):
    """Distinct keys, ascending, and where each key is among them. Local."""
    present, low = _present(keys)
    if present is None:
        return np.unique(keys, return_inverse=True)
    place = np.cumsum(present) - 1
    return np.flatnonzero(present) + low, place[keys - low]


def _present(keys):
    """Table of which numbers from ``low`` on occur, or None where a sort costs less."""
    if keys.dtype.kind != "i" or not len(keys):
        return None, 0
    low, high = int(keys.min()), int(keys.max())
    if high - low >= 4 * len(keys):
        return None, 0
    present = np.zeros(high - low + 1, np.bool_)
    present[keys - low] = True
    return present, low
