"""Dual numbers: a value and its derivative, through a user's own scalar function.

``Dual(v, s)`` stands for v + s t, t**2 = 0. A function compiled for duals gives its derivative by the rules below, operation
by operation, in the branches that the values take (forward mode; R. Wengert, CACM 7(8), 1964). An operation without a rule
does not compile. Of max and min the first that has it counts. Of abs at 0 the derivative is 0, and that of x**y at x = 0 by
y, for y from 0 on.
"""

import math
import operator

from numba import types
from numba.core import cgutils
from numba.core.typeconv import Conversion
from numba.extending import intrinsic, lower_cast, models, overload, register_model

from hpcmp.jit import inlined

TWO_BY_ROOT_PI = 2 / math.sqrt(math.pi)


class Dual(types.Type):
    """numba's type of a float64 and its derivative."""

    def __init__(self):
        super().__init__(name="Dual")

    def unify(self, typingctx, other):
        """A branch may give a number. Local."""
        return self if isinstance(other, types.Number | types.Boolean) else None

    def can_convert_from(self, typingctx, other):
        """From numbers, whose derivative is 0. Local."""
        return Conversion.safe if isinstance(other, types.Number | types.Boolean) else None


DUAL = Dual()


@register_model(Dual)
class _Model(models.StructModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, [("value", types.float64), ("slope", types.float64)])


@lower_cast(types.Number, Dual)
@lower_cast(types.Boolean, Dual)
def _from_number(context, builder, given, kind, value):
    pair = cgutils.create_struct_proxy(kind)(context, builder)
    pair.value = context.cast(builder, value, given, types.float64)
    pair.slope = context.get_constant(types.float64, 0.0)
    return pair._getvalue()


@intrinsic
def dual(typingctx, value, slope):
    """The dual number of a value and its derivative."""

    def codegen(context, builder, signature, args):
        pair = cgutils.create_struct_proxy(DUAL)(context, builder)
        pair.value, pair.slope = (
            context.cast(builder, a, t, types.float64) for a, t in zip(args, signature.args, strict=True)
        )
        return pair._getvalue()

    return DUAL(value, slope), codegen


@intrinsic
def value_of(typingctx, number):
    """The value of a dual number, or a number itself."""
    return types.float64(number), _reads("value")


@intrinsic
def slope_of(typingctx, number):
    """The derivative of a dual number, or 0 of a number."""
    return types.float64(number), _reads("slope")


def _reads(name):
    def codegen(context, builder, signature, args):
        pair = context.cast(builder, args[0], signature.args[0], DUAL)
        return getattr(cgutils.create_struct_proxy(DUAL)(context, builder, value=pair), name)

    return codegen


# An intrinsic has another name in every process, which would be part of the key of a kernel's cache; these have not.


@inlined
def variable(value):
    """The dual number of what is differentiated by. Local."""
    return dual(value, 1.0)


@inlined
def derivative_of(number):
    """The derivative that a dual number came to, of a number 0. Local."""
    return slope_of(number)


# ---------------------------------------------------------------- rules: x -> (f(x), f'(x)); and of (x, y, x', y')


def _tanh(x):
    t = math.tanh(x)
    return t, 1.0 - t * t


def _exp(x):
    e = math.exp(x)
    return e, e


def _expm1(x):
    return math.expm1(x), math.exp(x)


def _sqrt(x):
    root = math.sqrt(x)
    return root, 0.5 / root


def _absolute(x):
    return abs(x), 1.0 if x > 0.0 else -1.0 if x < 0.0 else 0.0


def _power(x, y, dx, dy):
    value = x**y
    slope = y * x ** (y - 1.0) * dx if dx != 0.0 and y != 0.0 else 0.0  # of x**0 at 0 it would be 0 * inf
    if dy != 0.0 and (x != 0.0 or y < 0.0):  # 0**y is 0 for all y above 0
        slope += value * math.log(x) * dy
    return value, slope


OF_ONE = {
    operator.neg: lambda x: (-x, -1.0),
    operator.pos: lambda x: (x, 1.0),
    abs: _absolute,
    math.fabs: _absolute,
    math.exp: _exp,
    math.expm1: _expm1,
    math.log: lambda x: (math.log(x), 1.0 / x),
    math.log1p: lambda x: (math.log1p(x), 1.0 / (1.0 + x)),
    math.sqrt: _sqrt,
    math.tanh: _tanh,
    math.sin: lambda x: (math.sin(x), math.cos(x)),
    math.cos: lambda x: (math.cos(x), -math.sin(x)),
    math.atan: lambda x: (math.atan(x), 1.0 / (1.0 + x * x)),
    math.sinh: lambda x: (math.sinh(x), math.cosh(x)),
    math.cosh: lambda x: (math.cosh(x), math.sinh(x)),
    math.erf: lambda x: (math.erf(x), TWO_BY_ROOT_PI * math.exp(-x * x)),
}
OF_TWO = {
    operator.add: lambda x, y, dx, dy: (x + y, dx + dy),
    operator.sub: lambda x, y, dx, dy: (x - y, dx - dy),
    operator.mul: lambda x, y, dx, dy: (x * y, dx * y + x * dy),
    operator.truediv: lambda x, y, dx, dy: (x / y, (dx - x / y * dy) / y),
    operator.pow: _power,
    math.pow: _power,
    min: lambda x, y, dx, dy: (y, dy) if y < x else (x, dx),
    max: lambda x, y, dx, dy: (y, dy) if y > x else (x, dx),
}
IN_PLACE = {operator.iadd: operator.add, operator.isub: operator.sub, operator.imul: operator.mul}
IN_PLACE |= {operator.itruediv: operator.truediv, operator.ipow: operator.pow}
COMPARED = (operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne)


def _are_duals(*kinds):
    """Whether there is a dual among numbers."""
    fit = all(isinstance(t, Dual | types.Number | types.Boolean) for t in kinds)
    return fit and any(isinstance(t, Dual) for t in kinds)


def _define_one(function, rule):
    rule = inlined(rule)

    def apply(a):
        value, slope = rule(value_of(a))
        inner = slope_of(a)
        return dual(value, slope * inner if inner != 0.0 else 0.0)  # a root at 0 has no slope, of a constant 0 it has

    overload(function)(lambda a: apply if _are_duals(a) else None)


def _define_two(function, rule):
    rule = inlined(rule)

    def apply(a, b):
        value, slope = rule(value_of(a), value_of(b), slope_of(a), slope_of(b))
        return dual(value, slope)

    overload(function)(lambda a, b: apply if _are_duals(a, b) else None)


def _define_compared(function):
    def apply(a, b):
        return function(value_of(a), value_of(b))

    overload(function)(lambda a, b: apply if _are_duals(a, b) else None)


def _define_of_three(function):
    def apply(a, b, c):
        return function(function(a, b), c)

    overload(function)(lambda a, b, c: apply if _are_duals(a, b, c) else None)


for _function, _of_one in OF_ONE.items():
    _define_one(_function, _of_one)
for _function, _of_two in OF_TWO.items():
    _define_two(_function, _of_two)
for _function, _plain in IN_PLACE.items():
    _define_two(_function, OF_TWO[_plain])
for _function in COMPARED:
    _define_compared(_function)
for _function in (min, max):
    _define_of_three(_function)
