"""A trail: what became of every message of agents, as files in a folder.

    DIR/trail.h5                      the head: what the trail is, tables of steps and of segments
    DIR/segment-SSSSSSSS-RRRRR.h5     records of one rank, named by the first step: one dataset a column, and payloads
    DIR/agents.h5                     optional: ids, types and names of agents
    DIR/timing.h5                     optional: seconds of steps and ranks; no part of any digest

Every file is written under another name, flushed to the disk and renamed. The
head lists the segments that count, and is replaced after each round of them:
a run that is killed leaves a trail that is whole up to the step `last_step`
of its head. Needs neither MPI nor numba; every rank writes its own segments,
rank 0 the rest.
"""

import json
from pathlib import Path

import numpy as np

from hpcmp.errors import FileError, FormatError
from hpcmp.io import h5
from hpcmp.io.provenance import provenance
from hpcmp.io.trail_segment import TABLE, check_sizes, make_folder, refuse_link, segment_name, write_file
from hpcmp.io.whole_file import parts_of

HEAD, AGENTS, TIMING, SEGMENTS = "trail.h5", "agents.h5", "timing.h5", "segment-*.h5"
LEVELS = ("headers", "full")  # full: with payloads
STATUSES = (
    "delivered",
    "in flight",
    "dropped new",
    "dropped old",
    "merged",
    "no such receiver",
    "receiver left",
    "expired",
)
DELIVERED, IN_FLIGHT = 0, 1  # all others count as dropped
PHASES = ("act", "exchange", "record")  # of a step, in the timing
COUNTS = ("sent", "delivered", "dropped", "in_flight")  # of a step, by type
N_SUMS = 2  # of 64 bits each, the digest of a step
MAX_TYPE_BYTES = 1 << 20  # of one payload


def type_title(name, relation):
    """What to call a message type that may be bound to a relation: str. Local."""
    return name if relation is None else f"{name} ({relation})"


def write_head(folder, head):
    """Write or replace the head of a trail; rank 0 does. Local.

    Parameters
    ----------
    head : dict
        ``level`` : one of `LEVELS`;
        ``message_types`` : list of (name, numpy record dtype);
        ``relations`` : list, optional: of each type the relation of the graph
        along which it goes, or None;
        ``agent_types`` : list of str;
        ``seed`` : int or None;
        ``sample`` : float, optional: share of conversations whose records
        were kept, by `hpcmp.hashing.is_sampled`; counts are of all messages;
        ``first_step``, ``last_step`` : closed steps, those with a record for
        every message sent in them (last < first: none yet);
        ``segments`` : list of what `SegmentWriter.close_segment` returned,
        of all ranks, since the start; of a trail that goes on, `segments_of`
        its head comes first;
        ``steps`` : dict of arrays with a row for each closed step: ``digest``
        uint64 (n, 2) of `trail_digest.step_sums` over all ranks, and `COUNTS` int64
        (n, types): sent in the step, delivered and dropped in it, in flight
        at its end; optional ``time`` (n,), numbers of the user;
        ``sources`` : list, optional: files it came from.

    Raises
    ------
    FileError
        It cannot be written; the head before stays.
    """
    types = [[name, np.lib.format.dtype_to_descr(np.dtype(dtype))] for name, dtype in head["message_types"]]
    segments = sorted(filter(None, head["segments"]), key=lambda segment: (segment["first_step"], segment["rank"]))
    attrs = {
        "level": head["level"],
        "message_types": json.dumps(types),
        "relations": json.dumps(list(head.get("relations") or [None] * len(types))),
        "agent_types": json.dumps(list(head["agent_types"])),
        "seed": json.dumps(head.get("seed")),
        "sample": float(head.get("sample", 1.0)),
        "first_step": int(head["first_step"]),
        "last_step": int(head["last_step"]),
        **provenance(sources=head.get("sources", ())),
    }
    data = {f"steps/{name}": np.asarray(rows) for name, rows in head["steps"].items()}
    for name in TABLE:
        data[f"segments/{name}"] = np.array([segment[name] for segment in segments], np.int64)
    make_folder(Path(folder))
    write_file(Path(folder) / HEAD, h5.TRAIL, attrs, data)


def segments_of(head):
    """Segments of a head that was read, as `write_head` takes them. Local."""
    columns = [head["segments"][name].tolist() for name in TABLE]
    return [dict(zip(TABLE, row, strict=True)) for row in zip(*columns, strict=True)]


def write_agents(folder, ids, types=None, names=None):
    """Write the agents of a trail, once; rank 0 does. Local.

    Parameters
    ----------
    ids : int64 (n,), ascending
    types : uint16 (n,), optional
        Places in the ``agent_types`` of the head.
    names : list of str, optional
    """
    data = {"id": np.asarray(ids, np.int64)}
    if types is not None:
        data["type"] = np.asarray(types, np.uint16)
    if names is not None:
        data["name"] = h5.fixed_texts(names)
    write_file(Path(folder) / AGENTS, h5.TRAIL_AGENTS, {}, data)


