"""A model of agents bound to one rank's graph: numbered kinds, states, compiled loops."""

import numpy as np

from hpcmp import jit
from hpcmp.agents.kinds import MessageType
from hpcmp.engine.fingerprint import fingerprint, helpers
from hpcmp.engine.reduce import absorber
from hpcmp.errors import ProgramError
from hpcmp.kernels import handlers, inbox, outbox
from hpcmp.kernels.access import record

CONTEXT = ("step", "n_vertices", "seed")
TRACES = ("off", "counts", "headers", "full")


class Model:
    """A model bound to a graph: numbered kinds, states, compiled loops."""

    def __init__(self, graph, agents, params, seed, role, joins, trace, check):
        self.graph, self.agents, self.trace, self.is_checked = graph, tuple(agents), trace, check
        if trace not in TRACES:
            raise ProgramError(f"trace = {trace!r} is none of {', '.join(TRACES)}")
        self.is_traced = trace in ("headers", "full")
        if not self.agents or len({a.name for a in self.agents}) < len(self.agents):
            raise ProgramError("one or more agent types with different names are needed")
        self.kinds, self.measures = self._number_kinds(), self._share_measures()
        width = max(kind.record(0, self.is_traced).itemsize for kind in self.kinds)
        self.records = tuple(kind.record(width, self.is_traced) for kind in self.kinds)
        self.width = width
        names = [*CONTEXT, *params]
        if len(set(names)) < len(names):
            raise ProgramError(f"a parameter has a name that ctx has already: {', '.join(CONTEXT)}")
        self.context = record("Context", names)
        self.constants = np.int64(graph.n_vertices), np.int64(seed), *(_as_number(k, v) for k, v in params.items())
        self.rows = self._rows_by_type(role)
        n = graph.n_owned
        self.joins = np.zeros(n, np.int64) if joins is None else _vertex_field(graph, joins).astype(np.int64)
        self.states = [self._first_state(agent, rows) for agent, rows in zip(self.agents, self.rows, strict=True)]
        self.loops = [self._loops(agent) for agent in self.agents]

    def _number_kinds(self):
        kinds = {}
        for agent in self.agents:
            for kind in (*agent.handlers, *_kinds_used(agent)):
                if kinds.setdefault(kind.name, kind) is not kind:
                    raise ProgramError(f"two message types are named {kind.name!r}")
        found = sorted(kinds.values(), key=lambda kind: kind.name)
        if not found:
            raise ProgramError("no agent reads or sends a message")
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

    def _rows_by_type(self, role):
        n = self.graph.n_owned
        if len(self.agents) == 1:
            return [np.arange(n, dtype=np.uint32)]
        code, names = _vertex_field(self.graph, role), [agent.name for agent in self.agents]
        if role in self.graph.categories:
            texts = self.graph.categories[role]
            unknown = [text for text in texts if text not in names]
            if unknown:
                raise ProgramError(
                    f"{role!r} of a vertex is {unknown[0]!r}, which is no agent type ({', '.join(names)})"
                )
            code = np.array([names.index(text) for text in texts], np.int64)[code]
        wrong = (code < 0) | (code >= len(names))
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            raise ProgramError(
                f"vertex {self.graph.id[at]} has {role!r} {code[at]}; there are {len(names)} agent types"
            )
        return [np.flatnonzero(code == number).astype(np.uint32) for number in range(len(names))]

    def _first_state(self, agent, rows):
        state = np.zeros(len(rows), agent.record())
        state["id"] = self.graph.id[rows]
        for name in agent.state:
            if name in self.graph.vertex_fields:
                state[name] = self.graph.vertex_fields[name][rows]
        return state

    def _loops(self, agent):
        compiled = not self.is_checked
        for function in helpers(*agent.functions):
            jit.inlined(function)
        numbers = tuple(kind.number for kind in agent.handlers)
        key = fingerprint(agent.functions, numbers, [(k.name, k.number, k.dtypes) for k in self.kinds])
        merges = {kind.number: f for kind, f in agent.merges.items()}
        return {
            "acts": handlers.make_acts(tuple(agent.handlers.values()), numbers, agent.step_function, key, compiled),
            "limits": handlers.make_limits(tuple(merges.values()), tuple(merges), key, compiled),
            "goal": agent.goal_function and handlers.make_test(agent.goal_function, key, compiled),
            "measures": {
                name: handlers.make_measure(reducer.function, absorber(reducer), key, compiled)
                for name, reducer in agent.measures.items()
            },
            "begin": agent.begin_function and handlers.make_begin(agent.begin_function, key, compiled),
        }

    def limits_of(self, agent):
        """(limits, policies) by number of the kind: int64 arrays, -1 for no limit. Local."""
        limits, policies = np.full(len(self.kinds), -1), np.zeros(len(self.kinds), np.int64)
        for kind, (limit, policy) in agent.limits.items():
            limits[kind.number], policies[kind.number] = limit, inbox.POLICIES[policy]
        return limits, policies

    def reads(self, agent):
        """Whether the agent has a function for each kind: bool array. Local."""
        return np.isin(np.arange(len(self.kinds)), [kind.number for kind in agent.handlers])

    def views(self, buffer):
        """Records of every kind over the bytes of a buffer. Local."""
        return tuple(self.seen(buffer.view(r)) for r in self.records)

    def seen(self, records):
        """Records as functions see them. Local."""
        return outbox.Records(records) if self.is_checked else records

    def at_step(self, step):
        """The step's context. Local."""
        return self.context(np.int64(step), *self.constants)


def _kinds_used(agent):
    """Kinds of messages that an agent's functions name."""
    found = []
    for function in helpers(*agent.functions):
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        named = [function.__globals__[n] for n in function.__code__.co_names if n in function.__globals__]
        found += [value for value in (*cells, *named) if isinstance(value, MessageType)]
    return found


def _vertex_field(graph, name):
    if name not in graph.vertex_fields:
        have = ", ".join(graph.vertex_fields) or "none"
        raise ProgramError(f"the graph has no vertex field {name!r} (it has: {have})")
    return graph.vertex_fields[name]


def _as_number(name, value):
    if not isinstance(value, bool | int | float | np.number | np.bool_):
        raise ProgramError(f"parameter {name} = {value!r} is no number")
    return np.int64(value) if isinstance(value, int) and not isinstance(value, bool) else value
