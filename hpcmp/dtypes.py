"""What kind of number means what: the index types, in one place.

A row of this rank is 32 bits and unsigned (numba adds a wrap for negative
indices to every access of a signed one: measured 1.5 to 2.5 times slower on
PageRank); ids, gids and counts are int64; CSR pointers are 64 bits, unsigned.
"""

import re

import numpy as np

LID = np.dtype(np.uint32)  # local row number
PTR = np.dtype(np.uint64)  # offset into the edges of this rank
GID = np.dtype(np.int64)  # global row number
ID = np.dtype(np.int64)  # the user's vertex number
RELATION = np.dtype(np.uint16)  # number of an edge type
BOOL = np.dtype(np.bool_)

MAX_LOCAL_ROWS = 2**32 - 1
MAX_RELATIONS = 2**16

FIELD_DTYPES = tuple(
    np.dtype(name)
    for name in ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "float32", "float64")
)  # uint64 is left out: mixed with int64 it would turn into a float
ONE_TYPE = re.compile(r"[<>=|]?[A-Za-z?]\w*", re.ASCII)  # numpy evaluates a text of several types, or with a shape


def field_dtype(what):
    """Dtype of a field, or None where fields may not have it. Local."""
    if isinstance(what, str) and not ONE_TYPE.fullmatch(what):
        return None
    try:
        dtype = np.dtype(what)
    except (TypeError, ValueError):
        return None
    return dtype if dtype in FIELD_DTYPES else None


def wide(dtype):
    """Dtype in which functions see a field: int64, float64 or bool. Local.

    Reading widens and writing rounds, in compiled and in plain Python alike;
    that is what makes ``check=True`` give the same bits.
    """
    dtype = np.dtype(dtype)
    return BOOL if dtype == BOOL else np.dtype(np.float64) if dtype.kind == "f" else np.dtype(np.int64)
