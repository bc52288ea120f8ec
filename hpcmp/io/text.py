"""Text files across ranks: who reads which lines, and columns back into text.

A plain file is cut in as many byte ranges as there are ranks, moved to line
starts, so that each byte is read once. A gzip stream has no such cuts: every
rank unpacks all of it and keeps every P-th block of lines, which costs time
but no memory and no message. Either way a rank holds `Block`s of whole lines.

Line numbers are not kept. An error names a byte, and `lines_together` counts
the lines before it when, and only when, there is one.
"""

import contextlib
import gzip
import hashlib
import io
import os
import stat
import zlib
from dataclasses import dataclass

import numpy as np

from hpcmp import pulse
from hpcmp.comm import exclusive_sum, raise_together, together
from hpcmp.errors import FileError, FormatError, HpcmpError, InputError
from hpcmp.io.free import Taken, refuse_more_than_is_free

BLOCK_BYTES = 2**22  # tokenised at once: large enough to hide a call, small enough to use its scratch again (measured)
MAX_LINE_BYTES = 2**31 - 1  # token offsets are uint32
PACKED_BYTES = 2**20  # of a gzip file read at once
GZIP_MAGIC = b"\x1f\x8b"
UTF8_MARK, UTF16_MARKS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
FORMAT_ROWS = 2**16  # rows made into text at once: about 4 MB for two columns


@dataclass(frozen=True)
class Block:
    """Whole lines of a text, in a row."""

    data: np.ndarray  # (n,) uint8
    offset: int  # of its first byte in the unpacked text
    lines_before: int  # in the text if Share.knows_lines, else in the share


@dataclass(frozen=True)
class Share:
    """This rank's lines of one text file."""

    path: str
    blocks: tuple  # of Block, ascending by offset
    n_lines: int  # of the share
    knows_lines: bool  # whether lines_before counts from the start of the text
    text_bytes: int  # of the whole text, unpacked
    source: dict  # {"name":, "bytes":, "sha256":} of the file, the same on all ranks

    @property
    def name(self):
        return self.source["name"]


class LineError(Exception):
    """Something wrong at one byte of a share; `lines_together` adds the line."""

    def __init__(self, problem, remedy, block, at=0):
        super().__init__(problem)
        self.problem, self.remedy, self.block, self.at = problem, remedy, block, int(at)

    def line(self, share_start):
        """Number of the line, from 1, given the lines before the share. Local."""
        return share_start + self.block.lines_before + self.block.data[: self.at].tobytes().count(b"\n") + 1


# ---------------------------------------------------------------- reading


def open_text(comm, path, *, may_be_empty=False, block_bytes=None):
    """This rank's share of the lines of a text file. Collective.

    Parameters
    ----------
    comm : MPI.Comm
    path : str
        A plain text, or one packed by gzip (told by its first bytes).
    may_be_empty : bool
        Whether a file of no bytes is fine.
    block_bytes : int or None
        Size of a block; None: `BLOCK_BYTES`.

    Returns
    -------
    Share

    Raises
    ------
    FileError
        The file cannot be read, or is not the same on all ranks. On every rank.
    FormatError
        A gzip stream is damaged, or the text is no text. On every rank.
    InputError
        The file is empty. On every rank.
    """
    path, block_bytes = os.fspath(path), block_bytes or BLOCK_BYTES
    source = describe_file(comm, path, may_be_empty)
    with together(comm), reading(path):
        if _starts_with(path, GZIP_MAGIC):
            blocks, n_lines, text_bytes = _gzip_blocks(path, comm.rank, comm.size, block_bytes)
            packed = True
        else:
            blocks, n_lines = _plain_blocks(path, source["bytes"], comm.rank, comm.size, block_bytes)
            text_bytes, packed = source["bytes"], False
    return Share(path, tuple(blocks), n_lines, packed, text_bytes, source)


def describe_file(comm, path, may_be_empty=False):
    """Name, size and SHA-256 of a file that all ranks can read. Collective.

    Rank 0 computes the sum (about 1.4 GB/s, measured).
    """
    source = None
    with together(comm), reading(path):
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise FileError(f"{path} is a folder; give the file inside it")
        if not stat.S_ISREG(status.st_mode):
            raise FileError(f"{path} is not a regular file; ranks read it in parts, so save the stream to a file first")
        if status.st_size == 0 and not may_be_empty:
            raise InputError(f"{path} is empty (0 bytes)")
        with open(path, "rb"):  # on all ranks: to be refused here where it cannot be
            if comm.rank == 0:
                source = {"name": os.path.basename(path), "bytes": status.st_size}
                source["sha256"] = sha256_of(path)
    source = comm.bcast(source)
    with together(comm):
        if status.st_size != source["bytes"]:
            raise FileError(
                f"{path} has {status.st_size} bytes here and {source['bytes']} bytes on rank 0; "
                "put it where all ranks see the same file"
            )
    return source


