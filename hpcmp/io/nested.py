"""JSON and TOML of strangers: how deep they may be nested is looked at before they are parsed.

Their parsers call themselves at each level. At the interpreter's limit that is an
error which may come anywhere, in clean-up code too that Python happens to run just
then: numba's would keep its lock for ever.
"""

import json
import re

MAX_DEPTH = 64
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(r"[][{}]")


def parse_json(text):
    """The value of a JSON text (str or bytes of UTF-8). Local.

    Raises
    ------
    ValueError
        It is no JSON, or nested deeper than `MAX_DEPTH`.
    """
    text = text.decode() if isinstance(text, bytes) else text
    refuse_deep(text)
    return json.loads(text)


def refuse_deep(text):
    """Raise ValueError where brackets are nested deeper than `MAX_DEPTH`. Local."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _BRACKET.finditer(_QUOTED.sub("", text)):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
