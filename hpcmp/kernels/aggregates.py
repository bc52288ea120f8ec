"""Aggregates: how the messages a vertex hears become one value.

Each is four small functions over an accumulator, a tuple of scalars: the
`identity` to start from, `absorb` one message, `merge` two accumulators (a row
is cut in segments of fixed length), and `result`. All run compiled and in
plain Python. The order of absorption is the canonical one of the row, so
sums of floats have one value on any ranks.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np

from hpcmp.errors import ProgramError
from hpcmp.jit import inlined

FEW_MESSAGES = 24  # as many are sorted faster than counted
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: spreads neighbouring integers
INT_MIN, INT_MAX = int(np.iinfo(np.int64).min), int(np.iinfo(np.int64).max)


@dataclass(frozen=True)
class Fold:
    """An aggregate for messages of a known kind."""

    identity: tuple  # accumulator of no messages
    absorb: object  # (acc, message) -> acc
    merge: object  # (acc, acc) -> acc
    result: object  # acc -> value given to update
    is_exact: bool = False  # any order of messages gives the same bits
    is_idempotent: bool = False  # and a message heard twice is as one heard once
    is_final: object = None  # acc -> whether no further message can matter; None: never

    def __post_init__(self):
        if self.is_final is None:
            object.__setattr__(self, "is_final", never)

    @property
    def is_one_word(self):
        """Whether threads can share an accumulator by swapping it as one step."""
        return len(self.identity) == 1


@inlined
def never(acc):
    """Further messages always matter. Local."""
    return False


@dataclass(frozen=True)
class Monoid:
    """A user's aggregate: an associative ``combine`` with its ``identity``.

    Parameters
    ----------
    identity : scalar or tuple of scalars
        Its Python types (int, float, bool) are those of the accumulator.
    combine : callable (a, b) -> like identity
        The order of combination is canonical, so it need not commute.
    exact : bool
        Whether any order gives the same bits (min, max, integer sums, or): a
        promise that lets few changed vertices push their messages instead of
        being looked for by all rows.
    idempotent : bool
        Whether a message heard twice is as one heard once (min, max, or), as
        buckets and asynchronous runs need.
    """

    identity: object
    combine: object
    exact: bool = False
    idempotent: bool = False


@dataclass(frozen=True)
class Collect:
    """A user's aggregate of all messages at once.

    Parameters
    ----------
    function : callable (messages) -> scalar
        Gets a 1-D array of a row's messages in canonical order, which it may
        overwrite; of no messages, an empty one.
    """

    function: object


def make_fold(aggregate, kinds):
    """The `Fold` of an aggregate for messages of some kinds. Local.

    Parameters
    ----------
    aggregate : str or Monoid
    kinds : tuple of numpy dtypes
        int64, float64 or bool for every component of a message.

    Raises
    ------
    ProgramError
        The aggregate does not take such messages.
    """
    if isinstance(aggregate, Monoid):
        return _monoid(aggregate)
    if aggregate == "count":
        return _count(None)
    if aggregate in ("softmax_sum", "argmin", "argmax"):
        if len(kinds) != 2:
            what = "(logit, value)" if aggregate == "softmax_sum" else "(key, label)"
            raise ProgramError(f"aggregate {aggregate!r} takes messages of two values {what}, not {len(kinds)}")
    elif len(kinds) != 1:
        raise ProgramError(f"aggregate {aggregate!r} takes messages of one value, not {len(kinds)}; give a Monoid")
    return _built_in(aggregate, *[np.dtype(k) for k in kinds])


@functools.cache
def _built_in(aggregate, *kinds):
    """Made once: numba keeps every function that it was ever told of."""
    return FOLDS[aggregate](*kinds)


def _merged_like_absorbed(identity, combine, is_exact=False, is_idempotent=False, is_final=None):
    """A fold whose accumulator is a message of its own kind."""

    def absorb(acc, message):
        return (combine(acc[0], message),)

    def merge(a, b):
        return (combine(a[0], b[0]),)

    return Fold((identity,), inlined(absorb), inlined(merge), first, is_exact, is_idempotent, is_final)


@inlined
def first(acc):
    """The only member of an accumulator."""
    return acc[0]


@inlined
def plus(a, b):
    """a + b"""
    return a + b


@inlined
def smaller(a, b):
    """The smaller of two integers."""
    return min(b, a)


@inlined
def larger(a, b):
    """The larger of two integers."""
    return max(b, a)


# of floats the same bits in any order: one zero, one nan


@inlined
def smaller_float(a, b):
    """The smaller of two, 0.0 for -0.0; nan if any is."""
    b = b + 0.0
    return b if b < a else math.nan if b != b else a


@inlined
def larger_float(a, b):
    """The larger of two, 0.0 for -0.0; nan if any is."""
    b = b + 0.0
    return b if b > a else math.nan if b != b else a


@inlined
def either(a, b):
    """a or b, of truth values."""
    return bool(a) or bool(b)


@inlined
def both(a, b):
    """a and b, of truth values."""
    return bool(a) and bool(b)


def _sum(kind):
    return _merged_like_absorbed(0.0 if kind.kind == "f" else 0, plus, is_exact=kind.kind != "f")


def _min(kind):
    least = (math.inf, smaller_float) if kind.kind == "f" else (INT_MAX, smaller)
    return _merged_like_absorbed(*least, is_exact=True, is_idempotent=True)


def _max(kind):
    largest = (-math.inf, larger_float) if kind.kind == "f" else (INT_MIN, larger)
    return _merged_like_absorbed(*largest, is_exact=True, is_idempotent=True)


def _any(kind):
    return _merged_like_absorbed(False, either, is_exact=True, is_idempotent=True, is_final=first)


@inlined
def _is_refuted(acc):
    return not acc[0]


def _all(kind):
    return _merged_like_absorbed(True, both, is_exact=True, is_idempotent=True, is_final=_is_refuted)


@inlined
def _count_absorb(acc, message):
    return (acc[0] + 1,)


@inlined
def _merge_1(a, b):
    return (a[0] + b[0],)


@inlined
def _merge_2(a, b):
    return (a[0] + b[0], a[1] + b[1])


def _count(kind):
    return Fold((0,), _count_absorb, _merge_1, first, is_exact=True)


@inlined
def _mean_absorb(acc, message):
    return (acc[0] + message, acc[1] + 1)


@inlined
def _mean_result(acc):
    return acc[0] / acc[1] if acc[1] else 0.0


def _mean(kind):
    """Sum over count; 0 of no messages."""
    return Fold((0.0, 0), _mean_absorb, _merge_2, _mean_result)


# std: Welford's running mean and sum of squares; segments joined as in Chan, Golub and LeVeque (1979)


@inlined
def _std_absorb(acc, message):
    n, mean, squares = acc
    n += 1
    step = message - mean
    mean += step / n
    return (n, mean, squares + step * (message - mean))


@inlined
def _std_merge(a, b):
    if a[0] == 0:
        return b
    if b[0] == 0:
        return a
    n = a[0] + b[0]
    step = b[1] - a[1]
    return (n, a[1] + step * (b[0] / n), a[2] + b[2] + step * step * (a[0] * (b[0] / n)))


@inlined
def _std_result(acc):
    return math.sqrt(acc[2] / acc[0]) if acc[0] else 0.0


def _std(kind):
    """Population standard deviation; 0 of no messages."""
    return Fold((0, 0.0, 0.0), _std_absorb, _std_merge, _std_result)


# softmax_sum: sum of exp(logit) * value over sum of exp(logit), rescaled to the largest logit seen so far


@inlined
def _softmax_absorb(acc, message):
    top, weight, total = acc
    logit, value = message
    if logit <= top:
        w = math.exp(logit - top) if logit > -math.inf else 0.0  # also where no logit so far is larger
        return (top, weight + w, total + w * value)
    scale = math.exp(top - logit)
    return (logit + 0.0, weight * scale + 1.0, total * scale + value)


@inlined
def _softmax_merge(a, b):
    if b[1] == 0.0:
        return a
    if a[1] == 0.0:
        return b
    if b[0] <= a[0]:
        scale = math.exp(b[0] - a[0])
        return (a[0], a[1] + b[1] * scale, a[2] + b[2] * scale)
    scale = math.exp(a[0] - b[0])
    return (b[0], a[1] * scale + b[1], a[2] * scale + b[2])


@inlined
def _softmax_result(acc):
    return acc[2] / acc[1] if acc[1] != 0.0 else 0.0


def _softmax_sum(logit_kind, value_kind):
    """Softmax-weighted sum of values; 0 of no messages."""
    return Fold((-math.inf, 0.0, 0.0), _softmax_absorb, _softmax_merge, _softmax_result)


# argmin, argmax: the pair with the smallest (largest) key; of equal keys the smallest label


@inlined
def _argmin_absorb(acc, message):
    if message[0] < acc[0] or (message[0] == acc[0] and message[1] < acc[1]):
        return (message[0], message[1])
    return acc


@inlined
def _argmax_absorb(acc, message):
    if message[0] > acc[0] or (message[0] == acc[0] and message[1] < acc[1]):
        return (message[0], message[1])
    return acc


@inlined
def _argmin_result(acc):
    return (acc[0], acc[1] if acc[1] != INT_MAX else -1)


def _pair(kind, worst_float, worst_int, absorb):
    worst = worst_float if kind.kind == "f" else worst_int
    return Fold((worst, INT_MAX), absorb, absorb, _argmin_result, is_exact=True, is_idempotent=True)


def _argmin(key_kind, label_kind):
    """Smallest key and its label; of no messages the label is -1."""
    return _pair(key_kind, math.inf, INT_MAX, _argmin_absorb)


def _argmax(key_kind, label_kind):
    """Largest key and its label; of no messages the label is -1."""
    return _pair(key_kind, -math.inf, INT_MIN, _argmax_absorb)


FOLDS = {
    "sum": _sum,
    "mean": _mean,
    "min": _min,
    "max": _max,
    "any": _any,
    "all": _all,
    "count": _count,
    "argmin": _argmin,
    "argmax": _argmax,
    "std": _std,
    "softmax_sum": _softmax_sum,
}


def _monoid(monoid):
    combine = inlined(monoid.combine)
    if isinstance(monoid.identity, tuple):
        identity = tuple(monoid.identity)

        def whole(acc):
            return acc

        return Fold(identity, combine, combine, inlined(whole), monoid.exact, monoid.idempotent)
    return _merged_like_absorbed(monoid.identity, combine, monoid.exact, monoid.idempotent)


@inlined
def most_frequent(messages):
    """The most frequent integer, of several the smallest, of none INT_MIN."""
    if messages.size <= FEW_MESSAGES:
        return _most_frequent_sorted(messages)
    return _most_frequent_counted(messages)


@inlined
def _most_frequent_sorted(messages):
    for e in range(1, messages.size):  # insertion: cheaper than a call of a sort
        moved, place = messages[e], e
        while place > 0 and messages[place - 1] > moved:
            messages[place] = messages[place - 1]
            place -= 1
        messages[place] = moved
    best, best_count, n = INT_MIN, 0, 0
    for e in range(messages.size):
        n = n + 1 if e > 0 and messages[e] == messages[e - 1] else 1
        if n > best_count:
            best, best_count = messages[e], n
    return best


@inlined
def _most_frequent_counted(messages):
    """By a hash table of twice the size, linear probing, multiplicative hashing (Knuth 6.4)."""
    n_bits = 1
    while (1 << n_bits) < 2 * messages.size:
        n_bits += 1
    mask, shift = np.uint64((1 << n_bits) - 1), np.uint64(64 - n_bits)
    keys, counts = np.empty(1 << n_bits, messages.dtype), np.zeros(1 << n_bits, np.uint32)
    best, best_count = INT_MIN, np.uint32(0)
    for e in range(messages.size):
        key = messages[e]
        slot = (np.int64(key).view(np.uint64) * GOLDEN) >> shift
        while counts[slot] and keys[slot] != key:
            slot = (slot + np.uint64(1)) & mask
        keys[slot] = key
        counts[slot] += np.uint32(1)
        if counts[slot] > best_count or (counts[slot] == best_count and key < best):
            best, best_count = key, counts[slot]
    return best


MODE = Collect(most_frequent)
