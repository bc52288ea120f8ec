"""Slow, obvious readers of text: what hpcmp.io.readers has to agree with.

Only plain Python: one line after the other, one token after the other.
"""

BLANKS = b" \t\r\v\f"


def lines_of(text, comments=b"#%", keeps_blank=False):
    """(line number, line) of every line that holds data."""
    lines = text.split(b"\n")
    if lines and lines[-1] == b"":
        lines.pop()
    kept = []
    for number, line in enumerate(lines, 1):
        bare = line.strip(BLANKS)
        if bare[:1] and bare[0] in comments:
            continue
        if bare or keeps_blank:
            kept.append((number, bare))
    return kept


def rows_of(text, separator=None, comments=b"#%", keeps_blank=False):
    """Tokens of every line that holds data: list of lists of bytes."""
    rows = []
    for _, line in lines_of(text, comments, keeps_blank):
        if separator is None:
            for blank in BLANKS:
                line = line.replace(bytes([blank]), b" ")
            rows.append([token for token in line.split(b" ") if token])
        else:
            rows.append([token.strip(BLANKS) for token in line.split(separator)])
    return rows


def edges_of(text, separator=None):
    """Rows of an edge list as tuples of numbers: int if it looks so, else float."""
    return [tuple(number(token) for token in row) for row in rows_of(text, separator)]


def number(token):
    try:
        return int(token)
    except ValueError:
        return float(token)


def integer(token):
    """An int64, or the reason why a token is none."""
    sign, digits = (token[:1], token[1:]) if token[:1] in (b"+", b"-") else (b"", token)
    if not digits or any(byte not in b"0123456789" for byte in digits):
        return "not a number"
    value = int(digits) * (-1 if sign == b"-" else 1)
    return value if -(2**63) <= value < 2**63 else "too large"


def metis_edges(text):
    """Edges (u, v, weight) with u < v of a METIS graph without vertex weights."""
    (n, _, *fmt), *rows = rows_of(text, comments=b"%", keeps_blank=True)
    has_weight = bool(fmt) and fmt[0].endswith(b"1")
    edges = []
    for u, row in enumerate(rows[: int(n)], 1):
        numbers = [int(token) for token in row]
        pairs = zip(numbers[::2], numbers[1::2]) if has_weight else ((v, 1) for v in numbers)
        edges += [(u, v, w) for v, w in pairs if u < v]
    return edges
