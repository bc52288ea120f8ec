"""Files that appear under their names only when they are whole.

A file, or a folder of files, is written beside its place, under a name that nobody can guess and that nothing had before,
with the rights that the user's umask leaves. Then it is flushed to the disk and renamed, and its folder is flushed too. A run
that is killed before leaves what was there, and something whose name ends in ``.part``.
"""

import contextlib
import errno
import os
import re
import secrets
import shutil
from pathlib import Path

from hpcmp import pulse
from hpcmp.errors import FileError, HpcmpError

PART, DAMAGED = ".part", "damaged-"
NAME_CHARACTERS = (
    48  # of the name to come, at most 4 bytes each; with the rest it stays below the 255 that systems take
)
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
RIGHTS = 0o666  # less the umask
# What libraries bury in texts of several lines, most telling first.
TOLD = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG, errno.EIO)


def new_part(path):
    """An empty new file for what will be ``path``, beside it: its path. Local.

    Raises
    ------
    OSError
        It cannot be made.
    """
    part = _part_name(path)
    os.close(os.open(part, NEW, RIGHTS))
    return part


def new_part_folder(path):
    """An empty new folder for what will be ``path``, beside it. Local."""
    part = _part_name(path)
    part.mkdir()
    return part


def _part_name(path):
    path = Path(path)
    return path.with_name(f".{path.name[:NAME_CHARACTERS]}.{secrets.token_hex(8)}{PART}")


def put(part, path):
    """Flush a file from `new_part` to the disk and give it its name. Local."""
    with open(part, "rb+") as file, pulse.slow():
        os.fsync(file.fileno())
    os.replace(part, path)
    flush_folder(Path(path).parent)


def flush_folder(path):
    """Flush the names in a folder to the disk. Local."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def part_of(path):
    """A file to write, which becomes ``path`` when the block ends well. Local.

    Raises
    ------
    FileError
        It cannot be written; what was at ``path`` is untouched.
    """
    with write_errors(path):
        part = new_part(path)
        try:
            yield part
            put(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def stream_of(path):
    """`part_of` as a binary stream. Local."""
    with part_of(path) as part, open(part, "wb") as out:
        yield out


def set_aside(paths):
    """Rename files or folders that cannot be read; whether there were any. Local.

    Their names begin with `DAMAGED` then, nothing reads them, and what was
    kept under such a name before goes.

    Raises
    ------
    FileError
        One cannot be renamed.
    """
    found = [path for path in paths if path.exists()]
    for path in found:
        aside = path.with_name(f"{DAMAGED}{path.name}")
        with write_errors(path):
            if aside.is_dir():  # a file is replaced
                shutil.rmtree(aside)
            path.replace(aside)
    return bool(found)


def parts_of(folder, pattern):
    """What killed runs left of files of a pattern: list of paths. Local."""
    return list(Path(folder).glob(f".{pattern}.*{PART}"))


@contextlib.contextmanager
def write_errors(path, kinds=(OSError,)):
    """Turn what the system says of a written file into a FileError. Local.

    Parameters
    ----------
    kinds : tuple of classes
        h5py has RuntimeError where a file cannot be closed.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except kinds as error:
        if isinstance(error, HpcmpError):
            raise
        raise write_error(path, error) from error


def usable_folder(path, what):
    """Make a folder if it is missing, or refuse it. Local.

    Parameters
    ----------
    what : str
        That it is for.

    Raises
    ------
    FileError
        It is a file, cannot be written, or its own folder is missing.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise FileError(f"{path} is a file; name a folder for {what}")
    if not path.parent.is_dir():
        raise FileError(f"the folder {path.parent} of {path} does not exist; make it first")
    path.mkdir(exist_ok=True)
    if not os.access(path, os.W_OK):
        raise FileError(f"the folder {path} cannot be written: permission denied")


def write_error(path, error):
    """Why a file cannot be written, in one sentence: FileError. Local."""
    return FileError(f"{path} cannot be written: {why(error)}")


def why(error):
    """What an error of the system, of HDF5 or of MPI comes to, in a few words. Local."""
    text = error.Get_error_string() if hasattr(error, "Get_error_string") else str(error)
    said = re.search(r"errno = (\d+)", text)
    number = int(said[1]) if said else getattr(error, "errno", None)
    number = number or next((n for n in TOLD if os.strerror(n).lower() in text.lower()), None)
    if number:
        return os.strerror(number)
    return text.splitlines()[0] if text.strip() else type(error).__name__
