"""A model of agents bound to one rank's graph: numbered kinds, states, compiled loops."""

import keyword

import numpy as np

from hpcmp.agents.kinds import Agent, MessageType, whole
from hpcmp.agents.near import number_relations
from hpcmp.dtypes import LID
from hpcmp.engine.fingerprint import fingerprint, helpers, reached
from hpcmp.engine.reduce import absorber
from hpcmp.errors import ProgramError
from hpcmp.kernels import handlers, inbox, plain, uses
from hpcmp.kernels.access import record
from hpcmp.kernels.records import MOST_KINDS

CONTEXT = ("step", "n_vertices", "seed")
TRACES = ("off", "counts", "headers", "full")
MOST_TYPES = 256


class Model:
    """A model bound to a graph: numbered kinds, states, compiled loops.

    Agents lie ascending by id: ``row`` tells the row of the graph of each, ``places`` those of each type.
    """

    def __init__(self, graph, agents, params, seed, role, joins, trace, check):
        self.graph, self.agents, self.trace, self.is_checked = graph, agent_types(agents), trace, check
        if trace not in TRACES:
            raise ProgramError(f"trace = {trace!r} is none of {', '.join(TRACES)}")
        self.is_traced = trace in ("headers", "full")
        self.kinds, self.measures = self._number_kinds(), self._share_measures()
        self.relations = number_relations(graph, self.kinds)
        width = max(kind.record(0, self.is_traced).itemsize for kind in self.kinds)
        self.records = tuple(kind.record(width, self.is_traced) for kind in self.kinds)
        self.width, self.seed, self.params = width, seed, params
        self.constants = np.int64(graph.n_vertices), np.int64(seed), *(_as_number(k, v) for k, v in params.items())
        self.context = record("Context", [*CONTEXT, *params])
        self.row = np.argsort(graph.id[: graph.n_owned], kind="stable").astype(LID)
        self.places = self._places_by_type(role)
        self.states = [self._first_state(agent, self.row[i]) for agent, i in zip(self.agents, self.places, strict=True)]
        self.table = self._table(joins)
        self._compile()

    def _number_kinds(self):
        kinds = {}
        for agent in self.agents:
            for kind in (*agent.handlers, *_kinds_used(agent)):
                if kinds.setdefault(kind.title, kind) is not kind:
                    raise ProgramError(f"two message types are named {kind.title!r}")
        found = sorted(kinds.values(), key=lambda kind: kind.title)
        if not found:
            raise ProgramError("no agent reads or sends a message")
        if len(found) > MOST_KINDS:
            raise ProgramError(f"{len(found)} message types are used; at most {MOST_KINDS} can be")
        for number, kind in enumerate(found):
            kind.number = number
        return found

    def _share_measures(self):
        """Reductions by name; types with one of the same name share it."""
        found = {}
        for agent in self.agents:
            for name, reducer in agent.measures.items():
                if type(found.setdefault(name, reducer)) is not type(reducer):
                    raise ProgramError(f"two agent types measure {name!r} in different ways")
        return found

    def _places_by_type(self, role):
        n = self.graph.n_owned
        if len(self.agents) == 1:
            return [np.arange(n, dtype=LID)]
        code, names = _whole_field(self.graph, role), [agent.name for agent in self.agents]
        if len(names) > MOST_TYPES:
            raise ProgramError(f"there are {len(names)} agent types; at most {MOST_TYPES} can be")
        if role in self.graph.categories:
            texts = self.graph.categories[role]
            unknown = [text for text in texts if text not in names]
            if unknown:
                raise ProgramError(
                    f"{role!r} of a vertex is {unknown[0]!r}, which is no agent type ({', '.join(names)})"
                )
            code = np.array([*(names.index(text) for text in texts), -1], np.int64)[code]  # -1: the vertex has none
        wrong = (code < 0) | (code >= len(names))
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            raise ProgramError(
                f"vertex {self.graph.id[at]} has {role!r} {code[at]}; there are {len(names)} agent types"
            )
        return [np.flatnonzero(code[self.row] == number).astype(LID) for number in range(len(names))]

    def _joins(self, name):
        joins = _whole_field(self.graph, name)
        early = np.flatnonzero(joins < 0)
        if len(early):
            at = early[0]
            raise ProgramError(f"vertex {self.graph.id[at]} joins in step {joins[at]} ({name!r}); steps begin with 0")
        return joins.astype(np.int64)

    def _first_state(self, agent, rows):
        state = np.zeros(len(rows), agent.record())
        state["id"] = self.graph.id[rows]
        for name, dtype in agent.state.items():
            if name in self.graph.vertex_fields:
                values = self.graph.vertex_fields[name]
                what = f"agent {agent.name!r}: the graph's vertex field {name!r}"
                if values.ndim > 1:
                    raise ProgramError(f"{what} has {values.shape[1]} numbers a vertex, a state field has one")
                if not uses.may_hold(dtype, values.dtype):
                    raise ProgramError(f"{what} is {values.dtype}, which the state {dtype} does not hold")
                bounds = uses.limits(dtype, values.dtype)
                wrong = bounds and (values[rows] < bounds[0]) | (values[rows] > bounds[1])
                if bounds and wrong.any():
                    at = rows[np.flatnonzero(wrong)[0]]
                    raise ProgramError(f"{what} is {values[at]} at {self.graph.id[at]}, which {dtype} does not hold")
                state[name] = values[rows]
        return state

    def _table(self, joins):
        """What the loop knows of agents: handlers.Agents."""
        n = self.graph.n_owned
        code, nth = np.zeros(n, np.uint8), np.zeros(n, np.uint32)
        for number, places in enumerate(self.places):
            code[places], nth[places] = number, np.arange(len(places))
        comes = np.zeros(n, np.int64) if joins is None else self._joins(joins)[self.row]
        limits, policies = (
            np.full((len(self.agents), len(self.kinds)), -1),
            np.zeros((len(self.agents), len(self.kinds)), int),
        )
        for number, agent in enumerate(self.agents):
            for kind, (limit, policy) in agent.limits.items():
                limits[number, kind.number], policies[number, kind.number] = limit, inbox.POLICIES[policy]
        return handlers.Agents(code, nth, comes, np.zeros(n, np.bool_), np.zeros(n, np.bool_), limits, policies)

    def _compile(self):
        """The loops of a step, of first states, and of measures."""
        compiled, functions = not self.is_checked, [f for agent in self.agents for f in agent.functions]
        kinds = [(k.name, k.number, k.near, k.dtypes) for k in self.kinds]
        for function in helpers(*(merge for agent in self.agents for merge in agent.merges.values())):
            uses.inlined(function, fingerprint(function, kinds), merges=True)
        for function in helpers(*functions):
            uses.inlined(function, fingerprint(function, kinds))
        types = [
            handlers.Functions(
                tuple(agent.handlers.values()),
                tuple(kind.number for kind in agent.handlers),
                agent.step_function,
                agent.goal_function,
                tuple(agent.merges.values()),
                tuple(kind.number for kind in agent.merges),
                bool(agent.limits),
            )
            for agent in self.agents
        ]
        key = fingerprint(functions, [(t.kinds, t.merged_kinds, t.has_limits) for t in types], kinds)
        rules = [(a.name, [(k.title, *rule) for k, rule in a.limits.items()], a.acts_alone) for a in self.agents]
        self.code = fingerprint(key, rules, [(name, type(r).__name__) for name, r in self.measures.items()])
        self.changes = self.trace == "full" and any(agent.merges for agent in self.agents)
        level = "off" if not self.is_traced else "as sent" if self.changes else "record"
        self.step = _kept(
            (*functions, key, level, compiled),
            lambda: handlers.make_step(types, level, fingerprint(key, level), compiled),
        )
        self.begins = [
            f and _kept((f, key, compiled), lambda f=f: handlers.make_begin(f, key, compiled))
            for f in (agent.begin_function for agent in self.agents)
        ]
        self.measure_loops = [
            {
                name: _kept(
                    (r, key, compiled),
                    lambda r=r: handlers.make_measure(r.function, absorber(r), key, compiled),
                )
                for name, r in agent.measures.items()
            }
            for agent in self.agents
        ]

    def columns(self):
        """States by vertex, 0 where an agent has no such field: dict. Local."""
        columns = {}
        for agent, state, places in zip(self.agents, self.states, self.places, strict=True):
            for name, dtype in agent.state.items():
                columns.setdefault(name, np.zeros(self.graph.n_owned, dtype))[self.row[places]] = state[name]
        return columns

    def views(self, buffer, merges=False):
        """Records of every kind over a buffer; may functions write them? Local."""
        return tuple(self.seen(buffer.view(r), kind, merges) for r, kind in zip(self.records, self.kinds, strict=True))

    def seen(self, records, kind=None, merges=False):
        """Records as functions see them. Local."""
        return plain.Records(records, kind, merges) if self.is_checked else records

    def at_step(self, step):
        """The step's context. Local."""
        return self.context(np.int64(step), *self.constants)


