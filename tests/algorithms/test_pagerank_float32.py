"""PageRank whose ranks are kept and sent in 32 bits."""

import numpy as np
import pytest
from building import build, same_on_all
from graphs import GRAPHS

from hpcmp.algorithms import pagerank
from hpcmp.errors import ProgramError

FOUND = {}


def test_narrow_ranks_are_near_the_wide_ones_and_half_the_bytes(comm):
    graph = build(comm, GRAPHS["zoo"], method="hash")
    wide, narrow = (pagerank.run(graph, 20, dtype=dtype) for dtype in ("float64", "float32"))
    assert narrow["rank"].dtype == np.float32
    assert np.allclose(narrow["rank"], wide["rank"], rtol=1e-5)
    assert 2 * narrow.halo["bytes"] == wide.halo["bytes"]
    pagerank.verify(graph, narrow)
    assert same_on_all(comm, FOUND.setdefault("digest", narrow.digest) == narrow.digest)
    assert FOUND["digest"] == narrow.digest


def test_other_types_are_refused(comm):
    with pytest.raises(ProgramError, match="dtype 'int8' is not one of float64, float32"):
        pagerank.run(build(comm, GRAPHS["random"]), dtype="int8")
