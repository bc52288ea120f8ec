"""MatrixMarket coordinate files: the entry (i, j) is the edge i -> j.

    %%MatrixMarket matrix coordinate real general
    % comments
    5 5 8
    1 1 1.0
    ...

Boisvert, Pozo and Remington, The Matrix Market Exchange Formats (NISTIR 5935,
1996). Ids are 1 to n, and all n are vertices, with entries or without. Values
become the field ``weight``. A symmetric matrix is an undirected graph whose
file lists each edge once.
"""

import numpy as np

from hpcmp.comm import block_bounds, together
from hpcmp.dtypes import ID
from hpcmp.errors import InputError
from hpcmp.io.free import refuse_more_than_is_free
from hpcmp.io.readers import columns as c
from hpcmp.io.readers import rows as r
from hpcmp.io.readers.edgelist import endpoints
from hpcmp.io.table import EdgeTable
from hpcmp.io.text import lines_together, open_text

BANNER = b"%%matrixmarket"
COMMENTS = b"%"
WEIGHTS = {b"real": np.dtype(np.float64), b"integer": np.dtype(np.int64), b"pattern": None}
DIRECTED = {b"general": True, b"symmetric": False}
REFUSED = {
    b"array": "a dense matrix; write it as coordinate",
    b"complex": "complex weights, which are no edge field",
    b"skew-symmetric": "the weight of j -> i is the negative of that of i -> j; expand it to general",
    b"hermitian": "complex weights, which are no edge field",
}
MAX_DECLARED_VERTICES = 2**33  # in a header; a larger one is taken for damage
MIN_ENTRY_BYTES = 4  # "1 1\n"


def read(comm, path, options):
    """A square sparse matrix as a graph. Collective.

    Returns
    -------
    EdgeTable
        ``vertices`` is this rank's block of 1..n.
    """
    share = open_text(comm, path)
    banner, sizes = r.first_row(comm, share, b""), r.first_row(comm, share, COMMENTS)
    with together(comm):
        dtype, directed = _banner(share.name, banner)
        n, n_entries = _sizes(share, sizes, comm.size)
    rows = r.read_rows(comm, share, 2 if dtype is None else 3, None, COMMENTS, skip=sizes)
    n_found = comm.allreduce(rows.n_rows)
    with together(comm):
        if n_found != n_entries:
            raise InputError(
                f"{share.name} has {n_found} entries, its size line says {n_entries}; "
                "the file is cut short or its header is wrong"
            )
    src, dst = endpoints(comm, rows, 0, 1, names=False)
    with lines_together(comm, share):
        _check_range(rows, (src, dst), n)
    fields = {} if dtype is None else {"weight": c.numbers(comm, rows, 2, "weight", dtype)}
    return EdgeTable(src, dst, fields, vertices=declared(comm, 1, n), directed=directed, sources=(share.source,))


def _banner(name, banner):
    words = banner.text.lower().split()
    if not words or words[0] != BANNER or len(words) != 5 or words[1] != b"matrix":
        raise InputError(
            f"{name} does not start with '%%MatrixMarket matrix coordinate FIELD SYMMETRY'; "
            "pass --format for another format"
        )
    for word in words[2:]:
        if word in REFUSED:
            raise InputError(f"{name} is {word.decode()}: {REFUSED[word]}")
    if words[2] != b"coordinate" or words[3] not in WEIGHTS or words[4] not in DIRECTED:
        said = b" ".join(words[2:]).decode("utf-8", "replace")
        raise InputError(
            f"{name} is '{said[: c.SHOWN]}'; hpcmp reads coordinate real, integer or pattern, general or symmetric"
        )
    return WEIGHTS[words[3]], DIRECTED[words[4]]


def _sizes(share, sizes, size):
    words = sizes.text.split()
    counts = r.counts_of(words)
    if len(words) != 3 or counts is None:
        raise InputError(f"{share.name} has no size line 'rows columns entries' after its comments")
    n_rows, n_columns, n_entries = counts
    if n_rows != n_columns:
        raise InputError(f"{share.name} is {n_rows} x {n_columns}: only a square matrix is a graph")
    check_declared(share.name, n_rows, size)
    if n_entries * MIN_ENTRY_BYTES > share.text_bytes + 1:
        raise InputError(
            f"{share.name} has {share.text_bytes} bytes, too few for the {n_entries} entries that its size line says"
        )
    return n_rows, n_entries


def _check_range(rows, ends, n):
    for column, (end, what) in enumerate(zip(ends, ("row", "column"), strict=True)):
        outside = (end < 1) | (end > n)
        if outside.any():
            raise r.row_error(rows, outside.argmax(), column, what, f"is outside [1, {n}]")


def check_declared(name, n, size=1):
    """Refuse more vertices than are meant, or a rank can hold. Local."""
    if n < 0:
        raise InputError(f"{name} declares {n} vertices")
    if n > MAX_DECLARED_VERTICES:
        raise InputError(
            f"{name} declares {n} vertices, more than the {MAX_DECLARED_VERTICES} that hpcmp takes for meant"
        )
    refuse_more_than_is_free(n // size * ID.itemsize, f"{name} declares {n} vertices: their ids")


def declared(comm, first, n):
    """This rank's block of the ids first..first + n - 1: int64. Local."""
    bounds = block_bounds(n, comm.size)
    return np.arange(first + bounds[comm.rank], first + bounds[comm.rank + 1], dtype=ID)
