"""A log of messages, of any program, as a trail.

A line of the log is a message: who sent it to whom and when; perhaps its type,
an id, and the id of the message that caused it. Text with commas, tabs or
blanks, or one JSON object a line, plain or packed by gzip. Senders and
receivers are integers or names. Distinct times, in order, become steps 0, 1,
...; a message sent in a step is delivered in the next, so that messages of the
same time never follow from one another. The times stay, as the column `time`.
"""

import csv
import io
import json
import math
import os
from dataclasses import dataclass

import numpy as np

from hpcmp.errors import FormatError, InputError
from hpcmp.io import h5
from hpcmp.io import trail as files
from hpcmp.io.free import refuse_more_than_is_free
from hpcmp.io.nested import parse_json
from hpcmp.io.text import reading, sha256_of, whole_text
from hpcmp.io.trail_digest import step_sums
from hpcmp.io.trail_segment import STORED, SegmentWriter, payload_lengths, payload_places

ROLES = ("sender", "receiver", "time", "type", "id", "cause")
NEEDED = ROLES[:3]
MAX_BYTES = 2**32 - 2  # of the unpacked text, which one process holds
WORK_BYTES = 4  # for each byte of it at least, as lines and fields
COUNT_BYTES = 32  # of a step and type: sent, delivered, dropped, in flight
MAX_NAME_CHARACTERS = 4096  # all texts of a column are stored as wide as the longest
SKIP = "-"  # a column that is not read
NO_CAUSE = ("", "-", "null", "none", "None")
SEPARATORS = {"csv": ",", "tsv": "\t", "space": None, "jsonl": ""}
ENDINGS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}


@dataclass(frozen=True)
class Log:
    """The lines of a log, in columns."""

    texts: dict  # role -> list of str, or of values as JSON had them
    line: np.ndarray  # int64 (m,) number of each line, from 1
    source: dict  # {"name":, "bytes":, "sha256":}
    notes: tuple  # what was taken for granted, in words

    def refuse(self, row, problem):
        """Raise what is wrong with a row. Local."""
        raise InputError(f"{self.source['name']}, line {self.line[row]}: {problem}")


def import_log(path, folder, columns, separator=None):
    """Read a log and write it as a trail. Local.

    Parameters
    ----------
    path : str
    folder : path or None
        Of the trail; a trail that is there is replaced. None: the log is read, nothing written.
    columns : str
        Roles by column, such as ``sender,receiver,time``; ``-`` skips one.
        ``role=name`` finds a column by its name in the header, or a key of
        JSON (where the default is the role itself).
    separator : str, optional
        One of `SEPARATORS`; default: by the ending of the name, else by the
        first line.

    Returns
    -------
    dict
        ``records``, ``agents``, ``steps``, ``types``, ``notes``.

    Raises
    ------
    InputError
        A line breaks a rule; the message names it.
    FileError
        The log cannot be read or the trail not written.
    """
    log = read_log(path, parse_columns(columns), separator)
    _check_widths(log)
    n = len(log.line)
    sender, receiver, names = _agents(log)
    time = _times(log)
    order = np.argsort(time, kind="stable")
    distinct, step = np.unique(time, return_inverse=True)
    types, kind = np.unique(np.array(log.texts.get("type", ["message"] * n), str), return_inverse=True)
    if len(types) > np.iinfo(np.uint16).max:
        raise InputError(f"{log.source['name']} has {len(types)} types of messages; at most 65535 are possible")
    number = _numbers(sender, order)
    cause, notes = _causes(log, step)
    root = _roots(log, cause)
    payload, dtype = _payload(log)
    found = {
        "step_sent": step, "step_delivered": step + 1, "sender": sender, "number": number, "receiver": receiver,
        "type": kind, "cause_sender": np.where(cause < n, sender[cause - (cause == n)], 0),
        "cause_number": np.where(cause < n, number[cause - (cause == n)], -1),
        "conversation_sender": sender[root], "conversation_number": number[root],
        "status": np.zeros(n),
    }  # fmt: skip
    order = np.lexsort((number, sender, step))
    found = {name: found[name][order].astype(kind_of) for name, kind_of in STORED.items()}
    payload = payload[order].view(np.uint8).reshape(-1) if dtype.itemsize else np.empty(0, np.uint8)
    n_counts = (len(distinct) + 1) * len(types)
    refuse_more_than_is_free(COUNT_BYTES * n_counts, f"{log.source['name']}: counts by time and type of message")
    if folder is not None:
        _write(folder, log, found, payload, distinct, [(str(name), dtype) for name in types], names)
    return {
        "records": n,
        "agents": len(set(sender.tolist()).union(receiver.tolist())),
        "steps": len(distinct),
        "types": [str(name) for name in types],
        "notes": [*log.notes, *notes],
    }


