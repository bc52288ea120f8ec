"""Records as compiled code sees them, for plain Python."""

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
    """One record whose fields are attributes, whatever their names. Reads and writes go to the array."""

    __slots__ = ("_fields", "_merges")

    def __init__(self, fields, merges=False):
        object.__setattr__(self, "_fields", fields)
        object.__setattr__(self, "_merges", merges)

    def __getattr__(self, name):
        names = self._fields.dtype.names
        if name not in names:
            raise AttributeError(uses.no_field("it", name, names))
        return self._fields[name]

    def __setattr__(self, name, value):
        getattr(self, name)
        if why := uses.may_write(self._fields.dtype.names, name, self._merges):
            raise AttributeError(why)
        field, given = self._fields.dtype[name], uses.dtype_of(value)
        if not uses.may_hold(field, given):
            raise TypeError(uses.wrong_store(name, field, given))
        self._fields[name] = given.type(value)  # which wraps as compiled code does
