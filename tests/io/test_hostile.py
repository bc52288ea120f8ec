"""Files made to do harm: small ones that ask for much memory, numbers that wrap, texts that are none."""

import gzip
import io
import json
import zipfile

import h5py
import numpy as np
import pytest
import samples
import trails
from building import agreed_error
from hypothesis import given
from hypothesis import strategies as st
from reading import put

import hpcmp
from hpcmp import analysis
from hpcmp.errors import FormatError, HpcmpError, InputError, MemoryLimitError
from hpcmp.io import free, h5
from hpcmp.io.log import import_log
from hpcmp.io.readers import read_edges

LIMIT = "20M"  # of memory, for those that ask for more


def npz(pack=np.savez, **arrays):
    out = io.BytesIO()
    pack(out, **arrays)
    return out.getvalue()


def csr(indptr, shape=(3, 3), **more):
    return npz(**{"format": "csr", "shape": shape, "indptr": indptr, "indices": [1, 2, 0], "data": np.ones(3)} | more)


def bzipped():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_BZIP2) as file, file.open("src.npy", "w") as member:
        np.save(member, np.arange(3))
    return out.getvalue()


def misnamed():
    out = bytearray(npz(src=np.arange(3), dst=np.arange(3)))
    out[7], out[30] = out[7] | 8, 0xC8  # the first member's name is UTF-8, and is not
    return bytes(out)