def _write(folder, log, found, payload, times, types, names):
    files.clear(folder)
    writer = SegmentWriter(folder, 0)
    writer.append(len(found["sender"]), found, payload)
    n_steps, n_types = len(times) + 1, len(types)  # one more, in which the last are delivered
    sent = np.bincount(found["step_sent"] * n_types + found["type"], minlength=n_steps * n_types)
    sent = sent.reshape(n_steps, n_types)
    level = "full" if types[0][1].itemsize else "headers"
    places = payload_places(found["type"], payload_lengths(level, [dtype for _, dtype in types]))
    steps = {
        "digest": step_sums(found | places, payload, 0, n_steps),
        "sent": sent,
        "delivered": np.concatenate((np.zeros((1, n_types), np.int64), sent[:-1])),
        "dropped": np.zeros_like(sent),
        "in_flight": sent,
        "time": np.append(times, times[-1:]),
    }
    if names is not None:
        files.write_agents(folder, np.arange(len(names)), names=names)
    head = {
        "level": level,
        "message_types": types,
        "agent_types": [],
        "first_step": 0,
        "last_step": n_steps - 1,
        "segments": [writer.close_segment()],
        "steps": steps,
        "sources": [log.source],
    }
    files.write_head(folder, head)


# ---------------------------------------------------------------- reading lines


def parse_columns(text):
    """``sender,receiver=to,-`` as a list of (role, name or None). Local.

    Raises
    ------
    InputError
        A role is unknown, twice there, or a needed one is missing.
    """
    found = []
    for piece in text.split(","):
        role, equals, name = piece.strip().partition("=")
        if role not in (*ROLES, SKIP) or (equals and not name):
            raise InputError(
                f"--columns: {piece.strip()!r} is none of {', '.join(ROLES)}, ROLE=NAME, or {SKIP} to skip one"
            )
        if role != SKIP and role in [other for other, _ in found]:
            raise InputError(f"--columns names {role} twice")
        found.append((role, name or None))
    lacking = [role for role in NEEDED if role not in [other for other, _ in found]]
    if lacking:
        raise InputError(f"--columns {text} has no {lacking[0]}; sender, receiver and time are needed")
    if "cause" in dict(found) and "id" not in dict(found):
        raise InputError("--columns has a cause but no id; causes name messages by their ids")
    return found


def read_log(path, columns, separator=None):
    """The lines of a log: `Log`. Local."""
    name = os.path.basename(os.fspath(path))
    h5.check_is_file(path)
    with reading(path):
        source = {"name": name, "bytes": os.path.getsize(path), "sha256": sha256_of(path)}
        raw, name = whole_text(path, MAX_BYTES), name.removesuffix(".gz")
    if b"\0" in raw:
        raise FormatError(f"{path} is not a text: byte {raw.index(0)} is 0")
    refuse_more_than_is_free(WORK_BYTES * len(raw), f"reading {path}", len(raw))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} is no UTF-8 text (byte {error.start})") from error
    lines = [
        (k, line) for k, line in enumerate(text.splitlines(), 1) if line.strip() and not line.startswith(("#", "%"))
    ]
    if not lines:
        raise InputError(f"{path} has no line with a message")
    kind = separator or ENDINGS.get(os.path.splitext(name)[1].lower()) or _kind_of(lines[0][1])
    numbers = np.array([k for k, _ in lines], np.int64)
    log = Log({}, numbers, source, ())
    if kind == "jsonl":
        return Log(_json_columns(log, [line for _, line in lines], columns), numbers, source, ())
    return _table_columns(log, [line for _, line in lines], columns, SEPARATORS[kind])


def _kind_of(line):
    if line.lstrip().startswith("{"):
        return "jsonl"
    return "tsv" if "\t" in line else "csv" if "," in line else "space"


def _table_columns(log, lines, columns, separator):
    if separator is None:
        rows = [line.split() for line in lines]
    else:
        try:
            rows = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=separator))
        except csv.Error as error:  # such as a field of megabytes
            raise InputError(f"{log.source['name']} is no table: {error}") from error
        if len(rows) != len(lines):
            raise InputError(
                f"{log.source['name']}: a quoted field goes over several lines; one message a line is needed"
            )
        rows = [[cell.strip() for cell in row] for row in rows]
    place, notes, numbers = {}, (), log.line
    for k, (role, name) in enumerate(columns):
        if role == SKIP:
            continue
        if name is not None and name not in rows[0]:
            log.refuse(0, f"the header has no column {name!r} (it has: {', '.join(rows[0])[:200]})")
        place[role] = k if name is None else rows[0].index(name)
    needed = max(place.values()) + 1
    by_name = any(name for _, name in columns)
    if by_name or (len(rows[0]) >= needed and _number(rows[0][place["time"]]) is None):
        notes = (f"line {numbers[0]} was taken as a header: {' '.join(rows[0])[:80]}",)
        rows, numbers = rows[1:], numbers[1:]
    log = Log({}, numbers, log.source, notes)
    if not rows:
        raise InputError(f"{log.source['name']} has a header and no message")
    for k, row in enumerate(rows):
        if len(row) < needed:
            log.refuse(k, f"{len(row)} fields, {needed} are needed")
    return Log({role: [row[k] for row in rows] for role, k in place.items()}, numbers, log.source, notes)


