"""Files that break a rule each, made from small good ones."""

import gzip
import io
import json
import shutil
import zipfile

import h5py
import numpy as np


def older_result():
    """Bytes of a file of less than a page that says it is a result of hpcmp."""
    content = io.BytesIO()
    with h5py.File(content, "w") as handle:
        handle.attrs["format"] = np.bytes_("hpcmp-result")
    return content.getvalue()


TINY = "0\t1\t0.5\n1\t2\t0.25\n2\t3\t1.0\n3\t0\t2.0\n"

TEXTS = {
    "tiny.tsv": TINY,
    "three-and-two.tsv": "0\t1\t0.5\n1\t2\t0.25\n2\t3\n",
    "word.tsv": "0\t1\n1\ttwo\n",
    "word-weight.tsv": "0\t1\t0.5\n1\t2\theavy\n",
    "float-id.tsv": "0\t1\n1\t2.5\n",
    "beyond.tsv": "0\t1\n1\t9223372036854775808\n",
    "nan.tsv": "0\t1\t0.5\n1\t2\tnan\n",
    "one-column.tsv": "0\n1\n",
    "comments.tsv": "# nothing\n# but this\n",
    "empty.tsv": "",
    "negative.tsv": "0\t1\t0.5\n1\t2\t-3.5\n",
    "relations.tsv": "0\t1\tcites\n1\t2\twrites\n",
    "broken.v": "1\n2\n3\n",
    "broken.e": "1 2\n2 4\n",
    "alone.e": "1 2\n",
    "said.v": "1\n2\n",
    "said.e": "1 2\n",
    "said.properties": "graph.said.directed = false\n",
    "few.graph": "3 1\n2\n1 3\n2\n",
    "many.graph": "3 3\n2\n1 3\n2\n",
    "short.graph": "4 2\n2\n1 3\n2\n",
    "one-way.graph": "3 2\n2\n3\n2 1\n",
    "outside.graph": "2 1\n2\n7\n",
    "huge.graph": "4611686018427387904 1\n2\n1\n",
    "no-header.graph": "a b\n",
    "fewer.mtx": "%%MatrixMarket matrix coordinate real general\n3 3 3\n1 2 0.5\n2 3 1.5\n",
    "more.mtx": "%%MatrixMarket matrix coordinate real general\n3 3 1\n1 2 0.5\n2 3 1.5\n",
    "outside.mtx": "%%MatrixMarket matrix coordinate real general\n3 3 1\n1 4 0.5\n",
    "banner.mtx": "3 3 1\n1 2 0.5\n",
    "wide.mtx": "%%MatrixMarket matrix coordinate real general\n2 3 1\n1 2 0.5\n",
    "unclosed.graphml": "<graphml><graph edgedefault='directed'><node id='a'/><edge source='a'",
    "unknown-node.graphml": "<graphml><graph edgedefault='directed'><node id='a'/><edge source='a' target='b'/>"
    "</graph></graphml>",
    "two.graphml": "<graphml><graph edgedefault='directed'><node id='a'/><node id='b'/></graph></graphml>",
    "lacks.vertices.tsv": "id\tcolour\n0\t1\n1\t1\n2\t5\n",
    "twice.vertices.tsv": "id\tcolour\n0\t1\n1\t1\n2\t5\n2\t6\n3\t1\n",
    "no-id.vertices.tsv": "vertex\tcolour\n0\t1\n",
    "taken.vertices.tsv": "id\tin_degree\n0\t1\n1\t1\n2\t5\n3\t1\n",
    "unknown.features.tsv": "0\t0\t1\n77\t2\t1\n",
    "minus.features.tsv": "0\t-1\t1\n",
    "train.tsv": "who\tclass\n0\tred\n2\tblue\n",
    "test.tsv": "who\tclass\n1\tred\n",
    "stranger.tsv": "who\tclass\n1\tred\n77\tred\n78\tred\n",
    "again.tsv": "who\tclass\n1\tred\n2\tred\n",
    "twice.tsv": "who\tclass\n1\tred\n3\tred\n1\tred\n",
    "two-columns.tsv": "who\tclass\tclass\n1\tred\tred\n",
    "no-row.tsv": "who\tclass\n",
    "no-class.tsv": "who\tclass\n1\tred\n3\t\n",
    "minus.tsv": "who\tclass\n1\t1\n3\t-1\n",
    "numbers.tsv": "who\tclass\n0\t1\n",
    "labelled.vertices.tsv": "id\tlabel\n0\t1\n1\t1\n2\t5\n3\t1\n",
    "cites.tsv": "0\t1\tcites\n1\t2\t^cites\n",
    "few.parts": "0\n1\n0\n",
    "outside.parts": "0\n1\n0\n9\n",
    "words.parts": "0\n1\nlast\n0\n",
    "factor.edges": "3\n0 1\n1 2\n",
    "outside.edges": "3\n0 1\n1 5\n",
    "not-h5.h5": TINY,
}

