"""Reading and writing bundles of arrays, in kernels and in plain Python alike.

A *bundle* is a tuple or named tuple of arrays with one row per vertex or edge.
`at` reads a row of scalars; `views_at` and `rows_at` read vector fields as whole
rows, of which `pick` takes one channel, and `channel_at` does both at once; `put`,
`put_rows` and `put_channel` write. Reading widens to int64, float64 or bool and
writing rounds, so that a user's function sees the same numbers whether numba or
Python runs it. A field nobody looks at costs nothing: the compiler drops the load.

Named tuples are classes made from their field names and found again under
this module by name; only so does numba's cache recognise them in another run.
"""

import operator
import re
from collections import namedtuple

import numpy as np
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

from hpcmp.dtypes import wide
from hpcmp.kernels.intrinsics import prefetch_outer

LINE_BYTES = 64  # of a cache, on x86 and most others
MOST_BYTES_AHEAD = 4096  # of one row; the processor sees for itself how a longer one goes on

_RECORDS: dict[str, type] = {}


def record(kind, names):
    """Named tuple class of a kind ("Vertex", "Edge", "Context") with fields. Local."""
    key = f"{kind}_" + "_".join(f"{len(n)}{n}" for n in names)
    if key not in _RECORDS:
        made = namedtuple(kind, names)
        made.__module__, made.__qualname__, made.__name__ = __name__, key, key
        _RECORDS[key] = made
    return _RECORDS[key]


def __getattr__(key):
    """Rebuild a record class that a cached kernel names. Local."""
    head = re.match(r"(Vertex|Edge|Context|Rows)_", key)
    if not head:
        raise AttributeError(key)
    names, at = [], head.end()
    while at < len(key):
        digits = re.compile(r"\d+").match(key, at)
        length = int(digits.group())
        names.append(key[digits.end() : digits.end() + length])
        at = digits.end() + length + 1
    return record(head.group(1), names)


# ---------------------------------------------------------------- plain Python


def at(bundle, i):
    """Row i of every array as scalars, in a tuple like the bundle. Local."""
    return _like(bundle, [_scalar(a, i) for a in bundle])


def scalars_at(bundle, i, scratch):
    """`at`, called like `rows_at`. Local."""
    return at(bundle, i)


def pick(values, k):
    """Channel k of a row read by `rows_at` or `views_at`; scalars are shared. Local.

    A field with fewer channels is not for a function of channels (`bind` sees
    to that) and gives 0.
    """
    return _like(values, [_channel(v, k) for v in values])


def channel_at(bundle, i, k):
    """Channel k of row i: scalars of 1-D arrays, one of each row of 2-D ones. Local."""
    return _like(bundle, [_scalar(a, i) if a.ndim == 1 else _channel(a[i], k) for a in bundle])


def views_at(bundle, i, scratch):
    """Row i: scalars of 1-D arrays, rows of 2-D ones as they are stored. Local."""
    return _like(bundle, [_scalar(a, i) if a.ndim == 1 else a[i] for a in bundle])


def rows_at(bundle, i, scratch):
    """Row i: scalars of 1-D arrays, rows of 2-D ones, widened into scratch. Local."""
    out = []
    for a, wide_row in zip(bundle, scratch, strict=True):
        if a.ndim == 1:
            out.append(_scalar(a, i))
        elif wide_row.dtype == a.dtype:
            out.append(a[i])
        else:
            wide_row[:] = a[i]
            out.append(wide_row)
    return _like(bundle, out)


def prefetch_row(bundle, i):
    """Ask the caches for row i, which will be read soon. Local."""


def put(bundle, i, values):
    """Write a tuple of scalars to row i of 1-D arrays, rounding. Local."""
    if len(values) != len(bundle):
        raise ValueError(f"{len(values)} values were given for {len(bundle)} fields")
    for a, value in zip(bundle, values, strict=True):
        a[i] = _as_stored(value, a.dtype)


