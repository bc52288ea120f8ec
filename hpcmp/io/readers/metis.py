"""METIS graph files: line i lists the neighbours of vertex i.

    % comments
    7 11 001
    5 1  3 2  2 1
    ...

The header is ``n m [fmt [ncon]]``; the digits of fmt say whether a line starts
with a vertex size, with ncon vertex weights, and whether a weight follows each
neighbour (METIS manual 5.0, section 4.1.1). Ids are 1 to n. A blank line is a
vertex without neighbours. Every edge stands on two lines and is read once;
sizes and weights of vertices are skipped.
"""

import re
from dataclasses import dataclass

import numpy as np

from hpcmp.comm import together
from hpcmp.errors import InputError
from hpcmp.io.readers import columns as c
from hpcmp.io.readers import rows as r
from hpcmp.io.readers.matrixmarket import check_declared, declared
from hpcmp.io.table import EdgeTable
from hpcmp.io.text import Block, LineError, lines_together, open_text

COMMENTS = b"%"
LINES = re.compile(rb"^(?![ \t\r\v\f]*%)(?!\Z)[^\n]*", re.MULTILINE)


@dataclass(frozen=True)
class Header:
    n_vertices: int
    n_edges: int
    n_skipped: int  # numbers before the neighbours of a line
    has_weight: bool


def read(comm, path, options):
    """A METIS graph as undirected edges, each once. Collective.

    Returns
    -------
    EdgeTable
        ``vertices`` is this rank's block of 1..n; ``weight`` int64 if any.
    """
    share = open_text(comm, path)
    first = r.first_row(comm, share, COMMENTS)
    with together(comm):
        header = _header(share, first)
    with lines_together(comm, share):
        parts = tuple(_lines_after(share, block, first) for block in share.blocks)
    starts = _rows_before(comm, parts)
    with lines_together(comm, share):
        found = [_neighbours(share, part, start, header) for part, start in zip(parts, starts, strict=True)]
    none = (np.empty(0, np.int64),) * 3
    src, dst, weight = (np.concatenate(column) for column in zip(none, *found, strict=True))
    _check_totals(comm, share.name, parts, header, src, dst, weight)
    once = src < dst
    fields = {"weight": weight[once]} if header.has_weight else {}
    return EdgeTable(
        src[once],
        dst[once],
        fields,
        vertices=declared(comm, 1, header.n_vertices),
        directed=False,
        sources=(share.source,),
    )


def _header(share, first):
    words = first.text.split()
    counts = r.counts_of(words)
    if not 2 <= len(words) <= 4 or counts is None:
        raise InputError(f"{share.name} does not start with a header 'n m [fmt [ncon]]' of METIS")
    n, m = counts[:2]
    fmt = words[2].decode().zfill(3) if len(words) > 2 else "000"
    if len(fmt) != 3 or set(fmt) - set("01"):
        raise InputError(f"the fmt {fmt} of {share.name} is not three digits 0 or 1")
    n_weights = counts[3] if len(words) > 3 else 1
    check_declared(share.name, n)
    if n > share.text_bytes or 4 * m > share.text_bytes:  # a vertex takes a line end, an edge two ids and two blanks
        raise InputError(
            f"{share.name} has {share.text_bytes} bytes, too few for the {n} vertices and {m} edges of its header"
        )
    if n_weights > share.text_bytes:
        raise InputError(f"the ncon {n_weights} of {share.name} is more than its lines can hold")
    return Header(n, m, int(fmt[0]) + int(fmt[1]) * n_weights, fmt[2] == "1")


def _lines_after(share, block, first):
    """Lines of a block as rows, without those up to the header. Local."""
    skipped = first.offset - block.offset
    if skipped >= len(block.data):  # blank lines and comments before the header
        return r.tokens_of(Block(block.data[:0], block.offset, block.lines_before), None, COMMENTS, keeps_blank=True)
    part = r.tokens_of(block, None, COMMENTS, keeps_blank=True)
    if skipped < 0:
        return part
    k = int(np.searchsorted(part.start, skipped, side="right")) - 1  # the header's first token
    row = int(np.searchsorted(part.row_start, k, side="right"))
    n = part.row_start[row]
    return r.Tokens(block, part.start[n:], part.end[n:], part.row_start[row:] - n)


