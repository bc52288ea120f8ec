"""Loops over the channels of a row, eight lanes at a time, with the bits of the plain loop.

LLVM finds such a loop by itself where it is long. A head's few channels within an edge it does not: then its checks for
arrays that overlap cost more than the loop. Here the lanes are written out, and each does what the loop would.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from hpcmp.jit import inlined

LANES = 8
ONE, MANY = np.uint64(1), np.uint64(LANES)


@inlined
def add_scaled(acc, at, w, x, i, first, end):
    """acc[at + k] += w * x[i, k] for k in [first, end). Local.

    acc: float64, not x's memory; x: rows of float32 or float64; all indices are uint64.
    """
    k = first
    while k + MANY <= end:
        add_scaled_lanes(acc, at + k, w, x, i, k)
        k += MANY
    while k < end:
        acc[at + k] += w * np.float64(x[i, k])
        k += ONE


def add_scaled_lanes(acc, at, w, x, i, k):
    """acc[at + q] += w * x[i, k + q] for q in [0, `LANES`). Local."""
    for q in range(LANES):
        acc[int(at) + q] += w * np.float64(x[int(i), int(k) + q])


@intrinsic
def _add_scaled_lanes(typingctx, acc, at, w, x, i, k):
    if acc != types.Array(types.float64, 1, "C") or x.ndim != 2 or x.layout != "C":
        raise TypeError(f"accumulator and rows that lie together are needed, not {acc} and {x}")

    def codegen(context, builder, signature, args):
        wide = ir.VectorType(ir.DoubleType(), LANES)
        rows = context.make_array(signature.args[3])(context, builder, args[3])
        number = context.get_data_type(x.dtype)
        width = cgutils.unpack_tuple(builder, rows.shape)[1]
        place = builder.gep(rows.data, [builder.add(builder.mul(args[4], width), args[5])])
        loaded = builder.load(builder.bitcast(place, ir.VectorType(number, LANES).as_pointer()))
        loaded.align = x.dtype.bitwidth // 8
        value = loaded if x.dtype == types.float64 else builder.fpext(loaded, wide)
        one = builder.insert_element(ir.Constant(wide, ir.Undefined), args[2], ir.IntType(32)(0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        factor = builder.shuffle_vector(one, ir.Constant(wide, ir.Undefined), mask)
        into = context.make_array(signature.args[0])(context, builder, args[0])
        target = builder.bitcast(builder.gep(into.data, [args[1]]), wide.as_pointer())
        before = builder.load(target)
        before.align = 8
        builder.store(builder.fadd(before, builder.fmul(factor, value)), target).align = 8
        return context.get_dummy_value()

    return types.none(acc, types.uint64, types.float64, x, types.uint64, types.uint64), codegen


@overload(add_scaled_lanes)
def _add_scaled_lanes_overload(acc, at, w, x, i, k):
    return lambda acc, at, w, x, i, k: _add_scaled_lanes(acc, at, w, x, i, k)