def put_channel(bundle, i, k, values):
    """Write scalars to channel k of row i of 2-D arrays, as `put_rows` would. Local."""
    if len(values) != len(bundle):
        raise ValueError(f"{len(values)} values were given for {len(bundle)} fields")
    for a, value in zip(bundle, values, strict=True):
        a[i, k] = _as_stored(value, wide(a.dtype)).astype(a.dtype)


def _as_stored(value, dtype):
    """A value as compiled code would store it: rounded or wrapped, or refused by its type."""
    is_number = isinstance(value, int | float | np.number | np.bool_)
    if not is_number or (dtype.kind != "f" and isinstance(value, float | np.floating)):
        raise TypeError(f"a {type(value).__name__} cannot be stored in a field of {dtype}; convert it")
    return np.int64(value).astype(dtype) if dtype.kind in "iu" else dtype.type(value)


def put_rows(bundle, i, rows):
    """Write rows to row i; a 1-D array takes the first element. Local."""
    for a, row in zip(bundle, rows, strict=True):
        a[i] = row[0] if a.ndim == 1 else row


def as_tuple(value):
    """A tuple stays, a scalar becomes a tuple of one. Local."""
    return tuple(value) if isinstance(value, tuple) else (value,)


def single(values):
    """A tuple of one becomes its element, a longer one stays. Local."""
    return values[0] if len(values) == 1 else values


def differs(bundle, i, values):
    """Whether writing values to row i would change it; NaN equals NaN. Local."""
    for a, value in zip(bundle, values, strict=True):
        new = _as_stored(value, a.dtype)
        if not (a[i] == new or (a[i] != a[i] and new != new)):
            return True
    return False


def rows_differ(bundle, i, rows):
    """Whether `put_rows` would change row i; NaN equals NaN. Local."""
    return any(
        differs((a if a.ndim == 1 else a[i],), i if a.ndim == 1 else k, (row[k],))
        for a, row in zip(bundle, rows, strict=True)
        for k in range(row.size)
    )


def filled_rows(bundle):
    """One wide row for every array of a bundle, of one element for 1-D ones. Local."""
    return tuple(np.empty(1 if a.ndim == 1 else a.shape[1], wide(a.dtype)) for a in bundle)


def scratch_rows(bundle):
    """One wide row for every array of a bundle, empty for 1-D ones. Local."""
    return tuple(np.empty(0 if a.ndim == 1 else a.shape[1], wide(a.dtype)) for a in bundle)


def _like(bundle, values):
    return type(bundle)(*values) if hasattr(bundle, "_fields") else tuple(values)


def _channel(value, k):
    if not isinstance(value, np.ndarray):
        return value
    return _scalar(value, k) if k < value.size else wide(value.dtype).type(0)


def _scalar(a, index):
    kind = wide(a.dtype).type
    return bool(a[index]) if kind is np.bool_ else kind(a[index])


# ---------------------------------------------------------------- compiled


def _wide_type(t):
    if isinstance(t, types.Boolean):
        return types.boolean
    return types.float64 if isinstance(t, types.Float) else types.int64


def _tuple_like(bundle, members):
    if isinstance(bundle, types.BaseNamedTuple):
        return types.NamedTuple(members, bundle.instance_class)
    return types.Tuple(members)


def _getitem(typingctx, array, index):
    return typingctx.resolve_value_type(operator.getitem).get_call_type(typingctx, (array, index), {})


@intrinsic
def _at(typingctx, bundle, i):
    """Row i of 1-D arrays, widened."""
    result = _tuple_like(bundle, [_wide_type(a.dtype) for a in bundle.types])
    calls = [_getitem(typingctx, a, types.uint64) for a in bundle.types]

    def codegen(context, builder, signature, args):
        index = context.cast(builder, args[1], signature.args[1], types.uint64)
        values = []
        for n, call in enumerate(calls):
            array = builder.extract_value(args[0], n)
            read = context.get_function(operator.getitem, call)(builder, (array, index))
            values.append(context.cast(builder, read, call.return_type, result.types[n]))
        return context.make_tuple(builder, result, values)

    return result(bundle, i), codegen


