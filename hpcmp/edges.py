"""Edges on their way to the owners of their ends: delivered in pieces, then sorted.

Columns of edge length are what fills memory, so they are held as 32 bits where
all numbers fit, sent a piece at a time, and let go as soon as they were used:
functions here take a dict of columns and empty it.
"""

import numpy as np

from hpcmp.comm import alltoallv, block_bounds, exchange_counts, raise_together
from hpcmp.dtypes import RELATION
from hpcmp.errors import GraphError
from hpcmp.kernels import building, sorting

ROWS_AT_ONCE = 1 << 20  # sent in one exchange: some 10 MB, which the last cache holds in part
NO_RELATION = np.empty(0, RELATION)


def number_dtype(n):
    """Dtype for numbers below n: uint32, or int64 where they do not fit. Local."""
    return np.dtype(np.uint32) if n <= 2**32 else np.dtype(np.int64)


def deliver(comm, bounds, columns, by="dst", both_ways=False, n_coming=None):
    """Bring rows to the ranks in whose run of numbers one column lies. Collective.

    Parameters
    ----------
    bounds : int64 (size + 1,)
        Rank p gets the rows with ``bounds[p] <= column < bounds[p + 1]``.
    columns : dict of str to (m, ...) array
        Emptied.
    by : str
        Name of that column.
    both_ways : bool
        Send every row once more with ``src`` and ``dst`` exchanged, loops not.
    n_coming : int or None
        How many rows will arrive here, where all ranks know it; None: count.

    Returns
    -------
    dict of str to array
        The same columns, in an order that depends on the ranks.
    """
    table, n_rows = sorting.owner_table(bounds), len(columns[by])
    other = "src" if both_ways else by
    counts, totals = np.zeros(comm.size, np.int64), np.empty(comm.size, np.int64)
    if n_coming is None:
        sorting.count_owners(table, columns[other], columns[by], both_ways, counts)
        comm.Allreduce(counts, totals)
        n_coming = int(totals[comm.rank])
    out = {name: np.empty((n_coming, *a.shape[1:]), a.dtype) for name, a in columns.items()}
    at = 0
    for k in range(max(comm.allgather(-(-n_rows // ROWS_AT_ONCE)))):
        piece = {name: a[k * ROWS_AT_ONCE : (k + 1) * ROWS_AT_ONCE] for name, a in columns.items()}
        counts[:] = 0
        sorting.count_owners(table, piece[other], piece[by], both_ways, counts)
        listed = np.empty(counts.sum(), np.uint32)
        sorting.place_by_owner(table, piece[other], piece[by], both_ways, np.cumsum(counts) - counts, listed)
        recv_counts = exchange_counts(comm, counts)
        end = at + int(recv_counts.sum())
        for name, a in _listed_rows(piece, listed, both_ways):
            out[name][at:end] = alltoallv(comm, a, counts, recv_counts)
        at = end
    columns.clear()
    return out


def _listed_rows(piece, listed, both_ways):
    if both_ways:
        src, dst = piece.pop("src"), piece.pop("dst")
        ends = np.empty(len(listed), src.dtype), np.empty(len(listed), dst.dtype)
        sorting.take_ends(src, dst, listed, *ends)
        yield from zip(("src", "dst"), ends, strict=True)
    listed = listed >> np.uint32(1)
    for name, a in piece.items():
        yield name, a[listed]


class SortedEdges:
    """Edges of this rank in canonical order: (row, relation, order of the source, fields)."""

    def __init__(self, comm, columns, first, n_rows, n_vertices):
        """Sort delivered edges. Collective.

        Parameters
        ----------
        columns : dict of str to (m,) array
            ``src`` (orders), ``dst`` (in [first, first + n_rows)), perhaps
            ``relation``, and fields. Emptied.

        Raises
        ------
        GraphError
            A key needs more than 64 bits. Raised on every rank.
        """
        src, dst, relation = columns.pop("src"), columns.pop("dst"), columns.pop("relation", None)
        self.first, self.n_rows, self.n_vertices = first, n_rows, n_vertices
        self.has_relation = relation is not None
        relation = NO_RELATION if relation is None else relation
        self.src_bits = max(n_vertices - 1, 0).bit_length()
        self.row_shift = self.src_bits + int(relation.max(initial=0)).bit_length()
        n_bits = self.row_shift + max(n_rows - 1, 0).bit_length()
        error = None
        if n_bits > 64:
            error = GraphError(
                f"{n_rows} rows of a rank, their sources and relations do not fit 64 bits; use more ranks"
            )
        raise_together(comm, error)
        self.keys = np.empty(len(src), np.uint64)
        sorting.pack(src, dst, relation, np.uint64(first), *self._shifts(), self.keys)
        del src, dst, relation
        self.fields = dict(columns)
        columns.clear()
        self.numbers = None
        if self.fields:
            numbers = np.arange(len(self.keys), dtype=number_dtype(len(self.keys)))
            self.keys, self.numbers = sorting.sort_with_numbers(self.keys, n_bits, numbers)
            self._sort_ties()
        else:
            self.keys.sort()

    def _shifts(self):
        return np.uint64(self.src_bits), np.uint64(self.row_shift)

    def _sort_ties(self):
        """Edges of equal keys by their fields, in the order of their names."""
        is_equal = self.keys[1:] == self.keys[:-1]
        if not is_equal.any():
            return
        is_tied = np.concatenate((is_equal, [False]))
        is_tied[1:] |= is_equal
        places = np.flatnonzero(is_tied)
        numbers = self.numbers[places]
        columns = [self.fields[name][numbers] for name in sorted(self.fields, reverse=True)]
        self.numbers[places] = numbers[np.lexsort([*columns, self.keys[places]])]

    def n_repeats(self):
        """How many edges repeat another's ends and relation; of them loops. Local."""
        return sorting.count_repeats(self.keys, np.uint64(self.first), *self._shifts())

    def drop_repeats(self):
        """Keep of such edges the first in canonical order. Local."""
        empty = np.empty(0, np.uint32)
        n = sorting.drop_repeats(self.keys, empty if self.numbers is None else self.numbers)
        self.keys = self.keys[:n]
        self.numbers = self.numbers if self.numbers is None else self.numbers[:n]

    def columns(self):
        """In-degrees of the rows, and the sorted columns; empties this. Local."""
        keys, self.keys = self.keys, None
        in_degree = np.zeros(self.n_rows, np.int64)
        src = np.empty(len(keys), number_dtype(self.n_vertices))
        relation = np.empty(len(keys) if self.has_relation else 0, RELATION)
        sorting.unpack(keys, *self._shifts(), in_degree, src, relation)
        del keys
        columns = {"src": src}
        if self.has_relation:
            columns["relation"] = relation
        while self.fields:
            name = next(iter(self.fields))
            columns[name] = self.fields.pop(name)[self.numbers]
        return in_degree, columns


def pointers(in_degree):
    """Where the edges of each row begin, and the end: uint64 (n + 1,). Local."""
    ptr = np.zeros(len(in_degree) + 1, np.uint64)
    np.cumsum(in_degree, out=ptr[1:].view(np.int64))
    return ptr


def permute_rows(in_degree, columns, rows):
    """The runs of edges of rows in another order. Local.

    Parameters
    ----------
    in_degree : int64 (n,)
    columns : dict of str to (m,) array
        Row by row. Emptied.
    rows : intp (n,)
        Row i of the new order was ``rows[i]``.

    Returns
    -------
    in_ptr : uint64 (n + 1,)
    columns : dict of str to array
    """
    ptr, in_ptr = pointers(in_degree), pointers(in_degree[rows])
    rows, out = rows.astype(np.uint64), {}
    while columns:
        name = next(iter(columns))
        column = columns.pop(name)
        out[name] = np.empty_like(column)
        building.copy_runs(ptr, rows, column, in_ptr, out[name])
    return in_ptr, out


def distinct(values, n):
    """Distinct numbers among values of [0, n), ascending: int64. Local."""
    if n <= 8 * max(len(values), 1):  # a table is no larger than the values themselves
        is_seen = np.zeros(n, np.bool_)
        building.mark(values, is_seen)
        return np.flatnonzero(is_seen)
    return np.unique(values).astype(np.int64)


def counted(comm, bounds, columns, n):
    """How often each number of a run occurs on all ranks: int64. Collective.

    Parameters
    ----------
    bounds : int64 (size + 1,)
        Of the runs.
    columns : list of arrays of numbers below n
    """
    from mpi4py import MPI

    if n <= max(comm.allgather(sum(map(len, columns)))) and n < 2**31:  # a table is no larger than the columns
        counts = np.zeros(n, np.int64)
        for column in columns:
            building.count(column, counts)
        out = np.empty(bounds[comm.rank + 1] - bounds[comm.rank], np.int64)
        comm.Reduce_scatter([counts, MPI.INT64_T], [out, MPI.INT64_T], np.diff(bounds).tolist())
        return out
    numbers, times = np.unique(np.concatenate(columns), return_counts=True)
    got = deliver(comm, bounds, {"number": numbers, "times": times.astype(np.int64)}, by="number")
    out = np.zeros(bounds[comm.rank + 1] - bounds[comm.rank], np.int64)
    np.add.at(out, got["number"].astype(np.int64) - bounds[comm.rank], got["times"])
    return out


def shift_runs(comm, old_bounds, new_bounds, column):
    """Move a column cut by one set of bounds to where another cuts it. Collective.

    Parameters
    ----------
    old_bounds, new_bounds : int64 (size + 1,)
        Of row numbers; ``column`` holds this rank's rows of the old.
    """
    return alltoallv(comm, column, *shift_counts(comm, old_bounds, new_bounds))


def shift_counts(comm, old_bounds, new_bounds):
    """Rows that `shift_runs` sends to and receives from every rank. Local."""
    return overlap(old_bounds, new_bounds, comm.rank), overlap(new_bounds, old_bounds, comm.rank)


def overlap(bounds, others, rank):
    """How many numbers of one run lie in each of others: int64 (size,). Local."""
    cuts = np.clip(others, bounds[rank], bounds[rank + 1])
    return np.diff(cuts).astype(np.int64)


def gids_by_order(comm, order, gid, n_vertices):
    """Gid of each order of this rank's even block of orders: int64. Collective."""
    bounds = block_bounds(n_vertices, comm.size)
    got = deliver(comm, bounds, {"order": order, "gid": gid}, by="order")
    out = np.empty(len(got["order"]), np.int64)
    out[got["order"] - bounds[comm.rank]] = got["gid"]
    return bounds, out


def ask(comm, bounds, values, wanted):
    """Values that lie on other ranks by number. Collective.

    Parameters
    ----------
    bounds : int64 (size + 1,)
        Rank p keeps the values of the numbers [bounds[p], bounds[p + 1]).
    values : (n_here,) array
    wanted : int64 (k,), ascending
    """
    counts = np.diff(np.searchsorted(wanted, bounds)).astype(np.int64)
    asked_counts = exchange_counts(comm, counts)
    asked = alltoallv(comm, wanted, counts, asked_counts)
    return alltoallv(comm, values[asked - bounds[comm.rank]], asked_counts, counts)
