"""Kinds of messages, as compiled code and plain Python know them: all is in the type."""

from numba import types
from numba.core.errors import TypingError
from numba.core.imputils import lower_constant
from numba.core.typing.typeof import typeof_impl
from numba.extending import models, register_model

_KNOWN: list = []  # classes whose instances are kinds


class Kind(types.Type):
    """numba's type of a kind of message, whose values carry nothing: all is in the type."""

    def __init__(self, name, number, fields, near):
        self.kind_name, self.number, self.fields, self.near = name, number, fields, near
        super().__init__(f"Kind({name}, {number}, {fields}, {near})")


register_model(Kind)(models.OpaqueModel)


@lower_constant(Kind)
def _no_value(context, builder, kind, value):
    return context.get_dummy_value()


def know_kind(cls):
    """Let numba type the instances of a class by what sending needs. Local."""
    _KNOWN.append(cls)

    @typeof_impl.register(cls)
    def _type_of(value, c):
        return Kind(value.name, value.number, value.fields, value.near)


def near_of(kind):
    """List of those neighbours who get a kind of message: its number. Local."""
    return 0 if kind is None else as_known(kind).near


def as_known(kind):
    """Refuse what is no kind, in plain Python. Local."""
    if not isinstance(kind, tuple(_KNOWN)):
        raise TypeError(f"a MessageType is needed, {type(kind).__name__} was given")
    return kind


def as_kind(kind):
    """Refuse what is no kind, by its type. Local."""
    if not isinstance(kind, Kind):
        raise TypingError(f"a MessageType is needed, {types.unliteral(kind)} was given")
    return kind


def near_of_type(kind):
    """`near_of` by the type. Local."""
    if kind is None or isinstance(kind, types.Omitted | types.NoneType):
        return 0
    return as_kind(kind).near
