"""Single machine instructions that numba has no name for, with their plain twins."""

from numba import types
from numba.extending import intrinsic, overload


def popcount(word):
    """Number of set bits of a uint64. Local."""
    return int(word).bit_count() if hasattr(int, "bit_count") else bin(int(word)).count("1")


@intrinsic
def _popcount(typingctx, word):
    def codegen(context, builder, signature, args):
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), codegen


@overload(popcount)
def _popcount_overload(word):
    return lambda word: _popcount(word)


def swap_if(array, i, expected, new):
    """array[i] = new if it is expected, as one step; what it was. Local.

    ``array`` is uint32 and one-dimensional. Threads that swap one element at
    the same time each see the other's swap as wholly before or after theirs.
    """
    found = array[i]
    if found == expected:
        array[i] = new
    return found


@intrinsic
def _swap_if(typingctx, array, i, expected, new):
    word = types.uint32

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        pair = builder.cmpxchg(builder.gep(data, [args[1]]), args[2], args[3], "monotonic")
        return builder.extract_value(pair, 0)

    return word(array, types.uint64, word, word), codegen


@overload(swap_if)
def _swap_if_overload(array, i, expected, new):
    return lambda array, i, expected, new: _swap_if(array, i, expected, new)


def lower_to(array, i, value):
    """array[i] = min(array[i], value), as one step; what it was. Local.

    ``array`` is int64 and one-dimensional.
    """
    found = array[i]
    array[i] = min(found, value)
    return found


@intrinsic
def _lower_to(typingctx, array, i, value):
    word = types.int64

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.atomic_rmw("min", builder.gep(data, [args[1]]), args[2], "monotonic")

    return word(array, types.uint64, word), codegen


@overload(lower_to)
def _lower_to_overload(array, i, value):
    return lambda array, i, value: _lower_to(array, i, value)
