"""Vertex tables and sparse features, across ranks."""

import numpy as np
import pytest
from reading import gathered, message, put

from hpcmp.io import text
from hpcmp.io.readers import read_features, read_vertices


@pytest.fixture(params=[1, 10, 2**22], ids=lambda size: f"blocks{size}")
def block_bytes(request, monkeypatch):
    monkeypatch.setattr(text, "BLOCK_BYTES", request.param)


def test_columns_are_integers_numbers_or_labels(comm, shared_tmp, block_bytes):
    path = put(
        comm, shared_tmp / "v.tsv", "id\tage\theight\tcity\n3\t1\t1.5\tNew York\n1\t2\t2\t\n-7\t3\t1e3\tBerlin\n"
    )
    table = read_vertices(comm, path)
    assert gathered(comm, table.key) == [3, 1, -7]
    assert gathered(comm, table.fields["age"]) == [1, 2, 3] and table.fields["age"].dtype == np.int64
    assert gathered(comm, table.fields["height"]) == [1.5, 2.0, 1000.0]
    assert table.categories == {"city": ("", "Berlin", "New York")}
    assert gathered(comm, table.fields["city"]) == [2, 0, 1] and table.fields["city"].dtype == np.int32


def test_a_type_in_the_header_is_kept_and_an_underscore_skips(comm, shared_tmp):
    table = read_vertices(comm, put(comm, shared_tmp / "v.csv", "age:float32,id,_\n1,5,x\n"))
    assert list(table.fields) == ["age"] and table.fields["age"].dtype == np.float32


def test_a_column_called_name_holds_names(comm, shared_tmp):
    table = read_vertices(comm, put(comm, shared_tmp / "v.csv", 'name,age\n"Doe, Ann",1\nbob,2\n'))
    assert gathered(comm, table.key) == [b"Doe, Ann", b"bob"]


BAD_TABLES = {
    "no key": ("key\tx\n1\t2\n", "the header of v.tsv (key, x) has neither id nor name"),
    "two keys": ("id\tname\n1\t2\n", "the header of v.tsv (id, name) has both id and name"),
    "a text key": ("id\tx\n1\t2\nann\t2\n", "id 'ann' is not an integer (v.tsv, line 3)"),
    "a short line": ("id\tx\n1\n", "1 columns where 2 belong (v.tsv, line 2)"),
    "a bad name": ("id\tfor\n1\t2\n", "the column 'for' is not a name"),
    "comments only": ("# c\n", "v.tsv has no header"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_table_that_breaks_a_rule_is_refused(comm, shared_tmp, case):
    content, expected = BAD_TABLES[case]
    path = put(comm, shared_tmp / "v.tsv", content)
    assert message(comm, lambda: read_vertices(comm, path)).startswith(expected)


@pytest.mark.parametrize("head", ["", "# vertex feature value\n", "vertex column value\n"])
def test_features_are_entries_and_count_their_columns(comm, shared_tmp, block_bytes, head):
    table = read_features(comm, put(comm, shared_tmp / "f.tsv", head + "0\t19\t1\n0\t2\t0.5\n5\t0\t-3\n"))
    assert gathered(comm, table.key) == [0, 0, 5] and gathered(comm, table.column) == [19, 2, 0]
    assert gathered(comm, table.value) == [1.0, 0.5, -3.0] and table.value.dtype == np.float32
    assert table.n_columns == 20


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1 -1 2", "column '-1' is negative; columns count from 0 (f.tsv, line 2)"),
        ("1 x 2", "column 'x' is not an integer (f.tsv, line 2)"),
        ("1 1 nan", "value 'nan' is not a number (f.tsv, line 2)"),
        ("1 1", "2 columns where 3 belong (f.tsv, line 2)"),
    ],
)
def test_a_feature_that_breaks_a_rule_is_refused(comm, shared_tmp, line, expected):
    path = put(comm, shared_tmp / "f.tsv", f"0 0 1\n{line}\n")
    assert message(comm, lambda: read_features(comm, path)).startswith(expected)


def test_cora_has_its_papers_words_and_split(comm, data):
    vertices = read_vertices(comm, str(data / "cora" / "cora.vertices.tsv"))
    features = read_features(comm, str(data / "cora" / "cora.features.tsv"))
    assert gathered(comm, vertices.key) == list(range(2708))
    assert sorted(set(gathered(comm, vertices.fields["label"]))) == list(range(7))
    split = np.bincount(gathered(comm, vertices.fields["split"]))
    assert dict(zip(vertices.categories["split"], split.tolist())) == {
        "none": 1068,
        "test": 1000,
        "train": 140,
        "val": 500,
    }
    assert features.n_columns == 1433 and comm.allreduce(len(features.value)) == 49_216
