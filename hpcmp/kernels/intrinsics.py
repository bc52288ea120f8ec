"""Single machine instructions that numba has no name for, with their plain twins."""

import numpy as np
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


def same_bits(a, b):
    """Whether two scalars of one type are the same, bit by bit. Local."""
    return np.array(a).tobytes() == np.array(b).tobytes()


@intrinsic
def _same_bits(typingctx, a, b):
    def codegen(context, builder, signature, args):
        word = ir.IntType(8 * context.get_abi_sizeof(context.get_data_type(a)))
        bits = [builder.bitcast(context.get_value_as_data(builder, a, v), word) for v in args]
        return builder.icmp_unsigned("==", *bits)

    return types.boolean(a, a), codegen


@overload(same_bits)
def _same_bits_overload(a, b):
    return lambda a, b: _same_bits(a, b)


def swap_if(array, i, expected, new):
    """Whether array[i] is expected, bit by bit, and then is made new. Local.

    As one step. ``array`` is one-dimensional, of integers, floats or truth values. Threads that swap one
    element at the same time each see the other's swap as wholly before or after theirs.
    """
    if not same_bits(array[i], array.dtype.type(expected)):
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


def prefetch(array, i, byte):
    """Ask the caches for the line with a byte of array[i], and go on. Local.

    ``byte`` counts from the start of row i. Only seconds depend on it, and no
    place in memory is wrong, so that the plain twin does nothing.
    """


def prefetch_outer(array, i, byte):
    """`prefetch` past the innermost cache, which many wide rows would crowd. Local."""


def _prefetch_into(levels):
    """The instruction for all levels of caches (3), or for all but the innermost (2)."""

    @intrinsic
    def ask(typingctx, array, i, byte):
        def codegen(context, builder, signature, args):
            array = context.make_array(signature.args[0])(context, builder, args[0])
            flag, byte_pointer = ir.IntType(32), ir.IntType(8).as_pointer()
            row = builder.mul(args[1], builder.extract_value(array.strides, 0))
            start = builder.bitcast(array.data, byte_pointer)
            place = builder.gep(start, [builder.add(row, args[2])])
            instruction = builder.module.declare_intrinsic(
                "llvm.prefetch", [byte_pointer], ir.FunctionType(ir.VoidType(), [byte_pointer, flag, flag, flag])
            )
            is_write, is_data = 0, 1
            builder.call(instruction, [place, flag(is_write), flag(levels), flag(is_data)])
            return context.get_dummy_value()

        return types.none(array, types.uint64, types.uint64), codegen

    return ask


_prefetch, _prefetch_outer = _prefetch_into(3), _prefetch_into(2)


@overload(prefetch)
def _prefetch_overload(array, i, byte):
    return lambda array, i, byte: _prefetch(array, i, byte)


@overload(prefetch_outer)
def _prefetch_outer_overload(array, i, byte):
    return lambda array, i, byte: _prefetch_outer(array, i, byte)


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
