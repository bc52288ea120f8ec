"""Rows of a text that is spread over the ranks: lines cut into tokens.

Between the lines of `hpcmp.io.text` and the formats: what the first line
says, agreed over the ranks, the tokens of all others, and how an error names
one of them. `hpcmp.io.readers.columns` makes numbers and names of tokens.
"""

import re
from dataclasses import dataclass

import numpy as np

from hpcmp import pulse
from hpcmp.comm import exclusive_sum
from hpcmp.errors import InputError
from hpcmp.io.free import refuse_more_than_is_free
from hpcmp.io.text import BLOCK_BYTES, Block, LineError, Share, lines_together
from hpcmp.kernels import text as kernels

SHOWN_BYTES = 60  # of a token in an error, of a line in a note
MAX_FIRST_BYTES = 2**20  # of the first line, whose columns are looked at one by one
MAX_COUNT_DIGITS = 40  # of a number in a header; how large it may be is asked later


@dataclass(frozen=True)
class Tokens:
    """The tokens of one block, row after row."""

    block: Block
    start: np.ndarray  # (t,) uint32
    end: np.ndarray  # (t,) uint32
    row_start: np.ndarray  # (n_rows + 1,) int64

    @property
    def n_rows(self):
        return len(self.row_start) - 1


@dataclass(frozen=True)
class Rows:
    """This rank's rows of a text, each of ``n_columns`` tokens."""

    share: Share
    parts: tuple  # of Tokens
    n_columns: int

    @property
    def n_rows(self):
        return sum(part.n_rows for part in self.parts)


@dataclass(frozen=True)
class First:
    """The first row of a text, known to all ranks."""

    text: bytes  # the line from its first byte that is not blank, cut where it is too long; empty: no row
    offset: int  # of that byte in the text; -1: no row


# ---------------------------------------------------------------- lines to rows


def first_row(comm, share, comments):
    """The first line of a text that is neither blank nor a comment. Collective."""
    own = _first_of_share(share, comments)
    offsets = comm.allgather(own.offset)
    owner = min((offset, rank) for rank, offset in enumerate(offsets) if offset >= 0 or max(offsets) < 0)[1]
    return comm.bcast(own, root=owner)


def header_note(name, first):
    """What to tell of a first line that nobody called a header. Local."""
    text = first.text.decode("utf-8", "replace").strip()
    shown = repr(text[:SHOWN_BYTES]) + ("..." if len(text) > SHOWN_BYTES else "")
    return f"the first line of {name} ({shown}) was taken as a header and skipped"


def _first_of_share(share, comments):
    pattern = re.compile(rb"^[ \t\r\v\f]*([^\s" + re.escape(comments) + rb"][^\n]*)", re.MULTILINE)
    for block in share.blocks:
        if found := pattern.search(block.data):
            return First(found[1][: MAX_FIRST_BYTES + 1], block.offset + found.start(1))
    return First(b"", -1)


def guess_separator(line, prefers_tab):
    """Separator byte of a line, or None for runs of blanks. Local.

    Parameters
    ----------
    line : bytes
    prefers_tab : bool
        Whether a tab separates texts that may hold spaces.
    """
    for byte in (b"\t", b",", b";") if prefers_tab else (b",", b";"):
        if byte in line:
            return byte
    return None


def check_separator(separator):
    """Separator as a byte, or None for runs of blanks. Local.

    Raises
    ------
    InputError
        It is not one byte.
    """
    if separator in (None, "", "blank", b""):
        return None
    separator = separator.encode() if isinstance(separator, str) else bytes(separator)
    if len(separator) != 1 or separator in b'\n\r"\0':
        raise InputError(f"the separator {separator!r} is not one byte; use a tab, ',', ';' or ' ', or leave it out")
    return None if separator == b" " else separator


def split_line(line, separator):
    """Tokens of a first line, as `tokens_of` finds them: list of bytes. Local."""
    if len(line) > MAX_FIRST_BYTES:
        raise InputError(f"the first row has more than {MAX_FIRST_BYTES} bytes; it is not a text of lines and columns")
    block = Block(np.frombuffer(line, np.uint8), 0, 0)
    try:
        tokens = tokens_of(block, separator, b"")
    except LineError as error:
        raise InputError(f"the first row: {error.problem}{error.remedy and '; ' + error.remedy}") from None
    return [_token(tokens, t) for t in range(len(tokens.start))]


def counts_of(words):
    """Numbers of a header as integers; None: one is no count. Local."""
    is_fine = all(word.isdigit() and len(word) <= MAX_COUNT_DIGITS for word in words)
    return [int(word) for word in words] if is_fine else None


