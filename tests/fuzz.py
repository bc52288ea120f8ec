"""Damaged and hostile files of every format, read in processes of their own: python tests/fuzz.py --n 10000 --seed 1

A case is a number: with the seed it says which file is changed and how, so that it can be made again (--only, --keep).
Workers are forked, have a limit of memory, and are killed when a file takes too long. Only success and an HpcmpError are
right. With --formats only some; --folder keeps the files of what went wrong.
"""

import argparse
import collections
import functools
import gzip
import io
import json
import os
import pickle
import random
import resource
import select
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from pathlib import Path

import h5py
import mpi4py
import numpy as np

MEMORY = 1 << 28  # bytes that hpcmp is told are free
HARD_MEMORY = 1 << 30  # that a worker may take
TIME_S = 20  # of a core, for one file; the clock may run ten times as far where others use the core
ENVIRONMENT = {"HPCMP_MAX_MEMORY": str(MEMORY), "HDF5_PLUGIN_PRELOAD": "::", "NUMBA_NUM_THREADS": "1"}
EXTREME = (0, 1, -1, 2, 7, 127, 255, 2**31 - 1, 2**31, 2**32, 2**53, 2**62, 2**63 - 1, -(2**63))
WORDS = (
    b"", b"-1", b"0", b"00", b"1e400", b"-1e-400", b"nan", b"inf", b"0x10", b"1_0", b"1.5", b"\x00", b"\xc3\xa9", b"\xff\xfe",
    b'"', b'""',
    b"9223372036854775807", b"9223372036854775808", b"18446744073709551616", b"1" * 400, b"9" * 5000, b"#", b"%", b"{",
    b"[[", b"=", b"\r", b"\x0b",
    b"\t", b",", b";", b" ", b"\n", b"\n\n", b"<", b">", b"&#55296;", b"&#00000000000000065;", b"<![CDATA[",
    b"\\ud800", b"true", b"null",
    b"\xef\xbb\xbf", b"src", b"relation", b"id", b"(1,)", b"'<i8'", b"'|O'", b"x" * 5000,
)  # fmt: skip
DTYPES = ("i1", "i4", "i8", ">i8", "u2", "u8", "f2", "f4", "f8", ">f8", "S1", "S9", "V8", "c16", "?", "i4,f8", "(2,)i8")
NAMES = ("x", "id", "name", "é", "a" * 300, "a b", "steps", "weight", "relation", "payload")


# ---------------------------------------------------------------- good files


def make_seeds(folder):
    """A small good file or folder of each kind. Local."""
    import samples
    import trails

    from hpcmp.io import checkpoint, snapshot
    from hpcmp.io.trail import write_agents, write_timing
    from hpcmp.nn.config import Config

    comm = samples._comm()
    samples.write_graph(folder / "graph.h5")
    samples.write_graph(folder / "named.h5", samples.named_graph())
    samples.write_run(folder / "result.h5", step_digests=True)
    samples.write_run(folder / "named_result.h5", of=samples.named_graph(), source=0)
    attrs = dict.fromkeys(checkpoint.COUNTS, 2) | dict.fromkeys((*checkpoint.TEXTS, "rows_digest", "code"), "a" * 64)
    config, columns = Config().tables(), {"epoch": np.arange(2), "loss": np.array([0.5, 0.25])}
    arrays = {"weights/convs.0.weight": np.eye(3, dtype="f4"), "best/convs.0.weight": np.eye(3, dtype="f4")}
    arrays |= {"optimizer/mean/convs.0.weight": np.ones((3, 3)), "places/rows": np.arange(3)}
    checkpoint.write_checkpoint(comm, folder / "checkpoint-0.h5", attrs | {"config": config}, arrays, columns)
    history = {"config": config, "graph_digest": "a", "mpi_library": "b"}
    checkpoint.write_history(comm, folder / "history.h5", history, {"seed": np.zeros(2, int)} | columns)
    for name, level in (("trail", "full"), ("headers", "headers")):
        of = trails.write(folder / name, trails.simulate(4, 6), 6, 2, level=level)
        write_agents(of, np.arange(4) * 10, np.zeros(4, int), ["a", "bé", "c", "d"])
        write_timing(of, np.arange(6), np.zeros(6, int), {name: np.ones(6) for name in ("act", "exchange", "record")})
    writer = snapshot.Writer(comm, folder / "snapshot")
    for step in (3, 6):
        rows = {"id": np.arange(9), "x": np.ones((9, 2)), "name": np.array([b"ab"] * 9)}
        writer.begin(step, {"seed": 1}, {"vertices": rows, "none": {"x": np.zeros(0, "f4")}})
        writer.commit()
    writer.close()
    for name, text in texts().items():
        (folder / name).write_bytes(text)
    np.savez(folder / "pairs.npz", edge_index=np.array([[0, 1, 2], [1, 2, 0]]), weight=np.ones(3))
    np.savez_compressed(folder / "ends.npz", src=np.arange(9), dst=np.arange(9)[::-1], w=np.ones(9, "f4"))
    np.savez(folder / "csr.npz", format="csr", shape=[3, 3], indptr=[0, 1, 2, 3], indices=[1, 2, 0], data=np.ones(3))
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).encode()
    (folder / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))


