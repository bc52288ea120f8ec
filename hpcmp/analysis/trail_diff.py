"""Two trails: the first message in which two runs differ."""

from dataclasses import dataclass

import numpy as np

from hpcmp.analysis.trace import ORDERED
from hpcmp.errors import GraphError
from hpcmp.io import trail as files
from hpcmp.io.trail_digest import hash_payloads
from hpcmp.io.trail_segment import STORED

SHOWN = tuple(STORED)
PAYLOAD_HASHES = ("payload 0", "payload 1")


@dataclass(frozen=True)
class TrailDifference:
    """The first message, by (step, sender, number), that the runs do not share."""

    step: int
    sender: int  # agent that sent it
    number: int
    only_in: int | None  # 0 or 1: the trail that alone has it; None: both have, and differ in
    columns: dict  # column -> (value of the first, of the second)


def compare_trails(a, b):
    """The first difference of two runs; None: the same messages. Local.

    Steps that both have closed are compared. Types are compared by their
    names; payloads where both have them; of samples, what was kept.

    Returns
    -------
    TrailDifference or None

    Raises
    ------
    GraphError
        The trails are samples of different shares.
    """
    if a.sample != b.sample:
        raise GraphError(
            f"{a.path} and {b.path} keep {100 * a.sample:g} and {100 * b.sample:g} % of conversations; only trails of one share "
            "can be compared"
        )
    last = min(a.steps[1], b.steps[1])
    sides = [_keys(trail, last) for trail in (a, b)]
    n = min(len(side["step_sent"]) for side in sides)
    differs = np.zeros(n, np.bool_)
    # of runs of different lengths, what was on its way when one ended may have met any fate in the other
    open_end = np.zeros(n, np.bool_)
    if a.steps[1] != b.steps[1]:
        open_end = (sides[0]["status"][:n] == files.IN_FLIGHT) | (sides[1]["status"][:n] == files.IN_FLIGHT)
    for name in sides[0].keys() & sides[1].keys():
        other = sides[0][name][:n] != sides[1][name][:n]
        differs |= other & ~open_end if name in ("status", "step_delivered") else other
    row = int(np.argmax(differs)) if differs.any() else n
    at = [tuple(int(side[name][row]) for name in ORDERED) if row < len(side["step_sent"]) else None for side in sides]
    if at == [None, None]:
        return None
    if at[0] == at[1]:
        return TrailDifference(*at[0], None, _columns(a, b, row, sides))
    first = 1 if at[0] is None or (at[1] is not None and at[1] < at[0]) else 0
    return TrailDifference(*at[first], first, {})


def _keys(trail, last):
    """What of each row has to be the same, of the steps up to the last."""
    columns = trail.columns()
    n = int(np.searchsorted(columns["step_sent"], last, side="right"))
    kept = {name: columns[name][:n] for name in SHOWN if name != "type"}
    types = np.array([*trail.types, ""])
    kept["type"] = types[columns["type"][:n]]
    # what was still on its way at the last closed step may have arrived in the longer run
    late = kept["step_delivered"] > last
    kept["step_delivered"] = np.where(late, -1, kept["step_delivered"])
    kept["status"] = np.where(late, files.IN_FLIGHT, kept["status"])
    if trail.level == "full":
        offset, length = columns["payload_offset"][:n], columns["payload_length"][:n]
        hashes = hash_payloads(offset, length, trail.payload_bytes)
        kept |= dict(zip(PAYLOAD_HASHES, hashes, strict=True))
    return kept


def _columns(a, b, row, sides):
    """Columns of a row that differ: name -> (value of the first, of the second)."""
    found = {}
    for name in SHOWN:
        x, y = (side[name][row].item() for side in sides)
        if x != y:
            found[name] = (files.STATUSES[x], files.STATUSES[y]) if name == "status" else (x, y)
    if a.level == b.level == "full":
        pairs = [trail.payload(row) for trail in (a, b)]
        if any(sides[0][name][row] != sides[1][name][row] for name in PAYLOAD_HASHES):
            found["payload"] = tuple(pairs)
    return found
