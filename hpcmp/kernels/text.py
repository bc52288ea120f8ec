"""Loops over the bytes of a text: cut lines into tokens, read and write numbers.

A block is a ``uint8`` array of whole lines. Tokens are offsets into it
(``uint32``, so a block is below 4 GiB); a token's bytes are
``data[start[t]:end[t]]``. Rows are lines that hold data: comment lines and, as
a rule, blank ones are not rows.

Numbers that the short exact way cannot read are marked and left to numpy,
which rounds correctly: a float has one value, whoever reads it.

Letters: ``i`` byte, ``t`` token, ``r`` row.
"""

import numpy as np

from hpcmp.jit import inlined, kernel

FINE, NOT_A_NUMBER, TOO_LARGE, TOO_LONG = range(4)  # what is wrong with a token

MAX_NUMBER_BYTES = 4096  # of one number; longer ones are refused, not silently cut
INT64_MAX = np.uint64(2**63 - 1)
EXACT_MANTISSA = np.uint64(2**53)  # below it every integer is a float64
EXACT_POWERS = 10.0 ** np.arange(23)  # 10**22 is the largest power of ten that a float64 holds exactly

NEWLINE, RETURN, SPACE, TAB, QUOTE = 10, 13, 32, 9, 34
PLUS, MINUS, DOT, ZERO, NINE = 43, 45, 46, 48, 57


# ---------------------------------------------------------------- tokens


@inlined
def _is_blank(byte):
    return byte == SPACE or (TAB <= byte <= RETURN and byte != NEWLINE)


@inlined
def _contains(bytes_, byte):
    for one in bytes_:  # noqa: SIM110 (numba)
        if one == byte:
            return True
    return False


@inlined
def _line_end(data, i):
    while i < len(data) and data[i] != NEWLINE:
        i += 1
    return i


@kernel
def split_at_blanks(data, comments, keeps_blank, start, end, row_start):
    """Cut lines where spaces, tabs or carriage returns stand. Local.

    Parameters
    ----------
    data : uint8 (n,)
    comments : uint8 (k,)
        A line whose first byte that is not blank is one of these is no row.
    keeps_blank : bool
        Whether a blank line is a row without tokens, or no row.
    start, end : uint32 (n // 2 + 1,)
        Filled with the tokens.
    row_start : uint32 (number of lines + 1,)
        Filled: tokens of row r are ``row_start[r]:row_start[r + 1]``.

    Returns
    -------
    n_rows, n_tokens : int
    """
    n, i, t, r = len(data), 0, 0, 0
    row_start[0] = 0
    while i < n:
        first = t
        while i < n and _is_blank(data[i]):
            i += 1
        if i < n and _contains(comments, data[i]):
            i = _line_end(data, i) + 1
            continue
        while i < n and data[i] != NEWLINE:
            start[t] = i
            while i < n and data[i] > SPACE:
                i += 1
            while i < n and data[i] != NEWLINE and not _is_blank(data[i]):  # a control byte is part of a token
                i += 1
            end[t] = i
            t += 1
            while i < n and _is_blank(data[i]):
                i += 1
        i += 1
        if t > first or keeps_blank:
            r += 1
            row_start[r] = t
    return r, t


@kernel
def split_at(data, separator, comments, quotes, start, end, row_start):
    """Cut lines at one separator byte; tokens are trimmed and may be empty. Local.

    With ``quotes`` a token that begins with ``"`` ends at the next ``"``,
    which the separator or the line's end must follow; the quotes are left out.
    Sizes are those of `split_at_blanks`, but ``start`` and ``end`` hold n + 1.

    Returns
    -------
    n_rows, n_tokens : int
    bad : int
        Offset of the first quoted token that does not end so; -1: none.
    """
    n, i, t, r, bad = len(data), 0, 0, 0, -1
    row_start[0] = 0
    while i < n:
        stop = _line_end(data, i)
        first = i
        while first < stop and _is_blank(data[first]):
            first += 1
        if first == stop or _contains(comments, data[first]):
            i = stop + 1
            continue
        while i <= stop:
            while i < stop and data[i] != separator and _is_blank(data[i]):
                i += 1
            j = i
            if quotes and i < stop and data[i] == QUOTE:
                i, j = i + 1, i + 1
                while j < stop and data[j] != QUOTE:
                    j += 1
                start[t], end[t] = i, j
                j += 1
                while j < stop and data[j] != separator and _is_blank(data[j]):
                    j += 1
                if bad < 0 and (j > stop or (j < stop and data[j] != separator)):
                    bad = i - 1
                    j = stop
            else:
                while j < stop and data[j] != separator:
                    j += 1
                last = j
                while last > i and _is_blank(data[last - 1]):
                    last -= 1
                start[t], end[t] = i, last
            t += 1
            i = j + 1
        r += 1
        row_start[r] = t
    return r, t, bad