def texts():
    """Small good texts by name: dict of bytes. Local."""
    found = {
        "edges.tsv": "# a comment\n0\t1\t0.5\n1\t2\t1e-3\n2\t0\t-7\n",
        "header.csv": 'src,dst,weight,time\n0,1,0.5,3\n"1",2,0.25,4\n',
        "blanks.txt": "0 1\n1 2\n 2  0\n7 8\n",
        "named.edges.tsv": "ann\tbob\nbob\tzoë\n",
        "pair.v": "1\n2\n3\n",
        "pair.e": "1 2 0.5\n2 3 1.5\n",
        "pair.properties": "graph.pair.directed = true\ngraph.pair.edge-properties.names = weight\n"
        "graph.pair.edge-properties.types = real\n",
        "m.mtx": "%%MatrixMarket matrix coordinate real general\n% c\n3 3 3\n1 2 0.5\n2 3 1.5\n3 1 2\n",
        "m.graph": "% c\n3 2 001\n2 5\n1 5 3 6\n2 6\n",
        "g.graphml": '<?xml version="1.0" encoding="UTF-8"?>\n<graphml><key id="d0" for="edge" attr.name="w" attr.type="double">'
        '<default>1.0</default></key><key id="d1" for="node" attr.name="c" attr.type="int"/>\n<graph edgedefault="directed">'
        '<node id="n0"><data key="d1">3</data></node><node id="n1"><data key="d1">4</data></node>\n'
        '<edge source="n0" target="n1"><data key="d0">2.5</data></edge><!-- c -->'
        '<edge source="n1" target="n0"/></graph></graphml>',
        "t.nt": '<http://a/A> <http://b/k> <http://a/B> .\n_:x <http://b/n> "a text"@en .\n',
        "log.jsonl": '{"sender": "ann", "receiver": "bob", "time": 1.5, "type": "x", "id": "a"}\n'
        '{"sender": "bob", "receiver": "ann", "time": 2, "type": "y", "id": "b", "cause": "a"}\n',
        "log.csv": "sender,receiver,time,type,id,cause\n1,2,10,x,a,\n2,1,20,y,b,a\n",
        "c.toml": '[data]\nfeatures = "x"\n[model]\nkind = "gcn"\nhidden = [16]\n[train]\nepochs = 200\nlr = 0.01\n',
        "table.tsv": "id\tlabel\tx\n0\ta\t1\n1\tb\t2.5\n",
    }  # fmt: skip
    found = {name: text.encode() for name, text in found.items()}
    return found | {
        "edges.tsv.gz": gzip.compress(found["edges.tsv"] * 20),
        "g.graphml.gz": gzip.compress(found["g.graphml"]),
    }


