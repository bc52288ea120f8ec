"""What commands print, and the files they may write.

Plain lines go to standard output, progress to standard error. An output file
takes the place of one that hpcmp wrote, of no other.
"""

import json
import os
import sys


def add_output(parser, text, **more):
    """Declare the options of an output file. Local."""
    parser.add_argument("-o", "--output", help=text, **more)
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace the output file whatever it is (without: only a graph or result file of hpcmp, or an empty one)",
    )


def check_output(comm, args, *inputs):
    """Refuse an output that cannot be written, or must not be replaced. Collective.

    Parameters
    ----------
    inputs : path or None
        What the command reads.

    Raises
    ------
    FileError
        On every rank.
    """
    from hpcmp.comm import together
    from hpcmp.io.parallel import check_writable

    if args.output is None:
        return
    check_writable(comm, args.output, *inputs)
    with together(comm):
        if comm.rank == 0:
            refuse_to_replace(args.output, args.force)


def refuse_to_replace(path, force):
    """Refuse to take the place of a file that hpcmp did not write. Local.

    A text bears no mark of who wrote it, so none is replaced.

    Raises
    ------
    FileError
        There is such a file, and no force.
    """
    from hpcmp.errors import FileError
    from hpcmp.io.h5 import is_ours

    if not force and os.path.isfile(path) and os.path.getsize(path) and not is_ours(path):
        raise FileError(
            f"{path} exists and is no graph or result file of hpcmp; write to another file, or replace it with --force"
        )


def refuse_to_replace_trail(folder, force):
    """Refuse to begin a trail where there is one. Local.

    Raises
    ------
    FileError
        There is one, and no force.
    """
    from hpcmp.errors import FileError
    from hpcmp.io.trail import is_trail

    if is_trail(folder) and not force:
        raise FileError(f"{folder} holds a trail already; write to another folder, or replace it with --force")


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


def printable(text):
    """A text whose control characters are spelt out: they steer terminals. Local.

    Ends of lines and tabs stay.
    """
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def plain(value):
    """What json cannot print itself, as something it can. Local."""
    import numpy as np

    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def table(rows, columns, names=()):
    """Lines of an aligned table with a header: list of str. Local.

    Parameters
    ----------
    rows : list of dict
    columns : dict of str to str
        Key to format spec.
    names : collection of str
        Keys that are somebody's names; in others ``_`` is a blank.
    """
    cells = [[key if key in names else key.replace("_", " ") for key in columns]]
    cells += [[format(row[key], spec) for key, spec in columns.items()] for row in rows]
    widths = [max(len(line[k]) for line in cells) for k in range(len(columns))]
    return ["  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in cells]
