"""Records of messages that have ended, in one pass: their hashes, their numbers, and the columns of a trail.

k: place of a message    q: place in slots    n: place in the columns
"""

from typing import NamedTuple

import numpy as np

from hpcmp import hashing
from hpcmp.jit import inlined, kernel
from hpcmp.kernels.chunks import CHUNK_BITS, ONE, ZERO, end_of
from hpcmp.kernels.inbox import DELIVERED, IN_FLIGHT
from hpcmp.kernels.trail import ALL, BYTE, WORD, end_lanes, fold, message_lanes

# places of the numbers in Log.at
N, N_BYTES, KEEPS, LOW, SEED, IS_SAMPLE, SHARE, N_AT = range(8)
IS_READ, IS_DROPPED = range(2)  # rows of Log.ended
conversation_word = inlined(hashing.conversation_word)


class Headers(NamedTuple):
    """Columns of records of messages, (n_places,) each; see records.HEADER and CAUSE."""

    sender: np.ndarray
    to: np.ndarray
    number: np.ndarray
    kind: np.ndarray
    sent: np.ndarray
    cause_sender: np.ndarray
    cause_number: np.ndarray
    root_sender: np.ndarray
    root_number: np.ndarray


class Log(NamedTuple):
    """What one thread recorded in a step; ids less the lowest, so that they may be narrow."""

    at: (
        np.ndarray
    )  # int64 (N_AT,) how many, their bytes of payload, whether columns are kept, the lowest id, the sample
    sums: np.ndarray  # uint64 (n_steps, 2) of the hashes of messages sent in each step
    ended: np.ndarray  # int64 (2, n_kinds) how many were read, and dropped: not of a sample alone
    lengths: np.ndarray  # int64 (n_kinds,) bytes of payload
    ids: np.ndarray  # int64 (n_owned,) of receivers
    sent: np.ndarray  # int32 (room,), as all that follow
    sender: np.ndarray
    receiver: np.ndarray
    cause_sender: np.ndarray
    root_sender: np.ndarray
    number: np.ndarray  # int32
    cause_number: np.ndarray  # int32
    root_number: np.ndarray  # int32
    kind: np.ndarray  # uint16
    status: np.ndarray  # uint8
    payload: np.ndarray  # uint8 (bytes,)
    payload_words: np.ndarray  # uint64, the same bytes


@kernel
def record(places, n_places, h, status, words, n_words, payload_at, delivered, log):
    """Record messages that ended in the step ``delivered``; their payloads begin at word ``payload_at`` of each."""
    at, low, keeps, is_sample, width = log.at, log.at[LOW], log.at[KEEPS], log.at[IS_SAMPLE], np.uint64(n_words)
    n, byte = np.uint64(at[N]), np.uint64(at[N_BYTES])
    row, a_sum, b_sum = ZERO, ZERO, ZERO  # of messages sent in the same step, as most are
    for q in range(np.uint64(n_places)):
        k, state = np.uint64(places[q]), status[q]
        kind = np.uint64(h.kind[k])
        if state != IN_FLIGHT:
            log.ended[IS_READ if state == DELIVERED else IS_DROPPED, kind] += 1
        root_sender, root_number = h.root_sender[k], h.root_number[k]
        if is_sample:
            word = conversation_word(np.uint64(at[SEED]), np.uint64(root_sender), np.uint64(root_number))
            if word >= np.uint64(at[SHARE]):
                continue
        sender, number, receiver, sent = h.sender[k], h.number[k], log.ids[h.to[k]], h.sent[k]
        cause_sender, cause_number, length = h.cause_sender[k], h.cause_number[k], np.uint64(log.lengths[kind])
        a, b = message_lanes(
            (np.uint64(sent), np.uint64(delivered if state == DELIVERED else -1)),
            (np.uint64(sender), np.uint64(number)),
            np.uint64(receiver),
            (np.uint64(cause_sender), np.uint64(cause_number)),
            (np.uint64(root_sender), np.uint64(root_number)),
            kind,
            np.uint64(state),
            length,
        )
        first, left = k * width + np.uint64(payload_at), length
        while left >= WORD:
            a, b = b, fold(a, words[first])
            first, left = first + ONE, left - WORD
        if left > ZERO:
            a, b = b, fold(a, words[first] & (ALL >> (BYTE * (WORD - left))))
        a, b = end_lanes(a, b)
        if np.uint64(sent) != row:
            log.sums[row, 0] += a_sum
            log.sums[row, 1] += b_sum
            row, a_sum, b_sum = np.uint64(sent), ZERO, ZERO
        a_sum, b_sum = a_sum + a, b_sum + b
        if keeps:
            log.sent[n], log.sender[n], log.receiver[n] = sent, sender - low, receiver - low
            log.cause_sender[n], log.root_sender[n] = cause_sender - low, root_sender - low
            log.number[n], log.cause_number[n], log.root_number[n] = number, cause_number, root_number
            log.kind[n], log.status[n] = kind, state
            n += ONE
            first = k * width + np.uint64(payload_at)
            if (byte | length) & (WORD - ONE) == ZERO:
                for w in range(length // WORD):
                    log.payload_words[byte // WORD + w] = words[first + w]
            else:
                for w in range(length):
                    log.payload[byte + w] = words[first + w // WORD] >> (BYTE * (w & (WORD - ONE)))
            byte += length
    log.sums[row, 0] += a_sum
    log.sums[row, 1] += b_sum
    at[N], at[N_BYTES] = n, byte


@kernel
def places_of(head, tail, link, n_lists, out):
    """Places of the messages of the first lists of all writers."""
    n = ZERO
    for d in range(np.uint64(n_lists)):
        for s in range(np.uint64(head.shape[0])):
            t, c = tail[s, d], np.uint64(head[s, d])
            while t != ZERO:
                for k in range(c << CHUNK_BITS, end_of(c, t)):
                    out[n] = k
                    n += ONE
                if c == (t - ONE) >> CHUNK_BITS:
                    break
                c = np.uint64(link[c])


@kernel
def copy_as_sent(slots, n, words, n_words, out, places):
    """Copy messages to out one after the other, and say so in places."""
    width = np.uint64(n_words)
    for q in range(np.uint64(n)):
        for w in range(width):
            out[q * width + w] = words[np.uint64(slots[q]) * width + w]
        places[q] = q
