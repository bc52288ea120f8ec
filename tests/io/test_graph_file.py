"""Graph files: written with P ranks, read with Q, everything kept bit for bit."""

import h5py
import naive
import numpy as np
import pytest
from building import agreed_error, build, everywhere, listed_edges, share, table
from graphs import GRAPHS, NAMES, ZOO

import hpcmp
from hpcmp.errors import FileError, FormatError
from hpcmp.graph import digest_of
from hpcmp.io.table import EdgeTable, VertexTable

KINDS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "float32", "float64")


def said(holder, name):
    """A text attribute, of fixed length in the file."""
    return holder.attrs[name].decode()


def other_sizes(comm):
    """(ranks, communicator of so many or None here), of every number of ranks but ours."""
    for size in range(1, comm.size):
        part = comm.Split(int(comm.rank >= size), comm.rank)
        yield size, part if comm.rank < size else None
        part.Free()


def rich(comm, deal="cyclic"):
    """A graph with fields of every type, names, relations and categories."""
    n, m, rng = 23, 90, np.random.default_rng(4)
    names = np.array([b"v%d" % (k * k) for k in range(n)], "S7")
    mine, own = share(comm, m, deal), share(comm, n, deal)
    edge = {f"e_{t}": column(rng, m, t)[mine] for t in KINDS}
    vertex = {f"f_{t}": column(rng, n, t, 3 if k % 2 else None)[own] for k, t in enumerate(KINDS)}
    src, dst, relation = rng.integers(0, n, m)[mine], rng.integers(0, n, m)[mine], rng.integers(0, 3, m)[mine]
    given = EdgeTable(
        names[src],
        names[dst],
        edge,
        relation.astype(np.uint16),
        ("cites", "knows", "wrote ü"),
        vertices=np.empty(0, "S7"),
        directed=True,
        sources=({"name": "made.tsv", "bytes": 1, "sha256": "0"},),
    )
    codes = {"role": (own % 2).astype(np.int32)}
    vertices = VertexTable(names[own], vertex | codes, {"role": ("test", "tränieren")})
    return hpcmp.build_graph(comm, given, vertices=vertices, n_parts=7)[0]


def column(rng, n, dtype, width=None):
    raw = rng.standard_normal(n if width is None else (n, width)) * 1000
    with np.errstate(all="ignore"):
        made = np.abs(raw).astype(dtype) if dtype.startswith("u") else raw.astype(dtype)
    if dtype.startswith("float"):
        made.reshape(-1)[:3] = [np.nan, np.inf, -0.0] if width else [1e-310, np.inf, 0.1]
    return made


def told(graph):
    """All that a graph says, by id and the same on all ranks."""
    vertex = {k: everywhere(graph, a) for k, a in graph.vertex_fields.items()}
    return repr(
        (
            [sorted(vertex.items()), listed_edges_sorted(graph), sorted(graph.edge_fields), graph.relations],
            [graph.categories, graph.sources, graph.directed, graph.n_vertices, graph.n_edges, graph.digest],
            [None if graph.name is None else sorted(everywhere(graph, graph.name).items())],
            sorted(everywhere(graph, graph.out_degree).items()),
            sorted(everywhere(graph, graph.order).items()),
            graph.part_start.tolist(),
            sorted((k, str(a.dtype)) for k, a in (*graph.vertex_fields.items(), *graph.edge_fields.items())),
        )
    )


def listed_edges_sorted(graph):
    return sorted(listed_edges(graph), key=repr)


def test_a_graph_written_with_p_ranks_is_the_same_read_with_q(comm, shared_tmp):
    graph = rich(comm)
    assert digest_of(graph) == graph.digest
    before = told(graph)
    hpcmp.write_graph(graph, shared_tmp / "g.h5")
    back = hpcmp.open_graph(comm, shared_tmp / "g.h5")
    assert told(back) == before
    assert digest_of(back) == graph.digest
    for size, part in other_sizes(comm):
        if part is not None:
            other = hpcmp.open_graph(part, shared_tmp / "g.h5")
            assert told(other) == before
            hpcmp.write_graph(other, shared_tmp / f"again{size}.h5")
            other.close()
        comm.Barrier()
        again = hpcmp.open_graph(comm, shared_tmp / f"again{size}.h5")
        assert told(again) == before
        again.close()
    graph.close()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", [None, "hash"])
def test_awkward_graphs_return_from_files_and_run_with_the_same_bits(comm, shared_tmp, name, method):
    graph = build(comm, GRAPHS[name], method=method)
    hpcmp.write_graph(graph, shared_tmp / "g.h5")
    back = hpcmp.open_graph(comm, shared_tmp / "g.h5")
    assert told(back) == told(graph)
    assert sorted(listed_edges(back)) == sorted((s, d, 0, w) for s, d, w in naive.edges_of(GRAPHS[name]))
    if name == "zoo":
        import programs as p

        assert hpcmp.run(p.AGGREGATES["sum"], back, 2).digest == hpcmp.run(p.AGGREGATES["sum"], graph, 2).digest
    back.close()