CALLED = {"named.edges.tsv": {"names": True}, "table.tsv": {"format": "vertices"}}
ALL = "sender,receiver,time,type,id,cause"
CALLED |= {"log.csv": {"format": "log", "columns": ALL}, "log.jsonl": {"format": "log", "columns": ALL}}
HELD = {"pair.e": ("pair.v", "pair.properties"), "pair.v": ("pair.e",), "pair.properties": ("pair.e", "pair.v")}


def format_of(name):
    """What a seed is called in the counts: str. Local."""
    known = {"graph.h5": "graph", "named.h5": "graph", "result.h5": "result", "named_result.h5": "result"}
    known |= {
        "checkpoint-0.h5": "checkpoint",
        "history.h5": "history",
        "trail": "trail",
        "headers": "trail",
        "snapshot": "snapshot",
    }
    known |= {
        "edges.tsv": "edge list",
        "header.csv": "edge list",
        "blanks.txt": "edge list",
        "named.edges.tsv": "edge list",
    }
    known |= {
        "edges.tsv.gz": "gzip",
        "g.graphml.gz": "gzip",
        "m.mtx": "matrixmarket",
        "m.graph": "metis",
        "t.nt": "ntriples",
    }
    known |= {"g.graphml": "graphml", "log.jsonl": "log", "log.csv": "log", "c.toml": "config", "table.tsv": "table"}
    return known.get(name) or ("ldbc" if name.startswith("pair") and name != "pairs.npz" else name.rpartition(".")[2])


# ---------------------------------------------------------------- changes


def change_bytes(rng, content):
    """Flip, cut, copy, zero or insert bytes. Local."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        n = len(content)
        at = rng.randrange(n) if n else 0
        size = min(rng.choice((1, 2, 4, 8, 64, 512)), n - at)
        kind = rng.randrange(7)
        if kind == 0 and n:
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and n:
            content[at] = rng.choice((0, 1, 127, 128, 254, 255))
        elif kind == 2:
            del content[at if rng.random() < 0.5 else n - n // rng.choice((2, 10, 100)) :]
        elif kind == 3:
            other = rng.randrange(n) if n else 0
            content[at : at + size] = content[other : other + size]
        elif kind == 4:
            content[at : at + size] = bytes(size)
        elif kind == 5:
            content[at:at] = rng.randbytes(size)
        else:
            content[at : at + size] = struct.pack("<q", rng.choice(EXTREME))[: max(size, 1)]
    return bytes(content)


MARKS = (b"\x89HDF", b"OHDR", b"OCHK", b"TREE", b"SNOD", b"HEAP", b"GCOL", b"BTHD", b"FRHP")  # where HDF5 keeps its own


def change_metadata(rng, content):
    """Change bytes near what HDF5 keeps for itself, and mend the checksums of object headers. Local."""
    content = bytearray(content)
    places = [at for mark in MARKS for at in _places(content, mark)]
    places += [rng.randrange(len(content)) for _ in range(len(places) // 2 + 1)]  # old headers have no mark
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = min(rng.choice(places) + rng.randrange(4, 200), len(content) - 1)
        if rng.random() < 0.5:
            content[at] = rng.choice((0, 1, 2, 3, 8, 127, 128, 255, content[at] ^ (1 << rng.randrange(8))))
        else:
            content[at : at + 8] = struct.pack("<q", rng.choice(EXTREME))[: len(content) - at]
    for at in _places(content, b"OHDR"):
        _mend_header(content, at)
    return bytes(content)


def _places(content, mark):
    at = content.find(mark)
    while at >= 0:
        yield at
        at = content.find(mark, at + 1)


def _mend_header(content, at):
    """Write the checksum of an object header of version 2."""
    flags = content[at + 5]
    start = at + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    end = start + width + int.from_bytes(content[start : start + width], "little")
    if end + 4 <= len(content):
        content[end : end + 4] = struct.pack("<I", lookup3(bytes(content[at:end])))


def lookup3(data):
    """The checksum of HDF5's metadata: Bob Jenkins, lookup3.c, hashlittle. Local."""
    mask = 2**32 - 1

    def turned(x, k):
        return (x << k | x >> 32 - k) & mask

    a = b = c = 0xDEADBEEF + len(data) & mask
    while len(data) > 12:
        x, y, z = struct.unpack("<III", data[:12])
        a, b, c, data = a + x & mask, b + y & mask, c + z & mask, data[12:]
        for k, low in ((4, 0), (6, 1), (8, 2), (16, 0), (19, 1), (4, 2)):
            v = [a, b, c]
            v[low] = (v[low] - v[low - 1] & mask) ^ turned(v[low - 1], k)
            v[low - 1] = v[low - 1] + v[low - 2] & mask
            a, b, c = v
    if not data:
        return c
    x, y, z = struct.unpack("<III", data.ljust(12, b"\0"))
    v = [a + x & mask, b + y & mask, c + z & mask]
    for high, low, k in ((2, 1, 14), (0, 2, 11), (1, 0, 25), (2, 1, 16), (0, 2, 4), (1, 0, 14), (2, 1, 24)):
        v[high] = (v[high] ^ v[low]) - turned(v[low], k) & mask
    return v[2]


