"""What the tests of readers share: files for all ranks, and tables of all ranks."""

import numpy as np
import pytest

from hpcmp.errors import HpcmpError


def put(comm, path, content):
    """Write a file on rank 0 that all ranks may then read."""
    if comm.rank == 0:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    comm.Barrier()
    return str(path)


def save(comm, path, is_packed=True, **arrays):
    """Write an npz file on rank 0 that all ranks may then read."""
    if comm.rank == 0:
        (np.savez_compressed if is_packed else np.savez)(path, **arrays)
    comm.Barrier()
    return str(path)


def gathered(comm, array):
    """The values of all ranks, one rank after the other, as a list."""
    return np.concatenate(comm.allgather(array)).tolist()


def edges(comm, table):
    """All edges as sorted tuples (src, dst, relation if any, fields), the same on every rank."""
    columns = [table.src, table.dst]
    if table.relation is not None:
        columns.append(np.array(table.relations)[table.relation])
    columns += table.fields.values()
    return sorted(zip(*(gathered(comm, column) for column in columns)))


def message(comm, call, kind=HpcmpError):
    """Text of the error that every rank raises, without who saw it first."""
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.agreed
    texts = set(comm.allgather(str(caught.value)))
    assert len(texts) == 1
    return texts.pop().split(" (first seen on rank")[0]