PROGRAMS = {
    "syntax.py": "import hpcmp\nheat = hpcmp.Program(\n",
    "fails.py": "import hpcmp\n\nlimit = {}['limit']\n",
    "unknown_module.py": "import a_package_that_is_not_there\n",
    "other.py": "import hpcmp\n\nheat = 5\n",
    "user.py": """import hpcmp


def program(update, **more):
    return hpcmp.Program(
        **{"state": {"x": "float64"}, "init": lambda vertex, ctx: 1.0 * vertex.id, "update": update, "steps": 3, **more}
    )


def burn(vertex, total, ctx):
    if vertex.id == 2:
        raise ValueError("too hot")
    return total


def divide(vertex, total, ctx):
    return total / (vertex.id - vertex.id)


def fill(vertex, total, ctx, out):
    out[7] = total[0]


raises = program(burn)
misses = program(lambda vertex, total, ctx: total + vertex.colour)
imports = program(lambda vertex, total, ctx: total + sorted_by_hand(total))
text = program(lambda vertex, total, ctx: "warm")
nothing = program(lambda vertex, total, ctx: None)
row = program(lambda vertex, total, ctx: [total, total])
two = program(lambda vertex, total, ctx: (total, total))
one = program(lambda vertex, total, ctx: total, state={"x": "float64", "y": "float64"})
sends_text = program(lambda vertex, total, ctx: total, send=lambda vertex, ctx: "warm")
message_text = program(lambda vertex, total, ctx: total, message=lambda sent, receiver, edge, ctx: "warm")
widths = program(
    lambda vertex, total, ctx: total,
    state={"x": ("float64", 2)},
    message=lambda sent, receiver, edge, ctx, out: None,
    received=("float64", 3),
)
no_weight = program(lambda vertex, total, ctx: total, message=lambda sent, receiver, edge, ctx: sent * edge.length)
no_ctx = program(lambda vertex, total, ctx: total + ctx.temperature)
endless = program(lambda vertex, total, ctx: total, steps=None)
until_raises = program(lambda vertex, total, ctx: total, until=lambda ctx: {}["rule"])
until_wants = program(lambda vertex, total, ctx: total, until=lambda ctx: ctx.temperature > 3)
relations = program(lambda vertex, total, ctx: total, messages={"knows": lambda sent, receiver, edge, ctx: sent})
rated = program(lambda vertex, total, ctx: total * ctx.rate, params={"rate": 0.5, "n": 3})
""",
}
for name, text in {  # what Program itself refuses, with the file's name in front
    "arguments": "update=lambda vertex: 1.0",
    "no_function": "update=3",
    "aggregate": "update=lambda v, t, c: t, aggregate='median'",
    "dtype": "update=lambda v, t, c: t, state={'x': 'complex128'}",
    "reserved": "update=lambda v, t, c: t, state={'id': 'int64'}",
}.items():
    given = "" if "state=" in text else "state={'x': 'float64'}, "
    PROGRAMS[f"{name}.py"] = f"import hpcmp\n\nheat = hpcmp.Program({given}init=lambda v, c: 1.0, {text})\n"


