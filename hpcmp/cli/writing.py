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
    from hpcmp.io.whole_file import stream_of, write_errors

    path = args.output
    with write_errors("standard output" if path is None else path):
        if path is None:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        elif os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
            with open(path, "wb") as out:  # a device or a pipe
                yield out
        else:
            _refuse_place(path, source)
            refuse_to_replace(path, args.force)
            with stream_of(os.path.realpath(path)) as out:
                yield out


def _refuse_place(path, source):
    folder = os.path.dirname(os.path.realpath(path))
    if os.path.isdir(path):
        raise FileError(f"{path} is a folder; name a file in it")
    if not os.path.isdir(folder):
        raise FileError(f"{path} cannot be written: the folder {folder} does not exist")
    if os.path.exists(path) and os.path.samefile(path, source):
        raise FileError(f"{path} is the file to export; write to another")