def _rows_before(comm, parts):
    """Rows of the file before each of this rank's parts: list of int. Collective."""
    own = np.array([(part.block.offset, part.n_rows) for part in parts], np.int64).reshape(-1, 2)
    every = np.concatenate(comm.allgather(own))
    every = every[np.argsort(every[:, 0], kind="stable")]
    before = np.cumsum(every[:, 1]) - every[:, 1]
    return before[np.searchsorted(every[:, 0], own[:, 0])].tolist()


def _neighbours(share, part, start, header):
    """Both ends and the weight of every entry of a part. Local."""
    n_rows = max(0, min(part.n_rows, header.n_vertices - start))
    extra = np.diff(part.row_start)[n_rows:]
    if extra.any():
        at = part.start[part.row_start[n_rows + (extra > 0).argmax()]]
        raise LineError(
            f"a line after those of all {header.n_vertices} vertices", "the header says too few", part.block, at
        )
    row_start = part.row_start[: n_rows + 1]
    n_numbers = np.diff(row_start)
    _check_lengths(part, row_start, n_numbers, header, start)
    rows = r.Rows(share, (r.Tokens(part.block, part.start, part.end, np.arange(len(part.start) + 1)),), 1)
    numbers = c.integers(rows, 0, "entry")
    place = np.arange(len(numbers)) - np.repeat(row_start[:-1], n_numbers) - header.n_skipped
    is_neighbour = (place >= 0) & (place % 2 == 0) if header.has_weight else place >= 0
    src = np.repeat(np.arange(start + 1, start + n_rows + 1), n_numbers)[is_neighbour]
    dst = numbers[is_neighbour]
    weight = numbers[np.flatnonzero(is_neighbour) + 1] if header.has_weight else np.ones(len(dst), np.int64)
    is_outside = (dst < 1) | (dst > header.n_vertices)
    is_bad = is_outside | (src == dst)
    if is_bad.any():
        k = is_bad.argmax()
        loop = "is the vertex itself, a METIS graph has no loops"
        rule = f"is outside [1, {header.n_vertices}]" if is_outside[k] else loop
        raise r.row_error(rows, np.flatnonzero(is_neighbour)[k], 0, "neighbour", rule)
    return src, dst, weight


def _check_lengths(part, row_start, n_numbers, header, start):
    is_bad = n_numbers < header.n_skipped
    if header.has_weight:
        is_bad |= (n_numbers - header.n_skipped) % 2 == 1
    if is_bad.any():
        row = int(is_bad.argmax())
        at = part.start[row_start[row]] if n_numbers[row] else _row_byte(part, row)
        layout = f"{header.n_skipped} sizes and weights, then neighbours"
        layout += " each with a weight" if header.has_weight else ""
        problem = f"{n_numbers[row]} numbers for vertex {start + row + 1} where the header says {layout}"
        raise LineError(problem, "", part.block, at)


def _row_byte(part, row):
    """Where a line without tokens starts; only errors ask. Local."""
    lines = [line.start() for line in LINES.finditer(part.block.data)]
    return lines[row - part.n_rows]  # from the end: the header and what is before it are no rows


def _check_totals(comm, name, parts, header, src, dst, weight):
    n_rows = comm.allreduce(sum(part.n_rows for part in parts))
    n_entries = comm.allreduce(len(src))
    forth, back = src < dst, src > dst
    sums = _pair_sum(src[forth], dst[forth], weight[forth]), _pair_sum(dst[back], src[back], weight[back])
    sums = comm.allgather(sums)
    with together(comm):
        if n_rows < header.n_vertices:
            raise InputError(
                f"{name} has {n_rows} vertex lines, its header says {header.n_vertices}; the file is cut short"
            )
        if n_entries != 2 * header.n_edges:
            raise InputError(
                f"{name} lists {n_entries} neighbours, its header's {header.n_edges} edges make {2 * header.n_edges}"
            )
        if sum(pair[0] for pair in sums) % 2**64 != sum(pair[1] for pair in sums) % 2**64:
            raise InputError(
                f"{name} lists an edge at one end only, or with two weights; METIS wants it the same at both"
            )


def _pair_sum(low, high, weight):
    """Order-free fingerprint of weighted pairs. Local."""
    mixed = np.zeros(len(low), np.uint64)
    for part in (low, high, weight):  # the finaliser of splitmix64
        mixed = (mixed ^ part.astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return int(mixed.sum(dtype=np.uint64))