_KEPT: dict = {}  # loops of this process: another run of the same functions need not load them again


def _kept(key, make):
    return _KEPT[key] if key in _KEPT else _KEPT.setdefault(key, make())


def agent_types(agents):
    """The types of a model, checked against each other: tuple. Local."""
    if not isinstance(agents, list | tuple) or not all(isinstance(agent, Agent) for agent in agents) or not agents:
        raise ProgramError(f"a model is a list of Agents, not {agents!r}")
    seen, state = set(), {}
    for agent in agents:
        if agent.name in seen:
            raise ProgramError(f"two agent types are named {agent.name!r}")
        seen.add(agent.name)
        for name, dtype in agent.state.items():
            other = state.setdefault(name, (agent, dtype))
            if other[1] != dtype:
                raise ProgramError(
                    f"state {name!r} is {other[1]} of agents {other[0].name!r} and {dtype} of {agent.name!r}; "
                    "they would be one column of the result"
                )
    return tuple(agents)


def _kinds_used(agent):
    """Kinds of messages that an agent's functions name."""
    return [value for value in reached(*agent.functions) if isinstance(value, MessageType)]


def _vertex_field(graph, name):
    if name not in graph.vertex_fields:
        have = ", ".join(graph.vertex_fields) or "none"
        raise ProgramError(f"the graph has no vertex field {name!r} (it has: {have})")
    return graph.vertex_fields[name]


def _whole_field(graph, name):
    values = _vertex_field(graph, name)
    if values.dtype.kind not in "iub" or values.ndim > 1:
        raise ProgramError(f"the vertex field {name!r} is {values.dtype}; whole numbers are needed")
    return values.astype(np.int64) if values.dtype.kind == "b" else values


def _as_number(name, value):
    if not isinstance(value, bool | int | float | np.number | np.bool_) or isinstance(value, np.complexfloating):
        raise ProgramError(f"parameter {name} = {value!r} is no number")
    if not name.isidentifier() or keyword.iskeyword(name) or name[0] == "_" or name in CONTEXT:
        why = "ctx has it already" if name in CONTEXT else "it is no plain name"
        raise ProgramError(f"a parameter cannot be called {name!r}: {why}")
    is_python_int = isinstance(value, int) and not isinstance(value, bool)
    return np.int64(whole(f"parameter {name}", value)) if is_python_int else value
