"""Tokens and numbers of a block of text, against plain Python."""

import re
import struct

import naive_read
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hpcmp.io.readers import columns as c
from hpcmp.io.readers import rows as r
from hpcmp.io.text import Block, LineError, Share, format_columns
from hpcmp.kernels import text as text_kernels

pytestmark = pytest.mark.kernel

SOURCE = {"name": "some.tsv", "bytes": 0, "sha256": ""}


def one_column(tokens):
    text = b"\n".join([*tokens, b""])
    block = Block(np.frombuffer(text, np.uint8), 0, 0)
    rows = r.tokens_of(block, None, b"")
    return r.Rows(Share("some.tsv", (block,), 0, True, len(text), SOURCE), (rows,), 1)


def found_rows(text, separator, comments, keeps_blank=False):
    part = r.tokens_of(Block(np.frombuffer(text, np.uint8), 0, 0), separator, comments, keeps_blank)
    tokens = [text[start:end] for start, end in zip(part.start, part.end)]
    return [tokens[lo:hi] for lo, hi in zip(part.row_start[:-1], part.row_start[1:])]


texts = st.lists(st.sampled_from([b"a", b"12", b" ", b"\t", b"\r", b"\n", b"\n", b"#", b"%", b",", b";"]), max_size=40)


@given(texts, st.booleans())
@example([b"\n", b" ", b"\n", b"a"], True)
@example([b"a", b"\r", b"\n", b"#", b"\n", b" ", b"#"], False)
def test_tokens_between_blanks_are_those_of_the_naive_reader(pieces, keeps_blank):
    text = b"".join(pieces)
    expected = naive_read.rows_of(text, None, b"#%", keeps_blank)
    assert found_rows(text, None, b"#%", keeps_blank) == expected


@given(texts, st.sampled_from([b",", b";", b"\t"]))
@example([b"a", b",", b"\n"], b",")
@example([b",", b"\r", b"\n", b"a"], b",")
def test_tokens_between_separators_are_those_of_the_naive_reader(pieces, separator):
    text = b"".join(pieces)
    if separator == b"\t":
        text = b"\n".join(line.strip(b"\t\r ") for line in text.split(b"\n"))  # a tab at an end is not a blank here
    assert found_rows(text, separator, b"#%") == naive_read.rows_of(text, separator)


def test_a_quoted_token_may_hold_the_separator():
    assert found_rows(b'1,"a, b",2\n"",x, "y" \n', b",", b"#") == [[b"1", b"a, b", b"2"], [b"", b"x", b"y"]]


@pytest.mark.parametrize("text", [b'1,"a\n', b'1,"a"b,2\n', b'"', b'1,"say ""x""",2\n'])
def test_a_quote_that_does_not_end_its_token_is_an_error(text):
    with pytest.raises(LineError, match="does not end with one"):
        found_rows(text, b",", b"#")


plain_pieces = [
    b"1",
    b"12",
    b"-3",
    b" ",
    b"\t",
    b"\r",
    b"\n",
    b"\n",
    b"#",
    b",",
    b"+",
    b"x",
    b'"',
    b"1" * 19,
    b"-",
    b"\x01",
]


@given(st.lists(st.sampled_from(plain_pieces), max_size=30), st.sampled_from([None, b",", b"\t"]), st.integers(1, 3))
@example([b"1", b"-3", b"\n"], None, 2)
@example([b"\t", b"1", b"\t", b"12", b"\n"], b"\t", 2)
@example([b"1", b",", b"12", b"\n", b"\r", b"\n", b"#", b"x", b"\n", b" ", b"-3", b" ", b",", b" ", b"1"], b",", 2)
@example([b"1", b" ", b"12", b" ", b"\r", b"\n", b"1", b"\t", b"-3"], None, 2)
def test_plain_rows_are_those_of_the_tokens_or_left_to_them(pieces, separator, n_columns):
    text = b"".join(pieces)
    out = np.zeros((n_columns, text.count(b"\n") + 2), np.int64)
    byte = -1 if separator is None else ord(separator)
    n_rows = text_kernels.parse_rows(np.frombuffer(text, np.uint8), byte, np.frombuffer(b"#%", np.uint8), 1, out)
    try:
        rows = found_rows(text, separator, b"#%")
    except LineError:
        assert n_rows == -1
        return
    is_plain = all(len(row) == n_columns and all(re.fullmatch(rb"-?\d{1,18}", t) for t in row) for row in rows)
    if n_rows >= 0:
        assert out[:, 1:n_rows].T.tolist() == [[int(token) for token in row] for row in rows]
    else:
        assert not is_plain or b'"' in text or b"\t" in text


