"""Digests of the steps of a trail, and the bytes of payloads. Plain numpy."""

import numpy as np

from hpcmp.errors import FormatError
from hpcmp.hashing import hash_rows
from hpcmp.io.trail import COLUMNS, HASHED, SEEDS

HASH_ROWS = 1 << 18  # hashed at once; a megabyte or two a column stays in the cache


def step_sums(columns, payload, first_step, n_steps):
    """Sums of the hashes of the records sent in each step. Local.

    The digest of a step is two sums modulo 2**64 over its records, with the
    bytes of their payloads: neither the order nor the ranks of records count,
    and sums of parts (ranks) may be added. In plain numpy, so that a reader
    of a trail can do it again.

    Parameters
    ----------
    columns : dict of str to (n,) array
        `COLUMNS`.
    payload : uint8 array
        What ``payload_offset`` points into.
    first_step, n_steps : int
        Steps of the rows of the answer; records sent in others do not count.

    Returns
    -------
    uint64 (n_steps, 2)
    """
    sums = np.zeros((n_steps, len(SEEDS)), np.uint64)
    for lo in range(0, len(columns["step_sent"]), HASH_ROWS):
        part = {name: columns[name][lo : lo + HASH_ROWS] for name in COLUMNS}
        row = part["step_sent"] - first_step
        inside = (row >= 0) & (row < n_steps)
        for k, seed in enumerate(SEEDS):
            of_payload = hash_payloads(part["payload_offset"], part["payload_length"], payload, seed)
            h = hash_rows([*(part[name] for name in HASHED), of_payload.view(np.int64)], seed)
            np.add.at(sums[:, k], row[inside], h[inside])
    return sums


def hash_payloads(offset, length, payload, seed):
    """A hash of each payload's bytes; 0 where it has none: uint64 (n,). Local."""
    h = np.zeros(len(offset), np.uint64)
    for size in np.unique(length[length > 0]).tolist():
        rows = np.flatnonzero(length == size)
        h[rows] = hash_rows([payload_rows(payload, offset[rows], size)], seed)
    return h


def payload_rows(payload, offset, size):
    """Payloads of one length, a row each: uint8 (n, size). Local."""
    if not len(offset):
        return np.empty((0, size), np.uint8)
    if offset.min() < 0 or offset.max() + size > len(payload):
        raise FormatError(f"a record points to bytes beyond the {len(payload)} of payload; the trail is damaged")
    return np.lib.stride_tricks.sliding_window_view(payload, size)[offset]
