"""Digests of the steps of a trail, and the bytes of payloads. Plain numpy; `kernels.trail` is the compiled twin."""

import numpy as np

from hpcmp.errors import FormatError
from hpcmp.hashing import LANES, end_lanes, fold, message_lanes, words

HASH_ROWS = 1 << 13  # hashed at once: some columns of 64 KB stay in the cache


def step_sums(columns, payload, first_step, n_steps):
    """Sums of the hashes of the records sent in each step. Local.

    The digest of a step is two sums modulo 2**64 over its records, with the
    bytes of their payloads: neither the order nor the ranks of records count,
    and sums of parts (ranks) may be added. In plain numpy, so that a reader
    of a trail can do it again.

    Parameters
    ----------
    columns : dict of str to (n,) array
        `trail_segment.COLUMNS`.
    payload : uint8 array
        What ``payload_offset`` points into.
    first_step, n_steps : int
        Steps of the rows of the answer; records sent in others do not count.

    Returns
    -------
    uint64 (n_steps, 2)
    """
    sums = np.zeros((n_steps, 2), np.uint64)
    for lo in range(0, len(columns["step_sent"]), HASH_ROWS):
        part = {name: a[lo : lo + HASH_ROWS] for name, a in columns.items()}
        row = part["step_sent"] - first_step
        hashes = hash_messages(part, payload)
        if row.min() == row.max() and 0 <= row[0] < n_steps:
            sums[row[0]] += np.array([h.sum() for h in hashes])
            continue
        inside = (row >= 0) & (row < n_steps)
        for k, h in enumerate(hashes):
            np.add.at(sums[:, k], row[inside], h[inside])
    return sums


def hash_messages(columns, payload):
    """Two hashes of each record with its payload: two uint64 (n,). Local."""
    w = {name: a.astype(np.int64, copy=False).view(np.uint64) for name, a in columns.items()}
    pairs = [(w[f"{name}_sender"], w[f"{name}_number"]) for name in ("cause", "conversation")]
    times, name = (w["step_sent"], w["step_delivered"]), (w["sender"], w["number"])
    lanes = message_lanes(times, name, w["receiver"], *pairs, w["type"], w["status"], w["payload_length"])
    return end_lanes(*_fold_payloads(columns["payload_offset"], columns["payload_length"], payload, *lanes))


def hash_payloads(offset, length, payload):
    """Two hashes of each payload's bytes: two uint64 (n,). Local."""
    a, b = np.full(len(offset), LANES[0]), fold(np.full(len(offset), LANES[1]), length.astype(np.uint64))
    return end_lanes(*_fold_payloads(offset, length, payload, a, b))


def _fold_payloads(offset, length, payload, a, b):
    """Go on with the words of each payload, in place."""
    for size in np.unique(length).tolist():
        rows = slice(None) if (length == size).all() else np.flatnonzero(length == size)
        for word in words(payload_rows(payload, offset[rows], size)) if size else ():
            a[rows], b[rows] = b[rows], fold(a[rows], word)
    return a, b


def payload_rows(payload, offset, size):
    """Payloads of one length, a row each: uint8 (n, size). Local."""
    if not len(offset):
        return np.empty((0, size), np.uint8)
    if offset.min() < 0 or offset.max() + size > len(payload):
        raise FormatError(f"a record points to bytes beyond the {len(payload)} of payload; the trail is damaged")
    return np.lib.stride_tricks.sliding_window_view(payload, size)[offset]
