"""A program fitted to one rank's graph: its arrays, its types, its loops.

Binding is local and compiles everything the run will call, so that nothing
compiles between steps. What a function returns is learned from the compiler.
"""

import math
from dataclasses import dataclass, field

import numba
import numpy as np

from hpcmp import jit
from hpcmp.dtypes import wide
from hpcmp.engine.explain import place_of, telling
from hpcmp.engine.fingerprint import fingerprint, names_used
from hpcmp.engine.own import own, refuse_random
from hpcmp.engine.program import CONTEXT, fills_rows, type_of_field, types_of
from hpcmp.engine.reduce import absorber, share_of
from hpcmp.errors import HpcmpError, ProgramError
from hpcmp.graph import BUILT_IN, BUILT_IN_EDGE
from hpcmp.kernels import buckets, csr, exact, forms, maps, pull, push
from hpcmp.kernels.access import LINE_BYTES, record, rows_at, scalars_at, views_at
from hpcmp.kernels.aggregates import MODE, Collect, make_fold


@dataclass
class Bound:
    """What the step loop works on; arrays are this rank's."""

    program: object
    params: dict
    state: dict  # name -> (n_owned,) or (n_owned, width)
    vertices: tuple  # "Vertex" record of state and static fields
    static: tuple  # "Vertex" record of static fields only
    edges: tuple  # "Edge" record
    sent: tuple = ()  # arrays (n_local,) or (n_local, width): what halos carry
    context: type | None = None  # "Context" record class
    init: object = None
    send: object = None
    step: object = None
    push: object = None  # with settle, where the aggregate takes messages in any order
    settle: object = None
    fold: object = None
    split: object = None  # with lowest, where the program has buckets
    lowest: object = None
    active: object = None
    reducers: dict = field(default_factory=dict)  # name -> (kernel, whether it compares old and new)

    def ctx(self, step, graph, values):
        """The step context as functions see it. Local."""
        return self.context(step, graph.n_vertices, graph.n_edges, *self.params.values(), *values.values())


LOOPS = ("init", "send", "step", "push", "settle", "fold", "split", "lowest", "active", "reducers")  # of `Bound`
NOT_COMPILED = ("name", "params", "steps", "until", "contraction")  # fields of `Program` that no loop depends on
# What was made of programs in this process: loops, layout of what is sent, and the kernels that the loops are part of.
# Another run of an equal program takes it; making it anew is most of a short run, and numba keeps a little of each time.
_MADE: dict = {}


def bind(program, graph, params, compiled=True, degrees=None):
    """Allocate state and make the loops of a program. Local.

    Parameters
    ----------
    graph : Graph
        Whose in-edges are what vertices hear.
    degrees : Graph, optional
        Whose degrees vertices read, where edges were turned or left out.

    Raises
    ------
    ProgramError
        A function does not compile, or types do not fit.
    """
    refuse_random(program.functions)
    names = names_used(*program.functions)
    types = {name: type_of_field(what, name) for name, what in program.state.items()}
    n = graph.n_owned
    state = {k: zeros((n,) if w is None else (n, w), t) for k, (t, w) in types.items()}
    static = _static_fields(graph, degrees or graph, names, state)
    edges = _edge_fields(graph, names, program)
    bound = Bound(
        program,
        params,
        state,
        record("Vertex", [*state, *static])(*state.values(), *static.values()),
        record("Vertex", list(static))(*static.values()),
        record("Edge", list(edges))(*edges.values()),
        context=record("Context", [*CONTEXT, *params, *program.reduce]),
    )
    binder = _Binder(bound, graph, types, compiled, fingerprint(program.functions))
    if not compiled:
        binder.bind()
        return bound
    key = binder.depends_on()
    if key in _MADE:
        made, layout, _ = _MADE[key]
        bound.sent = tuple(zeros((graph.n_local, *row), dtype) for dtype, row in layout)
        for name in LOOPS:
            setattr(bound, name, made[name])
    else:
        binder.bind()
        layout = [(a.dtype, a.shape[1:]) for a in bound.sent]
        _MADE[key] = {name: getattr(bound, name) for name in LOOPS}, layout, binder.kernels
    return bound


def _reader(vertices):
    """How functions see vertices: scalars, and vector fields as whole rows."""
    return scalars_at if all(a.ndim == 1 for a in vertices) else rows_at


