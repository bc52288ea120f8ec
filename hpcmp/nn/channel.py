"""A user's own message of one channel, an ordinary function of numbers, compiled into one loop over edges.

Nothing of the size of the edges is kept: going back the derivative is computed again from both ends, over in-edges for what
receivers get and over the transposed edges for what senders get, as in `aggregate.attend`. It is derived by dual numbers
(`hpcmp.kernels.dual`), or given.
"""

import dis
import types

import numba
import numpy as np

from hpcmp import jit
from hpcmp.engine.explain import telling
from hpcmp.engine.fingerprint import fingerprint, names_used
from hpcmp.engine.own import own, refuse_random
from hpcmp.errors import ProgramError
from hpcmp.kernels import channel
from hpcmp.kernels.access import record
from hpcmp.nn.aggregates import BEST, PLACE, check_aggregate, numbered, place_dtype, share_of_edges
from hpcmp.nn.sums import alike
from hpcmp.nn.tape import made

ALL = np.zeros((0, 0), np.int32), np.zeros(0, np.int32)  # in place of which edges were taken: all


def by_channel(function, derivative=None):
    """A message written for one channel, for `propagate` and layers. Local.

    Parameters
    ----------
    function : callable (src, dst, edge) -> number
        Of the sender's number and the receiver's, both of the same channel,
        and the fields of the edge, ``edge.weight``. As functions of programs
        are, it is compiled: numbers, conditions, loops, ``math``.
    derivative : callable (src, dst, edge) -> (number, number), optional
        The derivatives by src and by dst. Default: derived, of + - * / **,
        abs, min, max, conditions, and of math's exp, expm1, log, log1p, sqrt,
        sin, cos, tanh, sinh, cosh, atan, erf, fabs and pow.

    Raises
    ------
    ProgramError
        It is no function of three arguments, or draws random numbers. Where
        it is used first: it does not compile, or its derivative cannot be
        derived; then on every rank.
    """
    return ByChannel(function, derivative)


class ByChannel:
    """What `by_channel` gives."""

    def __init__(self, function, derivative=None):
        for what, f in (("a message", function), ("its derivative", derivative)):
            is_function = isinstance(f, types.FunctionType) and f.__code__.co_argcount == 3
            if not is_function and (f is not None or f is function):
                raise ProgramError(f"{what} by channel must be a Python function of (src, dst, edge), not {f!r}")
        self.function, self.derivative = function, derivative
        self.functions = tuple(f for f in (function, derivative) if f is not None)
        refuse_random(self.functions)
        self.key, self.names = fingerprint(*self.functions), names_used(*self.functions)
        self.loops, self.known = {}, set()

    def propagate(self, view, h, aggregate="sum"):
        """Aggregate of the messages over in-edges, as `nn.propagate`. Collective."""
        check_aggregate(aggregate)
        graph, x = view.graph, np.ascontiguousarray(h.data)
        share, is_one = share_of_edges(view, aggregate), aggregate in BEST
        edges, out = self._edges(graph), np.empty_like(x)
        best = np.empty(x.shape, place_dtype(graph)) if is_one else None
        taken = (best,) if is_one else ()
        loop = self._loop(aggregate if is_one else "sum", graph, edges, x, x, view.everyone, out, *taken)

        def call(local, rows, lo, hi):
            loop(graph.in_ptr, graph.in_src, edges, local, x, rows, out, *taken, lo, hi)

        x_local = view.aggregate(x, call)
        if share is not None:
            out *= share

        def back(d):
            return (self._back(view, np.ascontiguousarray(d if share is None else d * share), x, x_local, best),)

        return made(out, view, (h,), back)

    def _back(self, view, d, x, x_local, best):
        """The gradient of h, from both ends of every edge."""
        graph, everyone, dx = view.graph, view.everyone, np.zeros_like(x)
        places, turned = numbered(view) if best is not None else (None, view.turned)
        kind = "best" if best is not None else "all"
        if self._reads(1):
            edges, taken = self._edges(graph), ALL if best is None else (best, places)
            loop = self._loop(f"dst of {kind}", graph, edges, x_local, x, d, *taken, everyone, dx)

            def receivers(rows, lo, hi):
                loop(graph.in_ptr, graph.in_src, edges, x_local, x, d, *taken, rows, dx, lo, hi)

            view.over_rows(receivers)
        if self._reads(0):
            sent, edges, ends = np.empty_like(x), self._edges(turned), view.with_ghosts(x, turned)
            won = ALL if best is None else (view.with_ghosts(best, turned), turned.edge_fields[PLACE])
            loop = self._loop(f"src of {kind}", turned, edges, ends, x, d, *won, everyone, sent)

            def senders(local, rows, lo, hi):
                loop(turned.in_ptr, turned.in_src, edges, ends, x, local, *won, rows, sent, lo, hi)

            view.aggregate(d, senders, turned)
            dx += sent
        return dx

    def _edges(self, graph):
        """Those fields that the functions name, as they see them."""
        relation = np.zeros(graph.n_in, np.uint16) if graph.relation is None else graph.relation
        fields = {**graph.edge_fields, "relation": relation}
        used = {name: np.ascontiguousarray(a) for name, a in fields.items() if name in self.names}
        return record("Edge", list(used))(*used.values())

    def _reads(self, which):
        """Whether the function looks at its first or second argument."""
        name = self.function.__code__.co_varnames[which]
        return any(
            name == step.argval or (isinstance(step.argval, tuple) and name in step.argval)
            for step in dis.get_instructions(self.function)
        )

    def _loop(self, what, graph, *args):
        """One of the loops, compiled for such arguments; before anything travels."""
        if what not in self.loops:
            self.loops[what] = self._made(what)
        loop, args = self.loops[what], (graph.in_ptr, graph.in_src, *args, 0, 0)
        signature = tuple(numba.typeof(a) for a in args)
        if (what, signature) not in self.known and not numba.config.DISABLE_JIT:
            try:
                jit.return_type(loop, signature)
            except Exception as error:  # numba's account is pages long
                raise alike(self._why(what, graph, telling(str(error)) or type(error).__name__)) from None
            self.known.add((what, signature))
        return loop

    def _made(self, what):
        message = own(self.function)
        if what == "sum":
            return channel.make_sum(message, self.key)
        if what in BEST:
            return channel.make_best(message, what == "max", self.key)
        if self.derivative is None and numba.config.DISABLE_JIT:
            raise alike("derivatives are derived by the compiler, which NUMBA_DISABLE_JIT turns off; give them")
        parts = channel.derived(message) if self.derivative is None else channel.given(own(self.derivative))
        by, _, kind = what.split()
        term = channel.exchanged(parts[0]) if by == "src" else parts[1]
        return channel.make_back(term, by == "dst", kind == "best", self.key)

    def _why(self, what, graph, text):
        name = self.function.__name__
        if what in ("sum", *BEST):
            return f"{name} does not compile: {text}. An edge has {', '.join([*graph.edge_fields, 'relation'])}"
        if self.derivative is not None:
            return f"the derivative of {name} does not compile: {text}. It must give two numbers, by src and by dst"
        return f"the derivative of {name} cannot be derived: {text}. Give it: by_channel(f, derivative=g)"
