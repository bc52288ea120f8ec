"""Logs of messages become trails: columns, times, names, causes, and what is wrong with a line."""

import gzip
import json

import numpy as np
import pytest

from hpcmp import analysis
from hpcmp.errors import FileError, FormatError, InputError
from hpcmp.io.log import import_log

COLUMNS = "sender,receiver,time"
JSON_LINES = """{"sender": "ann", "receiver": "b,ob", "time": 1.5}
{"sender": "b,ob", "receiver": "zoe", "time": 2.5}
"""


def imported(tmp_path, text, columns=COLUMNS, name="log.txt", **more):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = import_log(path, tmp_path / "trail", columns, **more)
    trail = analysis.open(tmp_path / "trail")
    trail.check()
    return trail, found


def test_times_become_steps_and_stay(tmp_path):
    trail, found = imported(tmp_path, "3 1 20\n1 2 -5\n1 3 20\n1 1 7\n")
    assert trail["step_sent"].tolist() == [0, 1, 2, 2]
    assert trail["step_delivered"].tolist() == [1, 2, 3, 3]
    assert trail["sender"].tolist() == [1, 1, 1, 3]
    assert trail["number"].tolist() == [0, 1, 2, 0]
    assert trail["receiver"].tolist() == [2, 1, 3, 1]
    assert trail["time"].tolist() == [-5, 7, 20, 20]
    assert trail.names is None
    assert found == {"records": 4, "agents": 3, "steps": 3, "types": ["message"], "notes": []}


