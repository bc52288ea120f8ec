"""Bundles of arrays: compiled and plain read and write the same bits."""

import numpy as np
import pytest

from hpcmp.jit import kernel
from hpcmp.kernels import access as a

pytestmark = pytest.mark.kernel

DTYPES = ("bool", "int8", "uint8", "int16", "int32", "uint32", "int64", "float32", "float64")
N = 5


def mixed(vectors=False, seed=0):
    """A "Vertex" record with a field of every type, by turns scalars and rows of two where asked."""
    rng, columns = np.random.default_rng(seed), []
    for k, name in enumerate(DTYPES):
        shape = (N, 2) if vectors and k % 2 else N
        raw = rng.standard_normal(shape) * 1e9 if name.startswith("float") else rng.integers(0, 2**31, shape)
        with np.errstate(all="ignore"):
            columns.append((raw > 2**30 if name == "bool" else raw).astype(name))
    return a.record("Vertex", [f"f_{name}" for name in DTYPES])(*columns)


def both(function):
    """A kernel, and the function it was compiled from."""
    return [pytest.param(kernel(function), id="compiled"), pytest.param(function, id="plain")]


def at_row(bundle, i):
    return a.at(bundle, i)


def picked(bundle, i, k):
    return a.pick(a.views_at(bundle, i, ()), k)


def picked_wide(bundle, i, k):
    return a.pick(a.rows_at(bundle, i, a.scratch_rows(bundle)), k)


def row_sums(bundle, i):
    rows = a.rows_at(bundle, i, a.scratch_rows(bundle))
    return rows[1].sum(), rows[7].sum(), rows[0]


def put_row(bundle, i, values):
    a.put(bundle, i, values)


def asked_for(bundle, i):
    a.prefetch_row(bundle, i)
    return a.channel_at(bundle, i, 1)


def put_wide(bundle, i, values):
    rows = a.filled_rows(bundle)
    for k in range(2):
        rows[0][k] = values[k]
    rows[1][0] = values[2]
    for k in range(2):
        rows[2][k] = values[k] * 3
    is_new = a.rows_differ(bundle, i, rows)
    a.put_rows(bundle, i, rows)
    return is_new


def put_one(bundle, i, k, values):
    a.put_channel(bundle, i, k, values)


def row_differs(bundle, i, values):
    return a.differs(bundle, i, values)


def tupled(x):
    return a.as_tuple(x), a.single(a.as_tuple(x))


def expected_scalar(column, *index):
    value = column[index]
    return bool(value) if column.dtype == bool else float(value) if column.dtype.kind == "f" else int(value)


def kinds(values):
    return [type(v).__name__.rstrip("_").removesuffix("64") for v in values]


@pytest.mark.parametrize("read", both(at_row))
def test_a_row_of_scalars_is_read_widened(read):
    bundle = mixed()
    for i in range(N):
        found = read(bundle, np.uint64(i))
        assert found._fields == bundle._fields
        assert list(found) == [expected_scalar(column, i) for column in bundle]
        assert kinds(found) == ["bool", *["int"] * 6, *["float"] * 2]


@pytest.mark.parametrize("read", both(picked) + both(picked_wide))
def test_a_channel_is_read_widened_and_scalars_are_shared(read):
    bundle = mixed(vectors=True)
    for i in range(N):
        for k in range(2):
            expected = [expected_scalar(c, i) if c.ndim == 1 else expected_scalar(c, i, k) for c in bundle]
            found = read(bundle, np.uint64(i), np.uint64(k))
            assert list(found) == expected
            assert kinds(found) == ["bool", *["int"] * 6, *["float"] * 2]


@pytest.mark.parametrize("read", both(row_sums))
def test_whole_rows_are_wide_enough_to_be_summed(read):
    bundle = mixed(vectors=True)
    assert bundle.f_int8.ndim == 2 and bundle.f_float32.ndim == 2
    for i in range(N):
        first, other, shared = read(bundle, np.uint64(i))
        assert first == bundle.f_int8[i].astype(np.int64).sum()
        assert other == bundle.f_float32[i].astype(np.float64).sum()
        assert shared == bundle.f_bool[i]


@pytest.mark.parametrize("write", both(put_row))
def test_scalars_are_written_rounded(write):
    bundle = mixed()
    values = (True, -7, 200 + 256, 2, -2, 4_000_000_000, 2**62 + 1, 0.1, 0.1)  # 456 wraps around in uint8
    write(bundle, np.uint64(2), values)
    assert [c[2].item() for c in bundle] == [
        True,
        -7,
        200,
        2,
        -2,
        4_000_000_000,
        2**62 + 1,
        float(np.float32(0.1)),
        0.1,
    ]
    untouched = [0, 1, 3, 4]
    assert all(np.array_equal(x[untouched], y[untouched]) for x, y in zip(bundle, mixed()))


