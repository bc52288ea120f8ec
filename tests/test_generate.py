"""Generated graphs: functions of numbers, so the same on any ranks."""

import naive
import numpy as np
import pytest

from hpcmp import generate
from hpcmp.errors import InputError

MAKERS = {
    "kronecker": lambda comm: generate.kronecker(comm, 4, 3, seed=5, weights=(1, 9, "int")),
    "erdos_renyi": lambda comm: generate.erdos_renyi(comm, 11, 37, seed=2, weights=(-0.5, 0.5), directed=True),
    "grid": lambda comm: generate.grid(comm, 3, 5, weights=(0, 1)),
    "ring": lambda comm: generate.ring(comm, 7, weights=(0, 1)),
}


def listed(comm, table):
    """(edges with weights, declared vertices), in the order of ranks, the same on all ranks."""
    weight = table.fields.get("weight", np.zeros(len(table.src)))
    edges = list(zip(table.src.tolist(), table.dst.tolist(), weight.tolist()))
    joined = comm.allgather((edges, table.vertices.tolist()))
    return [e for part, _ in joined for e in part], [v for _, part in joined for v in part]


@pytest.mark.parametrize("name", MAKERS)
def test_edges_are_the_same_on_any_ranks(comm, name):
    alone = comm.Split(comm.rank)
    assert listed(comm, MAKERS[name](comm)) == listed(alone, MAKERS[name](alone))
    alone.Free()


def test_kronecker_edges_are_those_of_the_naive_twin(comm):
    edges, vertices = listed(comm, generate.kronecker(comm, 5, 4, seed=9))
    assert [e[:2] for e in edges] == naive.kronecker(5, 4 * 32, generate.GRAPH500, 9)
    assert vertices == list(range(32))


@pytest.mark.parametrize("scale", [0, 1, 2, 3, 7])
def test_vertex_numbers_are_shuffled_by_a_permutation(scale):
    from hpcmp.kernels.generators import shuffled

    with np.errstate(over="ignore"):
        found = [int(shuffled(np.uint64(x), scale, 3)) for x in range(2**scale)]
    assert sorted(found) == list(range(2**scale))
    assert found == [naive.shuffled(x, scale, 3) for x in range(2**scale)]


def test_weights_are_functions_of_the_edge_and_in_range(comm):
    edges, _ = listed(comm, MAKERS["kronecker"](comm))
    assert {w for *_, w in edges} == set(range(1, 10))
    edges, _ = listed(comm, MAKERS["erdos_renyi"](comm))
    assert [w for *_, w in edges] == [-0.5 + naive.uniform(2, 0, 3, e) * 1.0 for e in range(37)]


@pytest.mark.parametrize("height, width", [(0, 0), (0, 4), (1, 1), (1, 6), (5, 1), (3, 4)])
def test_a_grid_joins_vertices_side_by_side(comm, height, width):
    edges, vertices = listed(comm, generate.grid(comm, height, width))
    at = {r * width + c: (r, c) for r in range(height) for c in range(width)}
    expected = {(a, b) for a in at for b in at if a < b and sum(abs(x - y) for x, y in zip(at[a], at[b])) == 1}
    assert sorted(e[:2] for e in edges) == sorted(expected)
    assert vertices == list(at)


@pytest.mark.parametrize("n, expected", [(0, []), (1, []), (2, [(0, 1)]), (3, [(0, 1), (1, 2), (2, 0)])])
def test_a_ring_joins_each_to_the_next(comm, n, expected):
    edges, vertices = listed(comm, generate.ring(comm, n))
    assert [e[:2] for e in edges] == expected
    assert vertices == list(range(n))


def test_erdos_renyi_draws_every_vertex_alike(comm):
    edges, _ = listed(comm, generate.erdos_renyi(comm, 10, 4000, seed=1))
    for side in (0, 1):
        counts = np.bincount([e[side] for e in edges], minlength=10)
        assert np.all(np.abs(counts - 400) < 5 * 20)


def test_a_product_joins_pairs_whose_parts_are_joined(comm):
    first = (np.array([0, 1, 1, 2]), np.array([1, 0, 2, 1]), 3)
    second = (np.array([0, 1, 0]), np.array([1, 0, 0]), 2)
    edges, vertices = listed(comm, generate.product(comm, first, second, directed=True))
    a, b = list(zip(*first[:2])), list(zip(*second[:2]))
    assert sorted(e[:2] for e in edges) == sorted((i * 2 + k, j * 2 + l) for i, j in a for k, l in b)
    assert vertices == list(range(6))


def test_a_factor_is_read_both_ways(comm, shared_tmp):
    path = shared_tmp / "factor.txt"
    if comm.rank == 0:
        path.write_text("4\n0 1 5\n1 3 2\n")
    comm.Barrier()
    src, dst, n = generate.read_factor(path)
    assert (src.tolist(), dst.tolist(), n) == ([0, 1, 1, 3], [1, 3, 0, 1], 4)


@pytest.mark.parametrize("text", ["", "x\n0 1\n", "2\n0 2\n", "2\n0\n", "2\n-1 0\n"])
def test_a_file_that_is_no_factor_is_refused(tmp_path, text):
    path = tmp_path / "factor.txt"
    path.write_text(text)
    with pytest.raises(InputError, match="factor.txt"):
        generate.read_factor(path)


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda comm: generate.kronecker(comm, 41), "scale = 41 is outside"),
        (lambda comm: generate.kronecker(comm, -1), "scale = -1 is outside"),
        (lambda comm: generate.kronecker(comm, 3, -2), "edge factor -2 is negative"),
        (lambda comm: generate.erdos_renyi(comm, 0, 3), "3 edges need at least one vertex"),
        (lambda comm: generate.erdos_renyi(comm, -2, 0), "vertices = -2 is outside"),
        (lambda comm: generate.erdos_renyi(comm, 5, -1), "edges = -1 is outside"),
        (lambda comm: generate.grid(comm, 2, -1), "width = -1 is outside [0, "),
        (lambda comm: generate.grid(comm, 2**40, 2**40), "is outside"),
        (lambda comm: generate.ring(comm, -4), "vertices = -4 is outside [0, "),
    ],
)
def test_impossible_graphs_are_refused(comm, make, text):
    with pytest.raises(InputError) as caught:
        make(comm)
    assert text in str(caught.value)