@kernel
def copy_tokens(data, start, end, tokens, out):
    """Copy tokens into rows of bytes, cut or filled with zeros to width. Local.

    Parameters
    ----------
    data : uint8 (n,)
    start, end : uint32
    tokens : int64 (k,)
    out : uint8 (k, width)
        Filled; the bytes of a numpy 'S<width>' array.
    """
    width = out.shape[1]
    for r in range(len(tokens)):
        i, stop = start[tokens[r]], end[tokens[r]]
        for k in range(width):
            out[r, k] = data[i + np.uint32(k)] if i + np.uint32(k) < stop else np.uint8(0)


# ---------------------------------------------------------------- numbers


@inlined
def _is_digit(byte):
    return ZERO <= byte <= NINE


@kernel
def parse_integers(data, start, end, column, n_columns, out):
    """Read every ``n_columns``-th token, from ``column`` on, as int64. Local.

    Parameters
    ----------
    data : uint8 (n,)
    start, end : uint32 (len(out) * n_columns,)
    out : int64 (k,)
        Filled up to the first bad row.

    Returns
    -------
    row, reason : int
        The first row that is no int64 and why, or (-1, FINE).
    """
    ten, zero = np.uint64(10), np.uint64(ZERO)
    for r in range(len(out)):
        t = r * n_columns + column
        i, stop = np.int64(start[t]), np.int64(end[t])
        negative = i < stop and data[i] == MINUS
        if i < stop and (data[i] == MINUS or data[i] == PLUS):
            i += 1
        if i == stop:
            return r, NOT_A_NUMBER
        while stop - i > 19 and data[i] == ZERO:
            i += 1
        value, length = np.uint64(0), stop - i
        while i < stop:
            digit = np.uint64(data[i]) - zero  # bytes below '0' wrap to large numbers
            if digit >= ten:
                return r, NOT_A_NUMBER
            value = value * ten + digit
            i += 1
        if length > 19 or value > INT64_MAX + np.uint64(negative):  # 19 digits fit in uint64
            return r, TOO_LARGE
        out[r] = np.int64(np.uint64(0) - value) if negative else np.int64(value)
    return -1, FINE


@kernel
def parse_rows(data, separator, comments, first, out):
    """Read lines of integers as rows, where nothing else is in them. Local.

    What is unusual (another number of columns, a number of more than 18
    digits, a quote, an error) ends it: the text is then cut into tokens, which
    says what is wrong, and where.

    Parameters
    ----------
    data : uint8 (n,)
    separator : int
        Byte between columns, or -1 for runs of blanks.
    comments : uint8 (k,)
    first : int
        Row of ``out`` to begin with.
    out : int64 (n_columns, room)
        Filled.

    Returns
    -------
    int
        The row after the last, or -1.
    """
    n, i, r, n_columns = len(data), 0, first, out.shape[0]
    ten, zero = np.uint64(10), np.uint64(ZERO)
    while i < n:
        while i < n and data[i] != separator and _is_blank(data[i]):
            i += 1
        if i < n and _contains(comments, data[i]):
            i = _line_end(data, i) + 1
            continue
        if i < n and data[i] != NEWLINE:
            for column in range(n_columns):
                negative = data[i] == MINUS
                i += negative
                value, start = np.uint64(0), i
                while i < n:
                    digit = np.uint64(data[i]) - zero  # bytes below '0' wrap to large numbers
                    if digit >= ten:
                        break
                    value = value * ten + digit
                    i += 1
                if i == start or i - start > 18:
                    return -1
                out[column, r] = -np.int64(value) if negative else np.int64(value)
                end = i
                while i < n and data[i] != separator and _is_blank(data[i]):
                    i += 1
                if column + 1 < n_columns:
                    if separator < 0:
                        if i == end:  # 1-2 is one token
                            return -1
                    elif i < n and data[i] == separator:
                        i += 1
                    else:
                        return -1
                    while i < n and data[i] != separator and _is_blank(data[i]):
                        i += 1
                    if i == n:
                        return -1
            if i < n and data[i] != NEWLINE:
                return -1
            r += 1
        i += 1
    return r


