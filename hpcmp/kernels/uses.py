"""What functions of agents do with ``me``, ``msg``, ``out`` and ``ctx``, looked at while numba compiles them.

Left alone, numba would store a float in a whole number without a word, and tell of a field that is not there in pages. A
plain exception of ours passes through its search for types, so it says one thing and where.
"""

import numpy as np
from numba.core import ir, types
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import AnalysisPass, register_pass
from numba.core.errors import NumbaNotImplementedError
from numba.core.typed_passes import NopythonTypeInference
from numba.core.untyped_passes import IRProcessing
from numba.np.numpy_support import as_dtype

from hpcmp import jit
from hpcmp.errors import ProgramError
from hpcmp.kernels.records import HEADER

HIDDEN = ("to", "home", "due", "kind", "sent", "cause_sender", "cause_number", "root_sender", "root_number")
OF_MESSAGES = {name for name, _ in HEADER}  # fields that records of messages have, and those of agents have not all


def may_hold(field, given):
    """Whether values of a dtype may be stored in a field of another. Local.

    numpy's rule "same kind", with whole numbers as one kind: whether a number
    fits is looked at when it is known.
    """
    return np.can_cast(given, field, "same_kind") or (given.kind in "iu" and field.kind in "iu")


def limits(field, given):
    """Least and largest number that fits, of the given dtype; None: all. Local."""
    if field.kind not in "iu" or given.kind not in "iu" or np.can_cast(given, field, "safe"):
        return None
    inner, outer = np.iinfo(field), np.iinfo(given)
    return given.type(max(inner.min, outer.min)), given.type(min(inner.max, outer.max))


def dtype_of(value):
    """Dtype of what plain Python holds, an object's if no number. Local."""
    return np.asarray(value).dtype if np.ndim(value) == 0 else np.dtype(object)


def no_field(what, name, names):
    """Sentence on a field that is not there. Local."""
    shown = [n for n in names if n not in HIDDEN or not set(names) >= OF_MESSAGES]
    return f"{what} has no field {name!r} (it has: {', '.join(shown) or 'none'})"


def wrong_store(name, field, given):
    """Sentence on a value of the wrong dtype. Local."""
    return f"{name} is {field}, {given} was given"


def may_write(names, name, merges):
    """Why a field of a record must not be written, or None. Local."""
    if not set(names) >= OF_MESSAGES:
        return "an agent's id stays as it is" if name == "id" else None
    is_fixed = not merges or name in HIDDEN or name in ("sender", "number")
    return f"a message is read, not changed ({name!r})" if is_fixed else None


class _Pass(AnalysisPass):
    def __init__(self):
        AnalysisPass.__init__(self)

    def refuse(self, state, loc, text):
        raise ProgramError(f"{text} ({state.func_id.filename}, line {loc.line}, in {state.func_id.func_name})")


@register_pass(mutates_CFG=False, analysis_only=True)
class LookAtNames(_Pass):
    """Fields and methods that are not there, and fields that must not be written: before types are sought."""

    _name = "hpcmp_look_at_names"
    merges = False

    def run_pass(self, state):
        """Look at each use of an argument. Local."""
        for block in state.func_ir.blocks.values():
            for inst in block.body:
                if isinstance(inst, ir.Assign) and isinstance(inst.value, ir.Global):
                    if inst.value.value is ir.UNDEFINED:
                        self.refuse(state, inst.loc, f"the name {inst.value.name!r} is not defined")
                elif isinstance(inst, ir.Assign) and getattr(inst.value, "op", None) == "getattr":
                    self._look(state, inst.loc, inst.value.value, inst.value.attr)
                elif isinstance(inst, ir.SetAttr):
                    self._look(state, inst.loc, inst.target, inst.attr, is_written=True)
        return False

    def _look(self, state, loc, variable, attr, is_written=False):
        try:
            argument = state.func_ir.get_definition(variable)
        except KeyError:  # of several
            return
        if not isinstance(argument, ir.Arg):
            return
        kind = state.args[argument.index]
        if isinstance(kind, types.Record):
            names = tuple(kind.fields)
            why = may_write(names, attr, self.merges) if is_written and attr in names else None
        elif isinstance(kind, types.NamedTuple | types.NamedUniTuple):
            is_outbox = kind.instance_class.__name__ == "Outbox"
            names = tuple(n for n in vars(kind.instance_class) if n[0] != "_") if is_outbox else kind.fields
            names = tuple(n for n in names if not is_outbox or n not in kind.fields)
            why = f"{argument.name}.{attr} is read, not written" if is_written else None
        else:
            return
        if attr not in names:
            why = no_field(argument.name, attr, names)
        if why:
            self.refuse(state, loc, why)


@register_pass(mutates_CFG=False, analysis_only=True)
class LookAtNamesOfMerges(LookAtNames):
    _name = "hpcmp_look_at_names_of_merges"
    merges = True


@register_pass(mutates_CFG=False, analysis_only=True)
class LookAtStores(_Pass):
    """Values that a field does not hold: when types are known."""

    _name = "hpcmp_look_at_stores"

    def run_pass(self, state):
        """Look at each store. Local."""
        for block in state.func_ir.blocks.values():
            for inst in block.find_insts(ir.SetAttr):
                target = state.typemap[inst.target.name]
                if isinstance(target, types.Record):
                    self._look(state, inst, target)
        return False

    def _look(self, state, inst, target):
        field = as_dtype(target.typeof(inst.attr))
        given = types.unliteral(state.typemap[inst.value.name])
        try:
            is_held = may_hold(field, as_dtype(given))
        except NumbaNotImplementedError:
            is_held = False
        if not is_held:
            self.refuse(state, inst.loc, wrong_store(inst.attr, field, given))


class Compiler(CompilerBase):
    """numba's, with a look at names and stores."""

    names: type = LookAtNames

    def define_pipelines(self):
        """Numba's passes and ours. Local."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(self.names, IRProcessing)
        passes.add_pass_after(LookAtStores, NopythonTypeInference)
        passes.finalize()
        return [passes]


class CompilerOfMerges(Compiler):
    """Of functions that make two messages one: they may write the first."""

    names = LookAtNamesOfMerges


def inlined(function, key, merges=False):
    """Mark a function of agents that kernels call. Local.

    A division by zero fails in it, as it does in plain Python. ``key`` is that
    of `jit.inlined`.
    """
    return jit.inlined(function, key, error_model="python", pipeline_class=CompilerOfMerges if merges else Compiler)
