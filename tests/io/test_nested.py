"""JSON and TOML of strangers: refused by depth before their parsers call themselves too often."""

import json
import sys

import pytest

from hpcmp.cli import learning
from hpcmp.errors import ProgramError
from hpcmp.io.nested import MAX_DEPTH, parse_json


def nested(depth, value="1", opening="[", closing="]"):
    return opening * depth + value + closing * depth


@pytest.mark.parametrize(
    "text", ["{}", '{"a": [1, "]["]}', "[" + "[1]," * 500 + "2]", json.dumps(["[" * 500, '\\"[' * 500])]
)
def test_what_is_not_deep_is_parsed(text):
    assert parse_json(text) == parse_json(text.encode()) == json.loads(text)


def test_so_deep_and_no_deeper():
    assert parse_json(nested(MAX_DEPTH)) == json.loads(nested(MAX_DEPTH))
    for text in (nested(MAX_DEPTH + 1), nested(10**5), nested(10**5, opening='{"a":', closing="}"), "[" * 10**5):
        with pytest.raises(ValueError, match="nested deeper"):
            parse_json(text)


def test_a_text_of_quotes_that_never_ends_is_looked_at_once():
    text = "[" * MAX_DEPTH + '{"' + '\\"' * 10**6  # a second look from each quote would take hours
    with pytest.raises(ValueError, match="nested deeper"):
        parse_json(text)
    with pytest.raises(ValueError, match="Unterminated string"):
        parse_json('["' + "[" * MAX_DEPTH + '\\"' * 10**6)


DEEP = {
    "arrays after a quote in a comment": '# "\nx = ' + nested(10**5) + '\n# "',
    "arrays between closed ones in comments": "x = " + "[\n# ]\n" * 10**4,
    "arrays": "x = " + nested(10**5),
    "tables": "x = " + nested(10**5, "a=1", "{a=", "}"),
    "a dotted key": "a" + ".a" * 10**4 + " = 1",
    "a dotted heading": "[a" + ".a" * 10**4 + "]",
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_a_deep_configuration_is_refused_and_no_limit_of_python_reached(tmp_path, text, monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", lambda found: pytest.fail(f"in clean-up code: {found}"))
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(ProgramError, match=r"config\.toml"):
        learning.read_config(tmp_path / "config.toml")