WIDE = b"a b\n" * 4000 + b"a " + b"x" * 4000 + b"\n"
GRAPHML = "<graphml>{}<graph edgedefault='directed'><node id='{}'/></graph></graphml>"
TOO_MUCH = {  # name -> content, options, what the message says
    "bomb.tsv.gz": (gzip.compress(b"0 1\n" * 6 * 10**6, 1), {}, "unpacked, takes"),
    "wide.tsv": (WIDE, {"names": True}, "texts of 4000 bytes each takes"),
    "many.mtx": (
        b"%%MatrixMarket matrix coordinate pattern general\n8000000000 8000000000 1\n1 2\n",
        {},
        "8000000000 vertices",
    ),
    "many.npz": (npz(row=[0], col=[1], data=[1.0], shape=[2**32, 2**32], format="coo"), {}, "4294967296 vertices"),
    "bomb.npz": (
        npz(np.savez_compressed, src=np.zeros(3 * 10**6, int), dst=np.zeros(3 * 10**6, int)),
        {},
        "'src' of bomb",
    ),
    "bomb.graphml.gz": (gzip.compress(b"<graphml>" + b" " * 3 * 10**7, 1), {}, "graphml.gz takes"),
}
WRONG = {
    "first.tsv": (b"a" * (2**20 + 1), {}, "first row has more than 1048576 bytes"),
    "columns.tsv": (b"src dst " + b" ".join(b"c%d" % k for k in range(10**5)) + b" src\n", {}, "'src' is there twice"),
    "types.tsv": (b"src dst w:1ee-4005\n0 1 2\n", {}, "the type '1ee-4005' of column 'w' is none of"),
    "digits.graph": (b"9" * 5000 + b" 1\n", {}, "does not start with a header"),
    "digits.mtx": (b"%%MatrixMarket matrix coordinate real general\n1 1 " + b"9" * 5000, {}, "no size line"),
    "wraps.npz": (csr([0, 2**62 + 1, -(2**62), 3]), {}, "does not rise"),
    "negative.npz": (csr([0], (-1, -1)), {}, "declares -1 vertices"),
    "cube.npz": (csr([0, 1, 2, 3], [3]), {}, r"it should be \(2,\)"),
    "texts.npz": (csr([0, 1, 2, 3], format=["csr", "csc"]), {}, "one text is needed"),
    "bzip2.npz": (bzipped(), {}, "packed by the method 12"),
    "name.npz": (misnamed(), {}, "is not an npz file, or a damaged one"),
    "comment.tsv": (b"# \xff" + b"-" * 99 + b"\nann\tbob\n", {"names": True}, "not UTF-8"),
    "entity.graphml": (
        b'<!DOCTYPE graphml [<!ENTITY a "b">]>' + GRAPHML.format("", "&a;").encode(),
        {},
        "declares the entity",
    ),
    "outside.graphml": (
        b'<!DOCTYPE graphml [<!ENTITY a SYSTEM "/etc/passwd">]>' + GRAPHML.format("", "&a;").encode(),
        {},
        "entity",
    ),
    "half.graphml": (GRAPHML.format("", "&#55296;").encode(), {}, "not well-formed"),
}
FINE = {
    "zeros.graphml": (GRAPHML.format("", "&#" + "0" * 5000 + "65;").encode(), {}, "A"),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_what_asks_for_more_memory_than_there_is_is_refused(comm, shared_tmp, monkeypatch, name):
    content, options, says = TOO_MUCH[name]
    monkeypatch.setenv(free.LIMIT, LIMIT if comm.size == 1 else "5M")
    monkeypatch.setattr(free, "SMALL", 1 << 20)
    with pytest.raises(MemoryLimitError, match=says):
        read_edges(comm, put(comm, shared_tmp / name, content), **options)


@pytest.mark.parametrize("name", WRONG)
def test_what_breaks_a_rule_is_refused_in_a_short_message(comm, shared_tmp, name):
    content, options, says = WRONG[name]
    with pytest.raises((InputError, FormatError), match=says) as caught:
        read_edges(comm, put(comm, shared_tmp / name, content), **options)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("name", FINE)
def test_what_is_odd_but_right_is_read(comm, shared_tmp, name):
    content, options, node = FINE[name]
    vertices = read_edges(comm, put(comm, shared_tmp / name, content), **options).vertices
    assert comm.allreduce(sum(one == node.encode() for one in vertices)) == 1


BEGINS = {
    "t.tsv": [b"", b"src dst w\n", b"0\t1\t2\n"],
    "t.csv": [b"", b"src,dst,relation\n", b'0,1,"'],
    "t.graph": [b"", b"3 2 011 2\n", b"2 1\n"],
    "t.mtx": [
        b"%%MatrixMarket matrix coordinate " + kind
        for kind in (b"real general\n2 2 1\n", b"pattern symmetric\n3 3 3\n")
    ],
    "t.nt": [b"", b'<a> <b> "c" .\n'],
    "t.graphml": [GRAPHML.format("", "a").encode()[:-30], b"<graphml><graph edgedefault='directed'>"],
}
PIECES = [
    *(
        b"0",
        b"1",
        b"-1",
        b"2 1",
        b"\n",
        b"\n\n",
        b" ",
        b"\t",
        b",",
        b'"',
        b"#",
        b"%",
        b".",
        b"<",
        b">",
        b"/>",
        b"1e9",
        b"nan",
        b"e",
        b"\xff",
    ),
    *(
        b"9223372036854775808",
        b"\x00",
        b"\r",
        b"_:a",
        b"<node id='b'/>",
        b"<edge source='a' target='b'/>",
        b"</graph></graphml>",
        b"&lt;",
    ),
]


@given(data=st.data())
def test_any_text_is_read_or_refused_on_every_rank_alike(comm, shared_tmp, data):
    name = data.draw(st.sampled_from(sorted(BEGINS)))
    content = data.draw(st.sampled_from(BEGINS[name])) + b"".join(
        data.draw(st.lists(st.sampled_from(PIECES), max_size=12))
    )
    try:
        found = len(read_edges(comm, put(comm, shared_tmp / name, content), names=name == "t.csv").src) * 0
    except HpcmpError as error:
        found = str(error)
        assert len(found) < 600
    assert len(set(comm.allgather(found))) == 1


# ---------------------------------------------------------------- logs


LOGS = {  # name -> content, columns, what the message says
    "half.jsonl": (
        '{"sender": "\\ud800", "receiver": "b", "time": 1}\n',
        "sender,receiver,time",
        "holds a character that is no text",
    ),
    "zero.jsonl": (
        '{"sender": "a\\u0000", "receiver": "b", "time": 1}\n',
        "sender,receiver,time",
        "holds a character that is no text",
    ),
    "zero.csv": ("a,b\0,1\n", "sender,receiver,time", "is not a text: byte 3 is 0"),
    "deep.jsonl": ("{" + '"a":[' * 10**5 + "\n", "sender,receiver,time", "no JSON"),
    "field.csv": ("a," + "b" * 200_000 + ",1\n", "sender,receiver,time", "is no table"),
    "name.jsonl": (
        json.dumps({"sender": "a" * 5000, "receiver": "b", "time": 1}),
        "sender,receiver,time",
        "has 5000 characters",
    ),
    "number.csv": ("a,b," + "9" * 5000 + "\n", "sender,receiver,time", "has 5000 characters"),
}


@pytest.mark.parametrize("name", LOGS)
def test_logs_that_are_none_are_refused_with_their_line(tmp_path, name):
    content, columns, says = LOGS[name]
    (tmp_path / name).write_text(content)
    with pytest.raises((InputError, FormatError), match=says):
        import_log(tmp_path / name, None, columns)


def test_a_log_that_needs_more_than_there_is_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(free.LIMIT, LIMIT)
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"a,b,1\n" * 4 * 10**6, 1))
    with pytest.raises(MemoryLimitError, match="bomb.csv.gz takes"):
        import_log(tmp_path / "bomb.csv.gz", None, "sender,receiver,time")
    (tmp_path / "wide.csv").write_text(
        "".join(f"a,b,{k},t{k}\n" for k in range(2000))
    )  # each with a time and type of its own
    with pytest.raises(MemoryLimitError, match="counts by time and type"):
        import_log(tmp_path / "wide.csv", None, "sender,receiver,time,type")


# ---------------------------------------------------------------- HDF5


def unknown_filter(handle, name):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((5,))
    plist.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())
    h5py.h5d.create(handle.id, name.encode(), h5py.h5t.NATIVE_DOUBLE, h5py.h5s.create_simple((5,)), plist)


def scale_offset(handle, name):
    handle.create_dataset(name, data=np.arange(5), chunks=(5,), scaleoffset=0)


def giant_chunk(handle, name):
    handle.create_dataset(name, (5,), "f8", chunks=(2**28,), maxshape=(None,))


