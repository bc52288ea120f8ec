"""Files are opened without trust: what is refused, and with what words."""

import json
import os

import h5py
import numpy as np
import pytest
import samples

from hpcmp import analysis
from hpcmp.errors import FileError, FormatError
from hpcmp.io import h5


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    return {
        "result": samples.write_run(folder / "result.h5"),
        "graph": samples.write_graph(folder / "graph.h5"),
        "named": samples.write_graph(folder / "named.h5", samples.named_graph()),
        "folder": folder,
    }


def replaced(name, make):
    def change(handle):
        del handle[name]
        make(handle, name)

    return change


def attribute(name, value):
    return lambda handle: h5.set_attributes(handle, {name: value})


def without(attr):
    return lambda handle: handle.attrs.__delitem__(attr)


def data(value):
    return lambda handle, name: handle.create_dataset(name, data=value)


def link(value):
    return lambda handle, name: handle.__setitem__(name, value)


def entry(name, row, value):
    return lambda handle: handle[name].__setitem__(row, value)


def external_storage(handle, name):
    handle.create_dataset(name, (5,), "f8", external=[("/etc/passwd", 0, 40)])


def virtual(handle, name):
    layout = h5py.VirtualLayout((5,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "hops", (5,))
    handle.create_virtual_dataset(name, layout)


def huge(handle, name):
    handle.create_dataset(name, (2**50,), "f8")
    handle.attrs["n_vertices"] = 2**50


def huge_chunked(handle, name):
    handle.create_dataset(name, (2**50,), "i8", chunks=(1024,))
    handle.attrs["n_vertices"] = 2**50


EXTERNAL, SOFT = h5py.ExternalLink("other.h5", "/hops"), h5py.SoftLink("/id")

DAMAGES = {  # name -> (which file, change, what the message says)
    "of another format": ("result", attribute("format", "hdf5-else"), "not one of hpcmp's"),
    "format is a number": ("result", attribute("format", 7), "not one of hpcmp's"),
    "no format": ("graph", without("format"), "not one of hpcmp's"),
    "wrong version": ("graph", attribute("version", 99), "has version 99 .* reads version 1"),
    "version is text": ("graph", attribute("version", "1"), "attribute version of .*int is needed"),
    "no count": ("result", without("n_vertices"), "attribute n_vertices of / is missing"),
    "negative count": ("result", attribute("n_vertices", -5), "n_vertices = -5 must not be negative"),
    "negative edges": ("graph", attribute("n_edges", -5), "must not be negative"),
    "count is a float": ("result", attribute("n_vertices", 5.5), "int is needed"),
    "a text of varying length": (
        "result",
        lambda f: f.attrs.__setitem__("params", "{}"),
        "attribute params of / is of vary",
    ),
    "a digest of two lines": (
        "graph",
        attribute("digest", "1\n2"),
        r"attribute digest of / is '1\\n2'; hex digits are needed",
    ),
    "nested for ever": ("result", attribute("params", "[" * 10**5), "attribute params of / is no JSON"),
    "params are no JSON": ("result", attribute("params", "{"), "attribute params of / is no JSON"),
    "params are a list": ("result", attribute("params", "[1]"), r"holds \[1\]; dict is needed"),
    "missing ids": ("result", lambda f: f.__delitem__("id"), "has no dataset id"),
    "missing table": ("result", lambda f: f.__delitem__("steps"), "has no group steps"),
    "missing group": ("graph", lambda f: f.__delitem__("in_edges"), "has no group in_edges"),
    "missing parts": ("graph", lambda f: f.__delitem__("parts/start"), "has no dataset parts/start"),
    "group for a dataset": ("result", replaced("hops", lambda f, name: f.create_group(name)), "hops is a group"),
    "dataset for a group": ("graph", replaced("vertices", data([1])), "has no group vertices"),
    "external link": ("result", replaced("hops", link(EXTERNAL)), "hops is a link to other.h5"),
    "external group": ("graph", replaced("in_edges", link(EXTERNAL)), "in_edges is a link to other.h5"),
    "soft link": ("result", replaced("hops", link(SOFT)), "hops is a link to /id"),
    "link nowhere": (
        "graph",
        replaced("vertices/order", link(h5py.SoftLink("/no"))),
        "vertices/order is a link to /no",
    ),
    "link in a table": ("result", replaced("steps/active", link(SOFT)), "steps/active is a link"),
    "virtual dataset": ("result", replaced("hops", virtual), "hops is stored in another file"),
    "external storage": ("result", replaced("hops", external_storage), "hops is stored in another file"),
    "huge": ("result", replaced("id", huge), "id has dtype float64|id declares"),
    "huge and chunked": ("result", replaced("id", huge_chunked), "id declares 9007199254740992 bytes"),
    "huge table": (
        "result",
        replaced("steps/active", lambda f, n: f.create_dataset(n, (2**50,), "i8")),
        "active declares",
    ),
    "no dataspace": ("result", replaced("hops", data(h5py.Empty("f8"))), "hops holds nothing"),
    "scalar": ("result", replaced("hops", data(1.0)), "hops has 0 dimensions"),
    "cube": ("result", replaced("hops", data(np.zeros((5, 2, 2)))), "hops has 3 dimensions"),
    "too few rows": ("result", replaced("hops", data(np.zeros(4))), "hops has 4 rows, 5 are needed"),
    "too few ids": ("graph", replaced("vertices/id", data(np.arange(4))), "vertices/id has 4 rows, 5 are needed"),
    "short pointers": ("graph", replaced("in_edges/ptr", data(np.arange(5))), "in_edges/ptr has 5 rows, 6 are needed"),
    "short edge field": ("graph", replaced("in_edges/weight", data([1.0])), "in_edges/weight has 1 rows, 7 are"),
    "uneven table": ("result", replaced("steps/active", data([1])), "columns of steps have 1 and 3 rows"),
    "float ids": ("result", replaced("id", data(np.arange(5.0))), "id has dtype float64"),
    "short ids": ("result", replaced("id", data(np.arange(5, dtype="i4"))), "id has dtype int32; int64 is needed"),
    "32-bit order": ("graph", replaced("vertices/order", data(np.arange(5, dtype="i4"))), "int64 is needed"),
    "texts for numbers": ("result", replaced("hops", data(["a"] * 5)), "hops has dtype object"),
    "complex": ("result", replaced("hops", data(np.zeros(5, "c16"))), "hops has dtype complex128"),
    "parts leave out rows": ("graph", entry("parts/start", -1, 4), "parts/start must rise from 0 to n_vertices = 5"),
    "parts go back": ("graph", entry("parts/start", 1, 6), "parts/start must rise"),
    "pointers go back": ("graph", entry("in_edges/ptr", 2, 100), "in_edges/ptr goes back|leaves"),
}


def read_all(path):
    """Open a file and read everything in it."""
    found = analysis.open(path)
    if isinstance(found, analysis.ResultFile):
        return [found.id, found.name, found.steps, found.ranks, *(found[name] for name in found.fields)]
    return [found.id, found.order, found.name, found.in_ptr, found.in_src, *(found.edge(k) for k in found.edge_fields)]


@pytest.mark.parametrize("kind", ["result", "graph", "named"])
def test_a_good_file_is_read(good, kind):
    assert read_all(good[kind])


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_file_is_refused_with_its_name_and_the_place(good, tmp_path, case):
    kind, change, says = DAMAGES[case]
    path = samples.changed(good[kind], tmp_path / "bad.h5", change)
    with pytest.raises(FormatError, match=says) as caught:
        read_all(path)
    assert str(caught.value).startswith(str(path))


def test_what_is_no_file_is_a_file_error(tmp_path):
    with pytest.raises(FileError, match="none.h5 does not exist"):
        analysis.open(tmp_path / "none.h5")
    with pytest.raises(FileError, match="is a folder; a file is needed"):
        analysis.open(tmp_path, "hpcmp.result/1")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match="is not a regular file"):
        analysis.open(tmp_path / "pipe", "hpcmp.result/1")
    with pytest.raises(FileError, match="holds no trail"):  # of the formats, a trail alone is a folder
        analysis.open(tmp_path)
    path = tmp_path / "closed.h5"
    path.write_bytes(b"x")
    path.chmod(0)
    if not os.access(path, os.R_OK):  # root may read anything
        with pytest.raises(FileError, match="permission denied"):
            analysis.open(path)


