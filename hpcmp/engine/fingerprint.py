"""What a function's behaviour depends on, as text that changes when it does.

numba keys its cache by types and by the bytes of captured values; a function
of an importable module is captured by name, so an edit of it, or of a helper
it calls, goes unnoticed. `fingerprint` walks bytecode, constants, defaults,
closures and every global they name, through all functions reached.
"""

import enum
import hashlib
import types

import numpy as np

FOREIGN = ("numpy", "numba", "math", "cmath", "operator", "builtins")  # compiled by numba's own rules


def fingerprint(*values):
    """Hash of functions and constants: 64 hex digits. Local."""
    digest = hashlib.sha256()
    _visit(values, digest, {})
    return digest.hexdigest()


def reached(*functions):
    """All that functions and their helpers name, numbers and texts left out. Local."""
    seen = {}
    _visit([f for f in functions if f is not None], hashlib.sha256(), seen)
    return list(seen.values())


def helpers(*functions):
    """The functions and all plain Python functions they call. Local."""
    found = (getattr(v, "py_func", v) for v in reached(*functions))
    return [f for f in found if isinstance(f, types.FunctionType) and _home(f) not in FOREIGN]


def names_used(*functions):
    """All names and texts that functions and their helpers mention. Local."""
    names = set()
    for value in reached(*functions):
        if isinstance(value, types.CodeType):
            names.update(value.co_names)
            names.update(c for c in value.co_consts if isinstance(c, str))
    return names


def _visit(value, digest, seen):
    if isinstance(value, bool | int | float | complex | str | bytes | type(None)):
        digest.update(f"{type(value).__name__} {value!r};".encode())
        return
    if id(value) in seen:
        digest.update(f"again {list(seen).index(id(value))};".encode())  # which one matters: names may be swapped
        return
    seen[id(value)] = value
    value = getattr(value, "py_func", value)  # a numba dispatcher stands for its function
    if isinstance(value, types.FunctionType):
        _visit_function(value, digest, seen)
    elif isinstance(value, types.CodeType):
        _visit_code(value, digest, seen)
    elif isinstance(value, tuple | list | set | frozenset):
        digest.update(f"{type(value).__name__} {len(value)};".encode())
        for member in sorted(value, key=repr) if isinstance(value, set | frozenset) else value:
            _visit(member, digest, seen)
    elif isinstance(value, dict):
        for key in sorted(value, key=repr):
            _visit(key, digest, seen)
            _visit(value[key], digest, seen)
    elif isinstance(value, np.ndarray | np.generic):
        digest.update(f"array {value.dtype} {value.shape};".encode() + value.tobytes())
    elif isinstance(value, types.ModuleType | types.BuiltinFunctionType | type):
        digest.update(f"{type(value).__name__} {getattr(value, '__module__', '')} {value.__name__};".encode())
        if isinstance(value, type):  # of the classes numba knows: enumerations, named tuples
            _visit([(m.name, m.value) for m in value] if issubclass(value, enum.Enum) else None, digest, seen)
            _visit(getattr(value, "_fields", None), digest, seen)
    elif isinstance(value, enum.Enum):
        _visit((value.name, value.value), digest, seen)
    elif hasattr(value, "__dataclass_fields__"):
        digest.update(f"{type(value).__module__}.{type(value).__qualname__};".encode())  # a Sum is no Max of the same
        _visit({name: getattr(value, name) for name in value.__dataclass_fields__}, digest, seen)
    else:
        digest.update(f"{type(value).__module__}.{type(value).__qualname__} {value!r};".encode())


def _visit_function(function, digest, seen):
    _visit(function.__code__, digest, seen)
    _visit(function.__defaults__, digest, seen)
    _visit(function.__kwdefaults__ or {}, digest, seen)
    for cell in function.__closure__ or ():
        _visit(cell.cell_contents, digest, seen)
    names = _all_names(function.__code__)
    for name in sorted(names):
        if name in function.__globals__:
            _visit_global(name, function.__globals__[name], names, digest, seen)


def _visit_global(name, value, names, digest, seen):
    digest.update(f"global {name};".encode())
    _visit(value, digest, seen)
    if isinstance(value, types.ModuleType) and _home(value) not in FOREIGN:
        for member in sorted(names):
            if member in value.__dict__:
                _visit_global(member, value.__dict__[member], names, digest, seen)


def _home(value):
    """Top-level package of a module or function."""
    return (getattr(value, "__module__", None) or getattr(value, "__name__", "")).split(".")[0]


def _visit_code(code, digest, seen):
    digest.update(code.co_code + repr((code.co_names, code.co_varnames, code.co_freevars)).encode())
    for constant in code.co_consts:
        _visit(constant, digest, seen)


def _all_names(code):
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _all_names(constant)
    return names