near_the_edge = st.integers(2**63 - 3, 2**63 + 3) | st.integers(-(2**63) - 3, -(2**63) + 3)
integer_texts = st.builds(
    lambda sign, zeros, value: (sign + "0" * zeros + str(value).lstrip("-")).encode(),
    st.sampled_from(["", "-", "+"]),
    st.integers(0, 25),
    near_the_edge | st.integers(0, 10**25) | st.integers(0, 99),
)


@given(integer_texts | st.sampled_from([b"+", b"-", b"1-", b"--1", b"0x1", b"1.0", b"1_0", b"/", b":"]))
@example(b"-9223372036854775808")
@example(b"9223372036854775808")
@example(b"18446744073709551616")
@example(b"-0")
def test_an_integer_is_what_python_reads_or_says_why_not(token):
    expected = naive_read.integer(token)
    rows = one_column([b"7", token])
    if isinstance(expected, int):
        assert c.integers(rows, 0, "id").tolist() == [7, expected]
    else:
        rule = "is beyond int64" if expected == "too large" else "is not an integer"
        with pytest.raises(LineError, match=rule) as caught:
            c.integers(rows, 0, "id")
        assert caught.value.line(0) == 2


def bits(value):
    return struct.pack("<d", value)


float_texts = st.one_of(
    st.floats(allow_nan=False).map(repr),
    st.floats(allow_nan=False, allow_infinity=False).map("{:.25g}".format),
    st.floats(-1e6, 1e6).map("{:.3f}".format),
    st.tuples(st.integers(0, 10**30), st.integers(-400, 400)).map(lambda pair: f"{pair[0]}e{pair[1]}"),
    st.tuples(st.integers(0, 2**54), st.integers(0, 10**6), st.integers(-30, 30)).map(
        lambda parts: f"+{parts[0]}.{parts[1]}E{parts[2]:+d}"
    ),
).map(str.encode)


@given(st.lists(float_texts, min_size=1, max_size=20))
@example([b"-0", b"-0.0", b".5", b"5.", b"1e23", b"9007199254740993", b"1e-400", b"1e400", b"Infinity", b"-INF"])
@example([b"0." + b"0" * 400 + b"1e401", b"2.2250738585072011e-308", b"1e99999999999999999999"])
def test_a_float_is_correctly_rounded_bit_for_bit(tokens):
    values = c.floats(one_column(tokens), 0, "weight")
    assert [bits(value) for value in values] == [bits(float(token)) for token in tokens]


@pytest.mark.parametrize(
    "token", [b"", b".", b"e5", b"1e", b"1e+", b"1.2.3", b"1_0", b"0x10", b"nan", b"-NaN", b"infin"]
)
def test_what_is_not_a_number_is_an_error(token):
    with pytest.raises(LineError, match="is not a number"):
        c.floats(one_column([b"1", token or b"+"]), 0, "weight")


def test_a_number_of_thousands_of_digits_is_refused_not_cut():
    with pytest.raises(LineError, match="longer than a number may be"):
        c.floats(one_column([b"1" * 5000]), 0, "weight")


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20))
@example([0, -1, 10, -(2**63), 2**63 - 1])
def test_integers_survive_being_written_and_read(values):
    text = format_columns([np.array(values, np.int64)])
    assert text == b"".join(f"{value}\n".encode() for value in values)


@given(st.lists(st.floats(allow_nan=False, width=64), min_size=1, max_size=20))
@example([5e-324, 1.7976931348623157e308, -0.0, 0.1 + 0.2, float("inf")])
def test_floats_survive_being_written_and_read_bit_for_bit(values):
    column = np.array(values)
    back = c.floats(one_column(format_columns([column]).split(b"\n")[:-1]), 0, "weight")
    assert back.tobytes() == column.tobytes()


@given(st.lists(st.floats(allow_nan=False, width=32), min_size=1, max_size=20))
@example([1e-45, 3.4028235e38, -0.0, 0.1])
def test_single_floats_survive_being_written_and_read_bit_for_bit(values):
    column = np.array(values, np.float32)
    back = c.floats(one_column(format_columns([column]).split(b"\n")[:-1]), 0, "weight")
    assert back.astype(np.float32).tobytes() == column.tobytes()