@pytest.mark.parametrize(
    "name, text, columns",
    [
        ("l.csv", 'ann,"b,ob",1.5\n"b,ob",zoe,2.5\n', COLUMNS),
        ("l.tsv", "1.5\tann\tx\tb,ob\n2.5\tb,ob\tx\tzoe\n", "time,sender,-,receiver"),
        ("l.csv", 'when,"to",from\n1.5,"b,ob",ann\n2.5,zoe,"b,ob"\n', "sender=from,receiver=to,time=when"),
        ("l.csv", 'from,to,when\nann,"b,ob",1.5\n"b,ob",zoe,2.5\n', COLUMNS),
        ("l.txt", "# a comment\nann b,ob 1.5\n\nb,ob zoe 2.5\n", COLUMNS),
        ("l.jsonl", JSON_LINES, COLUMNS),
        ("l.log", JSON_LINES.replace("sender", "f").replace("time", "t"), "sender=f,receiver,time=t"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("packed", [False, True])
def test_all_forms_give_the_same_trail(tmp_path, name, text, columns, packed):
    content = gzip.compress(text.encode()) if packed else text.encode()
    separator = "space" if name == "l.txt" else None  # a comma in the first line says csv otherwise
    trail, _ = imported(tmp_path, content, columns, name + ".gz" * packed, separator=separator)
    assert trail.names.tolist() == ["ann", "b,ob", "zoe"]
    assert trail["sender"].tolist() == [0, 1]
    assert trail["receiver"].tolist() == [1, 2]
    assert trail["time"].tolist() == [1.5, 2.5]


def test_types_ids_and_causes(tmp_path):
    text = "a b 1 ask m1 -\nb c 2 ask m2 m1\nc a 3 tell m3 m2\nd a 3 tell m4 -\n"
    trail, found = imported(tmp_path, text, "sender,receiver,time,type,id,cause")
    assert found["types"] == ["ask", "tell"] == list(trail.types)
    assert trail.cause.tolist() == [4, 0, 1, 4, 4]
    assert trail["conversation_sender"].tolist() == [0, 0, 0, 3]
    assert [trail.payload(row) for row in range(4)] == [{"id": f"m{k}"} for k in range(1, 5)]


def test_a_cause_outside_the_log_is_told(tmp_path):
    trail, found = imported(tmp_path, "1 2 1 10 9\n2 3 2 11 10\n", "sender,receiver,time,id,cause")
    assert found["notes"] == ["1 causes are not in the log: taken as none"]
    assert trail.cause[:-1].tolist() == [2, 0]
    assert trail.payload(1) == {"id": 11}


def test_zeros_before_a_number_make_it_a_name(tmp_path):
    trail, _ = imported(tmp_path, "007 7 1\n7 8 2\n")
    assert trail.names.tolist() == ["007", "7", "8"]


@pytest.mark.parametrize(
    "text, columns, says",
    [
        ("1 2 3\n1 2\n", COLUMNS, "log.txt, line 2: 2 fields, 3 are needed"),
        ("1 2 3\n\n1 2 noon\n", COLUMNS, "line 3: the time 'noon' is no number"),
        ("1 2 3\n1 2 nan\n", COLUMNS, "line 2: the time 'nan' is no number"),
        ("1 2 3\n1 2 9223372036854775808\n", COLUMNS, "line 2: the time 9223372036854775808 does not fit"),
        (f"1 2 3.5\n1 2 {'9' * 400}\n", COLUMNS, "line 2: the time 9+ does not fit"),  # too large for a float
        ("1 2 3.5\n1 2 9007199254740993\n", COLUMNS, "line 2: the time 9007199254740993 does not fit"),
        ("", COLUMNS, "has no line with a message"),
        ("1 2 3\n", "sender,receiver", "has no time"),
        ("1 2 3\n", "sender,sender,time", "names sender twice"),
        ("1 2 3\n", "sender,to,time", "'to' is none of sender"),
        ("1 2 3\n", "sender,receiver,time,cause", "has a cause but no id"),
        ("1 2 3\n", "sender=x,receiver,time", "header has no column 'x'"),
        ("a,b,t\n", "sender=a,receiver=b,time=t", "a header and no message"),
        ("1 2 3 a\n1 2 3 a\n", COLUMNS + ",id", "line 2: the id 'a' is that of line 1 too"),
        ("1 2 3 a b\n1 2 4 b -\n", COLUMNS + ",id,cause", r"line 1: its cause 'b' \(line 2\) has a later time"),
        ("1 2 3 a b\n1 2 3 b a\n", COLUMNS + ",id,cause", "go round in a circle"),
        ('{"sender": 1}\n', COLUMNS, "line 1: there is no 'receiver'"),
        ('{"sender": [1], "receiver": 1, "time": 1}\n', COLUMNS, r"'sender' is \[1\]"),
        ('{"sender": \n', COLUMNS, "line 1: this is no JSON"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, text, columns, says):
    with pytest.raises(InputError, match=says):
        imported(tmp_path, text, columns)


def test_files_that_are_no_text_and_folders_of_others(tmp_path):
    with pytest.raises(FormatError, match="no UTF-8"):
        imported(tmp_path, b"\xff\xfe1 2 3")
    with pytest.raises(FormatError, match=r"log\.txt"):
        imported(tmp_path, gzip.compress(b"1 2 3\n" * 99)[:-9])
    (tmp_path / "trail").mkdir()
    (tmp_path / "trail" / "mine.txt").write_text("x")
    with pytest.raises(FileError, match="is no part of a trail"):
        imported(tmp_path, "1 2 3\n")


def test_a_trail_takes_the_place_of_a_trail(tmp_path):
    imported(tmp_path, "1 2 3\n1 2 4\n")
    trail, _ = imported(tmp_path, "a b 3\n")
    assert (trail.n, trail.names.tolist()) == (1, ["a", "b"])


def test_json_numbers_and_texts_are_the_same_agents(tmp_path):
    lines = [{"sender": 1, "receiver": "2", "time": 10**17 + k} for k in (1, 0)]
    trail, _ = imported(tmp_path, "\n".join(map(json.dumps, lines)), name="l.jsonl")
    assert trail["sender"].tolist() == [1, 1]
    assert trail["time"].tolist() == [10**17, 10**17 + 1]
    assert trail["time"].dtype == np.int64
