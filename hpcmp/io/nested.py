"""JSON and TOML of strangers: how deep they may be nested is looked at before they are parsed.

Their parsers call themselves at each level. At the interpreter's limit that is an
error which may come anywhere, in clean-up code too that Python happens to run just
then: numba's would keep its lock for ever.
"""

import json
import re

MAX_DEPTH = 64  # of JSON
MAX_BRACKETS = (
    200  # of a TOML file, which are as deep at most; comments and many kinds of quotes make counting levels a parser
)
# A quoted text with its end, or up to the end of all: it always fits, so that each character is looked at once.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[][{}]', re.DOTALL)
_LEVELS = {"[": 1, "{": 1, "]": -1, "}": -1}


def parse_json(text):
    """The value of a JSON text (str or bytes of UTF-8). Local.

    Raises
    ------
    ValueError
        It is no JSON, or nested deeper than `MAX_DEPTH`.
    """
    text = text.decode() if isinstance(text, bytes) else text
    if _n_brackets(text) > MAX_DEPTH:
        depth = 0
        for token in _TOKEN.finditer(text):
            depth += _LEVELS.get(token[0], 0)
            if depth > MAX_DEPTH:
                raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    return json.loads(text)


def parse_toml(text):
    """The tables of a TOML text (str or bytes of UTF-8). Local.

    Raises
    ------
    ValueError
        It is no TOML, or has more than `MAX_BRACKETS` that open.
    """
    try:
        import tomllib
    except ImportError:  # Python 3.10
        import tomli as tomllib
    text = text.decode() if isinstance(text, bytes) else text
    if _n_brackets(text) > MAX_BRACKETS:
        raise ValueError(f"more than {MAX_BRACKETS} opening brackets")
    return tomllib.loads(text)


def _n_brackets(text):
    return text.count("[") + text.count("{")
