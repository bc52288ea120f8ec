"""Results read back: arrays, tables, views, and the digest."""

import subprocess
import sys

import h5py
import launch as launching
import numpy as np
import pytest
import samples
from hypothesis import given
from hypothesis import strategies as st

import hpcmp
from hpcmp import analysis
from hpcmp.analysis import check, frame
from hpcmp.errors import FormatError, GraphError, MissingExtraError
from hpcmp.hashing import DIGEST_ROWS

xarray = pytest.importorskip("xarray")
pytest.importorskip("h5netcdf")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return analysis.open(samples.write_run(tmp_path_factory.mktemp("run") / "run.h5", steps=3, step_digests=True))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A result with a field of every kind, and names."""
    path = tmp_path_factory.mktemp("mixed") / "mixed.h5"
    state = {
        "flag": np.array([True, False, True]),
        "small": np.array([-1, 0, 1], np.int8),
        "big": np.array([2**63 - 1, 0, -(2**63)]),
        "single": np.array([0.1, np.nan, -np.inf], np.float32),
        "vector": np.arange(6, dtype=np.float32).reshape(3, 2),
    }
    return analysis.open(samples.write_state(path, samples.named_graph(), **state)), state


def wide_result(path, n):
    ids = np.arange(n) * 3
    of = samples.graph(ids, ids, None)
    return samples.write_state(path, of, value=np.sqrt(ids), flag=ids % 2 == 0)


def test_rows_come_back_in_ascending_id(run):
    assert run.id.tolist() == [10, 20, 30, 70, 90]
    assert run["hops"].tolist() == [0.0, 1.0, 1.0, np.inf, np.inf]
    assert run.name is None
    assert run.fields == {"hops": frame.Field(np.dtype("f8"))}


def test_the_record_of_the_run_comes_back(run):
    assert (run.program, run.params) == ("hops", {"source": 10, "times": 1.0})
    assert (run.n_vertices, run.n_edges, run.n_steps, run.size, run.threads) == (5, 7, 3, 1, 1)
    assert run.values == {"reached": 3}
    assert run.provenance["command"] == "made by a test"
    assert run.provenance["hpcmp_version"] == hpcmp.__version__
    assert run.steps["step"].tolist() == [0, 1, 2]
    assert run.steps["active"].tolist() == [5, 5, 5]
    assert run.steps["messages"].tolist() == [7, 7, 7]
    assert run.steps["value_reached"].tolist() == [3, 3, 3]  # after each step
    assert run.ranks["n_owned"].tolist() == [5]
    assert isinstance(run.ranks["host"][0], str)


def test_every_kind_of_field_and_names_come_back_as_they_were(mixed):
    result, state = mixed
    assert list(result.name) == ["ann", "böb", "zoe"]
    for name, a in state.items():
        assert result[name].dtype == a.dtype
        np.testing.assert_array_equal(result[name], a)


def test_the_digest_is_that_of_the_rows(run, mixed):
    assert run.verify_digest() == run.compute_digest() == run.digest
    assert mixed[0].verify_digest() == mixed[0].digest


def test_the_digest_does_not_depend_on_blocks(tmp_path, monkeypatch):
    result = analysis.open(wide_result(tmp_path / "r.h5", 2 * DIGEST_ROWS + 5))
    monkeypatch.setattr(frame, "BLOCK_ROWS", DIGEST_ROWS)
    assert result.verify_digest() == result.digest


@pytest.mark.parametrize("field", ["id", "hops"])
def test_a_flipped_byte_in_the_rows_is_found(run, tmp_path, field):
    with h5py.File(run.path) as handle:
        at = handle[field].id.get_offset() + 3
    content = bytearray(run.path.read_bytes())
    content[at] ^= 1
    path = tmp_path / "flipped.h5"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="flipped.h5: the rows have the digest .*, the file says .*; it was changed"):
        analysis.open(path).verify_digest()


def test_check_finds_ids_that_do_not_rise(run, tmp_path):
    path = samples.changed(run.path, tmp_path / "bad.h5", lambda f: f["id"].__setitem__(2, 20))
    with pytest.raises(FormatError, match="ids must rise, 20 comes after 20"):
        check.check_result(analysis.open(path))


def test_check_finds_a_table_that_does_not_count(run, tmp_path):
    path = samples.changed(run.path, tmp_path / "bad.h5", lambda f: f["steps/step"].__setitem__(1, 7))
    with pytest.raises(FormatError, match="table steps does not count 0 .. 2"):
        check.check_result(analysis.open(path))


@given(st.lists(st.sampled_from([0.0, 1.0, -1.0, np.inf, -np.inf, 2.5]), min_size=1, max_size=12), st.integers(0, 15))
def test_top_is_the_head_of_the_sorted_vertices(tmp_path_factory, values, k):
    path = tmp_path_factory.mktemp("top") / "r.h5"
    ids = np.arange(len(values)) * 2
    samples.write_state(path, samples.graph(ids, ids, None), value=np.array(values))
    found = analysis.open(path).top("value", k)
    expected = sorted(zip(ids.tolist(), values, strict=True), key=lambda row: (-row[1], row[0]))[:k]
    assert list(zip(found[0].tolist(), found[1].tolist(), strict=True)) == expected


def test_top_does_not_depend_on_blocks(tmp_path, monkeypatch):
    result = analysis.open(wide_result(tmp_path / "r.h5", 1000))
    whole = result.top("flag", 20)
    monkeypatch.setattr(frame, "BLOCK_ROWS", 7)
    parts = result.top("flag", 20)
    assert whole[0].tolist() == parts[0].tolist() == [6 * k for k in range(20)]
    assert whole[1].all()


def test_top_puts_nan_last_and_needs_a_scalar_field(mixed):
    assert mixed[0].top("single", 1)[0].tolist() == [0]
    with pytest.raises(GraphError, match="vector has 2 channels; top needs a field of one value"):
        mixed[0].top("vector", 1)


def test_an_unknown_field_is_named_with_those_there_are(run):
    with pytest.raises(GraphError, match="'rank' is not a field of .*run.h5 .it has: hops."):
        run["rank"]


def test_pandas_frames_have_ids_steps_and_ranks_as_index(run, mixed):
    assert run.to_pandas().loc[20, "hops"] == 1.0
    assert run.to_pandas().index.name == "id"
    assert run.steps_frame().loc[2, "value_reached"] == 3
    assert run.ranks_frame().loc[0, "n_in_edges"] == 7
    table = mixed[0].to_pandas()
    assert list(table.columns) == ["name", "big", "flag", "single", "small", "vector_0", "vector_1"]
    assert table["name"].tolist() == ["ann", "böb", "zoe"]


def test_to_xarray_shows_what_open_dataset_shows(run, mixed):
    for result in (run, mixed[0]):
        with xarray.open_dataset(result.path, engine="h5netcdf") as found:
            ours = result.to_xarray()
            assert set(found.dims) == set(ours.dims)
            for name in result.fields:
                assert found[name].dims == ours[name].dims
                np.testing.assert_array_equal(found[name].values, ours[name].values)
            assert found["id"].values.tolist() == result.id.tolist()


def test_open_dataset_shows_the_dimension_and_the_coordinate_id(run, mixed):
    with xarray.open_dataset(run.path, engine="h5netcdf") as found:
        assert found["hops"].dims == ("id",)
        assert "id" in found.coords
        assert found["hops"].sel(id=20) == 1.0
        assert found["hops"].attrs["long_name"] == "hops of the vertex"
        assert found.attrs["digest"] == run.digest
    with xarray.open_dataset(mixed[0].path, engine="h5netcdf") as found:
        assert dict(found.sizes) == {"id": 3, "vector_channel": 2}
        assert found["flag"].dtype == bool
        assert [name.decode() for name in found["name"].values] == ["ann", "böb", "zoe"]


@pytest.mark.parametrize(("group", "dimension"), [("steps", "step"), ("ranks", "rank")])
def test_open_dataset_shows_the_tables(run, group, dimension):
    with xarray.open_dataset(run.path, engine="h5netcdf", group=group) as found:
        assert list(found.sizes) == [dimension]
        assert dimension in found.coords
        assert found["total_s"].dims == (dimension,)
        assert found["total_s"].attrs["units"] == "s"
        assert found["halo_bytes"].attrs["units"] == "bytes"


def test_a_value_that_ends_like_seconds_is_given_no_unit(tmp_path):
    program = hpcmp.Program(
        state={"x": "int64"},
        init=lambda vertex, ctx: 1,
        send=lambda vertex, ctx: vertex.x,
        update=lambda vertex, total, ctx: vertex.x,
        reduce={"mass_s": hpcmp.Sum(lambda vertex, ctx: vertex.x)},
    )
    path = samples.write_run(tmp_path / "r.h5", 1, program=program)
    with xarray.open_dataset(path, engine="h5netcdf", group="steps") as found:
        assert "units" not in found["value_mass_s"].attrs


@pytest.mark.parametrize("steps", [0, 2])
def test_a_result_of_no_vertices_or_no_steps_is_read(tmp_path, steps):
    empty = samples.graph([], [], [])
    for of, n in ((empty, 0), (samples.graph(), 5)):
        path = samples.write_run(tmp_path / f"{n}.h5", steps, of, program=samples.hops())
        result = analysis.open(path)
        assert (result.n_vertices, result.n_steps) == (n, steps)
        assert check.check_result(result) == result.digest
        assert len(result.to_pandas()) == n
        assert len(result.steps_frame()) == steps
        assert len(result.top("hops", 3)[0]) == min(n, 3)
        for group, dimension, size in ((None, "id", n), ("steps", "step", steps), ("ranks", "rank", 1)):
            with xarray.open_dataset(path, engine="h5netcdf", group=group) as found:
                assert found.load().sizes[dimension] == size


def test_a_result_of_an_algorithm_without_steps_is_read(mixed):
    assert mixed[0].steps == {}
    assert len(mixed[0].steps_frame()) == 0
    with xarray.open_dataset(mixed[0].path, engine="h5netcdf", group="steps") as found:
        assert not found.variables


def test_a_missing_package_is_named_with_its_extra(run, monkeypatch):
    for package, method in (("pandas", "to_pandas"), ("xarray", "to_xarray")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(
            MissingExtraError, match=rf"{package}, which is not installed; run: pip install 'hpcmp\[xarray\]'"
        ):
            getattr(run, method)()


def test_reading_all_of_a_result_needs_neither_mpi_nor_numba(run):
    program = (
        "import sys\nfrom hpcmp import analysis\n"
        f"r = analysis.open({str(run.path)!r})\n"
        "r.verify_digest(), r.id, r['hops'], r.steps, r.ranks, r.top('hops', 2), r.to_pandas(), r.to_xarray()\n"
        "print(*{name.split('.')[0] for name in sys.modules} & {'mpi4py', 'numba', 'llvmlite'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=launching.environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_a_file_that_changed_after_it_was_opened_is_refused(tmp_path):
    path = samples.write_run(tmp_path / "r.h5")
    result = analysis.open(path)
    samples.write_run(path, of=samples.graph([1, 2], [2, 10], None))
    with pytest.raises(FormatError, match="has 3 rows, 5 are needed"):
        result["hops"]
