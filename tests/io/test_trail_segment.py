"""Segments of a trail: narrow columns come back as they were; old ones are refused."""

import os

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcmp.errors import FormatError
from hpcmp.io import h5
from hpcmp.io.trail_segment import DERIVED, STORED, SegmentWriter, narrowed, read_columns

LIMITS = {name: (np.iinfo(dtype).min, np.iinfo(dtype).max) for name, dtype in STORED.items()}
SIZES = (0, 8, 3)  # bytes of payload by type


def written(folder, parts):
    """The head of a trail of one segment: parts are (n, columns, payload) as `append` takes them."""
    writer = SegmentWriter(folder, 0)
    for part in parts:
        writer.append(*part)
    found = writer.close_segment()
    types = [(str(size), np.dtype([("x", f"S{size}")] if size else [])) for size in SIZES]
    table = {name: np.array([value]) for name, value in found.items()}
    return {"segments": table, "level": "full", "message_types": types}


@st.composite
def parts_of_columns(draw):
    """Some parts of columns, each within a range of its own: any width, from one number to all of 64 bits."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    columns = {}
    for name, (low, high) in LIMITS.items():
        a, b = sorted(draw(st.tuples(st.integers(low, high), st.integers(low, high))))
        b = draw(st.sampled_from([b, a, min(a + 255, high), min(a + 65536, high)]))
        if name == "type":
            a, b = 0, len(SIZES) - 1
        columns[name] = draw(st.lists(st.integers(a, b), min_size=sum(sizes), max_size=sum(sizes)))
    return sizes, columns


@settings(derandomize=True, database=None, deadline=None, max_examples=60)
@given(parts_of_columns(), st.booleans())
def test_columns_come_back_whatever_their_width(tmp_path_factory, given_parts, is_narrow):
    sizes, columns = given_parts
    ends = np.cumsum(sizes)
    lengths = np.array(SIZES)[columns["type"]]
    payload = np.random.default_rng(0).integers(0, 256, lengths.sum()).astype(np.uint8)
    at = np.append(0, np.cumsum(lengths))
    parts = []
    for lo, hi in zip(ends - sizes, ends, strict=True):
        part = {name: np.array(values[lo:hi], STORED[name]) for name, values in columns.items()}
        part = {name: narrowed(a) for name, a in part.items()} if is_narrow else part
        parts.append((hi - lo, part, payload[at[lo] : at[hi]]))
    folder = tmp_path_factory.mktemp("trail")
    found = read_columns(folder, written(folder, parts), [*STORED, *DERIVED, "payload"])
    for name, values in columns.items():
        assert found[name].dtype == STORED[name]
        assert found[name].tolist() == values, name
    assert found["payload"].tolist() == payload.tolist()
    assert found["payload_length"].tolist() == lengths.tolist()
    assert found["payload_offset"].tolist() == at[:-1].tolist()


def test_a_record_takes_the_bytes_it_needs(tmp_path):
    n, rng = 100_000, np.random.default_rng(0)
    wide = rng.integers(0, 1 << 20, (4, n)) + 10**12  # ids of a million agents, wherever they begin
    names = ("sender", "receiver", "cause_sender", "conversation_sender")
    columns = dict(zip(names, wide, strict=True)) | {"step_sent": 5, "step_delivered": 6, "type": 0, "status": 0}
    columns |= {name: rng.integers(-1, 300, n) for name in ("number", "cause_number", "conversation_number")}
    head = written(tmp_path, [(n, columns, None)])
    bytes_a_record = os.path.getsize(next(tmp_path.glob("segment-*"))) / n
    assert 4 * 4 + 3 * 2 <= bytes_a_record < 4 * 4 + 3 * 2 + 0.2
    found = read_columns(tmp_path, head, list(STORED))
    assert (found["sender"] == wide[0]).all() and (found["step_delivered"] == 6).all()


def test_columns_given_as_they_are_stored_are_not_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(np, "empty", lambda *_: pytest.fail("a copy"))
    numbers = np.arange(1000, dtype=np.uint16)
    columns = dict.fromkeys(STORED, 3) | {"number": numbers, "sender": (7, numbers)}
    writer = SegmentWriter(tmp_path, 0)
    writer.append(1000, columns)
    assert writer.close_segment()["n_records"] == 1000


def test_columns_that_are_no_integers_of_one_length_are_refused(tmp_path):
    writer = SegmentWriter(tmp_path, 0)
    for wrong in (np.arange(3), np.ones(2), np.ones((2, 1), np.int64)):
        with pytest.raises(FormatError, match=r"integers \(2,\) are needed"):
            writer.append(2, dict.fromkeys(STORED, 1) | {"sender": wrong})


def test_a_trail_of_an_older_version_is_named(tmp_path):
    head = written(tmp_path, [(1, dict.fromkeys(STORED, 0), None)])
    with h5py.File(next(tmp_path.glob("segment-*")), "r+") as handle:
        h5.set_attributes(handle, {"version": 1})
    with pytest.raises(FormatError, match="has version 1 of hpcmp-trail-segment, this hpcmp reads version 2"):
        read_columns(tmp_path, head, ["sender"])
