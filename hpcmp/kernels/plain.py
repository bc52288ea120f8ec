"""Records as compiled code sees them, for plain Python."""

import numpy as np

from hpcmp.kernels import uses


class Records:
    """Records whose rows have attributes; of messages of a kind, or of agents."""

    def __init__(self, array, kind=None, merges=False):
        self.array, self.dtype, self.kind, self.merges = array, array.dtype, kind, merges

    def __len__(self):
        return len(self.array)

    def __getitem__(self, key):
        return self.array[key] if isinstance(key, str) else Row(self.array[key], self.merges)


class Row:
    """One record whose fields are attributes, whatever their names. Reads and writes go to the array.

    Narrow integers are read as int64: so compiled code reckons with them.
    """

    __slots__ = ("_fields", "_merges")

    def __init__(self, fields, merges=False):
        object.__setattr__(self, "_fields", fields)
        object.__setattr__(self, "_merges", merges)

    def __getattr__(self, name):
        names = self._fields.dtype.names
        if name not in names:
            raise AttributeError(uses.no_field("it", name, names))
        value = self._fields[name]
        return np.int64(value) if value.dtype.kind in "iu" and value.dtype.itemsize < 8 else value

    def __setattr__(self, name, value):
        getattr(self, name)
        if why := uses.may_write(self._fields.dtype.names, name, self._merges):
            raise AttributeError(why)
        field, given = self._fields.dtype[name], uses.dtype_of(value)
        if not uses.may_hold(field, given):
            raise TypeError(uses.wrong_store(name, field, given))
        self._fields[name] = given.type(value)  # which wraps as compiled code does