def zeros(shape, dtype):
    """`np.zeros` from the start of a cache line, so that rows share fewer. Local."""
    kind = np.dtype(dtype)
    n_bytes = math.prod(shape) * kind.itemsize
    room = np.zeros(n_bytes + LINE_BYTES, np.uint8)
    start = -room.ctypes.data % LINE_BYTES
    return room[start : start + n_bytes].view(kind).reshape(shape)


def state_record(state):
    """State fields alone as a "Vertex" record. Local."""
    return record("Vertex", list(state))(*state.values())


class _Binder:
    """The steps of `bind`, over what they share."""

    def __init__(self, bound, graph, types, compiled, key):
        self.bound, self.graph, self.compiled, self.key = bound, graph, compiled, key
        self.program = bound.program
        self.types = types
        widths = {w for _, w in types.values() if w is not None}
        self.width = max(widths, default=None)
        self.rows, self.flags = np.zeros(0, np.uint32), np.zeros(0, np.bool_)
        self.kernels = []
        self.ctx = bound.ctx(0, graph, {name: r.identity for name, r in self.program.reduce.items()})

    def depends_on(self):
        """What the loops depend on: two programs of which it is equal have the same. Local."""
        p, b, g = self.program, self.bound, self.graph
        described = {name: value for name, value in vars(p).items() if name not in NOT_COMPILED}
        arrays = (b.vertices, b.static, b.edges, tuple(b.state.values()), g.in_ptr, g.in_src, g.out_degree)
        widths = [a.shape[1:] for a in (*b.vertices, *b.edges)]
        return (
            fingerprint(described, widths, g.relations),
            jit.looks_at_types(),
            *map(numba.typeof, (*arrays, self.ctx)),
        )

    def bind(self):
        b, p = self.bound, self.program
        b.init = self._map("init", p.init, b.static, tuple(b.state.values()))
        send = p.send or self._send_state()
        b.sent = self._sent_arrays(send)
        b.send = self._map("send", send, b.vertices, b.sent)
        b.step = self._vector_step() if self.width else self._scalar_step()
        if p.active is not None:
            b.active = self._whole_rows("active", p.active, np.empty(0, np.bool_))
        for name, reducer in p.reduce.items():
            b.reducers[name] = self._reducer(name, reducer), reducer.is_of_change
        exact.carry(exact.zero())
        exact.value(exact.zero())
        if p.only_changed:
            csr.set_flags(self.flags, self.rows, True)
            csr.transpose(self.graph.in_ptr[:1], self.graph.in_src[:0], 0)
            if b.push is None:
                csr.mark_listeners(self.graph.in_ptr[:1], self.graph.in_src[:0], self.rows, self.flags)

    # -------------------------------------------------------- maps

    def _map(self, name, function, vertices, out):
        """Kernel that writes what a (vertex, ctx) function gives to arrays."""
        f = self._own(function)
        if all(a.ndim == 1 for a in out) and not fills_rows(function, 2):
            loop = maps.make_map(f, _reader(vertices), self.key, self.compiled)
        elif fills_rows(function, 2):
            loop = maps.make_row_map(forms.map_by_row(f), self.key, self.compiled)
        else:
            self._needs_uniform(name, out)
            self._check_channels(name, function)
            loop = maps.make_channel_map(f, out[0].shape[1], self.key, self.compiled)
        return self._compiled(name, loop, vertices, self.ctx, self.rows, out, 0, 0)

    def _send_state(self):
        """The default of send: all state fields."""
        names = list(self.program.state)

        def send_one(vertex, ctx):
            return vertex[0]

        n_fields = len(names)

        def send_all(vertex, ctx):
            return vertex[:n_fields]

        return send_one if len(names) == 1 else send_all

    def _sent_arrays(self, send):
        n = self.graph.n_local
        declared = None if self.program.sent is None else types_of(self.program.sent, "sent")
        if fills_rows(send, 2):
            declared = declared or [(t, w) for t, w in self.types.values() if w is not None][:1]
            if not declared:
                raise ProgramError("send fills rows of unknown width; declare sent=(dtype, width)")
            return tuple(zeros((n,) if w is None else (n, w), t) for t, w in declared)
        kinds = self._returned("send", maps.make_probe(self._own(send), *self._seen()), self.bound.vertices, self.ctx)
        if declared and len(declared) != len(kinds):
            raise ProgramError(f"send gives {len(kinds)} values, sent declares {len(declared)}")
        dtypes = [t for t, _ in declared] if declared else [self._travels_as(k) for k in kinds]
        return tuple(zeros((n, self.width) if self.width else (n,), t) for t in dtypes)

    def _travels_as(self, kind):
        """float32 where the whole state is: what is stored in 32 bits need not travel in 64."""
        floats = {t for t, _ in self.types.values() if t.kind == "f"}
        return np.dtype(np.float32) if kind.kind == "f" and floats == {np.dtype(np.float32)} else kind

    def _whole_rows(self, name, function, values):
        """Kernel that writes one value a vertex, vector fields seen whole."""
        vertices = self.bound.vertices
        loop = maps.make_map(self._own(function), _reader(vertices), self.key, self.compiled)
        return self._compiled(name, loop, vertices, self.ctx, self.rows, (values,), 0, 0)

    def _reducer(self, name, reducer):
        label, share, vertices = f"reduce[{name!r}]", share_of(reducer), (self.bound.vertices,)
        make = maps.make_pair_total if reducer.is_of_change else maps.make_total
        if reducer.is_of_change:
            vertices = (state_record(self.bound.state),) * 2
        loop = make(self._own(reducer.function), absorber(reducer), self.key, self.compiled)
        return self._compiled(label, loop, *vertices, self.ctx, share, 0, 0)

    # -------------------------------------------------------- steps

    def _scalar_step(self):
        p, b = self.program, self.bound
        for name, f, plain in (("message", self._messages()[0], 4), ("update", p.update, 3)):
            if fills_rows(f, plain):
                raise ProgramError(f"{name} fills rows, but no state field is a vector; return the value instead")
        message = forms.by_relation(*self._by_relation([self._own(m) for m in self._messages()]))
        kinds = self._returned(
            "message", maps.make_message_probe(message, *self._seen()), b.sent, b.vertices, b.edges, self.ctx
        )
        message, kinds = self._labelled(message, kinds)
        update, listens, read = self._own(p.update), self._listens(), _reader(b.vertices)
        args = (listens, read, p.only_changed, self.key, self.compiled)
        collect = MODE if p.aggregate == "mode" else p.aggregate
        if isinstance(collect, Collect):
            if len(kinds) != 1:
                raise ProgramError(f"a Collect takes messages of one value, not {len(kinds)}")
            step = pull.make_collect_step(message, self._own(collect.function), kinds[0].type, update, *args)
            return self._compiled_step(step)
        fold = make_fold(p.aggregate, kinds)
        if p.only_changed and fold.is_exact:
            self._pushing(message, fold, update, listens, read)
        if p.bucket is not None:
            self._bucketing(fold, read)
        return self._compiled_step(pull.make_scalar_step(message, fold, update, *args))

    def _pushing(self, message, fold, update, listens, read):
        b, g, none = self.bound, self.graph, self.rows
        acc, out = accumulators(fold, 0), tuple(b.state.values())
        tell = push.make_push(message, fold, listens, read, self.key, self.compiled)
        settle = push.make_settle(fold, update, read, self.key, self.compiled)
        ctx, flags = self.ctx, self.flags
        b.push = self._compiled(
            "message",
            tell,
            g.in_ptr,
            g.in_src,
            True,
            b.edges,
            b.vertices,
            b.sent,
            ctx,
            none,
            acc,
            flags,
            True,
            none,
            0,
            0,
            0,
            0,
        )
        b.settle = self._compiled(
            "update", settle, b.vertices, acc, flags, True, ctx, none, out, g.out_degree, none, 0, 0
        )
        b.fold = fold

    def _bucketing(self, fold, read):
        b, p, rows = self.bound, self.program, self.rows
        if not fold.is_idempotent:
            raise ProgramError(f"bucket delays messages, which aggregate {p.aggregate!r} does not allow")
        if "step" in names_used(p.bucket):
            raise ProgramError("bucket asks for ctx.step; how far a vertex is may change with its state only")
        args = (self._own(p.bucket), read, self.key, self.compiled)
        split, lowest = buckets.make_split(*args), buckets.make_lowest(*args)
        waiting = (b.vertices, self.ctx, rows, np.empty(0, np.uint8))
        lists = (rows, rows, rows, np.zeros(1, np.uint64))
        b.split = self._compiled("bucket", split, *waiting, 0, 0.0, 0.0, self.graph.out_degree, *lists)
        b.lowest = self._compiled("bucket", lowest, *waiting, 0)

    def _listens(self):
        return forms.always if self.program.listens is None else self._own(self.program.listens)

    def _vector_step(self):
        p, b = self.program, self.bound
        if isinstance(p.aggregate, Collect) or p.aggregate == "mode":
            raise ProgramError("Collect and mode take scalar messages; this program has vector fields")
        users = self._messages()
        by_rows = {fills_rows(m, 4) for m in users}
        if len(by_rows) > 1:
            raise ProgramError("messages of one program must all return a value or all fill rows")
        is_row_message = by_rows == {True}
        own = [self._own(m) for m in users]
        if is_row_message:
            declared = types_of(p.received or ("float64", self.width), "received")
            kinds, widths = tuple(wide(t) for t, _ in declared), {w for _, w in declared}
            if len(widths) != 1 or None in widths:
                raise ProgramError("the rows that message fills must have one width; declare received=(dtype, width)")
            width = widths.pop()
            message = forms.rows_by_relation(*self._by_relation([forms.message_by_row(m) for m in own]))
        else:
            probe = maps.make_message_probe(forms.by_relation(*self._by_relation(own)), *self._seen())
            for user in users:
                self._check_channels("message", user)
            kinds, width = self._returned("message", probe, b.sent, b.vertices, b.edges, self.ctx), self.width
            message = forms.by_relation(*self._by_relation(own))
        is_row_update = fills_rows(p.update, 3)
        if is_row_update:
            update = forms.update_by_row(self._own(p.update))
        else:
            self._needs_uniform("update", tuple(b.state.values()))
            if width != self.width:
                raise ProgramError(f"messages have {width} channels, the state {self.width}; let update fill rows")
            self._check_channels("update", p.update)
            update = forms.update_by_channel(self._own(p.update), width)
        fold = make_fold(p.aggregate, kinds)
        if is_row_message:
            absorb_edge = forms.absorb_by_row(message, fold, width, kinds)
        else:
            absorb_edge = forms.absorb_by_channel(message, fold, width)
        read = rows_at if is_row_message or is_row_update else views_at
        more = (width, p.only_changed, self.key, self.compiled)
        return self._compiled_step(pull.make_vector_step(absorb_edge, fold, update, self._listens(), read, *more))

    def _messages(self):
        if self.program.messages:
            return [self.program.messages[r] for r in self._relations_heard()]
        return [self.program.message or _as_sent]

    def _relations_heard(self):
        return [r for r in self.graph.relations if r in self.program.messages]

    def _by_relation(self, functions):
        numbers = [self.graph.relations.index(r) for r in self._relations_heard()] if self.program.messages else [0]
        return functions, numbers

    def _labelled(self, message, kinds):
        """argmin and argmax of a single key: the label is the sender's id."""
        if self.program.aggregate not in ("argmin", "argmax") or len(kinds) != 1:
            return message, kinds

        def with_sender(sent, receiver, edge, ctx):
            return message(sent, receiver, edge, ctx), edge.sender

        return jit.inlined(with_sender), (*kinds, np.dtype(np.int64))

    def _seen(self):
        """How functions of values (not rows) see vertices, and whether by channel."""
        return _reader(self.bound.vertices), self.width is not None

    def _check_channels(self, name, function):
        """A function of one channel may read only vector fields of as many channels."""
        names = names_used(function)
        for field_name, a in zip(self.bound.vertices._fields, self.bound.vertices, strict=True):
            if field_name in names and a.ndim == 2 and a.shape[1] != self.width:
                raise ProgramError(
                    f"{name} is written for one of {self.width} channels, but reads {field_name!r}, which has {a.shape[1]}; "
                    "give it an argument `out` to get whole rows and fill one"
                )

    def _needs_uniform(self, name, out):
        widths = {a.shape[1] if a.ndim == 2 else None for a in out}
        if len(widths) != 1 or None in widths:
            raise ProgramError(
                f"{name} returns a value per channel, but the fields it gives differ in width "
                f"({', '.join(str(w or 'scalar') for w in sorted(widths, key=str))}); give it an argument `out` and fill rows"
            )

    # -------------------------------------------------------- compiling

    def _own(self, function):
        return own(function)

    def _compiled_step(self, step):
        g, b, none, out = self.graph, self.bound, self.rows, tuple(self.bound.state.values())
        graph_and_vertices = (g.in_ptr, g.in_src, b.edges, b.vertices, b.sent, self.flags)
        return self._compiled("the step", step, *graph_and_vertices, self.ctx, none, out, g.out_degree, none, 0, 0)

    def _compiled(self, name, loop, *args):
        if not self.compiled:
            return loop
        self.kernels.append(loop)
        self._typed(name, loop, args)
        return jit.entry(loop, tuple(numba.typeof(a) for a in args))

    def _returned(self, name, probe, *args):
        """Kinds of the values a probe returns: tuple of dtypes."""
        try:
            return tuple(_kind(name, t) for t in self._typed(name, jit.kernel(probe), args).types)
        except ProgramError:
            if self.compiled:
                raise
            # Plain Python may do what numba cannot; its numbers are then kept as float64.
            has_a_row = all(len(a) for bundle in args[:-1] for a in bundle)
            return (np.dtype(np.float64),) * (len(self._called(name, probe, args)) if has_a_row else 1)

    def _called(self, name, probe, args):
        try:
            return probe(*args)
        except Exception as error:
            raise ProgramError(f"{name} raised {type(error).__name__}: {error}{place_of(error)}") from None

    def _typed(self, name, loop, args):
        try:
            return jit.return_type(loop, tuple(numba.typeof(a) for a in args))
        except HpcmpError:
            raise
        except Exception as error:
            raise ProgramError(self._why(name, error)) from None  # numba's account is pages long

    def _why(self, name, error):
        graph = self.graph
        vertex = dict.fromkeys([*self.types, *BUILT_IN, *graph.vertex_fields])
        edge = dict.fromkeys([*graph.edge_fields, *BUILT_IN_EDGE])
        unread = f"; the file also has {', '.join(graph.unread)}" if graph.unread else ""
        return (
            f"{name} does not compile: {telling(str(error)) or type(error).__name__}. "
            f"A vertex has {', '.join(vertex)}; an edge {', '.join(edge)}; ctx {', '.join(self.bound.context._fields)}"
            f"{unread}. Run with --check (check=True) to run it as plain Python"
        )