def write_timing(folder, step, rank, seconds):
    """Write or replace the table of wall-clock times. Local.

    Parameters
    ----------
    step, rank : int64 (n,)
    seconds : dict of str to float64 (n,)
        By `PHASES`.
    """
    data = {"step": np.asarray(step, np.int64), "rank": np.asarray(rank, np.int64)}
    data |= {name: np.asarray(seconds[name], np.float64) for name in PHASES}
    write_file(Path(folder) / TIMING, h5.TRAIL_TIMING, {}, data)


def clear(folder):
    """Remove a trail of ours, so that another may take its folder. Local.

    Raises
    ------
    FileError
        The folder holds something else.
    """
    folder = Path(folder)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileError(f"{folder} is a file; a trail is a folder, name another")
    left = _left_by_killed_runs(folder)
    ours = [path for path in folder.iterdir() if path.name in (HEAD, AGENTS, TIMING) or path.match(SEGMENTS)]
    others = sorted(path.name for path in set(folder.iterdir()) - {*ours, *left})
    others += [path.name for path in ours if not h5.is_ours(path)]
    if others:
        raise FileError(f"{folder} holds {others[0]}, which is no part of a trail; write to a folder of its own")
    for path in left:
        path.unlink(missing_ok=True)
    for path in sorted(ours, key=lambda path: path.name != HEAD):  # without its head, the rest counts for nothing
        path.unlink()


def cut_back(folder, head):
    """Make a trail what it was when it had a head: what came later is removed. Local.

    Parameters
    ----------
    head : dict
        As `write_head` takes it.

    Raises
    ------
    FileError
        There is no trail, or that of another run.
    """
    if not is_trail(folder):
        raise FileError(f"{folder} holds no trail to go on with; name the folder of the run's trail")
    folder, there = Path(folder), read_head(folder)
    n = min(len(head["steps"]["digest"]), len(there["steps"]["digest"]))
    is_same = _is_alike(there, head) and np.array_equal(there["steps"]["digest"][:n], head["steps"]["digest"][:n])
    listed = {tuple(segment.values()) for segment in segments_of(there)}
    if not is_same or not all(tuple(segment[name] for name in TABLE) in listed for segment in head["segments"]):
        raise FileError(f"{folder} holds the trail of another run; name the folder of this run's trail")
    write_head(folder, head)
    kept = {segment_name(segment["first_step"], segment["rank"]) for segment in head["segments"]}
    later = [path for path in folder.glob(SEGMENTS) if path.name not in kept]
    for path in (*later, *_left_by_killed_runs(folder), folder / TIMING):
        path.unlink(missing_ok=True)


def refuse_other(folder, head):
    """Refuse a trail that is finished, or not that of a run like this. Local.

    Raises
    ------
    FileError
    """
    if is_trail(folder) and ((Path(folder) / TIMING).exists() or not _is_alike(read_head(folder), head)):
        raise FileError(
            f"{folder} holds a trail already, and there is no checkpoint to go on with it from; write to another folder, or "
            "replace it with --force"
        )


def _is_alike(there, head):
    """Whether two heads are of runs of one model, seed and level."""
    same = ("level", "agent_types", "seed", "sample", "first_step")
    kinds = [[(name, dtype.itemsize, dtype.names or ()) for name, dtype in h["message_types"]] for h in (there, head)]
    return kinds[0] == kinds[1] and all(there[name] == head.get(name) for name in same)


def _left_by_killed_runs(folder):
    return [path for name in (HEAD, AGENTS, TIMING, SEGMENTS) for path in parts_of(folder, name)]


# ---------------------------------------------------------------- reading


def is_trail(path):
    """Whether a path is the folder of a trail. Local."""
    return (Path(path) / HEAD).is_file()