def _json_columns(log, lines, columns):
    keys = {role: name or role for role, name in columns if role != SKIP}
    texts = {role: [] for role in keys}
    for k, line in enumerate(lines):
        try:
            found = parse_json(line)
        except ValueError as error:
            log.refuse(k, f"this is no JSON ({str(error)[:80]})")
        if not isinstance(found, dict):
            log.refuse(k, "this is no JSON object")
        for role, key in keys.items():
            value = found.get(key)
            if value is None and role != "cause":
                log.refuse(k, f"there is no {key!r}; --columns {role}=KEY says where it is")
            if isinstance(value, bool | list | dict):
                log.refuse(k, f"{key!r} is {json.dumps(value)[:40]}; a text or a number is needed")
            text = "" if value is None else str(value)
            if "\0" in text or not _is_text(text):
                log.refuse(k, f"{key!r} holds a character that is no text")
            texts[role].append(text)
    return texts


def _is_text(text):
    """Whether a text can be UTF-8: JSON may name halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_widths(log):
    """Refuse texts that are stored as wide as the widest, where that is too much."""
    for role, texts in log.texts.items():
        width = max(map(len, texts), default=0)
        if width > MAX_NAME_CHARACTERS:
            log.refuse(
                list(map(len, texts)).index(width),
                f"its {role} has {width} characters, more than {MAX_NAME_CHARACTERS}",
            )
        refuse_more_than_is_free(4 * width * len(texts), f"{len(texts)} texts of {width} characters each")


# ---------------------------------------------------------------- what lines say


def _integers(texts):
    """Texts as int64 if each is written as an integer is, else None: 007 is a name."""
    try:
        numbers = list(map(int, texts))
        return np.array(numbers, np.int64) if list(map(str, numbers)) == texts else None
    except (ValueError, OverflowError):
        return None


def _agents(log):
    """Ids of senders and receivers, and the names that ids stand for, or None."""
    m = len(log.line)
    both = [*log.texts["sender"], *log.texts["receiver"]]
    ids, names = _integers(both), None
    if ids is None:
        names = sorted(set(both))
        if "" in names:
            log.refuse(both.index("") % m, "a sender or receiver has no name")
        place = {name: k for k, name in enumerate(names)}
        ids = np.array([place[name] for name in both], np.int64)
    return ids[:m], ids[m:], names


def _number(text):
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return None


def _times(log):
    texts = log.texts["time"]
    found = list(map(_number, texts))
    for k, value in enumerate(found):
        if value is None or (type(value) is float and not math.isfinite(value)):
            log.refuse(k, f"the time {texts[k]!r} is no number; times are numbers such as seconds since 1970")
    whole = all(type(value) is int for value in found)
    limit = 2**63 - 1 if whole else 2**53  # beyond, different times would become the same
    for k, value in enumerate(found):
        if type(value) is int and abs(value) > limit:
            log.refuse(k, f"the time {texts[k]} does not fit into 64 bits; subtract a start from all times")
    return np.array(found, np.int64 if whole else np.float64)


def _numbers(sender, order):
    """Sequence number of each message among its sender's, in order of time."""
    by_sender = order[np.argsort(sender[order], kind="stable")]
    sorted_sender = sender[by_sender]
    first = np.flatnonzero(np.diff(sorted_sender, prepend=sorted_sender[:1] - 1))
    number = np.empty(len(sender), np.int64)
    number[by_sender] = np.arange(len(sender)) - np.repeat(first, np.diff(np.append(first, len(sender))))
    return number


def _causes(log, step):
    """Row of the cause of each row, n where it has none; and what is to be told."""
    n = len(log.line)
    cause = np.full(n, n, np.int64)
    if "id" in log.texts:
        place = {}
        for k, text in enumerate(log.texts["id"]):
            if text in place:
                log.refuse(k, f"the id {text!r} is that of line {log.line[place[text]]} too; ids must differ")
            place[text] = k
    if "cause" not in log.texts:
        return cause, ()
    unknown = 0
    for k, text in enumerate(log.texts["cause"]):
        if text in NO_CAUSE:
            continue
        cause[k] = place.get(text, n)
        unknown += cause[k] == n
        if cause[k] < n and step[cause[k]] > step[k]:
            log.refuse(k, f"its cause {text!r} (line {log.line[cause[k]]}) has a later time; causes come first")
    return cause, (f"{unknown} causes are not in the log: taken as none",) if unknown else ()


def _roots(log, cause):
    """Row of the first message of each conversation, by doubling the way back."""
    n = len(cause)
    back = np.where(cause < n, cause, np.arange(n))
    for _ in range(max(n, 1).bit_length() + 1):
        further = back[back]
        if np.array_equal(further, back):
            break
        back = further
    stuck = np.flatnonzero(cause[back] < n)
    if len(stuck):
        log.refuse(stuck[0], "its causes, of the same time, go round in a circle")
    return back


def _payload(log):
    """Payload records (m,), and their type: the user's own ids."""
    texts = log.texts.get("id")
    if texts is None:
        return np.empty(0, np.uint8), np.dtype([])
    ids = _integers(texts)
    ids = np.array([text.encode() for text in texts]) if ids is None else ids
    dtype = np.dtype([("id", ids.dtype)])
    return np.ascontiguousarray(ids).view(dtype), dtype
