"""Hashes and digests: how hpcmp says that two things are the same bits.

`hash_sum` does not depend on the order of rows; `digest_blocks` and
`combine_blocks` give the digest of rows in ascending id, over fixed blocks so
that ranks can share the work. `mix`, and the hash of a message, are arithmetic
alone: the same functions for arrays, and for numba, word by word.
"""

import hashlib

import numpy as np

GRAPH_SEEDS = (1, 2)  # two sums of 64 bits each
DIGEST_ROWS = 16_384  # rows of one block; part of the definition of a digest


def mix(x):
    """Scramble a 64-bit word (splitmix64's finaliser), or an array of them. Local."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def mix64(x):
    """Scramble 64-bit words: uint64, shape of x. Local."""
    return mix(np.asarray(x, np.uint64))


def hash_sum(columns, seed):
    """Sum modulo 2**64 of a hash of every row: uint64. Local.

    Parameters
    ----------
    columns : list of (n, ...) arrays
    """
    return hash_rows(columns, seed).sum(dtype=np.uint64)


def hash_rows(columns, seed):
    """A hash of every row of some columns: uint64 (n,). Local."""
    h = np.full(len(columns[0]), seed, np.uint64)
    for column in columns:
        for word in words(column):
            mixed = mix64(h * np.uint64(0x9E3779B97F4A7C15) + word)
            # the zeros that fill a text up to the width of its column are not part of it
            h = np.where(word == 0, h, mixed) if column.dtype.kind == "S" else mixed
    return h


def words(column):
    """The 64-bit words of each row, one column of them after the other. Local."""
    if column.ndim == 1 and column.dtype.kind in "iufb":
        yield column.astype(np.float64 if column.dtype.kind == "f" else np.int64).view(np.uint64)
        return
    row_bytes = column.dtype.itemsize * int(np.prod(column.shape[1:], dtype=np.int64))
    rows = np.ascontiguousarray(column).view(np.uint8).reshape(len(column), row_bytes)
    for at in range(0, rows.shape[1], 8):
        piece = np.zeros((len(rows), 8), np.uint8)
        piece[:, : min(8, rows.shape[1] - at)] = rows[:, at : at + 8]
        yield piece.view(np.uint64)[:, 0]


# ---------------------------------------------------------------- of a message

LANES = np.uint64(0x243F6A8885A308D3), np.uint64(0x13198A2E03707344)  # two that differ: digits of pi
FACTOR = np.uint64(0xD6E8FEB86659FD93)  # odd, its bits scattered
HALF = np.uint64(32)
TYPE_BITS, STATUS_BITS = np.uint64(32), np.uint64(48)  # places of these in the word of the length


def fold(lane, word):
    """Go on with one more word; no two words lead to the same. Local."""
    lane = (lane ^ word) * FACTOR
    return lane ^ (lane >> HALF)


def message_lanes(times, name, receiver, cause, conversation, kind, status, length):
    """Two lanes of the words of a message. Local.

    With a payload it goes on by ``a, b = b, fold(a, word)`` for each of its words of 8 bytes, the last one filled up by
    zeros.

    Parameters
    ----------
    times, name, cause, conversation : pairs of uint64
        Steps (sent, delivered); (sender, number) of the message, of what
        caused it, and of the first of its conversation.
    receiver, kind, status, length : uint64
        The type's number is below 2**16, a status below 2**8, the bytes of
        payload below 2**32.

    Returns
    -------
    (uint64, uint64)
    """
    a, b = fold(LANES[0], times[0]), fold(LANES[1], times[1])
    a, b = fold(a, name[0]), fold(b, name[1])
    a, b = fold(a, receiver), fold(b, length | (kind << TYPE_BITS) | (status << STATUS_BITS))
    a, b = fold(a, cause[0]), fold(b, cause[1])
    return fold(a, conversation[0]), fold(b, conversation[1])


def end_lanes(a, b):
    """Hash of a message, two words of 64 bits; each pair of lanes has its own. Local."""
    b = b + a * FACTOR
    a = a + b * LANES[0]
    return mix(a), mix(b)


def conversation_word(seed, sender, number):
    """64 bits for a conversation, named by its first message; all uint64. Local."""
    return mix(fold(fold(mix(fold(LANES[0], seed)), sender), number))


def is_sampled(share, seed, sender, number):
    """Whether conversations are in a sample of a share below 1: bool (n,). Local."""
    seed, *name = (np.asarray(a, np.int64).reshape(-1).view(np.uint64) for a in (seed, sender, number))
    return conversation_word(seed, *name) < np.uint64(share * 2.0**64)


# ---------------------------------------------------------------- of graphs and results


def graph_digest(graph, sums):
    """Digest of a graph from the hash sums of its rows: 64 hex digits. Local.

    Parameters
    ----------
    graph : Graph or GraphFile
        Sizes, direction, relations, categories, and the types of fields.
    sums : list of int
        ``hash_sum`` of vertices and of edges, for each of GRAPH_SEEDS, over all
        ranks.
    """
    facts = (graph.n_vertices, graph.n_edges, graph.directed, graph.relations, sorted(graph.categories.items()))
    names = [[(k, np.dtype(f[k].dtype).str) for k in sorted(f)] for f in (graph.vertex_fields, graph.edge_fields)]
    return hashlib.sha256(repr((facts, names, [int(s) for s in sums])).encode()).hexdigest()


def digest_blocks(ids, fields):
    """SHA-256 of every block of DIGEST_ROWS rows, one after the other. Local.

    Parameters
    ----------
    ids : int64 (n,), ascending
        Rows of whole blocks (the last may be short).
    fields : dict of str to (n, ...) array
    """
    out = []
    for lo in range(0, len(ids), DIGEST_ROWS):
        block = hashlib.sha256(ids[lo : lo + DIGEST_ROWS].tobytes())
        for name in sorted(fields):
            block.update(np.ascontiguousarray(fields[name][lo : lo + DIGEST_ROWS]).tobytes())
        out.append(block.digest())
    return b"".join(out)


def combine_blocks(n_rows, fields, blocks):
    """Digest of a whole result: 64 hex digits. Local.

    Parameters
    ----------
    fields : dict of str to array
        Only names, dtypes and widths are looked at.
    blocks : bytes
        `digest_blocks` of all rows in ascending id.
    """
    layout = [(name, fields[name].dtype.str, fields[name].shape[1:]) for name in sorted(fields)]
    return hashlib.sha256(repr((n_rows, layout)).encode() + blocks).hexdigest()