def read_head(folder):
    """What the head of a trail says, checked: dict. Local.

    As `write_head` took it; message types as (name, dtype). ``segments`` is a
    dict of int64 arrays, ``attrs`` all attributes.

    Raises
    ------
    FileError
        There is no trail.
    FormatError
        It breaks a rule of the format.
    """
    folder = Path(folder)
    if folder.is_dir() and not is_trail(folder):
        raise FileError(f"{folder} holds no trail: there is no {HEAD} in it")
    path = folder / HEAD if folder.is_dir() else folder
    refuse_link(path)
    with h5.opened(path, h5.TRAIL) as handle:
        head = {name: h5.attribute(handle, name, int, path=path) for name in ("first_step", "last_step")}
        if not all(abs(head[name]) < 2**62 for name in ("first_step", "last_step")):
            raise FormatError(f"{path}: steps from {head['first_step']} to {head['last_step']}; the file is damaged")
        head["level"] = h5.attribute(handle, "level", str, path=path)
        if head["level"] not in LEVELS:
            raise FormatError(f"{path}: the level {head['level']!r} is none of {', '.join(LEVELS)}")
        head["message_types"] = [_type_of(x, path) for x in h5.json_attribute(handle, "message_types", list, path=path)]
        head["relations"] = _relations(handle, len(head["message_types"]), path)
        head["agent_types"] = [str(name) for name in h5.json_attribute(handle, "agent_types", list, path=path)]
        head["seed"] = h5.json_attribute(handle, "seed", int | None, path=path)
        head["sample"] = h5.attribute(handle, "sample", float, path=path)
        if not 0 < head["sample"] <= 1 or (head["sample"] < 1 and head["seed"] is None):
            raise FormatError(f"{path}: the sample {head['sample']} is no share, or has no seed; the file is damaged")
        head["sources"] = h5.json_attribute(handle, "sources", list, path=path)
        n_steps = max(head["last_step"] - head["first_step"] + 1, 0)
        head["steps"] = {
            name: _column(handle, f"steps/{name}", path, n_steps, (1, 2), "iuf")
            for name in h5.names_of(h5.group(handle, "steps", path=path), path)
        }
        _check_steps(head, n_steps, path)
        table = {name: _column(handle, f"segments/{name}", path) for name in TABLE}
        if len({len(a) for a in table.values()}) != 1 or any((a < 0).any() for a in table.values()):
            raise FormatError(f"{path}: the table of segments is uneven or has a negative number; it is damaged")
        head["segments"], head["attrs"] = table, h5.attributes(handle, path)
    check_sizes(path.parent, table)
    return head


def read_agents(folder):
    """Agents of a trail: dict of ``id``, ``type``, ``name``, or empty. Local."""
    return _read_table(Path(folder) / AGENTS, h5.TRAIL_AGENTS, {"id": "i", "type": "u", "name": "S"}, ("id",))


def read_timing(folder):
    """Wall-clock times: ``step``, ``rank`` and seconds of `PHASES`, or empty. Local."""
    kinds = {"step": "i", "rank": "i", **dict.fromkeys(PHASES, "f")}
    return _read_table(Path(folder) / TIMING, h5.TRAIL_TIMING, kinds, tuple(kinds))


def _read_table(path, kind, kinds, needed):
    if not path.exists():
        return {}
    refuse_link(path)
    with h5.opened(path, kind) as handle:
        n = h5.dataset(handle, needed[0], path=path, ndim=1).shape[0]
        return {
            name: _column(handle, name, path, n, 1, letter)
            for name, letter in kinds.items()
            if name in needed or name in handle
        }


def _column(handle, name, path, rows=None, ndim=1, kinds="i"):
    return h5.read(h5.dataset(handle, name, path=path, ndim=ndim, kinds=kinds, rows=rows), path)


def _check_steps(head, n_steps, path):
    steps, n_types = head["steps"], len(head["message_types"])
    shapes = {"digest": (n_steps, N_SUMS), **dict.fromkeys(COUNTS, (n_steps, n_types))}
    shapes |= {"time": (n_steps,)} if "time" in steps else {}
    for name, shape in shapes.items():
        if name not in steps or steps[name].shape != shape:
            has = steps[name].shape if name in steps else "nothing"
            raise FormatError(f"{path}: steps/{name} has {has}, the shape {shape} is needed; the file is damaged")


def _relations(handle, n_types, path):
    """The relation of each message type, None where it has none."""
    found = h5.json_attribute(handle, "relations", list, path=path)
    if len(found) != n_types or not all(name is None or isinstance(name, str) for name in found):
        raise FormatError(
            f"{path}: relations of message types are {str(found)[:60]}; {n_types} names or nulls are needed"
        )
    return found


def _type_of(entry, path):
    """(name, dtype) of a message type, from its JSON."""
    try:
        name, descr = entry
        dtype = np.lib.format.descr_to_dtype(_as_descr(descr))
    except (ValueError, TypeError, KeyError, SyntaxError, IndexError, OverflowError) as error:
        raise FormatError(f"{path}: {str(entry)[:60]} is no message type (a name and a record dtype)") from error
    if not isinstance(name, str) or dtype.hasobject or dtype.itemsize > MAX_TYPE_BYTES:
        raise FormatError(
            f"{path}: the message type {str(name)[:40]!r} has objects, or more than {MAX_TYPE_BYTES} bytes a payload"
        )
    return name, dtype


def _as_descr(descr):
    """JSON made lists of the tuples that numpy wants."""
    if isinstance(descr, str):
        return descr
    return [(name, _as_descr(kind), *(tuple(shape) for shape in more)) for name, kind, *more in descr]
