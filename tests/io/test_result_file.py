"""Result files: rows in ascending id, the same bits whatever ranks wrote them."""

import json

import h5py
import numpy as np
import programs as p
import pytest
from building import agreed_error, build
from graphs import GRAPHS, NAMES, ZOO

import hpcmp
from hpcmp.errors import FileError, FormatError, GraphError
from hpcmp.graph import with_vertex_field
from hpcmp.io.result_file import read_field_for

FOUND = {}  # name -> bytes of all datasets, whatever ranks wrote them


def said(holder, name):
    """A text attribute, of fixed length in the file."""
    return holder.attrs[name].decode()


def run(comm, name="zoo", method="hash", steps=2):
    graph = build(comm, GRAPHS[name], method=method)
    return hpcmp.run(p.FIELDS, graph, steps, params={"scale": 4.0}, step_digests=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_result_returns_from_its_file_bit_for_bit(comm, shared_tmp, name):
    result = run(comm, name)
    result.write(shared_tmp / "r.h5", command="a test")
    for method in ("hash", "block"):
        graph = build(comm, GRAPHS[name], method=method)
        again = run(comm, name, method)
        for field in result.state:
            column = read_field_for(graph, shared_tmp / "r.h5", field)
            assert column.dtype == again[field].dtype
            assert np.array_equal(column, again[field])
    if comm.rank == 0:
        with h5py.File(shared_tmp / "r.h5") as handle:
            rows = {k: handle[k][()].tobytes() for k in ("id", *result.state)}
            assert handle["id"][()].tolist() == GRAPHS[name].ids.tolist()
            assert said(handle, "digest") == result.digest
            assert FOUND.setdefault(name, rows) == rows
    comm.Barrier()


def test_the_file_holds_the_account_of_the_run(comm, shared_tmp):
    result = run(comm)
    result.write(shared_tmp / "r.h5", command="hpcmp run fields")
    if comm.rank == 0:
        with h5py.File(shared_tmp / "r.h5") as handle:
            attrs = handle.attrs
            assert said(handle, "format") == "hpcmp-result"
            assert json.loads(said(handle, "params")) == {"scale": 4.0}
            assert attrs["n_steps"] == 2 and attrs["size"] == comm.size and attrs["threads"] == 1
            assert said(handle, "graph_digest") == result.graph.digest
            assert json.loads(said(handle, "halo"))["rows"] == result.halo["rows"]
            for group, made in (("steps", result.steps), ("ranks", result.ranks)):
                assert set(handle[group]) == set(made)
                for column, values in made.items():
                    assert np.array_equal(handle[group][column][()], np.asarray(values)), column
            assert said(handle["steps/total_s"], "units") == "s"
            assert handle["share"].dims[0][0].name == "/id"
    comm.Barrier()


def test_a_vector_field_has_a_dimension_of_channels(comm, shared_tmp):
    graph = with_vertex_field(build(comm, ZOO), "mass", np.ones(build(comm, ZOO).n_owned))
    graph = with_vertex_field(graph, "pull", np.zeros((graph.n_owned, 8), np.float32))
    result = hpcmp.run(p.CHANNELS, graph, 1)
    result.write(shared_tmp / "r.h5")
    if comm.rank == 0:
        with h5py.File(shared_tmp / "r.h5") as handle:
            assert handle["h"].shape == (len(ZOO.ids), 8)
            assert handle["h"].dims[1][0].name == "/h_channel"
            assert handle["h_channel"][()].tolist() == list(range(8))
    comm.Barrier()
    assert np.array_equal(read_field_for(graph, shared_tmp / "r.h5", "h"), result["h"])


def test_xarray_opens_a_result_as_it_is(comm, shared_tmp):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    run(comm).write(shared_tmp / "r.h5")
    if comm.rank == 0:
        with xarray.open_dataset(shared_tmp / "r.h5", engine="h5netcdf") as found:
            assert found["share"].dims == ("id",)
            assert found["id"].values.tolist() == ZOO.ids.tolist()
    comm.Barrier()


def test_a_file_of_another_graph_or_without_the_field_is_refused_on_every_rank(comm, shared_tmp):
    run(comm, "random").write(shared_tmp / "r.h5")
    graph = build(comm, GRAPHS["random"])
    text = agreed_error(comm, FormatError, lambda: read_field_for(graph, shared_tmp / "r.h5", "speed"))
    assert "speed" in text
    other = build(
        comm,
        GRAPHS["random"]._replace(
            ids=GRAPHS["random"].ids + 3, src=GRAPHS["random"].src + 3, dst=GRAPHS["random"].dst + 3
        ),
    )
    text = agreed_error(comm, GraphError, lambda: read_field_for(other, shared_tmp / "r.h5", "share"))
    assert "is of another graph: its ids differ" in text
    text = agreed_error(
        comm, FormatError, lambda: read_field_for(build(comm, GRAPHS["star"]), shared_tmp / "r.h5", "share")
    )
    assert "60 rows" in text


def test_a_result_that_cannot_be_written_leaves_what_was_there(comm, shared_tmp):
    result = run(comm, "random")
    result.write(shared_tmp / "r.h5")
    before = (shared_tmp / "r.h5").read_bytes()
    comm.Barrier()
    agreed_error(comm, FileError, lambda: result.write(shared_tmp / "no" / "r.h5"))
    result.write(shared_tmp / "r.h5", command="again")
    assert (shared_tmp / "r.h5").read_bytes() != before
    assert sorted(f.name for f in shared_tmp.iterdir()) == ["r.h5"]
