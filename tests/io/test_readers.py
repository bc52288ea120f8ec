"""Edge lists across ranks: the same edges on any number of ranks, and errors that name the line."""

import gzip
import hashlib

import naive_read
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import edges, gathered, message, put

from hpcmp.errors import FileError, FormatError, InputError
from hpcmp.io import readers, text
from hpcmp.io.readers import guess_format, read_edges
from hpcmp.io.text import format_columns

# ---------------------------------------------------------------- shares


TRICKY = b"# head\n\n1 2\n  3\t4  \r\n% note\n5 6\n\n\n7 8\r\n-9 9223372036854775807\n+1 -0\n10 11"


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("block_bytes", [1, 7, 64])
def test_any_number_of_ranks_reads_the_lines_of_the_naive_reader(
    comm, shared_tmp, monkeypatch, packed, ending, block_bytes
):
    monkeypatch.setattr(text, "BLOCK_BYTES", block_bytes)
    content = TRICKY.replace(b"\r\n", b"\n").replace(b"\n", ending)
    path = put(comm, shared_tmp / "edges.txt", gzip.compress(content) if packed else content)
    table = read_edges(comm, path)
    assert edges(comm, table) == sorted(naive_read.edges_of(content))
    assert table.directed is None and table.relation is None and table.fields == {}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_every_cut_of_a_small_file_loses_and_doubles_nothing(comm, shared_tmp, monkeypatch, packed):
    monkeypatch.setattr(text, "BLOCK_BYTES", 3)
    for n in range(1, 9):
        content = b"".join(b"%d %d\n" % (k, 10**k) for k in range(n))
        path = put(comm, shared_tmp / f"edges{n}.txt", gzip.compress(content) if packed else content)
        assert edges(comm, read_edges(comm, path)) == naive_read.edges_of(content)


def test_a_plain_file_is_read_in_order_of_its_lines(comm, shared_tmp):
    path = put(comm, shared_tmp / "edges.txt", b"".join(b"%d %d\n" % (k, -k) for k in range(100)))
    table = read_edges(comm, path)
    assert gathered(comm, table.src) == list(range(100))
    sizes = comm.allgather(len(table.src))
    assert max(sizes) - min(sizes) < 100 // comm.size


@given(
    st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 9), st.floats(allow_nan=False)), min_size=1),
    st.sampled_from([b"\t", b",", b";", b" "]),
    st.booleans(),
    st.integers(1, 50),
)
def test_what_was_written_is_read_bit_for_bit(comm, shared_tmp, rows, separator, packed, block_bytes):
    src, dst, weight = (np.array(column, dtype) for column, dtype in zip(zip(*rows), "qqd"))
    content = format_columns([src, dst, weight], separator)
    path = put(comm, shared_tmp / "edges.txt", gzip.compress(content) if packed else content)
    before, text.BLOCK_BYTES = text.BLOCK_BYTES, block_bytes
    try:
        table = read_edges(comm, path, columns="src,dst,weight:float64")
    finally:
        text.BLOCK_BYTES = before
    found = sorted((u, v, w.hex()) for u, v, w in edges(comm, table))
    expected = sorted((u, v, w.hex()) for u, v, w in zip(src.tolist(), dst.tolist(), weight.tolist()))
    assert all(comm.allgather(found == expected))


def test_a_byte_order_mark_is_no_part_of_the_first_id(comm, shared_tmp):
    path = put(comm, shared_tmp / "edges.csv", b"\xef\xbb\xbf1,2\n3,4\n")
    assert edges(comm, read_edges(comm, path)) == [(1, 2), (3, 4)]


def test_gzip_members_and_padding_between_them_are_one_text(comm, shared_tmp, monkeypatch):
    content = b"".join(b"%d %d\n" % (k, -k) for k in range(50))
    packed = gzip.compress(content[:100]) + b"\0" * 20 + gzip.compress(content[100:]) + b"\0" * 30
    path = put(comm, shared_tmp / "edges.gz", packed)
    for n in (1, 10, 21, 1000):
        monkeypatch.setattr(text, "PACKED_BYTES", n)
        assert edges(comm, read_edges(comm, path)) == naive_read.edges_of(content)