@inlined
def _spells(data, i, stop, word):
    if stop - i != len(word):
        return False
    for k in range(len(word)):  # noqa: SIM110 (numba)
        if data[i + k] | 32 != word[k]:
            return False
    return True


NAN, INF, INFINITY = (np.frombuffer(word, np.uint8) for word in (b"nan", b"inf", b"infinity"))


@inlined
def _read_float(data, i, stop):
    """Value of a token, or (0, True) for numpy to read, or a reason. Local.

    Clinger's exact case: a mantissa below 2**53 and a power of ten up to 22
    are both float64, so one multiplication or division rounds once.
    """
    negative = i < stop and data[i] == MINUS
    if i < stop and (data[i] == MINUS or data[i] == PLUS):
        i += 1
    if _spells(data, i, stop, NAN) or _spells(data, i, stop, INF) or _spells(data, i, stop, INFINITY):
        return 0.0, True, FINE
    mantissa, power, n_digits, seen, after_dot = np.uint64(0), 0, 0, False, False
    while i < stop and (_is_digit(data[i]) or (data[i] == DOT and not after_dot)):
        if data[i] == DOT:
            after_dot = True
        else:
            seen = True
            if n_digits > 0 or data[i] != ZERO:
                n_digits += 1
            if n_digits <= 19:
                mantissa = mantissa * np.uint64(10) + np.uint64(data[i] - np.uint8(ZERO))
            power -= after_dot
        i += 1
    if not seen:
        return 0.0, False, NOT_A_NUMBER
    if i < stop and data[i] | 32 == 101:  # e
        i += 1
        sign = -1 if i < stop and data[i] == MINUS else 1
        if i < stop and (data[i] == MINUS or data[i] == PLUS):
            i += 1
        if i == stop:
            return 0.0, False, NOT_A_NUMBER
        exponent = 0
        while i < stop and _is_digit(data[i]):
            exponent = min(exponent * 10 + np.int64(data[i]) - ZERO, 99_999)
            i += 1
        power += sign * exponent
    if i < stop:
        return 0.0, False, NOT_A_NUMBER
    if n_digits > 19 or mantissa >= EXACT_MANTISSA or power > 22 or power < -22:
        return 0.0, True, FINE
    value = np.float64(mantissa)
    value = value * EXACT_POWERS[power] if power >= 0 else value / EXACT_POWERS[-power]
    return (-value if negative else value), False, FINE


@kernel
def parse_floats(data, start, end, column, n_columns, out, is_left):
    """Read tokens as float64, those that one rounding gives. Local.

    Parameters
    ----------
    data, start, end, column, n_columns
        As for `parse_integers`.
    out : float64 (k,)
    is_left : bool (k,)
        Filled: True where the token is a number that numpy has to read.

    Returns
    -------
    row, reason : int
        The first row that is no number and why, or (-1, FINE).
    n_left : int
    """
    n_left = 0
    for r in range(len(out)):
        t = r * n_columns + column
        i, stop = np.int64(start[t]), np.int64(end[t])
        if stop - i > MAX_NUMBER_BYTES:
            return r, TOO_LONG, n_left
        value, left, reason = _read_float(data, i, stop)
        if reason != FINE:
            return r, reason, n_left
        out[r], is_left[r] = value, left
        n_left += left
    return -1, FINE, n_left


@kernel
def format_integers(values, out):
    """Write int64 in decimal at the right of zeroed rows of 20 bytes. Local.

    Parameters
    ----------
    values : int64 (n,)
    out : uint8 (n, 20), zeros
        The bytes before a number stay zero.
    """
    ten = np.uint64(10)
    for r in range(len(values)):
        rest = np.uint64(values[r])
        if values[r] < 0:
            rest = np.uint64(0) - rest
        k = 19
        while True:
            out[r, k] = np.uint8(rest % ten) + np.uint8(ZERO)
            rest //= ten
            k -= 1
            if rest == 0:
                break
        if values[r] < 0:
            out[r, k] = MINUS
