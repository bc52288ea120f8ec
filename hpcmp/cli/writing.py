"""Files and streams that commands of rank 0 write bytes to."""

import contextlib
import os
import sys

from hpcmp.cli.output import refuse_to_replace
from hpcmp.errors import FileError


def write_lines(args, lines):
    """Write texts on a trail to ``args.output`` or standard output. Local."""
    if args.output is not None and os.path.realpath(os.path.dirname(args.output) or ".") == os.path.realpath(
        args.trail
    ):
        raise FileError(f"{args.output} lies in the folder of the trail; write to another folder")
    with output_of(args, args.trail) as out:
        for line in lines:
            out.write(line.encode("utf-8", "backslashreplace"))


@contextlib.contextmanager
def output_of(args, source):
    """A binary stream for what a command writes to ``args.output``. Local.

    A file appears under its name when it is complete. None: standard output.

    Parameters
    ----------
    source : path
        What the command reads; it is not replaced.
    """
    path = args.output
    try:
        if path is None:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        elif os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
            with open(path, "wb") as out:  # a device or a pipe
                yield out
        else:
            _refuse_place(path, source)
            refuse_to_replace(path, args.force)
            with _replacing(os.path.realpath(path)) as out:
                yield out
    except BrokenPipeError:
        raise
    except FileError:
        raise
    except OSError as error:
        place = "standard output" if path is None else path
        raise FileError(f"{place} cannot be written: {error.strerror or error}") from error


def _refuse_place(path, source):
    folder = os.path.dirname(os.path.realpath(path))
    if os.path.isdir(path):
        raise FileError(f"{path} is a folder; name a file in it")
    if not os.path.isdir(folder):
        raise FileError(f"{path} cannot be written: the folder {folder} does not exist")
    if os.path.exists(path) and os.path.samefile(path, source):
        raise FileError(f"{path} is the file to export; write to another")


@contextlib.contextmanager
def _replacing(path):
    """A new file that takes the place of an old one only when it is complete."""
    part = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{os.getpid()}.part")
    try:
        with open(part, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
