"""The hash of messages for the digest of a trail, in a compiled loop: the twin of `io.trail_digest`.

k: place of a message
"""

from typing import NamedTuple

import numpy as np

from hpcmp import hashing
from hpcmp.jit import inlined, kernel

BYTE, WORD = np.uint64(8), np.uint64(8)  # bits of a byte; bytes of a word
ZERO, ONE, ALL = np.uint64(0), np.uint64(1), ~np.uint64(0)
fold, message_lanes, end_lanes = inlined(hashing.fold), inlined(hashing.message_lanes), inlined(hashing.end_lanes)
inlined(hashing.mix)


class Messages(NamedTuple):
    """Columns of records, as `io.trail_segment` names them; integers of any width, (n,) each."""

    step_sent: np.ndarray
    step_delivered: np.ndarray
    sender: np.ndarray
    number: np.ndarray
    receiver: np.ndarray
    type: np.ndarray
    cause_sender: np.ndarray
    cause_number: np.ndarray
    conversation_sender: np.ndarray
    conversation_number: np.ndarray
    status: np.ndarray
    payload_offset: np.ndarray
    payload_length: np.ndarray


@inlined
def word_at(bytes, at):
    """Eight bytes as a word, the first the lowest. Local."""
    word = np.uint64(bytes[at])
    for k in range(ONE, WORD):
        word |= np.uint64(bytes[at + k]) << (BYTE * k)
    return word


@inlined
def payload_lanes(a, b, bytes, at, length):
    """Go on with the words of a payload: [at, at + length) of 8 bytes or more. Local."""
    # One place that reads, of the last full word where the payload's is not: with a branch for what is left over, numba
    # counts references to the array for every message, which takes longer than all the rest (measured).
    end, last = at + length, np.uint64(bytes.size) - WORD
    while at < end:
        start = min(at, last)
        word = (word_at(bytes, start) >> (BYTE * (at - start))) & (ALL >> (BYTE * (WORD - min(end - at, WORD))))
        a, b = b, fold(a, word)
        at += WORD
    return a, b


@kernel
def add_sums(m, payload, first_step, sums):
    """sums[step - first_step] += both hashes of each message, with its payload."""
    for k in range(np.uint64(m.step_sent.size)):
        length = np.uint64(m.payload_length[k])
        a, b = message_lanes(
            (np.uint64(m.step_sent[k]), np.uint64(m.step_delivered[k])),
            (np.uint64(m.sender[k]), np.uint64(m.number[k])),
            np.uint64(m.receiver[k]),
            (np.uint64(m.cause_sender[k]), np.uint64(m.cause_number[k])),
            (np.uint64(m.conversation_sender[k]), np.uint64(m.conversation_number[k])),
            np.uint64(m.type[k]),
            np.uint64(m.status[k]),
            length,
        )
        if length > ZERO:
            a, b = payload_lanes(a, b, payload, np.uint64(m.payload_offset[k]), length)
        a, b = end_lanes(a, b)
        row = np.uint64(m.step_sent[k] - first_step)
        sums[row, 0] += a
        sums[row, 1] += b