def accumulators(fold, n_rows):
    """What rows have heard so far, nothing: tuple of (n_rows,) arrays. Local."""
    kinds = forms.kinds_of(fold.identity)
    return tuple(np.full(n_rows, value, kind) for value, kind in zip(fold.identity, kinds, strict=True))


def _as_sent(sent, receiver, edge, ctx):
    return sent


def _kind(name, t):
    if isinstance(t, numba.types.Boolean):
        return np.dtype(np.bool_)
    if isinstance(t, numba.types.Integer):
        return np.dtype(np.int64)
    if isinstance(t, numba.types.Float):
        return np.dtype(np.float64)
    raise ProgramError(f"{name} returns a {t}; it must return a number, a truth value or a tuple of such")


def _static_fields(graph, degrees, names, state):
    """Vertex fields of the graph that the program names."""
    n = graph.n_owned
    built_in = {"id": graph.id[:n], "in_degree": degrees.in_degree, "out_degree": degrees.out_degree}
    fields = {**{k: built_in[k] for k in BUILT_IN}, **graph.vertex_fields}
    return {k: np.ascontiguousarray(a) for k, a in fields.items() if k in names and k not in state}


def _edge_fields(graph, names, program):
    fields = dict(graph.edge_fields)
    used = set(names) | ({"relation"} if program.messages else set())
    used |= {"sender"} if program.aggregate in ("argmin", "argmax") else set()
    if "sender" in used:
        fields["sender"] = graph.id[graph.in_src]
    if "relation" in used:
        fields["relation"] = np.zeros(graph.n_in, np.uint16) if graph.relation is None else graph.relation
    return {k: np.ascontiguousarray(a) for k, a in fields.items() if k in used}
