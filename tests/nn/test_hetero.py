"""Vertices of several types: against plain loops, differences, and the same bits on any ranks."""

import numpy as np
import pytest
from building import agreed_error, everywhere, listed_edges
from learned import bits, numbers, rows
from learned_types import KEYS, RELATIONS, TYPES, typed_view
from mpi4py import MPI

from hpcmp import nn
from hpcmp.errors import ProgramError
from hpcmp.graph import with_edge_field
from hpcmp.nn.tape import backward

WIDTHS = {"author": 2, "paper": 5, "venue": 0}
WIDTH = 5


class Net(nn.Module):
    def __init__(self, aggregate="sum"):
        self.first = nn.TypedLinear(WIDTHS, 4)
        self.second = nn.HeteroConv({key: nn.SAGE(4, 3) for key in KEYS}, aggregate)

    def __call__(self, graph, x):
        return self.second(graph, nn.dropout(nn.tanh(self.first(graph, x)), 0.25))


class Heard(nn.Module):
    """The sum of what is heard."""

    def __call__(self, graph, x):
        return nn.sum_neighbours(x)


@pytest.mark.parametrize("aggregate", ["mean", "max"])
def test_gradients_are_those_of_differences(comm, aggregate):
    graph = typed_view(comm).graph
    x = np.sin(graph.order[:, None] * 1.7 + np.arange(WIDTH) * 2.3)
    assert nn.gradcheck(Net(aggregate), graph, x, step=1e-6) < 1e-6


@pytest.mark.parametrize("aggregate", ["sum", "mean", "max", "min"])
def test_ranks_and_threads_change_no_bit(comm, aggregate):
    alone = bits(typed_view(MPI.COMM_SELF, np.float32), Net(aggregate), WIDTH)
    assert bits(typed_view(comm, np.float32), Net(aggregate), WIDTH) == alone
    assert bits(typed_view(comm, np.float32, threads=3), Net(aggregate), WIDTH) == alone


def test_every_type_has_a_product_of_its_own(comm):
    view = typed_view(comm)
    layer, x = nn.TypedLinear(WIDTHS, 3), rows(view, WIDTH)
    layer.initialise(view)
    for lin in layer.lins.values():
        lin.bias.data = lin.bias.data + np.arange(3) * 0.5 + 0.1
    out, d = layer(view, x), numbers(view, 3, 1)
    backward(out, d)
    found, by_id, given, dx = (everywhere(view.graph, a) for a in (out.data, x.data, d, x.grad))
    dw = {name: np.zeros((width, 3)) for name, width in WIDTHS.items()}
    for v, row in found.items():
        name = TYPES[v % 3]
        lin, own = layer.lins[name], np.array(by_id[v][: WIDTHS[name]])
        assert np.allclose(row, own @ lin.weight.data + lin.bias.data[0], rtol=1e-12)
        expected = np.zeros(WIDTH)
        expected[: WIDTHS[name]] = lin.weight.data @ given[v]
        assert np.allclose(dx[v], expected, rtol=1e-12, atol=1e-12)
        dw[name] += np.outer(own, given[v])
    for name, lin in layer.lins.items():
        assert np.allclose(lin.weight.grad, dw[name], rtol=1e-10, atol=1e-12)
        assert np.allclose(lin.bias.grad[0], sum(np.array(given[v]) for v in given if TYPES[v % 3] == name))


@pytest.mark.parametrize("aggregate", ["sum", "mean", "max", "min"])
def test_relations_are_joined_as_a_plain_loop_does(comm, aggregate):
    view = typed_view(comm)
    x = rows(view, 2)
    found = everywhere(view.graph, nn.HeteroConv({key: Heard() for key in KEYS}, aggregate)(view, x).data)
    by_id = {v: np.array(row) for v, row in everywhere(view.graph, x.data).items()}
    heard = {v: {key[1]: np.zeros(2) for key in KEYS if key[2] == TYPES[v % 3]} for v in by_id}
    for src, dst, relation, *_ in listed_edges(view.graph):
        heard[dst][RELATIONS[relation]] += by_id[src]
    reduce = {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min}[aggregate]
    for v, got in found.items():
        assert np.allclose(got, reduce(list(heard[v].values()), axis=0), rtol=1e-12, atol=1e-12)


def test_a_relation_may_be_named_without_types_and_others_left_out(comm):
    view = typed_view(comm)
    x = rows(view, 2)
    one = everywhere(view.graph, nn.HeteroConv({"cites": Heard()})(view, x).data)
    assert one == everywhere(view.graph, nn.HeteroConv({KEYS[2]: Heard()})(view, x).data)
    assert any(map(any, one.values())) and not any(any(row) for v, row in one.items() if v % 3 != 1)


def test_types_and_relations_that_do_not_fit_are_refused(comm):
    view = typed_view(comm)
    x = rows(view, WIDTH)

    def text_of(layer, tensor=x):
        return agreed_error(comm, ProgramError, lambda: layer(view, tensor))

    assert "type 'venue'" in text_of(nn.TypedLinear({"author": 2, "paper": 5}, 3))
    assert "5 columns, a type 7" in text_of(nn.TypedLinear({**WIDTHS, "paper": 7}, 3))
    assert "no vertex field 'kind'" in text_of(nn.TypedLinear(WIDTHS, 3, field="kind"))
    assert "beyond its 2 columns" in text_of(nn.TypedLinear(WIDTHS, 3), view.tensor(np.ones((view.n_owned, WIDTH))))
    beyond = nn.TypedLinear(WIDTHS, 3)
    beyond.initialise(view)
    beyond(view, x)  # of rows that a layer may have given, what is beyond is not read
    assert "no relation 'reads'" in text_of(nn.HeteroConv({("author", "reads", "paper"): Heard()}))
    assert "type 'reader'" in text_of(nn.HeteroConv({("reader", "writes", "paper"): Heard()}))
    assert "120 edges" in text_of(nn.HeteroConv({("paper", "writes", "paper"): Heard()}))
    widths = nn.HeteroConv({KEYS[0]: nn.SAGE(5, 3), KEYS[1]: nn.SAGE(5, 4)})
    widths.initialise(view)
    assert "3, 4 columns" in text_of(widths)
    with pytest.raises(ProgramError, match="without a relation"):
        nn.HeteroConv({})
    with pytest.raises(ProgramError, match="not one of"):
        nn.HeteroConv({"cites": Heard()}, "cat")


def test_edge_fields_go_with_their_relations(comm):
    view = typed_view(comm)
    graph = with_edge_field(view.graph, "by", view.graph.relation.astype(np.float64))
    message = nn.by_channel(lambda src, dst, edge: edge.by + 0.0 * src, lambda src, dst, edge: (0.0, 0.0))

    class Fields(nn.Module):
        def __call__(self, part, x):
            return nn.propagate(part, message, x, aggregate="max")

    typed = nn.View(graph, dtype=np.float64)
    out = everywhere(graph, nn.HeteroConv({KEYS[3]: Fields()})(typed, rows(typed, 1)).data)
    heard = {dst for _, dst, relation, *_ in listed_edges(graph) if relation == 1}
    assert all(row[0] == (1.0 if v in heard else 0.0) for v, row in out.items())