@intrinsic
def _relabel(typingctx, bundle, values):
    """A plain tuple as a tuple like the bundle."""
    result = _tuple_like(bundle, list(values.types) if len(values) else [])

    def codegen(context, builder, signature, args):
        return _retupled(context, builder, values, args[1], result)

    return result(bundle, values), codegen


@overload(scalars_at)
def _scalars_at_overload(bundle, i, scratch):
    return lambda bundle, i, scratch: _at(bundle, i)


@overload(at)
def _at_overload(bundle, i):
    return lambda bundle, i: _at(bundle, i)


@overload(rows_at)
def _rows_at_overload(bundle, i, scratch):
    return lambda bundle, i, scratch: _rows_at(bundle, i, scratch)


@intrinsic
def _rows_at(typingctx, bundle, i, scratch):
    """`rows_at` as one; functions that call each other field by field were not inlined."""
    place = types.UniTuple(types.uint64, 2)
    is_widened = [a.ndim == 2 and a.dtype != wide.dtype for a, wide in zip(bundle.types, scratch.types, strict=True)]
    reads = [
        _getitem(typingctx, a, place if widen else types.uint64)
        for a, widen in zip(bundle.types, is_widened, strict=True)
    ]
    members = [
        _wide_type(a.dtype) if a.ndim == 1 else wide if widen else read.return_type
        for a, wide, widen, read in zip(bundle.types, scratch.types, is_widened, reads, strict=True)
    ]
    result = _tuple_like(bundle, members)

    def codegen(context, builder, signature, args):
        row = context.cast(builder, args[1], signature.args[1], types.uint64)
        values = []
        for n, (read, kind) in enumerate(zip(reads, members, strict=True)):
            array, get = builder.extract_value(args[0], n), context.get_function(operator.getitem, read)
            if not is_widened[n]:
                values.append(context.cast(builder, get(builder, (array, row)), read.return_type, kind))
                continue
            wide_row = context.make_array(kind)(context, builder, builder.extract_value(args[2], n))
            with cgutils.for_range(builder, builder.extract_value(wide_row.shape, 0)) as loop:
                at = context.make_tuple(builder, place, [row, loop.index])
                value = context.cast(builder, get(builder, (array, at)), read.return_type, kind.dtype)
                builder.store(value, builder.gep(wide_row.data, [loop.index]))  # a scratch row is contiguous
            context.nrt.incref(builder, kind, wide_row._getvalue())  # as the tuple that is returned owns it too
            values.append(wide_row._getvalue())
        return context.make_tuple(builder, result, values)

    return result(bundle, i, scratch), codegen


# numba cannot loop over a tuple of mixed types, so these walk it head first, tail after


def _views(arrays, i):
    """Row i of every array as stored, as a plain tuple."""


@overload(_views)
def _views_overload(arrays, i):
    if len(arrays) == 0:
        return lambda arrays, i: ()
    if arrays[0].ndim == 1:
        return lambda arrays, i: _at((arrays[0],), i) + _views(arrays[1:], i)
    return lambda arrays, i: (arrays[0][i],) + _views(arrays[1:], i)


@overload(views_at)
def _views_at_overload(bundle, i, scratch):
    return lambda bundle, i, scratch: _relabel(bundle, _views(_plain(bundle), i))


def _picked(values, k):
    """Channel k of every row, scalars as they are, as a plain tuple."""


@overload(_picked)
def _picked_overload(values, k):
    if len(values) == 0:
        return lambda values, k: ()
    if isinstance(values[0], types.Array):
        return lambda values, k: _at((values[0],), k) + _picked(values[1:], k)
    return lambda values, k: (values[0],) + _picked(values[1:], k)


def _channels(arrays, i, k):
    """Channel k of row i of every array, as a plain tuple."""