def far_away(handle, name):
    handle.create_dataset(name, (2**22,), "f8", chunks=(2**10,), compression="gzip")


def odd_name(handle, name):
    handle.create_dataset(name, data=np.zeros(5))
    handle.create_dataset("a\x1bb", data=np.zeros(5))


DAMAGES = {
    unknown_filter: "hops is packed by the filter 32015, which hpcmp does not load",
    scale_offset: "hops is packed by the filter 6, which",
    giant_chunk: r"hops has 40 bytes in chunks of 2147483648",
    far_away: "hops declares 33554432 bytes, the file has",
    odd_name: r"holds something called 'a\\x1bb'",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_datasets_that_need_what_is_not_here_are_refused(tmp_path, damage):
    def change(handle):
        del handle["hops"]
        damage(handle, "hops")

    path = samples.changed(samples.write_run(tmp_path / "a.h5"), tmp_path / "b.h5", change)
    with pytest.raises(FormatError, match=DAMAGES[damage]):
        analysis.open(path)


def test_packed_rows_that_do_not_fit_are_refused_before_they_are_read(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "a.h5", "w") as handle:
        handle.create_dataset("x", (2**22,), "f8", chunks=(2**16,), compression="gzip")[:] = 0
        found = h5.dataset(handle, "x", path=tmp_path / "a.h5")
        monkeypatch.setenv(free.LIMIT, LIMIT)
        with pytest.raises(MemoryLimitError, match="/x takes 33.6 MB"):
            h5.read(found, tmp_path / "a.h5")
        assert len(h5.read(found, tmp_path / "a.h5", 5, 1000)) == 995


def test_attributes_that_are_not_ours_are_left_alone(tmp_path):
    def change(handle):
        handle.attrs["note"] = "a text of varying length"
        handle.attrs["table"] = np.zeros(2, "i4,f8")

    path = samples.changed(samples.write_run(tmp_path / "a.h5"), tmp_path / "b.h5", change)
    assert not {"note", "table"} & set(analysis.open(path).attrs)


@pytest.mark.parametrize("dtype", ["f2", "f16", "u8", ">f8", "c8"])
def test_fields_of_types_that_loops_do_not_have_are_refused(tmp_path, dtype):
    def change(handle):
        values = np.ones(7, dtype)
        del handle["in_edges/weight"]
        handle["in_edges/weight"] = values

    path = samples.changed(samples.write_graph(tmp_path / "a.h5"), tmp_path / "b.h5", change)
    with pytest.raises(FormatError, match="in_edges/weight has dtype"):
        analysis.open(path)


def test_parts_that_wrap_are_refused(tmp_path):
    def change(handle):
        del handle["parts/start"]
        handle["parts/start"] = [0, 2**62 + 1, -(2**62), 5]

    path = samples.changed(samples.write_graph(tmp_path / "a.h5"), tmp_path / "b.h5", change)
    with pytest.raises(FormatError, match="parts/start must rise"):
        analysis.open(path)


def test_codes_outside_of_their_categories_are_refused_on_every_rank(comm, shared_tmp):
    if comm.rank == 0:
        path = samples.write_graph(shared_tmp / "a.h5", samples.named_graph())
        samples.changed(path, shared_tmp / "b.h5", lambda f: f["vertices/role"].__setitem__(2, 2))
        samples.changed(path, shared_tmp / "c.h5", lambda f: f["vertices/role"].__setitem__(2, -1))
    comm.Barrier()
    says = agreed_error(comm, FormatError, lambda: hpcmp.open_graph(comm, shared_tmp / "b.h5"))
    assert "vertices/role[2] = 2 is outside [-1, 2)" in says
    assert hpcmp.open_graph(comm, shared_tmp / "c.h5").n_vertices == 3


# ---------------------------------------------------------------- trails


@pytest.fixture
def trail(tmp_path):
    return trails.write(tmp_path / "trail", trails.simulate(4, 6), 6, 2)


def test_no_part_of_a_trail_may_be_a_link(trail, tmp_path):
    for path in sorted(trail.glob("*.h5"), reverse=True):
        moved = tmp_path / path.name
        path.rename(moved)
        path.symlink_to(moved)
        with pytest.raises(FormatError, match="is a link"):
            analysis.open(trail).check()
        path.unlink()
        moved.rename(path)
    analysis.open(trail).check()


def test_a_segment_that_is_listed_again_and_again_is_refused(trail):
    with h5py.File(trail / "trail.h5", "r+") as handle:
        for name in list(handle["segments"]):
            values = handle[f"segments/{name}"][...]
            del handle[f"segments/{name}"]
            handle[f"segments/{name}"] = np.repeat(values, 1000)
    with pytest.raises(FormatError, match="lists a segment twice"):
        analysis.open(trail)


def test_steps_beyond_all_numbers_are_refused(trail):
    with h5py.File(trail / "trail.h5", "r+") as handle:
        for name in ("first_step", "last_step"):
            handle.attrs[name] = np.uint64(2**64 - 1)
    with pytest.raises(HpcmpError, match="steps from 18446744073709551615"):
        analysis.open(trail)