def change_words(rng, content):
    """Change words and lines of a text. Local."""
    lines = content.split(b"\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        k = rng.randrange(len(lines))
        kind = rng.randrange(8)
        if kind < 4:
            marks = (b"\t", b" ", b",", b'"', b"=", b">", b":")
            mark = rng.choice([m for m in marks if m in lines[k]] or marks)
            words = lines[k].split(mark)
            words[rng.randrange(len(words))] = rng.choice(WORDS)
            lines[k] = mark.join(words)
        elif kind == 4:
            lines.insert(k, rng.choice(lines))
        elif kind == 5:
            del lines[k]
            lines = lines or [b""]
        elif kind == 6:
            lines[k] = lines[k] * rng.choice((2, 100, 3000))
        else:
            at = rng.randrange(len(lines[k]) + 1)
            lines[k] = lines[k][:at] + rng.choice(WORDS) + lines[k][at:]
    return b"\n".join(lines)


def change_json(rng, text):
    """Change a value of a JSON text, or its letters. Local."""
    if rng.random() < 0.3:
        return change_words(rng, text.encode()).decode(errors="replace")
    value = json.loads(text)
    return json.dumps(_other(rng, value), ensure_ascii=rng.random() < 0.5)


def change_record(rng, content):
    """Change the record of a checkpoint, and its CRC with it. Local."""
    if rng.random() < 0.2:
        return change_bytes(rng, content)
    record = json.dumps(_other(rng, json.loads(content)["record"]))
    return f'{{"crc": {zlib.crc32(record.encode())}, "record": {record}}}'.encode()


def _other(rng, value):
    odd = (
        None,
        True,
        0,
        -1,
        2**63,
        1.5,
        float("nan"),
        "",
        "x",
        "|O",
        "<f8",
        "(2,)i8",
        [],
        [[]],
        {},
        {"a": 1},
        "9" * 50,
    )
    if isinstance(value, list) and value and rng.random() < 0.8:
        k, value = rng.randrange(len(value)), list(value)
        value[k : k + 1] = rng.choice(([], [value[k]] * 3, [_other(rng, value[k])], [_other(rng, value[k])]))
        return value
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(list(value))
        return value | {key: _other(rng, value[key])}
    return rng.choice(odd)


def change_hdf5(rng, path):
    """Change objects of an HDF5 file. Local."""
    with h5py.File(path, "r+") as handle:
        names = ["/"]
        handle.visit(names.append)
        for _ in range(rng.choice((1, 1, 1, 2))):
            name = rng.choice(names)
            if name not in handle:
                continue
            if rng.random() < 0.4 and len(handle[name].attrs):
                _change_attribute(rng, handle[name])
            elif isinstance(handle[name], h5py.Dataset):
                _change_dataset(rng, handle, name)
            else:
                _change_group(rng, handle, name, names)


def _change_attribute(rng, holder):
    name = rng.choice(list(holder.attrs))
    value = holder.attrs[name]
    kind = rng.randrange(6)
    if isinstance(value, bytes | str) and kind < 4:
        text = value.decode(errors="replace") if isinstance(value, bytes) else value
        try:
            text = change_json(rng, text)
        except ValueError:
            text = rng.choice(("", "x", "[" * 3000, text * 50, "é", "{}", "\x1b[2J"))
        encoded = text.encode(errors="replace")
        holder.attrs.create(name, encoded, dtype=h5py.string_dtype("utf-8", max(len(encoded), 1)))
    elif kind == 4:
        del holder.attrs[name]
    else:
        odd = (
            *EXTREME,
            2**64 - 1,
            1.5,
            "text",
            True,
            np.arange(3),
            h5py.Empty("f8"),
            np.zeros(2, "i4,f8"),
            np.float16(1),
            [b"a", b"bc"],
        )
        holder.attrs[name] = rng.choice(odd)


def _change_dataset(rng, handle, name):
    found = handle[name]
    kind = rng.randrange(10)
    values = found[()]
    if kind < 3 and found.size and found.dtype.kind in "iufb":
        flat = np.array(values).reshape(-1)
        for _ in range(rng.choice((1, 1, 3))):
            with np.errstate(all="ignore"):
                odd = np.array(rng.choice((*EXTREME, float("nan"), float("inf"))))
                flat[rng.randrange(flat.size)] = odd.astype(flat.dtype)
        found[...] = flat.reshape(found.shape)
        return
    del handle[name]
    shape, dtype, more = list(found.shape), found.dtype, {}
    if kind == 3:
        return
    if kind == 4:
        dtype = np.dtype(rng.choice(DTYPES))
    elif kind == 5:
        k = rng.choice((-1, 1, 2, 1000))
        shape = rng.choice(
            ([], [0], [max((shape or [1])[0] + k, 0), *shape[1:]], [*shape, 1], [*shape, 0], [2] * 7, [2**40])
        )
        more = {"chunks": tuple(max(min(n, 100), 1) for n in shape)} if shape and rng.random() < 0.5 else {}
    elif kind == 6:
        handle[name] = rng.choice(
            (h5py.SoftLink("/id"), h5py.SoftLink("/" + name), h5py.ExternalLink("/etc/passwd", "/x"))
        )
        return
    elif kind == 7 and shape:
        packing = rng.choice(
            (
                {"compression": "gzip"},
                {"compression": "lzf"},
                {"fletcher32": True},
                {"scaleoffset": 0},
                {"shuffle": True},
            )
        )
        shape = [2**22] if rng.random() < 0.1 else shape
        more = {"chunks": tuple(max(n, 1) for n in shape), "maxshape": tuple([None] * len(shape)), **packing}
        more = {} if "scaleoffset" in packing and dtype.kind not in "iu" else more
    elif kind == 8:
        text = h5py.string_dtype("utf-8", rng.choice((None, 1, 5)))
        handle.create_dataset(name, data=np.array(["é"] * (shape or [1])[0], object), dtype=text)
        return
    elif kind == 9:
        handle.create_dataset(name, (3,), "i8", external=[("/etc/passwd", 0, 24)])
        return
    made = handle.create_dataset(name, tuple(shape), dtype, **more)
    same = min(made.size, np.size(values))
    if same and dtype == found.dtype and made.size < 10**6:
        made[...] = np.resize(values, made.shape)


def _change_group(rng, handle, name, names):
    kind = rng.randrange(5)
    group = handle[name]
    if kind == 0 and name != "/":
        del handle[name]
    elif kind == 1 and rng.choice(names) in handle:
        group[f"more{rng.randrange(9)}"] = handle[rng.choice([n for n in names if n in handle])]  # a cycle perhaps
    elif kind == 2:
        of = [n for n in group if isinstance(group[n], h5py.Dataset)]
        for k in range(rng.choice((1, 200)) if of else 0):
            group[f"{rng.choice(NAMES)}{k}"] = group[of[0]]
    elif rng.choice(NAMES) not in group:
        group.create_dataset(f"{rng.choice(NAMES)}_{rng.randrange(9)}", data=np.arange(rng.choice((0, 3, 5, 7))))


def change_npz(rng, content):
    """Change arrays of an npz file. Local."""
    with np.load(io.BytesIO(content)) as file:
        arrays = dict(file)
    key = rng.choice(list(arrays))
    a, kind = arrays[key], rng.randrange(6)
    if kind == 0:
        del arrays[key]
    elif kind == 1:
        with np.errstate(all="ignore"):
            arrays[key] = a.astype(rng.choice(DTYPES[:10])) if a.dtype.kind != "U" else np.arange(3)
    elif kind == 2:
        arrays[key] = rng.choice(
            (a[None], a.reshape(-1)[:1], np.resize(a, (7,)), a.reshape(-1)[0], np.asfortranarray(a))
        )
    elif kind == 3 and a.dtype.kind in "iuf":
        a = a.copy().reshape(-1)
        a[rng.randrange(a.size)] = rng.choice(EXTREME[:-1])
        arrays[key] = a.reshape(arrays[key].shape)
    elif kind == 4:
        arrays[rng.choice(NAMES[:3])] = rng.choice(
            (np.array([{}], object), np.arange(3), np.array("x"), np.zeros(10**6))
        )
    out = io.BytesIO()
    rng.choice((np.savez, np.savez_compressed))(out, **arrays)
    content = out.getvalue()
    return _change_headers(rng, content) if kind == 5 else content


def _change_headers(rng, content):
    """Other words of the same length in the headers of arrays of a zip file that is not packed."""
    for old, new in rng.sample(
        [
            (b"<i8", b"|O8"),
            (b"(3,)", b"(9,)"),
            (b"(3,)", b"(-3)"),
            (b"False", b"True "),
            (b"{", b"["),
            (b"<f8", b"<U2"),
        ],
        2,
    ):
        content = content.replace(old, new)
    return content


def bomb(rng):
    """A gzip file or npz of few bytes that says much. Local."""
    text = rng.choice((b"0 1\n", b"0", b"<a>", b'{"a":')) * 10**6 * rng.choice((1, 30, 100))
    return gzip.compress(text, 1)


def change(rng, name, path):
    """Change a file of a seed in its place. Local."""
    content = path.read_bytes()
    if name.endswith(".h5"):
        if rng.random() < 0.55:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                change_hdf5(rng, path)
            return
        path.write_bytes((change_metadata if rng.random() < 0.7 else change_bytes)(rng, content))
    elif name.endswith(".json"):
        path.write_bytes(change_record(rng, content))
    elif name.endswith(".npz"):
        path.write_bytes(change_npz(rng, content) if rng.random() < 0.6 else change_bytes(rng, content))
    elif name.endswith(".gz"):
        choice = rng.random()
        if choice < 0.02:
            path.write_bytes(bomb(rng))
        elif choice < 0.4:
            path.write_bytes(gzip.compress(change_words(rng, gzip.decompress(content))))
        else:
            path.write_bytes(change_bytes(rng, content))
    elif name.endswith(".safetensors") and rng.random() < 0.6:
        n = int.from_bytes(content[:8], "little")
        header = change_json(rng, content[8 : 8 + n].decode()).encode(errors="replace")
        path.write_bytes(
            struct.pack("<Q", len(header) if rng.random() < 0.8 else rng.choice(EXTREME) & (2**64 - 1))
            + header
            + content[8 + n :]
        )
    else:
        path.write_bytes((change_words if rng.random() < 0.7 else change_bytes)(rng, content))


def make_case(seeds, names, seed, number, folder):
    """Make the file of a case: its name, and what to read. Local."""
    rng = random.Random(f"{seed}-{number}")
    name = rng.choice(names)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    target = folder / name
    if (seeds / name).is_dir():
        shutil.copytree(seeds / name, target)
        of = rng.choice(sorted(path for path in target.rglob("*") if path.is_file()))
        if rng.random() < 0.03:
            of.unlink()
            of.symlink_to(rng.choice(("/etc/passwd", seeds / name / of.relative_to(target))))
        else:
            change(rng, of.name, of)
    else:
        for other in (name, *HELD.get(name, ())):
            shutil.copy(seeds / other, folder / other)
        change(rng, name, target)
    return name, target


# ---------------------------------------------------------------- reading


def read(name, target):
    """Read a case as `hpcmp check` and what comes after it do. Local."""
    from hpcmp.cli.checking import Asked, check
    from hpcmp.errors import HpcmpError

    error = None
    try:
        check(target, Asked(**CALLED.get(name, {})))
    except HpcmpError as caught:
        error = caught
    _read_more(target)
    if error is not None:
        raise error


def _read_more(target):
    """What opens files without reading them whole first: each may refuse. Local."""
    from mpi4py import MPI

    from hpcmp import analysis
    from hpcmp.cli import info
    from hpcmp.errors import HpcmpError
    from hpcmp.io.graph_file import open_graph

    if target.suffix not in ("", ".h5") or target.name == "snapshot":
        return
    try:
        found = analysis.open(target)
        facts = {"GraphFile": info._graph_facts, "ResultFile": info._result_facts}.get(type(found).__name__)
        json.dumps(facts(found) if facts else found.facts(), default=str)
        if isinstance(found, analysis.ResultFile):
            [found[field] for field in found.fields]
            json.dumps({name: a.tolist() for name, a in found.steps.items()})
        elif isinstance(found, analysis.Trail):
            [found.message(row) for row in range(min(found.n, 20))]
        elif isinstance(found, analysis.GraphFile):
            [found.vertex(field, decode=True) for field in found.vertex_fields]
            open_graph(MPI.COMM_SELF, target)
    except HpcmpError:
        pass


def work(seeds, names, seed, folder, asked, answers):
    """Read the cases that come through a pipe until it ends. Local."""
    from mpi4py import MPI

    from hpcmp.errors import HpcmpError

    MPI.Init()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    taken = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (taken + HARD_MEMORY, resource.RLIM_INFINITY))
    while line := asked.readline():
        number = int(line)
        try:
            name, target = make_case(seeds, names, seed, number, folder)
        except Exception as error:  # the change itself could not be made
            answer = ("-", "unmade", f"{type(error).__name__}: {error}")
        else:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    read(name, target)
                answer = (name, "fine", "")
            except HpcmpError as error:
                answer = (name, "refused", str(error)) if is_clean(error) else (name, "unclean", str(error))
            except BaseException as error:
                where = traceback.extract_tb(error.__traceback__)
                at = next((f"{f.filename}:{f.lineno}" for f in reversed(where) if "hpcmp" in f.filename), "?")
                answer = (name, "wrong", f"{type(error).__name__}: {str(error)[:200]} at {at}")
        answers.write(pickle.dumps((number, *answer)))
        answers.flush()
    os._exit(0)