def write_texts(folder):
    """All text files, and the packed ones. Local."""
    for name, text in (TEXTS | PROGRAMS).items():
        (folder / name).write_text(text)
    lines = "".join(f"{k}\t{k * 7919 % 1000}\n" for k in range(1000)).encode()
    whole = gzip.compress(lines)
    (folder / "cut.tsv.gz").write_bytes(whole[: len(whole) // 2])
    middle = len(whole) // 2
    (folder / "corrupt.tsv.gz").write_bytes(
        whole[:middle] + bytes(b ^ 0xA5 for b in whole[middle : middle + 40]) + whole[middle + 40 :]
    )
    (folder / "binary.tsv").write_bytes(b"0\t1\n\x00\x01\xff\xfe\x00\n")
    (folder / "utf16.tsv").write_bytes("0\t1\n1\t2\n".encode("utf-16"))
    np.savez(folder / "no-dst.npz", src=np.arange(3))
    np.savez(folder / "shapes.npz", src=np.arange(3), dst=np.arange(4))
    np.savez(folder / "objects.npz", src=np.array([{}, {}], object), dst=np.arange(2))
    good = io.BytesIO()
    np.savez(good, src=np.arange(300), dst=np.arange(300))
    (folder / "cut.npz").write_bytes(good.getvalue()[:600])
    with zipfile.ZipFile(folder / "lies.npz", "w") as file:
        for name in ("src", "dst"):
            head = io.BytesIO()
            np.lib.format.write_array_header_1_0(head, {"descr": "<i8", "fortran_order": False, "shape": (2**50,)})
            file.writestr(f"{name}.npy", head.getvalue() + bytes(64))


# ---------------------------------------------------------------- graph files


def _replace(handle, name, values):
    attrs = dict(handle[name].attrs)
    del handle[name]
    handle[name] = values
    handle[name].attrs.update(attrs)


def _set(handle, name, at, value):
    handle[name][at] = value


def _external_storage(handle, folder):
    n = len(handle["vertices/id"])
    del handle["vertices/id"]
    np.arange(n).tofile(folder / "ids.raw")
    handle.create_dataset("vertices/id", (n,), np.int64, external=[(str(folder / "ids.raw"), 0, 8 * n)])


def _virtual(handle, folder):
    n = len(handle["vertices/id"])
    del handle["vertices/id"]
    layout = h5py.VirtualLayout((n,), np.int64)
    layout[:] = h5py.VirtualSource(str(folder / "weighted.h5"), "vertices/id", (n,))
    handle.create_virtual_dataset("vertices/id", layout)


def _link(handle, link):
    del handle["in_edges/src"]
    handle["in_edges/src"] = link


def _late(handle, name, shape):
    """A dataset of a huge declared size that takes no room in the file."""
    del handle[name]
    handle.create_dataset(name, shape, np.int64)


def _chunked(handle, name):
    values = handle[name][:]
    del handle[name]
    handle.create_dataset(name, data=values, chunks=(2,), compression="gzip")


def _drop(handle, name):
    del handle[name]


BROKEN = {  # name -> what to do to a good graph file (a ring of 8 in 4 parts, undirected)
    "no-format": lambda h, d: h.attrs.__delitem__("format"),
    "foreign": lambda h, d: h.attrs.__setitem__("format", np.bytes_("netcdf")),
    "future": lambda h, d: h.attrs.__setitem__("version", 99),
    "text-count": lambda h, d: h.attrs.__setitem__("n_edges", np.bytes_("many")),
    "minus-count": lambda h, d: h.attrs.__setitem__("n_vertices", -1),
    "huge-count": lambda h, d: h.attrs.__setitem__("n_vertices", 2**62),
    "sources": lambda h, d: h.attrs.__setitem__("sources", "not json"),
    "no-ids": lambda h, d: _drop(h, "vertices/id"),
    "no-edges": lambda h, d: _drop(h, "in_edges"),
    "flat": lambda h, d: (_drop(h, "vertices"), h.__setitem__("vertices", np.arange(8))),
    "short-ids": lambda h, d: _replace(h, "vertices/id", np.arange(5)),
    "short-src": lambda h, d: _replace(h, "in_edges/src", np.arange(5)),
    "short-weight": lambda h, d: _replace(h, "in_edges/weight", np.ones(3)),
    "text-weight": lambda h, d: _replace(h, "in_edges/weight", np.array([b"x"] * 16)),
    "float-ids": lambda h, d: _replace(h, "vertices/id", np.arange(8.0)),
    "square-ids": lambda h, d: _replace(h, "vertices/id", np.arange(16).reshape(8, 2)),
    "narrow-src": lambda h, d: _replace(h, "in_edges/src", np.zeros(16, np.int32)),
    "ptr-back": lambda h, d: _set(h, "in_edges/ptr", 3, 2),
    "ptr-back-at-part": lambda h, d: _set(h, "in_edges/ptr", 4, 2),
    "ptr-beyond": lambda h, d: _set(h, "in_edges/ptr", 8, 99),
    "ptr-minus": lambda h, d: _set(h, "in_edges/ptr", 0, -1),
    "src-outside": lambda h, d: _set(h, "in_edges/src", 9, 8),
    "src-minus": lambda h, d: _set(h, "in_edges/src", 9, -1),
    "order-outside": lambda h, d: _set(h, "vertices/order", 5, 8),
    "order-twice": lambda h, d: _set(h, "vertices/order", 5, 4),
    "id-twice": lambda h, d: _set(h, "vertices/id", 5, 4),
    "degree-minus": lambda h, d: _set(h, "vertices/out_degree", 5, -2),
    "parts-back": lambda h, d: _set(h, "parts/start", 1, 7),
    "parts-float": lambda h, d: _replace(h, "parts/start", np.array([0.0, 8.0])),
    "external-link": lambda h, d: _link(h, h5py.ExternalLink(str(d / "weighted.h5"), "in_edges/src")),
    "soft-link": lambda h, d: _link(h, h5py.SoftLink("/in_edges/ptr")),
    "external-storage": _external_storage,
    "virtual": _virtual,
    "huge-dataset": lambda h, d: (_late(h, "in_edges/src", (2**50,)), h.attrs.__setitem__("n_edges", 2**50)),
    "chunked": lambda h, d: _chunked(h, "in_edges/src"),
    "nan-weight": lambda h, d: _set(h, "in_edges/weight", 6, np.nan),
    "negative-weight": lambda h, d: _set(h, "in_edges/weight", 6, -0.5),
}


def break_graphs(folder):
    """A copy of weighted.h5 for every entry of `BROKEN`, broken so. Local."""
    good = folder / "weighted.h5"
    for name, damage in BROKEN.items():
        path = folder / f"{name}.h5"
        shutil.copy(good, path)
        with h5py.File(path, "r+") as handle:
            damage(handle, folder)
    whole = good.read_bytes()
    (folder / "cut.h5").write_bytes(whole[: len(whole) // 2])
    with h5py.File(folder / "plain.h5", "w") as handle:
        handle["numbers"] = np.arange(3)
    assert json.loads(h5py.File(good).attrs["sources"]) == []
