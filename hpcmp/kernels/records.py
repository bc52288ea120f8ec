"""Messages as records: the header that all have, and what plain Python sees of a record.

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


def layout(fields, is_traced, width=0):
    """Record type of messages with payload fields (name, dtype), of so many bytes. Local."""
    by_size = sorted((*HEADER, *(CAUSE if is_traced else ())), key=lambda column: -np.dtype(column[1]).itemsize)
    offsets, end = [], 0
    for _, dtype in (*by_size, *fields):
        size = np.dtype(dtype).itemsize
        offsets.append(-(-end // size) * size)
        end = offsets[-1] + size
    names, formats = zip(*by_size, *fields, strict=True)
    return np.dtype(
        {"names": names, "formats": formats, "offsets": offsets, "itemsize": max(width, -(-end // 8) * 8)}
    )


class Records:
    """Records as compiled code sees them, for plain Python: rows with attributes."""

    def __init__(self, array):
        self.array, self.dtype = array, array.dtype

    def __len__(self):
        return len(self.array)

    def __getitem__(self, key):
        return self.array[key] if isinstance(key, str) else Row(self.array[key])


class Row:
    """One record whose fields are attributes, whatever their names. Reads and writes go to the array.

    Narrow integers are read as int64: so compiled code reckons with them.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields):
        object.__setattr__(self, "_fields", fields)

    def __getattr__(self, name):
        if name not in self._fields.dtype.names:
            raise AttributeError(f"there is no field {name!r}; there are {', '.join(self._fields.dtype.names)}")
        value = self._fields[name]
        return np.int64(value) if value.dtype.kind in "iu" and value.dtype.itemsize < 8 else value

    def __setattr__(self, name, value):
        getattr(self, name)
        self._fields[name] = value