@pytest.mark.parametrize("content", [b"", b"a b\nb c\n", b"\x89HDF\r\n\x1a\n" + bytes(64)])
def test_what_is_not_hdf5_is_a_format_error(tmp_path, content):
    path = tmp_path / "edges.h5"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="edges.h5 is not an HDF5 file that can be read"):
        analysis.open(path)


@pytest.mark.parametrize("kind", ["result", "graph"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_a_format_error(good, tmp_path, kind, share):
    content = good[kind].read_bytes()
    path = tmp_path / "cut.h5"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(FormatError, match="cut.h5"):
        read_all(path)


def outside_of_heaps(content):
    """Offsets outside of HDF5's global heaps: the library itself loops forever on some damaged ones."""
    at = np.ones(len(content), np.bool_)
    start = content.find(b"GCOL")
    while start >= 0:
        at[start : start + 4096] = False
        start = content.find(b"GCOL", start + 1)
    return np.flatnonzero(at)


@pytest.mark.parametrize("kind", ["result", "named"])
def test_a_flipped_byte_is_read_or_refused_with_words(good, tmp_path, kind):
    path = tmp_path / "flipped.h5"
    content = good[kind].read_bytes()
    for at in np.random.default_rng(1).choice(outside_of_heaps(content), 200, replace=False):
        flipped = bytearray(content)
        flipped[at] ^= 0xFF
        path.write_bytes(flipped)
        try:
            read_all(path)
        except FormatError as error:
            assert str(path) in str(error)


def test_a_file_of_another_kind_is_named(good):
    with (
        pytest.raises(FormatError, match="result.h5 is a hpcmp-result file; hpcmp-graph is needed"),
        h5.opened(good["result"], h5.GRAPH),
    ):
        pass


def test_a_repacked_field_may_still_be_read(good, tmp_path):
    def repack(handle):
        values = handle["hops"][:]
        del handle["hops"]
        handle.create_dataset("hops", data=values, chunks=(2,), compression="gzip")

    path = samples.changed(good["result"], tmp_path / "packed.h5", repack)
    result = analysis.open(path)
    assert result["hops"].tolist() == analysis.open(good["result"])["hops"].tolist()
    assert result.verify_digest() == result.digest


def test_json_attributes_come_back_as_they_were_put(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as handle:
        h5.set_attributes(handle, {"x": json.dumps({"a": [1, 2.5, None, "ü"]})})
        assert h5.json_attribute(handle, "x", dict, path="a.h5") == {"a": [1, 2.5, None, "ü"]}
        with pytest.raises(FormatError, match="attribute y of / is missing"):
            h5.json_attribute(handle, "y", dict, path="a.h5")