def test_the_source_is_named_with_its_size_and_sum(comm, shared_tmp):
    content = gzip.compress(b"1 2\n", mtime=0)  # ranks may compress in different seconds
    table = read_edges(comm, put(comm, shared_tmp / "edges.gz", content))
    expected = {"name": "edges.gz", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert table.sources == (expected,)


# ---------------------------------------------------------------- columns


def test_a_third_column_is_a_weight_int64_if_all_ranks_see_integers(comm, shared_tmp):
    whole = read_edges(comm, put(comm, shared_tmp / "a.tsv", b"1 2 3\n" * 40))
    assert whole.fields["weight"].dtype == np.int64
    one_float = read_edges(comm, put(comm, shared_tmp / "b.tsv", b"1 2 3\n" * 40 + b"1 2 3.5\n" + b"1 2 -0\n"))
    assert one_float.fields["weight"].dtype == np.float64
    weight = gathered(comm, one_float.fields["weight"])
    assert weight[-2:] == [3.5, 0.0] and np.signbit(weight[-1])


def test_columns_may_be_named_typed_reordered_and_skipped(comm, shared_tmp):
    path = put(comm, shared_tmp / "a.csv", "7, 1, 2, x, 5\n8, 3, 4, y, 6\n")
    table = read_edges(comm, path, columns=("time:int32", "dst", "src", "_", "cost:float32"))
    assert edges(comm, table) == [(2, 1, 7, 5.0), (4, 3, 8, 6.0)]
    assert [column.dtype for column in table.fields.values()] == [np.int32, np.float32]


@pytest.mark.parametrize("head", ["source,target,cost", "from,to,cost", "u,v,cost", "\n# c\nSRC,DST,cost"])
def test_a_header_names_the_columns_even_if_it_is_in_another_share(comm, shared_tmp, monkeypatch, head):
    monkeypatch.setattr(text, "BLOCK_BYTES", 4)
    path = put(comm, shared_tmp / "a.csv", head + "\n1,2,3\n4,5,6\n")
    table = read_edges(comm, path)
    assert list(table.fields) == ["cost"]
    assert edges(comm, table) == [(1, 2, 3), (4, 5, 6)]


def test_a_header_may_put_the_endpoints_anywhere(comm, shared_tmp):
    table = read_edges(comm, put(comm, shared_tmp / "a.csv", "to,from,cost\n1,2,3\n"))
    assert edges(comm, table) == [(2, 1, 3)]


def test_names_are_utf8_bytes_of_one_width_on_all_ranks(comm, shared_tmp):
    path = put(comm, shared_tmp / "a.tsv", "ann\tbob jr\nJürgen\t1\n" + "x\ty\n" * 20)
    table = read_edges(comm, path, names=True)
    assert {a.dtype for a in comm.allgather(table.src)} == {table.dst.dtype} == {np.dtype("S7")}
    assert edges(comm, table)[:2] == [("Jürgen".encode(), b"1"), (b"ann", b"bob jr")]


def test_labels_of_relations_are_numbered_in_sorted_order(comm, shared_tmp):
    content = "".join(f"{k}\t{('writes', 'cites', 'reads')[k % 3]}\t{k + 1}\n" for k in range(12))
    table = read_edges(comm, put(comm, shared_tmp / "a.tsv", content), columns="src,relation,dst")
    assert table.relations == ("cites", "reads", "writes") and table.relation.dtype == np.uint16
    assert edges(comm, table)[:3] == [(0, 1, "writes"), (1, 2, "cites"), (2, 3, "reads")]


def test_given_relation_names_fix_the_numbers(comm, shared_tmp):
    path = put(comm, shared_tmp / "a.tsv", "1 b 2\n2 a 3\n")
    table = read_edges(comm, path, columns="src,relation,dst", relation_names=["z", "b", "a"])
    assert table.relations == ("z", "b", "a")
    assert sorted(gathered(comm, table.relation)) == [1, 2]
    call = lambda: read_edges(comm, path, columns="src,relation,dst", relation_names=["a"])
    assert (
        message(comm, call) == "the relation 'b' is none of the 1 given; add it, or give none to number all that occur"
    )


def test_inputs_are_joined_and_named_as_relations(comm, shared_tmp):
    cites = put(comm, shared_tmp / "c.tsv", "1 2 1\n")
    writes = put(comm, shared_tmp / "w.tsv", "3 4 0.5\n5 6 1\n")
    joined = read_edges(comm, [cites, writes])
    assert edges(comm, joined) == [(1, 2, 1.0), (3, 4, 0.5), (5, 6, 1.0)]
    named = read_edges(comm, [f"writes={writes}", f"cites={cites}"])
    assert named.relations == ("cites", "writes")
    assert edges(comm, named) == [(1, 2, "cites", 1.0), (3, 4, "writes", 0.5), (5, 6, "writes", 1.0)]
    assert [source["name"] for source in named.sources] == ["w.tsv", "c.tsv"]
    alone = read_edges(comm, f"cites={cites}", relation_names=["writes", "cites"])
    assert alone.relations == ("writes", "cites") and set(gathered(comm, alone.relation)) == {1}


def test_published_edge_lists_equal_the_naive_reader(comm, data):
    cora = data / "cora" / "cora.edges.tsv"
    assert edges(comm, read_edges(comm, str(cora))) == sorted(naive_read.edges_of(cora.read_bytes()))
    messages = data / "collegemsg" / "CollegeMsg.txt"
    table = read_edges(comm, str(messages), columns=("src", "dst", "time:int64"))
    assert edges(comm, table) == sorted(naive_read.edges_of(messages.read_bytes()))


# ---------------------------------------------------------------- errors


BAD_LINES = {
    "text for an id": (
        "1 2\n1 abc\n",
        {},
        "dst 'abc' is not an integer (e.tsv, line 2); pass --names if vertices have names",
    ),
    "a float id": (
        "1 2\n1.0 2\n",
        {},
        "src '1.0' is not an integer (e.tsv, line 2); pass --names if vertices have names",
    ),
    "beyond int64": ("1 9223372036854775808\n", {}, "dst '9223372036854775808' is beyond int64 (e.tsv, line 1)"),
    "one column less": ("1 2\n\n3\n4 5\n", {}, "1 columns where 2 belong (e.tsv, line 3)"),
    "one column more": ("# c\n1 2\n3 4 5\n", {}, "3 columns where 2 belong (e.tsv, line 3)"),
    "text for a weight": ("1 2 3\n1 2 x\n", {}, "weight 'x' is not a number (e.tsv, line 2)"),
    "a weight that is nan": ("1 2 3\n1 2 nan\n", {}, "weight 'nan' is not a number (e.tsv, line 2)"),
    "a number too wide": ("1 2 300\n", {"columns": "src,dst,w:int8"}, "w '300' does not fit in int8 (e.tsv, line 1)"),
    "a float too wide": (
        "1 2 1e39\n",
        {"columns": "src,dst,w:float32"},
        "w '1e39' does not fit in float32 (e.tsv, line 1)",
    ),
    "no boolean": ("1 2 2\n", {"columns": "src,dst,w:bool"}, "w '2' does not fit in bool (e.tsv, line 1)"),
    "an empty name": ("a,b\nc,\n", {"names": True}, "dst is empty (e.tsv, line 2)"),
    "not UTF-8": (b"a,b\nc,\xff\n", {"names": True}, "text that is not UTF-8 (e.tsv, line 2)"),
    "too many columns": ("1 2 3 4\n", {}, "e.tsv has 4 columns, which only two have known meanings"),
    "one column": ("1|2\n", {}, "e.tsv has 1 column ('1|2' ...), an edge list has 2 or more"),
    "comments only": ("# c\n\n", {}, "e.tsv holds no edge"),
    "no endpoint": ("1 2\n", {"columns": "src,x"}, "the columns of e.tsv are src, x, none of them is dst"),
    "a column twice": ("1 2\n", {"columns": "src,src"}, "the column 'src' is there twice"),
    "no name for a program": (
        "1 2 3\n",
        {"columns": "src,dst,class"},
        "the column 'class' is not a name that a program can use",
    ),
    "no such type": ("1 2 3\n", {"columns": "src,dst,x:int65"}, "the type 'int65' of column 'x' is none of"),
    "a wide separator": ("1 2\n", {"separator": "::"}, "the separator b'::' is not one byte"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_an_error_names_file_line_and_value_on_every_rank(comm, shared_tmp, case):
    content, options, expected = BAD_LINES[case]
    path = put(comm, shared_tmp / "e.tsv", content)
    assert message(comm, lambda: read_edges(comm, path, **options), InputError).startswith(expected)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_the_earliest_bad_line_is_reported_whoever_holds_it(comm, shared_tmp, monkeypatch, packed):
    monkeypatch.setattr(text, "BLOCK_BYTES", 16)
    lines = [b"# head", b"", *(b"%d 1" % k for k in range(60))]
    for first in range(5, 60, 9):
        bad = list(lines)
        bad[first - 1], bad[-1] = b"x 1", b"y 1"
        content = b"\n".join(bad)
        path = put(comm, shared_tmp / f"e{first}.tsv", gzip.compress(content) if packed else content)
        assert f"'x' is not an integer (e{first}.tsv, line {first})" in message(comm, lambda: read_edges(comm, path))


def test_a_file_that_cannot_be_read_is_an_error_on_every_rank(comm, shared_tmp):
    missing = str(shared_tmp / "none.tsv")
    assert message(comm, lambda: read_edges(comm, missing), FileError) == f"{missing} does not exist"
    assert "is a folder" in message(comm, lambda: read_edges(comm, str(shared_tmp)), FileError)
    empty = put(comm, shared_tmp / "empty.tsv", b"")
    assert message(comm, lambda: read_edges(comm, empty), InputError) == f"{empty} is empty (0 bytes)"


@pytest.mark.parametrize("damage", ["cut", "flipped", "trailing"])
def test_a_damaged_gzip_file_is_an_error_on_every_rank(comm, shared_tmp, damage):
    packed = gzip.compress(b"".join(b"%d %d\n" % (k, k * k) for k in range(1000)))
    flipped = packed[:100] + bytes([packed[100] ^ 255]) + packed[101:]
    content = {"cut": packed[:-20], "flipped": flipped, "trailing": packed + b"rubbish"}[damage]
    path = put(comm, shared_tmp / "edges.tsv.gz", content)
    assert "is a damaged gzip file" in message(comm, lambda: read_edges(comm, path), FormatError)


@pytest.mark.parametrize("content", [b"1 2\n\0\0 3\n", "1 2\n".encode("utf-16")])
def test_what_is_not_a_text_is_refused(comm, shared_tmp, content):
    path = put(comm, shared_tmp / "edges.tsv", content)
    assert "text" in message(comm, lambda: read_edges(comm, path), FormatError)


def test_a_line_without_end_is_refused(comm, shared_tmp, monkeypatch):
    monkeypatch.setattr(text, "MAX_LINE_BYTES", 100)
    monkeypatch.setattr(text, "BLOCK_BYTES", 10)
    for content in (b"1 " * 500, gzip.compress(b"1 " * 500)):
        path = put(comm, shared_tmp / "edges.tsv", content)
        assert "a line longer than 100 bytes" in message(comm, lambda: read_edges(comm, path), FormatError)


def test_inputs_that_do_not_go_together_are_refused(comm, shared_tmp):
    a = put(comm, shared_tmp / "a.tsv", "1 2\n")
    b = put(comm, shared_tmp / "b.tsv", "1 2 3\n")
    assert "have a relation (NAME=PATH)" in message(comm, lambda: read_edges(comm, [f"x={a}", a]))
    assert "inputs that are joined need the same" in message(comm, lambda: read_edges(comm, [a, b]))
    assert "there is no input" in message(comm, lambda: read_edges(comm, []))
    call = lambda: read_edges(comm, a, format="metis", columns="src,dst")
    assert message(comm, call) == f"columns belongs to edge lists, {a} is read as metis; leave it out"
    assert "none of edgelist, ldbc" in message(comm, lambda: read_edges(comm, a, format="pajek"))


# ---------------------------------------------------------------- formats


def test_the_format_is_guessed_from_the_name(tmp_path):
    names = {"a.tsv.gz": "edgelist", "a": "edgelist", "a.e": "ldbc", "a.mtx": "matrixmarket", "a.graph": "metis"}
    names |= {"A.GraphML": "graphml", "a.npz": "npz", "x.nt.gz": "ntriples"}
    assert {name: guess_format(tmp_path / name) for name in names} == names
    (tmp_path / "pair.v").write_bytes(b"")
    assert guess_format(tmp_path / "pair") == "ldbc"
    assert set(names.values()) == set(readers.FORMATS)