@overload(_channels)
def _channels_overload(arrays, i, k):
    if len(arrays) == 0:
        return lambda arrays, i, k: ()
    if arrays[0].ndim == 1:
        return lambda arrays, i, k: _at((arrays[0],), i) + _channels(arrays[1:], i, k)
    return lambda arrays, i, k: (_at2(arrays[0], i, k),) + _channels(arrays[1:], i, k)


@intrinsic
def _at2(typingctx, array, i, k):
    """One element of a 2-D array, widened; no view of the row is made."""
    result, place = _wide_type(array.dtype), types.UniTuple(types.uint64, 2)
    call = _getitem(typingctx, array, place)

    def codegen(context, builder, signature, args):
        indices = [context.cast(builder, args[n], signature.args[n], types.uint64) for n in (1, 2)]
        index = context.make_tuple(builder, place, indices)
        read = context.get_function(operator.getitem, call)(builder, (args[0], index))
        return context.cast(builder, read, call.return_type, result)

    return result(array, i, k), codegen


@overload(channel_at)
def _channel_at_overload(bundle, i, k):
    return lambda bundle, i, k: _relabel(bundle, _channels(_plain(bundle), i, k))


@overload(pick)
def _pick_overload(values, k):
    return lambda values, k: _relabel(values, _picked(_plain(values), k))


@overload(prefetch_row)
def _prefetch_row_overload(bundle, i):
    if len(bundle) == 0:
        return lambda bundle, i: None
    if bundle[0].ndim == 1:

        def head(bundle, i):
            prefetch_outer(bundle[0], i, 0)
            prefetch_row(bundle[1:], i)

        return head

    def head_row(bundle, i):
        for byte in range(0, min(bundle[0].strides[0], MOST_BYTES_AHEAD), LINE_BYTES):
            prefetch_outer(bundle[0], i, byte)
        prefetch_outer(bundle[0], i, bundle[0].strides[0] - 1)  # a row need not start where a line does
        prefetch_row(bundle[1:], i)

    return head_row


@overload(put_rows)
def _put_rows_overload(bundle, i, rows):
    if len(bundle) == 0:
        return lambda bundle, i, rows: None
    if bundle[0].ndim == 1:

        def head(bundle, i, rows):
            bundle[0][i] = rows[0][0]
            put_rows(bundle[1:], i, rows[1:])

        return head

    def head_row(bundle, i, rows):
        for k in range(rows[0].size):
            bundle[0][i, k] = rows[0][k]
        put_rows(bundle[1:], i, rows[1:])

    return head_row


@overload(differs)
def _differs_overload(bundle, i, values):
    if len(bundle) == 0:
        return lambda bundle, i, values: False

    def walk(bundle, i, values):
        old, new = bundle[0][i], bundle[0].dtype.type(values[0])
        if not (old == new or (old != old and new != new)):
            return True
        return differs(bundle[1:], i, values[1:])

    return walk


@overload(rows_differ)
def _rows_differ_overload(bundle, i, rows):
    if len(bundle) == 0:
        return lambda bundle, i, rows: False
    if bundle[0].ndim == 1:
        return lambda bundle, i, rows: differs((bundle[0],), i, (rows[0][0],)) or rows_differ(bundle[1:], i, rows[1:])

    def walk(bundle, i, rows):
        row = bundle[0][i]
        for k in range(row.size):
            if differs((row,), k, (rows[0][k],)):
                return True
        return rows_differ(bundle[1:], i, rows[1:])

    return walk


def _new_rows(bundle, length_of_scalar):
    """A wide row for every array, as a plain tuple."""


@overload(_new_rows)
def _new_rows_overload(bundle, length_of_scalar):
    if len(bundle) == 0:
        return lambda bundle, length_of_scalar: ()
    kind = _wide_type(bundle[0].dtype)
    if bundle[0].ndim == 1:
        return lambda bundle, length_of_scalar: (
            (np.empty(length_of_scalar, kind),) + _new_rows(bundle[1:], length_of_scalar)
        )
    return lambda bundle, length_of_scalar: (
        (np.empty(bundle[0].shape[1], kind),) + _new_rows(bundle[1:], length_of_scalar)
    )


