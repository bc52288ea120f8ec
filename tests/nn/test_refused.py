"""What does not fit the graph is refused before a kernel sees it, alike on all ranks."""

import numpy as np
import pytest
from building import agreed_error, build
from graphs import GRAPHS
from learned import rows

from hpcmp import nn
from hpcmp.errors import ProgramError

CALLS = {
    "more relations than there are": (lambda view, x: nn.RGCN(3, 2, 5)(view, x), "of 5 relations, the graph has 0"),
    "an edge field": (lambda view, x: nn.propagate(view, first, x, edge=("cost",)), "no edge field 'cost'"),
    "an aggregate": (lambda view, x: nn.propagate(view, first, x, aggregate="median"), "'median' is not one of"),
    "dropout of edges": (lambda view, x: nn.propagate(view, thinned, x), "dropout within a message"),
}


def first(src, dst, edge):
    return src


def thinned(src, dst, edge):
    return nn.dropout(src, 0.5)


@pytest.mark.parametrize("what", CALLS)
def test_what_does_not_fit_is_refused(comm, what):
    call, text = CALLS[what]
    view = nn.View(build(comm, GRAPHS["undirected"], n_parts=5))
    view.begin(0, True)
    assert text in agreed_error(comm, ProgramError, lambda: call(view, rows(view, 3)))
    assert np.isfinite(nn.mean_neighbours(rows(view, 3)).data).all()