def tokens_of(block, separator, comments, keeps_blank=False):
    """Cut the lines of a block into tokens. Local.

    Parameters
    ----------
    block : Block
    separator : bytes or None
        One byte; None: runs of blanks.
    comments : bytes
        A line that starts with one of these is no row.
    keeps_blank : bool
        Whether blank lines are rows without tokens.
    """
    pulse.beat()
    data = block.data
    n_lines = np.count_nonzero(data == kernels.NEWLINE) + 1
    row_start = np.empty(n_lines + 1, np.int64)
    comments = np.frombuffer(comments, np.uint8)
    room = len(data) // 2 + 1 if separator is None else len(data) + 1
    if len(data) > 4 * BLOCK_BYTES:  # a line of its own
        refuse_more_than_is_free(8 * (room + n_lines), f"{len(data)} bytes of text cut into columns")
    start, end = np.empty(room, np.uint32), np.empty(room, np.uint32)
    if separator is None:
        n_rows, n_tokens = kernels.split_at_blanks(data, comments, keeps_blank, start, end, row_start)
    else:
        quotes = separator in b",;"
        n_rows, n_tokens, bad = kernels.split_at(data, ord(separator), comments, quotes, start, end, row_start)
        if bad >= 0:
            raise LineError('a text that starts with " does not end with one before the separator', "", block, bad)
    return Tokens(block, start[:n_tokens].copy(), end[:n_tokens].copy(), row_start[: n_rows + 1].copy())


def read_rows(comm, share, n_columns, separator, comments, skip=None):
    """This rank's rows, all of as many tokens. Collective.

    Parameters
    ----------
    comm : MPI.Comm
    share : Share
    n_columns : int
    separator, comments
        As for `tokens_of`.
    skip : First or None
        A row to leave out: the header.

    Raises
    ------
    InputError
        A line has another number of columns. On every rank.
    """
    with lines_together(comm, share):
        parts = tuple(_without(tokens_of(block, separator, comments), skip) for block in share.blocks)
    with lines_together(comm, share):
        for part in parts:
            _check_columns(part, n_columns)
    return Rows(share, parts, n_columns)


def integer_rows(comm, share, n_columns, separator, comments, skip=None):
    """This rank's rows, if all of all ranks are integers plainly written. Collective.

    Several times as fast as tokens, and without their memory.

    Parameters
    ----------
    share, n_columns, separator, comments, skip
        As for `read_rows`.

    Returns
    -------
    list of int64 (n_rows,), one a column; None: some row is not plain.
    """
    # room is not touched before a row is written there; the last line may lack its end
    out, n_rows = np.empty((n_columns, share.n_lines + 1), np.int64), 0
    for block in share.blocks:
        data = _after_header(block, skip)
        byte, no_rows = -1 if separator is None else ord(separator), np.frombuffer(comments, np.uint8)
        n_rows = kernels.parse_rows(data, byte, no_rows, n_rows, out)
        pulse.beat()
        if n_rows < 0:
            break
    if min(comm.allgather(n_rows)) < 0:
        return None
    return [column[:n_rows] for column in out]


def _after_header(block, skip):
    at = -1 if skip is None else skip.offset - block.offset
    if not 0 <= at < len(block.data):
        return block.data
    ends = np.flatnonzero(block.data[at:] == kernels.NEWLINE)
    return block.data[at + int(ends[0]) + 1 :] if len(ends) else block.data[:0]


def _without(part, skip):
    block = part.block
    if skip is None or not 0 <= skip.offset - block.offset < len(block.data):
        return part
    n = part.row_start[1]
    return Tokens(block, part.start[n:], part.end[n:], part.row_start[1:] - n)


def _check_columns(part, n_columns):
    widths = np.diff(part.row_start)
    if (widths != n_columns).any():
        row = (widths != n_columns).argmax()
        raise LineError(
            f"{widths[row]} columns where {n_columns} belong",
            "all lines must have the same columns",
            part.block,
            part.start[part.row_start[row]],
        )


# ---------------------------------------------------------------- where an error is


def place(rows, index):
    """Part and row in it of this rank's row ``index``. Local."""
    ends = np.cumsum([part.n_rows for part in rows.parts])
    p = int(np.searchsorted(ends, index, side="right"))
    return rows.parts[p], int(index - (ends[p] - rows.parts[p].n_rows))


def where(rows, part, row, column):
    """Block and byte of a token, as LineError wants them. Local."""
    return part.block, part.start[row * rows.n_columns + column]


def line_numbers(comm, rows):
    """Line of each of this rank's rows in the text, from 1: int64. Collective."""
    share = rows.share
    before = 0 if share.knows_lines else exclusive_sum(comm, share.n_lines)[0]
    lines = [np.empty(0, np.int64)]
    for part in rows.parts:
        ends = np.flatnonzero(part.block.data == kernels.NEWLINE)
        at = part.start[part.row_start[:-1]]
        lines.append(before + part.block.lines_before + np.searchsorted(ends, at) + 1)
    return np.concatenate(lines)


def token_error(rows, part, row, column, what, rule, remedy=""):
    """A LineError that quotes a token. Local."""
    token = _token(part, row * rows.n_columns + column)
    shown = token[:SHOWN_BYTES].decode("utf-8", "replace") + ("..." if len(token) > SHOWN_BYTES else "")
    return LineError(f"{what} {shown!r} {rule}", remedy, *where(rows, part, row, column))


def row_error(rows, index, column, what, rule, remedy=""):
    """`token_error` for this rank's row ``index``. Local."""
    return token_error(rows, *place(rows, index), column, what, rule, remedy)


def _token(part, t):
    return part.block.data[part.start[t] : part.end[t]].tobytes()
