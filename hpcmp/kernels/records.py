"""Messages as records: the header that all have.

Every kind of message has a record type of its own over the same bytes, so one buffer holds all kinds.
"""

import numpy as np

HEADER = (
    ("sender", "<i8"),  # id
    ("home", "<i8"),  # address of the sender
    ("to", "<u4"),  # row of the receiver, on its rank
    ("due", "<i4"),  # step in which it can be read
    ("number", "<i4"),  # of the sender's messages, from 0
    ("kind", "<u2"),
)
CAUSE = (  # ids and numbers of the message that caused it, and of the first of its conversation; step in which it was sent
    ("cause_sender", "<i8"),
    ("root_sender", "<i8"),
    ("cause_number", "<i4"),
    ("root_number", "<i4"),
    ("sent", "<i4"),
)
MOST = (1 << 31) - 1  # messages of one agent, and steps
MOST_KINDS = 1 << 16
WORD = 8  # bytes


def layout(fields, is_traced, width=0):
    """Record type of messages with payload fields, of so many bytes. Local.

    The payload is one run of bytes without gaps, which begins with a word.
    """
    by_size = sorted((*HEADER, *(CAUSE if is_traced else ())), key=lambda column: -np.dtype(column[1]).itemsize)
    offsets, end = [], 0
    for _, dtype in by_size:
        offsets.append(end)
        end += np.dtype(dtype).itemsize
    end = payload_word(is_traced) * WORD
    for _, dtype in fields:
        offsets.append(end)
        end += np.dtype(dtype).itemsize
    names, formats = zip(*by_size, *fields, strict=True)
    width = max(width, -(-end // WORD) * WORD)
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": width})


def payload_word(is_traced):
    """Word of a record where the payload begins. Local."""
    return -(-sum(np.dtype(dtype).itemsize for _, dtype in (*HEADER, *(CAUSE if is_traced else ()))) // WORD)
