"""A message of those rows of a list that changed; both sides know the list.

The number of rows, which they are (places in the list, or one bit per listed
row once more than 1 in 32 changed), and the rows, array by array; filled up to
whole words, which MPI is told to count: 2^31 bytes are soon a message.
"""

import numpy as np

HEADER = np.dtype(np.int64)  # rows that follow
PLACE = np.dtype(np.uint32)  # in the list
WORD = np.dtype(np.int64)


def pack(arrays, rows, is_changed):
    """The message of the listed rows that changed, and their number. Local."""
    picked = np.flatnonzero(is_changed)
    bits = _uses_bits(len(picked), len(rows))
    which = np.packbits(is_changed) if bits else picked.astype(PLACE).view(np.uint8)
    parts = [np.array([len(picked)], HEADER).view(np.uint8), which]
    parts += [np.ascontiguousarray(a[rows[picked]]).view(np.uint8).reshape(-1) for a in arrays]
    parts.append(np.zeros(-sum(map(len, parts)) % WORD.itemsize, np.uint8))
    return np.concatenate(parts).view(WORD), len(picked)


def unpack(arrays, first, n_listed, message, changed):
    """Write the rows of a message and their flags. Local.

    The list is ``n_listed`` rows from ``first`` on.
    """
    message = message.view(np.uint8)
    n_picked = int(message[: HEADER.itemsize].view(HEADER)[0])
    at = HEADER.itemsize
    which = message[at : at + _which_bytes(n_picked, n_listed)]
    at += len(which)
    if _uses_bits(n_picked, n_listed):
        rows = first + np.flatnonzero(np.unpackbits(which, count=n_listed))
    else:
        rows = first + which.copy().view(PLACE).astype(np.intp)
    changed[rows] = True
    for a in arrays:
        n_bytes = n_picked * row_bytes(a)
        a[rows] = message[at : at + n_bytes].copy().view(a.dtype).reshape(n_picked, *a.shape[1:])
        at += n_bytes


def longest(n_listed, bytes_a_row):
    """Words of the longest message of a list. Local."""
    which = max(-(-n_listed // 8), (n_listed // 32 + 2) * PLACE.itemsize)
    return -(-(HEADER.itemsize + which + n_listed * bytes_a_row) // WORD.itemsize)


def row_bytes(a):
    """Bytes of a row of an array. Local."""
    return a.dtype.itemsize * int(np.prod(a.shape[1:], dtype=np.int64))


def _uses_bits(n_picked, n_listed):
    return n_picked > n_listed / 32 + 2  # a bit per listed row is then shorter than 32 bits per picked one


def _which_bytes(n_picked, n_listed):
    return -(-n_listed // 8) if _uses_bits(n_picked, n_listed) else n_picked * PLACE.itemsize
