"""Columns written as text."""

import numpy as np
import pytest

from hpcmp import io
from hpcmp.errors import InputError
from hpcmp.io import text


def test_columns_of_all_kinds_stand_side_by_side():
    columns = [
        np.array([1, -20], np.int64),
        np.array([b"ann", b"bob jr"]),
        np.array([True, False]),
        np.array([0.1, np.inf], np.float32),
        np.array([1e22, -0.0]),
        np.array([[1, 2], [3, 4]], np.int8),
    ]
    assert text.format_columns(columns) == b"1\tann\t1\t0.1\t1e+22\t1\t2\n-20\tbob jr\t0\tinf\t-0.0\t3\t4\n"


def test_another_separator_is_used():
    assert text.format_columns([np.array([1]), np.array([2])], separator=b",") == b"1,2\n"


def test_rows_beyond_one_chunk_are_written_in_order(monkeypatch):
    monkeypatch.setattr(text, "FORMAT_ROWS", 3)
    assert text.format_columns([np.arange(10)]) == b"".join(b"%d\n" % k for k in range(10))


def test_no_rows_are_no_bytes():
    assert text.format_columns([np.empty(0, np.int64), np.empty(0, "S3")]) == b""
    assert text.format_columns([]) == b""


@pytest.mark.parametrize("name", [b"a\tb", b"a\nb", b"a\rb"])
def test_a_name_that_would_break_the_line_is_refused(name):
    with pytest.raises(InputError, match="ends a column or a line"):
        text.format_columns([np.array([b"fine", name])])


def test_importing_io_stays_light():
    assert not hasattr(io, "read_edges")
