"""N-Triples (RDF): ``subject predicate object .`` on each line.

    <http://a.org/Ann> <http://b.org/knows> <http://a.org/Bob> .

Vertices are names, written as in the file, brackets, quotes, language tags
and all; the predicate is the relation. An object may hold blanks, so it is
all that stands between the predicate and the final dot. A name longer than
`LONG_BYTES`, such as a literal of a whole paragraph, becomes its first byte,
``~`` and a 128-bit fingerprint: all names are stored as wide as the longest.
"""

from dataclasses import replace

import numpy as np

from hpcmp.comm import together
from hpcmp.errors import InputError
from hpcmp.io.readers import columns as c
from hpcmp.io.readers import rows as r
from hpcmp.io.readers.edgelist import numbered
from hpcmp.io.table import EdgeTable
from hpcmp.io.text import LineError, lines_together, open_text

COMMENTS = b"#"
MARKS = (b"<", b'"', b"_:")  # what an IRI, a literal, a blank node begins with
SRC, RELATION, DST, N_COLUMNS = 0, 1, 2, 3
LONG_BYTES = 256
LEFT_BYTES = 2**26  # of long names fingerprinted at once


def read(comm, path, options):
    """Triples of one file as named edges. Collective.

    Returns
    -------
    EdgeTable
        ``directed`` True; relations are the predicates, sorted.
    """
    share = open_text(comm, path)
    first = r.first_row(comm, share, COMMENTS)
    with together(comm):
        if first.offset < 0:
            raise InputError(f"{share.name} holds no triple: all of its lines are blank or comments")
    with lines_together(comm, share):
        parts = tuple(_triples(r.tokens_of(block, None, COMMENTS)) for block in share.blocks)
    rows = r.Rows(share, parts, N_COLUMNS)
    relation, relations = numbered(comm, c.texts(comm, rows, RELATION, "predicate"), options.relation_names)
    src, dst = _names(comm, rows, SRC, "subject"), _names(comm, rows, DST, "object")
    dtype = max(src.dtype, dst.dtype)
    src, dst = src.astype(dtype), dst.astype(dtype)
    return EdgeTable(src, dst, {}, relation, relations, np.empty(0, dtype), True, (share.source,))


def _triples(part):
    """The tokens of each line joined to three. Local."""
    first, last = part.row_start[:-1], part.row_start[1:] - 1
    dot_alone = part.end[last] - part.start[last] == 1
    is_bad = (part.block.data[part.end[last] - 1] != ord(".")) | (last + 1 - first - dot_alone < N_COLUMNS)
    if is_bad.any():
        at = part.start[first[is_bad.argmax()]]
        raise LineError("a triple that is not 'subject predicate object .'", "", part.block, at)
    stop = np.where(dot_alone, part.end[last - 1], part.end[last] - 1)
    start = np.stack([part.start[first], part.start[first + 1], part.start[first + 2]], axis=1)
    end = np.stack([part.end[first], part.end[first + 1], stop.astype(np.uint32)], axis=1)
    return r.Tokens(part.block, start.reshape(-1), end.reshape(-1), np.arange(part.n_rows + 1) * N_COLUMNS)


# ---------------------------------------------------------------- long names


def _names(comm, rows, column, what):
    """A column as texts, the long ones replaced by fingerprints. Collective."""
    is_long = [(part.end - part.start) > LONG_BYTES for part in rows.parts]
    cut = [
        replace(part, end=np.where(long, part.start + np.uint32(1), part.end))
        for part, long in zip(rows.parts, is_long, strict=True)
    ]
    names = c.texts(comm, replace(rows, parts=tuple(cut)), column, what)
    long = np.concatenate([np.empty(0, bool), *(one[column::N_COLUMNS] for one in is_long)])
    if not max(comm.allgather(bool(long.any()))):
        return names
    prints = [
        _fingerprints(part, np.flatnonzero(one[column::N_COLUMNS]) * N_COLUMNS + column)
        for part, one in zip(rows.parts, is_long, strict=True)
    ]
    names = names.astype(f"S{max(names.dtype.itemsize, 34)}")
    names[long] = np.strings.add(names[long], np.concatenate([np.empty(0, "S33"), *prints]))
    return names


def as_names(keys):
    """What this format calls vertices that other tables name. Local.

    Parameters
    ----------
    keys : 'S' (n,)
        Written as in N-Triples, or IRIs without their brackets.

    Returns
    -------
    'S' (n,)
        Their width follows from that of the keys alone.
    """
    is_bare = ~np.logical_or.reduce([np.strings.startswith(keys, mark) for mark in MARKS])
    names = keys.astype(f"S{keys.dtype.itemsize + 2}")
    names[is_bare] = np.strings.add(np.strings.add(b"<", keys[is_bare]), b">")
    is_long = np.strings.str_len(names) > LONG_BYTES
    if is_long.any():
        n_words = -(-names.dtype.itemsize // 8)
        long = names[is_long].astype(f"S{8 * n_words}")
        names[is_long] = np.strings.add(long.astype("S1"), _prints(long.view(np.uint64).reshape(-1, n_words)))
    return names.astype(f"S{min(names.dtype.itemsize, LONG_BYTES)}")


def _fingerprints(part, tokens):
    """`_prints` of some tokens of a part: 'S33'. Local."""
    if len(tokens) == 0:
        return np.empty(0, "S33")
    width = -(-int((part.end[tokens] - part.start[tokens]).max()) // 8) * 8
    n_once = max(1, LEFT_BYTES // width)
    pieces = [tokens[lo : lo + n_once] for lo in range(0, len(tokens), n_once)]
    return np.concatenate(
        [_prints(c.copied(part, piece, width).view(np.uint64).reshape(len(piece), -1)) for piece in pieces]
    )


def _prints(words):
    """``~`` and 32 hex digits for each text, given as 8-byte words: 'S33'. Local.

    Two sums of the words times fixed random numbers, modulo 2**64: equal for
    equal texts, and else for one pair in 2**128. The k-th word has the same
    two numbers however long the longest text beside it is: names must not
    depend on which texts lie in one block.
    """
    factor = np.random.Generator(np.random.PCG64(0)).integers(0, 2**64, (words.shape[1], 2), np.uint64)
    sums = np.stack([(words * row).sum(axis=1, dtype=np.uint64) for row in factor.T], axis=1)
    digits = np.frombuffer(sums.astype(">u8").tobytes().hex().encode(), "S32")
    return np.strings.add(np.array(b"~"), digits)