def is_clean(error):
    """Whether what an error says is one line of some words. Local."""
    text = str(error)
    return 0 < len(text) < 1200 and "\n" not in text


class Worker:
    """A forked process that reads cases."""

    def __init__(self, start):
        self.start, self.case, self.since, self.worked = start, None, 0.0, 0.0
        self._fork()

    def _fork(self):
        asked, ask = os.pipe()
        answer, answers = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(ask), os.close(answer)
            try:
                self.start(os.fdopen(asked, "r"), os.fdopen(answers, "wb"))
            finally:
                os._exit(1)
        os.close(asked), os.close(answers)
        self.ask, self.answers = os.fdopen(ask, "w"), os.fdopen(answer, "rb")

    def give(self, number):
        """Ask for a case. Local."""
        self.case, self.since, self.worked = number, time.monotonic(), self._work_s()
        self.ask.write(f"{number}\n")
        self.ask.flush()

    def _work_s(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def is_late(self):
        waited = time.monotonic() - self.since
        return waited > 10 * TIME_S or (waited > TIME_S and self._work_s() - self.worked > TIME_S)

    def take(self):
        """Answer of the case, or how the process ended. Local."""
        number, self.case = self.case, None
        try:
            return pickle.load(self.answers)
        except EOFError:
            _, status = os.waitpid(self.pid, 0)
            self._fork()
            signal_name = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit {status}"
            return number, "?", "crashed", signal_name

    def hang(self):
        """End a process that takes too long. Local."""
        number, self.case = self.case, None
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self._fork()
        return number, "?", "hung", f"{TIME_S} s"


def run(n, seed, n_workers=2, formats=None, folder=None, first=0):
    """Counts by (format, outcome), and what went wrong: list of (number, name, outcome, text). Local."""
    mpi4py.rc.initialize = False
    os.environ |= ENVIRONMENT
    counts, wrong = collections.Counter(), []
    with tempfile.TemporaryDirectory() as top:
        seeds = Path(top) / "seeds"
        seeds.mkdir()
        _in_child(functools.partial(_make_seeds, seeds))
        names = sorted(p.name for p in seeds.iterdir() if formats is None or format_of(p.name) in formats)
        import hpcmp.analysis
        import hpcmp.cli.checking
        import hpcmp.io.graph_file
        import hpcmp.io.readers  # noqa: F401  (once, before workers are forked)

        workers = [
            Worker(functools.partial(work, seeds, names, seed, Path(top) / f"case{k}")) for k in range(n_workers)
        ]
        numbers, done = iter(range(first, first + n)), 0
        while done < n:
            for worker in workers:
                if worker.case is None and (number := next(numbers, None)) is not None:
                    worker.give(number)
            busy = [w for w in workers if w.case is not None]
            ready = select.select([w.answers for w in busy], [], [], 1.0)[0]
            for worker in busy:
                if worker.answers not in ready and not worker.is_late:
                    continue
                number, name, outcome, text = worker.take() if worker.answers in ready else worker.hang()
                done += 1
                if name == "?":
                    name = random.Random(f"{seed}-{number}").choice(names)
                counts[format_of(name) if name != "-" else "-", outcome] += 1
                if outcome not in ("fine", "refused", "unmade"):
                    wrong.append((number, name, outcome, text))
                    if folder:
                        make_case(seeds, names, seed, number, Path(folder) / f"{seed}-{number}")
        for worker in workers:
            worker.ask.close()
    return counts, wrong


def _make_seeds(folder):
    from mpi4py import MPI

    MPI.Init()
    make_seeds(folder)


def _in_child(function):
    pid = os.fork()
    if pid == 0:
        try:
            function()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("the good files could not be made")


def main():
    """Run the cases and print what came of them. Local."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", type=int, help="this case alone")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--formats", help="such as graph,trail")
    parser.add_argument("--folder", help="where the files of what went wrong are kept")
    args = parser.parse_args()
    n, first = (args.n, args.first) if args.only is None else (1, args.only)
    formats = args.formats.split(",") if args.formats else None
    if args.folder:
        Path(args.folder).mkdir(parents=True, exist_ok=True)
    counts, wrong = run(n, args.seed, args.workers, formats, args.folder, first)
    outcomes = ("fine", "refused", "wrong", "unclean", "crashed", "hung", "unmade")
    print(f"{'format':14}" + "".join(f"{name:>9}" for name in outcomes))
    for name in sorted({name for name, _ in counts}):
        print(f"{name:14}" + "".join(f"{counts[name, outcome]:9}" for outcome in outcomes))
    print(f"{'all':14}" + "".join(f"{sum(v for k, v in counts.items() if k[1] == o):9}" for o in outcomes))
    for number, name, outcome, text in sorted(wrong):
        print(f"case {number} ({name}) {outcome}: {text[:300]}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    main()
