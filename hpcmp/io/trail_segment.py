"""Segments of a trail: records of one rank, each column in the narrowest integers that hold it.

    DIR/segment-SSSSSSSS-RRRRR.h5
        base   int64 (columns,), width uint8 (columns,)    in the order of `STORED`
        COLUMN unsigned integers of so many bytes (n,): value - base modulo 2**64; none of width 0, where all are base
        payload  uint8: the payloads of the records, one after the other

How long a payload is follows from the type of its message, and where it lies
from those before it: neither is stored. Needs neither MPI nor numba.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from hpcmp.errors import FileError, FormatError
from hpcmp.io import h5
from hpcmp.io.free import refuse_more_than_is_free
from hpcmp.io.whole_file import part_of, write_errors

STORED = {
    "step_sent": np.dtype(np.int64),
    "step_delivered": np.dtype(np.int64),  # -1: never
    "sender": np.dtype(np.int64),
    "number": np.dtype(np.int64),  # the sender's sequence number; (sender, number) names a message
    "receiver": np.dtype(np.int64),
    "type": np.dtype(np.uint16),  # place in the message types of the head
    "cause_sender": np.dtype(np.int64),
    "cause_number": np.dtype(np.int64),  # -1: no cause
    "conversation_sender": np.dtype(np.int64),  # the message that began the conversation
    "conversation_number": np.dtype(np.int64),
    "status": np.dtype(np.uint8),  # place in `trail.STATUSES`
}
DERIVED = {
    "payload_offset": np.dtype(np.int64),  # into all payloads, segment after segment
    "payload_length": np.dtype(np.int32),  # bytes
}
COLUMNS = STORED | DERIVED  # as readers give them
PAYLOAD, BASE, WIDTH = "payload", "base", "width"
WIDTHS = (0, 1, 2, 4, 8)  # bytes
TABLE = ("first_step", "rank", "n_records", "payload_bytes")  # what a head says of each segment
MASK = (1 << 64) - 1
SPARE = 8  # bytes that compiled loops want behind the last payload, to read whole words


def segment_name(first_step, rank):
    """Name of a segment file. Local."""
    return f"segment-{first_step:08d}-{rank:05d}.h5"


def width_of(low, high):
    """Bytes of integers that hold values from low to high, less low. Local."""
    return next(width for width in WIDTHS if high - low < 1 << 8 * width)


def narrowed(values):
    """Some values as `SegmentWriter.append` takes them, in the fewest bytes. Local."""
    low, high = int(values.min()), int(values.max())
    width = width_of(low, high)
    if width == 0:
        return low
    out = np.empty(len(values), f"u{width}")
    Part(0, values, low, high).put(low, out)
    return low, out


@dataclass(frozen=True)
class Part:
    """Some values of a column: base + values; all base where there are none."""

    base: int
    values: np.ndarray | None
    low: int
    high: int

    @classmethod
    def of(cls, given, n):
        """From an integer, an array, or a pair of both, to be added. Local."""
        if isinstance(given, int | np.integer):
            return cls(int(given), None, int(given), int(given))
        base, values = given if isinstance(given, tuple) else (0, given)
        if values.shape != (n,) or values.dtype.kind not in "iu":
            raise FormatError(f"a column of records is {values.dtype} {values.shape}; integers ({n},) are needed")
        return cls(int(base), values, int(base) + int(values.min()), int(base) + int(values.max()))

    def put(self, low, out):
        """out = values - low, which fit. Local."""
        shift = self.base - low
        if self.values is None:
            out[:] = shift
        elif shift == 0:
            np.copyto(out, self.values, casting="unsafe")
        else:  # modulo 2**64
            np.add(self.values, np.uint64(shift & MASK), out=out, dtype=np.uint64, casting="unsafe")


class SegmentWriter:
    """Records of one rank, kept until a segment is closed.

    Parameters
    ----------
    folder : path
        Of the trail; made if it is missing.
    rank : int
    """

    def __init__(self, folder, rank):
        self.folder, self.rank = Path(folder), int(rank)
        self._begin()
        make_folder(self.folder)

    def _begin(self):
        self._n, self._payload_bytes = [], 0
        self._parts, self._payload = {name: [] for name in STORED}, []

    def append(self, n, columns, payload=None):
        """Keep records; arrays are not copied and must stay as they are. Local.

        Parameters
        ----------
        n : int
            How many.
        columns : dict
            For each of `STORED` an array of integers (n,) of any width; or an
            integer, where all are the same; or (integer, array), values of
            which the integer has been taken away. Those that lie in a segment
            as they are given, from its lowest value on in the fewest bytes,
            are written as they are.
        payload : uint8 array, optional
            Payloads of the records, in their order, one after the other.
        """
        if n == 0:
            return
        for name, parts in self._parts.items():
            parts.append(Part.of(columns[name], n))
        self._n.append(n)
        if payload is not None and len(payload):
            self._payload.append(payload)
            self._payload_bytes += len(payload)

    def close_segment(self):
        """Write what was kept as a segment file. Local.

        Returns
        -------
        dict or None
            What the head lists of it: ``first_step, rank, n_records,
            payload_bytes``. None where no record was kept: then there is no
            file.

        Raises
        ------
        FileError
            It cannot be written.
        """
        return self.take()()

    def take(self):
        """What was kept, as a function that does `close_segment`. Local.

        It may be called later, by another thread, one segment after the other.
        """
        kept, payload = self._parts, self._payload
        sizes, payload_bytes = self._n, self._payload_bytes
        self._begin()

        def write():
            if not sizes:
                return None
            base, width, data = [], [], {}
            for name, parts in kept.items():
                low, high = min(part.low for part in parts), max(part.high for part in parts)
                base.append(low)
                width.append(width_of(low, high))
                if width[-1]:
                    data[name] = _joined(parts, sizes, low, np.dtype(f"u{width[-1]}"))
            data |= {BASE: np.array(base, np.int64), WIDTH: np.array(width, np.uint8)}
            data[PAYLOAD] = payload[0] if len(payload) == 1 else np.concatenate([*payload, _NOTHING])
            path, first = self._free_path(base[0])
            attrs = {"first_step": first, "rank": self.rank}
            write_file(path, h5.SEGMENT, attrs, data)
            return attrs | {"n_records": sum(sizes), "payload_bytes": payload_bytes}

        return write

    def _free_path(self, first):
        """A file for a segment, and its first step or one after it: a message that waited long may be older than a
        segment that was closed before."""
        while (path := self.folder / segment_name(first, self.rank)).exists():
            first += 1
        return path, first


_NOTHING = np.empty(0, np.uint8)


def _joined(parts, sizes, low, dtype):
    """Values of a column, counted from its lowest."""
    if len(parts) == 1 and parts[0].base == low and parts[0].values.dtype == dtype:
        return parts[0].values
    joined, at = np.empty(sum(sizes), dtype), 0
    for part, n in zip(parts, sizes, strict=True):
        part.put(low, joined[at : at + n])
        at += n
    return joined


# ---------------------------------------------------------------- reading


def check_sizes(folder, table):
    """Refuse a table that tells of more than its files can hold. Local.

    Before anything is made for it. Records have different names, so that each of several takes a byte at least.
    """
    names = np.stack((table["first_step"], table["rank"]), axis=1)
    if len(np.unique(names, axis=0)) < len(names):
        raise FormatError(f"{folder}: the head lists a segment twice; the trail is damaged")
    for first, rank, n_records, payload_bytes in zip(*(table[name].tolist() for name in TABLE), strict=True):
        path = folder / segment_name(first, rank)
        refuse_link(path)
        h5.check_is_file(path)
        if path.stat().st_size < n_records + payload_bytes:
            raise FormatError(
                f"{path} has {path.stat().st_size} bytes, too few for the {n_records} records and {payload_bytes} bytes of "
                "payload that the head tells of; the trail is damaged"
            )


def read_columns(folder, head, names):
    """Columns of all segments of a head, one segment after the other. Local.

    Parameters
    ----------
    names : list of str
        Of `COLUMNS`, or "payload".

    Returns
    -------
    dict of str to array

    Raises
    ------
    FormatError
        A segment breaks a rule of the format.
    """
    table = head["segments"]
    derived = [name for name in names if name in DERIVED]
    wanted = [name for name in names if name not in DERIVED] + (["type"] if derived and "type" not in names else [])
    sizes = {name: table["payload_bytes" if name == PAYLOAD else "n_records"] for name in wanted}
    dtypes = STORED | {PAYLOAD: np.dtype(np.uint8)}
    n_bytes = sum(int(sizes[name].sum()) * dtypes[name].itemsize for name in wanted)
    refuse_more_than_is_free(n_bytes, f"{folder}: {', '.join(wanted)} of all segments")
    found = {name: np.empty(int(sizes[name].sum()), dtypes[name]) for name in wanted}
    ends = {name: np.cumsum(n) for name, n in sizes.items()}
    for k in range(len(table["rank"]) if wanted else 0):
        with _opened_segment(folder, head, k) as (handle, path):
            base, width = _frame_of(handle, path)
            for name in wanted:
                out = found[name][int(ends[name][k] - sizes[name][k]) : int(ends[name][k])]
                if name == PAYLOAD:
                    _read(_payload_of(handle, path, len(out)), out)
                else:
                    _read_column(handle, name, path, int(base[name]), int(width[name]), out)
    if derived:
        places = _payload_places(folder, head, found["type"])
        found |= {name: places[name] for name in derived}
    return {name: found[name] for name in names}


def payload_lengths(level, dtypes):
    """Bytes of a payload of each type, 0 where none are kept: int32 (types,). Local."""
    return np.array([dtype.itemsize if level == "full" else 0 for dtype in dtypes], np.int32)


def payload_places(types, lengths):
    """``payload_offset`` and ``payload_length`` of adjacent payloads. Local."""
    length = lengths[types] if len(types) else np.zeros(0, np.int32)
    offset = np.cumsum(length, dtype=np.int64) if lengths.any() else np.zeros(len(types), np.int64)
    offset -= length
    return {"payload_offset": offset, "payload_length": length}


def _payload_places(folder, head, types):
    """The same of all segments, whose payloads must be as long as the head says."""
    lengths = payload_lengths(head["level"], [dtype for _, dtype in head["message_types"]])
    if len(types) and types.max() >= len(lengths):
        raise FormatError(
            f"{folder}: type[{np.argmax(types >= len(lengths))}] = {types.max()} of the segments must be at least 0 and "
            f"under {len(lengths)}; the trail is damaged"
        )
    places, table = payload_places(types, lengths), head["segments"]
    ends = np.append(places["payload_offset"], places["payload_length"].sum(dtype=np.int64))
    n = np.cumsum(table["n_records"])
    wrong = np.flatnonzero(ends[n] - ends[n - table["n_records"]] != table["payload_bytes"])
    if len(wrong):
        path = Path(folder) / segment_name(int(table["first_step"][wrong[0]]), int(table["rank"][wrong[0]]))
        raise FormatError(f"{path} has a payload of another length than its types have; the trail is damaged")
    return places


def read_payload(folder, head, k, lo, hi):
    """Bytes [lo, hi) of the payload of the segment k of a head's table: uint8. Local."""
    with _opened_segment(folder, head, k) as (handle, path):
        return _payload_of(handle, path, int(head["segments"]["payload_bytes"][k]))[lo:hi]