def test_a_file_is_plain_hdf5_in_canonical_order(comm, shared_tmp):
    graph = rich(comm)
    hpcmp.write_graph(graph, shared_tmp / "g.h5", command="a test")
    if comm.rank == 0:
        with h5py.File(shared_tmp / "g.h5") as handle:
            assert said(handle, "format") == "hpcmp-graph"
            assert said(handle, "digest") == graph.digest
            assert handle.attrs["directed"]
            assert "made.tsv" in said(handle, "sources")
            ptr, src = handle["in_edges/ptr"][:], handle["in_edges/src"][:]
            assert ptr[0] == 0 and ptr[-1] == len(src) == graph.n_edges
            order, relation = handle["vertices/order"][:], handle["in_edges/relation"][:]
            for lo, hi in zip(ptr[:-1], ptr[1:]):
                keys = list(zip(relation[lo:hi], order[src[lo:hi]]))
                assert keys == sorted(keys)
            assert sorted(handle["vertices/id"][:]) == list(range(graph.n_vertices))
            assert handle["parts/start"][:].tolist() == graph.part_start.tolist()
    comm.Barrier()


def test_the_same_graph_is_the_same_file_whoever_wrote_it(comm, shared_tmp):
    graph = rich(comm)
    hpcmp.write_graph(graph, shared_tmp / "all.h5")
    for size, part in other_sizes(comm):
        if part is not None:
            own = rich(part, "shuffled")
            hpcmp.write_graph(own, shared_tmp / f"{size}.h5")
            own.close()
        comm.Barrier()
        if comm.rank == 0:
            with h5py.File(shared_tmp / "all.h5") as a, h5py.File(shared_tmp / f"{size}.h5") as b:
                names = []
                a.visit(names.append)
                for name in names:
                    if isinstance(a[name], h5py.Dataset):
                        x, y = a[name][()], b[name][()]
                        assert x.dtype == y.dtype and x.tobytes() == y.tobytes() or x.dtype.kind == "O", name
        comm.Barrier()
    graph.close()


def test_only_the_fields_asked_for_are_read(comm, shared_tmp):
    graph = rich(comm)
    hpcmp.write_graph(graph, shared_tmp / "g.h5")
    back = hpcmp.open_graph(comm, shared_tmp / "g.h5", vertex_fields=["f_int8"], edge_fields=[])
    assert list(back.vertex_fields) == ["f_int8"] and not back.edge_fields
    assert everywhere(back, back.vertex_fields["f_int8"]) == everywhere(graph, graph.vertex_fields["f_int8"])
    assert sorted(e[:3] for e in listed_edges(back)) == sorted(e[:3] for e in listed_edges(graph))


def test_more_ranks_than_parts_is_legal(comm, shared_tmp):
    graph, _ = hpcmp.build_graph(comm, table(comm, ZOO), n_parts=2)
    hpcmp.write_graph(graph, shared_tmp / "g.h5")
    back = hpcmp.open_graph(comm, shared_tmp / "g.h5")
    assert told(back) == told(graph)
    assert sum(n > 0 for n in comm.allgather(back.n_owned)) <= 2


def test_a_file_that_cannot_be_written_leaves_what_was_there(comm, shared_tmp):
    graph = build(comm, GRAPHS["random"])
    text = agreed_error(comm, FileError, lambda: hpcmp.write_graph(graph, shared_tmp / "no" / "g.h5"))
    assert str(shared_tmp / "no") in text
    folder = shared_tmp / "folder.h5"
    if comm.rank == 0:
        folder.mkdir()
    comm.Barrier()
    agreed_error(comm, FileError, lambda: hpcmp.write_graph(graph, folder))
    assert sorted(p.name for p in shared_tmp.iterdir()) == ["folder.h5"]


DAMAGE = {
    "a pointer that goes back": ("in_edges/ptr", 5, 10**6, FormatError),
    "a source out of range": ("in_edges/src", 3, 60, FormatError),
    "a source below zero": ("in_edges/src", 3, -1, FormatError),
    "an order out of range": ("vertices/order", 0, 60, FormatError),
    "parts that go back": ("parts/start", 1, 10**6, FormatError),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_file_is_refused_on_every_rank(comm, shared_tmp, what):
    name, row, value, kind = DAMAGE[what]
    hpcmp.write_graph(build(comm, GRAPHS["random"]), shared_tmp / "g.h5")
    if comm.rank == 0:
        with h5py.File(shared_tmp / "g.h5", "r+") as handle:
            handle[name][row] = value
    comm.Barrier()
    text = agreed_error(comm, kind, lambda: hpcmp.open_graph(comm, shared_tmp / "g.h5"))
    assert "g.h5" in text and name in text


def test_what_is_no_graph_file_is_refused_on_every_rank(comm, shared_tmp):
    if comm.rank == 0:
        (shared_tmp / "text.h5").write_text("1 2\n")
        h5py.File(shared_tmp / "foreign.h5", "w").close()
    comm.Barrier()
    for name, kind, text in (
        ("missing.h5", FileError, "does not exist"),
        ("", FileError, "is a folder"),
        ("text.h5", FormatError, "is not an HDF5 file"),
        ("foreign.h5", FormatError, "not one of hpcmp's"),
    ):
        assert text in agreed_error(comm, kind, lambda name=name: hpcmp.open_graph(comm, shared_tmp / name))