@overload(scratch_rows)
def _scratch_rows_overload(bundle):
    return lambda bundle: _new_rows(_plain(bundle), 0)


@overload(filled_rows)
def _filled_rows_overload(bundle):
    return lambda bundle: _new_rows(_plain(bundle), 1)


@overload(put)
def _put_overload(bundle, i, values):
    if len(bundle) != len(values):
        raise TypingError(f"{len(values)} values were given for {len(bundle)} fields")
    return lambda bundle, i, values: _put(bundle, i, values)


@overload(put_channel)
def _put_channel_overload(bundle, i, k, values):
    if len(bundle) != len(values):
        raise TypingError(f"{len(values)} values were given for {len(bundle)} fields")
    return lambda bundle, i, k, values: _put_channel(bundle, i, k, values)


@intrinsic
def _put(typingctx, bundle, i, values):
    store = _stores(typingctx, bundle, values, types.uint64)

    def codegen(context, builder, signature, args):
        index = context.cast(builder, args[1], signature.args[1], types.uint64)
        store(context, builder, signature.args[2], args[0], index, args[2], lambda a: a.dtype)
        return context.get_dummy_value()

    return types.none(bundle, i, values), codegen


@intrinsic
def _put_channel(typingctx, bundle, i, k, values):
    place = types.UniTuple(types.uint64, 2)
    store = _stores(typingctx, bundle, values, place)

    def codegen(context, builder, signature, args):
        indices = [context.cast(builder, args[n], signature.args[n], types.uint64) for n in (1, 2)]
        index = context.make_tuple(builder, place, indices)
        store(context, builder, signature.args[3], args[0], index, args[3], lambda a: _wide_type(a.dtype))
        return context.get_dummy_value()

    return types.none(bundle, i, k, values), codegen


def _stores(typingctx, bundle, values, place):
    """Code that casts values, by way of some type, to those of arrays and writes them to a place."""
    setitem = typingctx.resolve_value_type(operator.setitem)
    calls = [setitem.get_call_type(typingctx, (a, place, a.dtype), {}) for a in bundle.types]
    for a, v in zip(bundle.types, values.types, strict=True):
        is_cut_short = isinstance(v, types.Float) and not isinstance(a.dtype, types.Float)
        if is_cut_short or not isinstance(v, types.Number | types.Boolean):
            raise TypingError(f"a {v} cannot be stored in a field of {a.dtype}; convert it")

    def store(context, builder, kinds, arrays, index, members, way):
        for n, (a, v) in enumerate(zip(bundle.types, kinds.types, strict=True)):
            array, value = builder.extract_value(arrays, n), builder.extract_value(members, n)
            value = context.cast(builder, value, v, way(a))
            value = context.cast(builder, value, way(a), a.dtype)
            context.get_function(operator.setitem, calls[n])(builder, (array, index, value))

    return store


@overload(as_tuple)
def _as_tuple_overload(value):
    if isinstance(value, types.BaseTuple):
        return lambda value: _plain(value)
    return lambda value: (value,)


@intrinsic
def _plain(typingctx, values):
    result = types.Tuple(list(values.types) if len(values) else [])

    def codegen(context, builder, signature, args):
        return _retupled(context, builder, values, args[0], result)

    return result(values), codegen


def _retupled(context, builder, source, value, result):
    members = [builder.extract_value(value, n) for n in range(len(source))]
    for kind, member in zip(source, members, strict=True):
        context.nrt.incref(builder, kind, member)  # the new tuple owns its arrays too
    return context.make_tuple(builder, result, members)


@overload(single)
def _single_overload(values):
    if len(values) == 1:
        return lambda values: values[0]
    return lambda values: values
