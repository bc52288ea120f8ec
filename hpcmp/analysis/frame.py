"""What result files and graph files share: fields, blocks of rows, texts."""

from dataclasses import dataclass

import numpy as np

from hpcmp.errors import GraphError, require
from hpcmp.hashing import DIGEST_ROWS

BLOCK_ROWS = 64 * DIGEST_ROWS  # about a million: large enough to hide a read, 8 MB a column; whole digest blocks
PROVENANCE = ("hpcmp_version", "created", "command", "sources")


@dataclass(frozen=True)
class Field:
    """Type of a field; its values stay in the file."""

    dtype: np.dtype
    width: int | None = None  # number of channels; None: one value a row

    def __str__(self):
        return str(self.dtype) if self.width is None else f"{self.dtype} x {self.width}"


def field_of(shape, dtype):
    """Field of a dataset. Local."""
    return Field(np.dtype(dtype), shape[1] if len(shape) == 2 else None)


def blocks(n_rows, block_rows=None):
    """Bounds of blocks of rows: (lo, hi) of each. Local."""
    step = block_rows or BLOCK_ROWS
    for lo in range(0, n_rows, step):
        yield lo, min(lo + step, n_rows)


def check_field(name, fields, what):
    """Refuse a field that is not there. Local."""
    if name not in fields:
        raise GraphError(f"{name!r} is not a field of {what} (it has: {', '.join(fields) or 'none'})")


def columns_of(name, values):
    """A field as columns of a table, one a channel: dict. Local."""
    if values.ndim == 1:
        return {name: values}
    return {f"{name}_{k}": values[:, k] for k in range(values.shape[1])}


def as_text(names):
    """UTF-8 bytes as str: (n,). Local."""
    return np.char.decode(names, "utf-8", "replace") if len(names) else np.empty(0, "U1")


def pandas():
    """The package pandas. Local."""
    return require("pandas", "xarray", "a pandas frame")