def sha256_of(path):
    """SHA-256 of a file: 64 hex digits. Local."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(BLOCK_BYTES):
            digest.update(piece)
            pulse.beat()
    return digest.hexdigest()


@contextlib.contextmanager
def reading(path):
    """Turn what the system says about a file into hpcmp's errors. Local."""
    try:
        yield
    except HpcmpError:
        raise
    except FileNotFoundError as error:
        raise FileError(f"{path} does not exist") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FormatError(f"{path} is a damaged gzip file ({error}); fetch it again and try gzip -t on it") from error
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error


def whole_text(path, max_bytes):
    """All bytes of a text, plain or packed by gzip; inside `reading`. Local.

    Raises
    ------
    InputError
        It has more than so many.
    """
    pieces, n_bytes, taken = [], 0, Taken(path)
    with open(path, "rb") as file:
        packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        file.seek(0)
        stream = _Unpacked(file) if packed else file
        while piece := stream.read(BLOCK_BYTES):
            n_bytes += len(piece)
            if n_bytes > max_bytes:
                raise InputError(f"{path} has more than {max_bytes} bytes, and one rank has to hold all of it")
            taken.add(2 * len(piece))  # pieces, then all in one
            pieces.append(piece)
    return b"".join(pieces)


def _starts_with(path, magic):
    with open(path, "rb") as file:
        return file.read(len(magic)) == magic


