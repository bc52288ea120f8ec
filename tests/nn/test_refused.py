"""What does not fit the graph is refused before a kernel sees it, alike on all ranks."""

import dataclasses
import re

import numpy as np
import pytest
from building import agreed_error, build
from graphs import GRAPHS, sample
from learned import numbers, rows

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


def changed(name, place, value):
    """Vertex fields to learn from, with one number changed: where it is, and what it is then."""

    def fields(graph):
        made = {"x": numbers(nn.View(graph), 2), "label": graph.order % 3, "split": graph.order % 3}
        if place is None:
            made[name] = np.full_like(made[name], value)
        else:
            made[name][graph.order == place] = value
        return made

    return fields


FITS = {  # what is wrong -> (fields, model, message)
    "a feature that is nan": (changed("x", 7, np.nan), (2, 3), r"vertex 7 has a feature that is no number in 'x'"),
    "a label far away": (changed("label", 7, 10**12), (2, 3), r"vertex 7 has the label 1000000000000 in 'label'"),
    "a class without an output": (changed("label", 9, 5), (2, 3), r"vertex 9 has label 5, outside \[0, 3\)"),
    "nothing to train on": (changed("split", None, 2), (2, 3), r"no vertex with a label is in the split 'train'"),
    "no labels": (changed("label", None, -1), (2, 3), r"no vertex with a label is in the split 'train'"),
    "features of another width": (changed("x", 7, 1), (5, 3), r"rows of width 2 meet the weight weight \(5, 3\)"),
}


@pytest.mark.parametrize(
    "told, text",
    [
        ({"select": "bset"}, "select 'bset' is not one of last, best"),
        ({"select": "best"}, "the best epoch by val_accuracy needs vertices in the split 'val'"),
        ({"patience": 3}, "patience by val_accuracy needs vertices in the split 'val'"),
    ],
)
def test_what_goes_by_a_split_that_is_empty_is_refused(comm, told, text):
    graph = build(comm, RING, n_parts=5)
    fields = changed("split", None, 0)(graph)
    without = dataclasses.replace(graph, vertex_fields=fields)
    assert text in agreed_error(comm, ProgramError, lambda: nn.fit(nn.GCN(2, 3), without, epochs=1, **told))
    assert nn.fit(nn.GCN(2, 3), without, epochs=1).n_epochs == 1


RING = sample(range(20), [(k, (k + 1) % 20) for k in range(20)], weight=np.ones(20))


@pytest.mark.parametrize("what", FITS)
def test_fields_that_do_not_fit_are_refused(comm, what):
    fields, widths, text = FITS[what]
    graph = build(comm, RING, n_parts=5)  # whose ids are their order
    wrong = dataclasses.replace(graph, vertex_fields=fields(graph))
    found = agreed_error(comm, ProgramError, lambda: nn.fit(nn.GCN(*widths), wrong, epochs=1))
    assert re.search(text, found), found
    right = dataclasses.replace(graph, vertex_fields=changed("x", 7, 1)(graph))
    assert nn.fit(nn.GCN(2, 3), right, epochs=1).n_epochs == 1
