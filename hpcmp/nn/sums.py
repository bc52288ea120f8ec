"""Sums and refusals that are the same on all ranks."""

import numpy as np

from hpcmp.errors import ProgramError
from hpcmp.kernels import exact


def exact_sum(comm, values):
    """Sum over all ranks, in any order the same bits: float. Collective."""
    words = exact.zero()
    exact.add(words, np.ravel(values))
    return exact.value(comm.allreduce(words))


def alike(text):
    """The error to raise for what all ranks see alike: ProgramError. Local."""
    error = ProgramError(text)
    error.agreed = True
    return error


def columns(a):
    """An array of rows as (n, k), a single number a row as k = 1. Local."""
    return a[:, None] if a.ndim == 1 else a