@contextlib.contextmanager
def _opened_segment(folder, head, k):
    table = head["segments"]
    path = Path(folder) / segment_name(int(table["first_step"][k]), int(table["rank"][k]))
    refuse_link(path)
    with h5.opened(path, h5.SEGMENT) as handle:
        yield handle, path


def _frame_of(handle, path):
    """What is added to each column, and its bytes: two dicts."""
    tables = [h5.dataset(handle, name, path=path, ndim=1, kinds="iu", rows=len(STORED)) for name in (BASE, WIDTH)]
    tables = [h5.read(table, path) for table in tables]
    wrong = ~np.isin(tables[1], WIDTHS)
    if wrong.any():
        raise FormatError(f"{path}: a column of {tables[1][np.argmax(wrong)]} bytes; the file is damaged")
    return tuple(dict(zip(STORED, table.tolist(), strict=True)) for table in tables)


def _read_column(handle, name, path, base, width, out):
    """out = base + what is stored, modulo 2**64."""
    if width == 0:
        values = np.zeros(1, np.uint8)
    else:
        column = h5.dataset(handle, name, path=path, ndim=1, kinds="u", rows=len(out))
        if column.dtype != np.dtype(f"u{width}"):
            raise FormatError(f"{path}: {name} has dtype {column.dtype}, unsigned of {width} bytes is needed")
        values = np.empty(len(out), column.dtype)
        _read(column, values)
    if out.dtype == np.int64:
        np.add(values, np.uint64(base & MASK), out=out.view(np.uint64), dtype=np.uint64)
        return
    low, high = base + int(values.min(initial=0)), base + int(values.max(initial=0))
    if low < 0 or high > np.iinfo(out.dtype).max:
        raise FormatError(f"{path}: {name} has values from {low} to {high}; {out.dtype} is needed, the file is damaged")
    np.add(values, base, out=out, dtype=np.int64, casting="unsafe")


def _payload_of(handle, path, n):
    column = h5.dataset(handle, PAYLOAD, path=path, ndim=1, kinds="u", rows=n)
    if column.dtype != np.uint8:
        raise FormatError(f"{path}: {PAYLOAD} has dtype {column.dtype}, uint8 is needed")
    return column


def _read(column, out):
    if len(out):
        column.read_direct(out)


def refuse_link(path):
    """Refuse a part of a trail that is a link. Local."""
    if path.is_symlink():
        raise FormatError(f"{path} is a link; hpcmp follows no links within a trail")


# ---------------------------------------------------------------- writing


def make_folder(folder):
    """Make the folder of a trail. Local."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{folder} cannot be made: {error.strerror or error}") from error


def write_file(path, kind, attrs, data):
    """A file of datasets, under its name only once it is on the disk. Local."""
    with write_errors(path, (OSError, RuntimeError)), part_of(path) as part, h5py.File(part, "w") as handle:
        h5.set_attributes(handle, {"format": kind, "version": h5.version_of(kind), **attrs})
        for name, a in data.items():
            handle.create_dataset(name, data=a)
