"""Single machine instructions that numba has no name for, with their plain twins."""

from llvmlite import ir
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
    """array[i] = new if its bits are those of expected, as one step; whether they were. Local.

    ``array`` is one-dimensional, of integers, floats or truth values. Threads that swap one
    element at the same time each see the other's swap as wholly before or after theirs.
    """
    found = array[i]
    if not (found == expected or (found != found and expected != expected)):
        return False
    array[i] = new
    return True


@intrinsic
def _swap_if(typingctx, array, i, expected, new):
    value = array.dtype

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        word = ir.IntType(8 * context.get_abi_sizeof(context.get_data_type(value)))
        place = builder.bitcast(builder.gep(data, [args[1]]), word.as_pointer())
        bits = [builder.bitcast(context.get_value_as_data(builder, value, a), word) for a in args[2:]]
        return builder.extract_value(builder.cmpxchg(place, *bits, "monotonic"), 1)

    return types.boolean(array, types.uint64, value, value), codegen


@overload(swap_if)
def _swap_if_overload(array, i, expected, new):
    return lambda array, i, expected, new: _swap_if(array, i, expected, new)