@pytest.mark.parametrize("write", both(put_row))
def test_a_float_is_refused_by_an_integer_field(write):
    values = (True, -7, 200, 2.9, -2, 4_000_000_000, 2**62 + 1, 0.1, 0.1)
    with pytest.raises(Exception, match="cannot be stored in a field of"):
        write(mixed(), np.uint64(2), values)


@pytest.mark.parametrize("write", both(put_one))
def test_a_channel_is_written_as_a_wide_row_would_be(write):
    bundle = tuple(np.zeros((N, 2), name) for name in DTYPES)
    big = 2**60 + 2**36 + 1  # as a double, just halfway between two floats: rounded once more, to the lower one
    values = (True, -7, 200 + 256, 2, -2, 4_000_000_000, big, big, big)
    write(bundle, np.uint64(2), np.uint64(1), values)
    wide = a.filled_rows(bundle)
    a.put(wide, 1, values)
    expected = tuple(np.zeros((N, 2), name) for name in DTYPES)
    with np.errstate(all="ignore"):
        for e, row in zip(expected, wide):
            e[2, 1] = row[1:].astype(e.dtype)[0]
    assert all(np.array_equal(x, y) for x, y in zip(bundle, expected))
    assert bundle[DTYPES.index("float32")][2, 1] == 2.0**60


@pytest.mark.parametrize("write", both(put_one))
def test_a_channel_of_integers_refuses_a_float(write):
    with pytest.raises(Exception, match="cannot be stored in a field of"):
        write((np.zeros((N, 2), np.int32),), np.uint64(2), np.uint64(1), (0.5,))
    with pytest.raises(Exception, match="2 values were given for 1 fields"):
        write((np.zeros((N, 2), np.int32),), np.uint64(2), np.uint64(1), (1, 2))


@pytest.mark.parametrize("write", both(put_wide))
def test_rows_are_written_rounded_and_a_difference_is_seen(write):
    bundle = (np.zeros((N, 2), np.float32), np.zeros(N, np.int32), np.zeros((N, 2), np.int64))
    values = np.array([0.1, 0.7, 5.0])
    assert write(bundle, np.uint64(1), values)
    assert bundle[0][1].tolist() == np.array([0.1, 0.7], np.float32).tolist()
    assert bundle[1].tolist() == [0, 5, 0, 0, 0]
    assert bundle[2][1].tolist() == [0, 2]
    assert not write(bundle, np.uint64(1), values)
    assert write(bundle, np.uint64(1), values + [0, 0, 1])
    assert write(bundle, np.uint64(1), values * [1, 2, 1])


@pytest.mark.parametrize("read", both(asked_for))
def test_asking_for_rows_ahead_changes_nothing(read):
    bundle, before = mixed(vectors=True), mixed(vectors=True)
    for i in range(N):
        assert list(read(bundle, np.uint64(i))) == [
            expected_scalar(c, i) if c.ndim == 1 else expected_scalar(c, i, 1) for c in before
        ]
    assert all(np.array_equal(x, y) for x, y in zip(bundle, before))


@pytest.mark.parametrize("differs", both(row_differs))
def test_what_rounds_to_the_old_value_does_not_differ_and_nan_equals_nan(differs):
    bundle = (np.array([0.1], np.float32), np.array([np.nan]), np.array([3], np.int32))
    zero = np.uint64(0)
    assert not differs(bundle, zero, (0.1, np.nan, 3))
    assert not differs(bundle, zero, (0.1 + 1e-12, np.nan, 3))
    assert differs(bundle, zero, (0.2, np.nan, 3))
    assert differs(bundle, zero, (0.1, 1.0, 3))
    assert differs(bundle, zero, (np.nan, np.nan, 3))
    assert differs(bundle, zero, (0.1, np.nan, 4))


@pytest.mark.parametrize("function", both(tupled))
def test_scalars_and_tuples_of_one_are_exchanged(function):
    assert function(3) == ((3,), 3)
    assert function((1.5,)) == ((1.5,), 1.5)
    assert function((1.5, 2)) == ((1.5, 2), (1.5, 2))


def test_record_classes_are_found_again_by_name():
    made = a.record("Edge", ["weight", "a1_b", "x"])
    assert made is a.record("Edge", ["weight", "a1_b", "x"])
    key = made.__name__
    a._RECORDS.pop(key)
    again = getattr(a, key)
    assert again._fields == ("weight", "a1_b", "x")
    assert a.record("Edge", [])._fields == ()
    with pytest.raises(AttributeError):
        a.Nothing_1x  # noqa: B018


def test_empty_records_can_be_read(tmp_path):
    empty = a.record("Edge", [])()
    assert a.at(empty, 0) == ()
    assert kernel(at_row)(empty, np.uint64(0)) == ()