def _plain_blocks(path, n_bytes, rank, size, block_bytes):
    """Blocks that lie in one piece of memory, which goes when the last of them goes. Local."""
    with open(path, "rb") as file:
        lo = _line_start(path, file, n_bytes * rank // size)
        hi = _line_start(path, file, n_bytes * (rank + 1) // size)
        file.seek(lo)
        refuse_more_than_is_free(hi - lo, path)
        text = bytearray(hi - lo)
        n_read = 0
        while more := file.readinto(memoryview(text)[n_read:]):  # the system reads at most 2 GB at once
            n_read += more
            pulse.beat()
    if n_read != len(text):
        raise FileError(f"{path} became shorter while it was read")
    view, blocks, n_lines, at = np.frombuffer(text, np.uint8), [], 0, 0
    while at < len(text):
        end = text.rfind(b"\n", at, at + block_bytes) + 1 or text.find(b"\n", at) + 1 or len(text)
        if end - at > MAX_LINE_BYTES:
            raise _no_lines(path)
        _check_text(path, text, lo + at, at, end)
        blocks.append(Block(_unmarked(view[at:end], lo + at), lo + at, n_lines))
        n_lines += text.count(b"\n", at, end)
        at = end
        pulse.beat()
    return blocks, n_lines


def _line_start(path, file, at):
    """First line start at or after a byte of a file. Local."""
    if at == 0:
        return 0
    file.seek(at - 1)
    while piece := file.read(2**16):
        found = piece.find(b"\n")
        if found >= 0:
            return file.tell() - len(piece) + found + 1
        if file.tell() - at > MAX_LINE_BYTES:
            raise _no_lines(path)
    return file.tell()


def _gzip_blocks(path, rank, size, block_bytes):
    with open(path, "rb") as file:
        return _keep(path, _Unpacked(file), block_bytes, 0, lambda number: number % size == rank)


class _Unpacked:
    """The text of a gzip file as a stream (gzip.open does the same, at a third of the speed: measured)."""

    def __init__(self, file):
        self.file, self.packed, self.member = file, b"", None

    def read(self, n):
        """Up to ``n`` bytes; none at the end. Local."""
        while True:
            if self.member is None and not self._next_member():
                return b""
            self.packed = self.packed or self.file.read(PACKED_BYTES)
            if not self.packed:
                raise EOFError("it ends before its text does")
            text = self.member.decompress(self.packed, n)
            self.packed = self.member.unconsumed_tail
            if self.member.eof:  # its checksum was right
                self.packed, self.member = self.member.unused_data, None
            if text:
                return text

    def _next_member(self):
        self.packed = self.packed.lstrip(b"\0")  # padding between members
        while not self.packed and (more := self.file.read(PACKED_BYTES)):
            self.packed = more.lstrip(b"\0")
        self.member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16) if self.packed else None
        return self.member


def _keep(path, stream, block_bytes, offset, is_mine):
    """Cut a stream in blocks of whole lines; keep those that are mine. Local."""
    blocks, n_lines, taken = [], 0, Taken(f"{path}, unpacked,")
    for number, data in enumerate(_whole_lines(path, stream, block_bytes)):
        if is_mine(number):
            taken.add(len(data))
            _check_text(path, data, offset, 0, len(data))
            blocks.append(Block(_unmarked(np.frombuffer(data, np.uint8), offset), offset, n_lines))
        n_lines += data.count(b"\n")
        offset += len(data)
        pulse.beat()
    return blocks, n_lines, offset


def _whole_lines(path, stream, block_bytes):
    rest = []  # pieces of a line whose end was not read yet
    n_rest = 0
    while piece := stream.read(block_bytes):
        cut = piece.rfind(b"\n") + 1
        if cut:
            yield b"".join([*rest, memoryview(piece)[:cut]])
            rest, n_rest = [piece[cut:]], len(piece) - cut
        else:
            rest.append(piece)
            n_rest += len(piece)
        refuse_more_than_is_free(len(piece), f"a line of {path}", n_rest)
        if n_rest > MAX_LINE_BYTES:
            raise _no_lines(path)
    if n_rest:
        yield b"".join(rest)


def _no_lines(path):
    return FormatError(f"{path} has a line longer than {MAX_LINE_BYTES} bytes; it is not a text of lines")


def _check_text(path, data, offset, at, end):
    """Refuse what is no UTF-8 in data[at:end], which lies at an offset of the text. Local."""
    if offset == 0 and data.startswith(UTF16_MARKS):
        raise FormatError(f"{path} is UTF-16 text, hpcmp reads UTF-8; run: iconv -f UTF-16 -t UTF-8")
    zero = data.find(b"\0", at, end)
    if zero >= 0:
        raise FormatError(f"{path} is not a text: byte {offset + zero - at} is 0")


def _unmarked(array, offset):
    """A block without the mark that some editors put first. Local."""
    mark = np.frombuffer(UTF8_MARK, np.uint8)
    return array[len(mark) :] if offset == 0 and np.array_equal(array[: len(mark)], mark) else array


@contextlib.contextmanager
def lines_together(comm, share):
    """Like `comm.together`, and a LineError gets its line number. Collective.

    Of several the one earliest in the file is reported, whatever the number
    of ranks. The body must not communicate.

    Raises
    ------
    InputError
        For a LineError in the body of any rank. On every rank.
    """
    error = None
    try:
        yield
    except Exception as caught:
        error = caught
    if comm.allreduce(0 if error is None else 1):
        start = 0 if share.knows_lines else exclusive_sum(comm, share.n_lines)[0]
        line = error.line(start) if isinstance(error, LineError) else None
        lines = [number for number in comm.allgather(line) if number is not None]
        if line is not None:
            text = f"{error.problem} ({share.name}, line {line})" + (f"; {error.remedy}" if error.remedy else "")
            error = InputError(text) if line == min(lines) else None
    raise_together(comm, error)


# ---------------------------------------------------------------- writing


def format_columns(columns, separator=b"\t"):
    """Lines of text from columns; reading them gives the same bits back. Local.

    Parameters
    ----------
    columns : sequence of (n,) or (n, width) arrays
        Integers, bool (written 0 and 1), float32, float64 (the shortest text
        that reads back as the same number) or 'S' names.
    separator : bytes
        One byte.

    Returns
    -------
    bytes
        n lines, each ended by a newline.

    Raises
    ------
    InputError
        A name holds the separator or a line end.
    """
    columns = [np.asarray(column) for column in columns]
    n_rows = len(columns[0]) if columns else 0
    out = io.BytesIO()
    for lo in range(0, n_rows, FORMAT_ROWS):
        texts = [
            _text_matrix(part, separator) for column in columns for part in _scalars(column[lo : lo + FORMAT_ROWS])
        ]
        out.write(_join(texts, separator))
    return out.getvalue()


def _scalars(column):
    return [column] if column.ndim == 1 else list(column.T)


def _text_matrix(values, separator):
    """Texts as rows of bytes, shorter ones padded with zeros: uint8 (n, width). Local."""
    from hpcmp.kernels.text import format_integers

    if values.dtype.kind in "biu":
        out = np.zeros((len(values), 20), np.uint8)
        format_integers(values.astype(np.int64), out)
        return out
    if values.dtype.kind == "f":
        texts = values.astype("S32")
        if values.dtype == np.float32:  # nine digits may round twice on the way back through float64
            twice = (texts.astype(np.float64).astype(np.float32) != values) & ~np.isnan(values)
            texts[twice] = values[twice].astype(np.float64).astype("S32")
        return texts.view(np.uint8).reshape(len(values), -1)
    matrix = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)
    for byte in b"\n\r" + separator:
        if (matrix == byte).any():
            name = bytes(values[(matrix == byte).any(axis=1).argmax()])
            raise InputError(
                f"the name {name!r} holds {bytes([byte])!r}, which ends a column or a line; use another separator"
            )
    return matrix


def _join(texts, separator):
    n_rows = len(texts[0])
    between, end = (np.full((n_rows, 1), ord(byte), np.uint8) for byte in (separator, b"\n"))
    pieces = [piece for text in texts for piece in (text, between)][:-1]
    matrix = np.concatenate([*pieces, end], axis=1)
    return matrix[matrix != 0].tobytes()  # zero is padding: no text holds it
