"""Memory: what a machine has free, and refusing what would take more."""

import os
import re
from pathlib import Path

from hpcmp.errors import MemoryLimitError

LIMIT = "HPCMP_MAX_MEMORY"  # bytes a machine gives to the job, such as 4G, instead of what is free; 0: do not ask
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
SMALL = 1 << 24  # bytes for which nobody is asked; to ask takes up to 0.3 ms (measured)


def refuse_more_than_is_free(n_bytes, what, held=0):
    """Refuse to make an array that this process has no room for. Local.

    Parameters
    ----------
    n_bytes : int
    what : str
        Such as "the column id of g.h5".
    held : int
        Bytes of it that were made already: they count where `LIMIT` says how
        much there is, and are gone from what the system says is free.

    Raises
    ------
    MemoryLimitError
    """
    if n_bytes + held <= SMALL:
        return
    free, needed = free_bytes(), n_bytes + (held if os.environ.get(LIMIT, "").strip() else 0)
    if free is not None and needed > free:
        raise MemoryLimitError(
            f"{what} takes {shown(needed)}, {shown(free)} are free here ({LIMIT}=BYTES says what is free instead, "
            "0 that all fits)"
        )


class Taken:
    """What is taken little by little, which is asked for now and then."""

    def __init__(self, what):
        self.what, self.n_bytes, self.n_asked = what, 0, 0

    def add(self, n_bytes):
        """So much more. Local.

        Raises
        ------
        MemoryLimitError
        """
        self.n_bytes += n_bytes
        if self.n_bytes - self.n_asked > SMALL:
            refuse_more_than_is_free(n_bytes, self.what, self.n_bytes)
            self.n_asked = self.n_bytes


def parsed_bytes(text):
    """Bytes from a text such as 8000000000, 500M or 4G; None: it is none. Local."""
    found = re.fullmatch(r"(\d{1,20})([KMGT]?)B?", text.strip().upper())
    return int(found[1]) * UNITS[found[2]] if found else None


def free_bytes(environ=os.environ):
    """Bytes this machine has free for the job; None: unknown, or do not ask. Local.

    The least of what the system and the control groups of this process leave,
    caches of files counted as free.

    Raises
    ------
    MemoryLimitError
        The variable HPCMP_MAX_MEMORY is no number of bytes.
    """
    said = environ.get(LIMIT, "").strip()
    if said:
        n_bytes = parsed_bytes(said)
        if n_bytes is None:
            raise MemoryLimitError(f"{LIMIT}={said!r} is no number of bytes; write it as 8000000000, 500M or 4G")
        return n_bytes or None
    rooms = [*_system_room(), *_group_rooms()]
    return min(rooms, default=None)


def _system_room(path="/proc/meminfo"):
    try:
        found = re.search(r"^MemAvailable:\s*(\d+) kB", Path(path).read_text(), re.MULTILINE)
    except OSError:
        return
    if found:
        yield int(found[1]) << 10


def _group_rooms(own="/proc/self/cgroup", root="/sys/fs/cgroup"):
    """What each control group with a limit leaves, from this process's to the root."""
    try:
        lines = Path(own).read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, kinds, path = line.split(":", 2)
        if kinds == "memory":
            top, limit, used = Path(root, "memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"
        elif number == "0":
            top, limit, used = Path(root), "memory.max", "memory.current"
        else:
            continue
        folder = top / path.lstrip("/")
        for group in (folder, *folder.parents[: len(folder.parts) - len(top.parts)]):
            try:
                left = int((group / limit).read_text()) - int((group / used).read_text())
                stat = dict(pair.split() for pair in (group / "memory.stat").read_text().splitlines())
            except (OSError, ValueError):  # not there, or "max"
                continue
            yield left + sum(int(stat.get(kind, 0)) for kind in ("inactive_file", "active_file"))


def shown(n_bytes):
    """Bytes as people read them. Local."""
    return f"{n_bytes / 1e9:.3g} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.3g} MB"
