"""What commands print: plain lines on standard output, progress on standard error."""

import json
import sys

import numpy as np


def say(comm, text):
    """Print a line of the result, on rank 0. Local."""
    if comm.rank == 0:
        sys.stdout.write(f"{text}\n")


def note(comm, text):
    """Print a line of progress to standard error, on rank 0. Local."""
    if comm.rank == 0:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def say_json(comm, values):
    """Print one JSON object, on rank 0; infinity and NaN as text. Local."""
    if comm.rank == 0:
        settled = json.loads(json.dumps(values, default=plain), parse_constant=lambda word: str(float(word)))
        sys.stdout.write(json.dumps(settled) + "\n")


def plain(value):
    """What json cannot print itself, as something it can. Local."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def table(rows, columns):
    """Lines of an aligned table with a header: list of str. Local.

    Parameters
    ----------
    rows : list of dict
    columns : dict of str to str
        Key to format spec.
    """
    cells = [[key.replace("_", " ") for key in columns]]
    cells += [[format(row[key], spec) for key, spec in columns.items()] for row in rows]
    widths = [max(len(line[k]) for line in cells) for k in range(len(columns))]
    return ["  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in cells]
