"""Running a model of agents: read, act, deliver, count; step by step.

A step, on every rank: messages that are due are put in order and kept to their limits; agents read them and act, by
threads; what they sent goes to the ranks of its receivers, one buffer to each; counts, goals and failures go round in
one sum. Nothing depends on how agents are shared among ranks and threads: a message is named by its sender and the
sender's own numbering.
"""

import time
from dataclasses import dataclass, field

import numpy as np

from hpcmp import jit
from hpcmp.agents.post import Post
from hpcmp.agents.record import Recorder
from hpcmp.comm import collective, raise_together, together
from hpcmp.engine.fingerprint import fingerprint, helpers
from hpcmp.engine.result import make_result
from hpcmp.errors import HpcmpError, ProgramError
from hpcmp.kernels import handlers, inbox, outbox
from hpcmp.kernels.access import record

CONTEXT = ("step", "n_vertices", "seed")
LEAST_BUDGET = 1024  # messages of an agent in a step
TRACES = ("off", "counts", "headers", "full")
SENT, DELIVERED, DROPPED, IN_FLIGHT, NOT_DONE, FAILED = range(6)
WRONG = {
    outbox.OVER_BUDGET: "sends more than {budget} messages in one step; `budget` allows more",
    outbox.BAD_DELAY: "sends a message that would be read before the next step: a delay is at least 1",
}


@dataclass
class Simulation:
    """What a run of agents leaves. The same on all ranks but for rows."""

    graph: object
    agents: tuple
    states: dict  # name of an agent type -> records of this rank's agents, in the order of their rows
    steps: int = 0
    ended: str = "steps"  # or "goal", "quiet"
    counts: list = field(default_factory=list)  # of each step: dict of sent, delivered, dropped, in_flight
    step_digests: list = field(default_factory=list)  # of the messages that were sent in a step, with a trace
    trail_digest: str = ""  # SHA-256 of them
    result: object = None  # hpcmp.Result: state fields by vertex, digest
    seconds: float = 0.0

    @property
    def digest(self):
        """SHA-256 of all states by id; the same on any ranks."""
        return self.result.digest

    def __getitem__(self, name):
        return self.result[name]


@collective
def simulate(
    graph,
    agents,
    *,
    steps,
    seed=0,
    params=None,
    role="role",
    joins=None,
    any_receiver=False,
    budget=None,
    trace="off",
    trail=None,
    threads=1,
    check=False,
    progress=None,
):
    """Run a model of agents on the vertices of a graph. Collective.

    Parameters
    ----------
    graph : Graph
        A message to a neighbour goes along an edge, from its source to its end.
    agents : list of Agent
        With several, the vertex field ``role`` tells which each vertex is: by
        name, or by the number in this list.
    steps : int
        At most so many.
    seed : int
        Of `chance`.
    params : dict, optional
        Numbers that functions read as ``ctx.NAME``.
    joins : str, optional
        Vertex field: the step in which an agent comes. What was sent to it
        before is not read.
    any_receiver : bool
        Let agents send to any id, not to neighbours and senders alone.
    budget : int, optional
        Most messages that an agent sends in a step. Default: 1024, or four
        times the largest number of neighbours.
    trace : "off", "counts", "headers" or "full"
        What is kept of messages: nothing, numbers of each step, a record of
        each, or its payload too.
    trail : path, optional
        Folder for the records; without it only their digests are kept.
    threads : int
    check : bool
        Run functions as plain Python: slow, debuggable, the same bits for
        arithmetic. Conservation of messages is asserted in every step.
    progress : callable (text), optional
        Called on rank 0 every few seconds.

    Returns
    -------
    Simulation

    Raises
    ------
    ProgramError
        The model does not fit the graph or itself, a function fails, an inbox
        overflows, or a receiver does not exist; with agent, step and message.
        Raised on every rank.
    """
    with together(graph.comm):
        if trail is not None and trace not in ("headers", "full"):
            raise ProgramError(f"a trail keeps records of messages; trace = {trace!r} makes none, headers and full do")
        if budget is not None and budget < 1:
            raise ProgramError(f"budget = {budget} is below 1")
        model = _Model(graph, agents, dict(params or {}), int(seed), role, joins, trace, check)
    budget = budget or max(LEAST_BUDGET, 4 * graph.comm.allreduce(int(graph.out_degree.max(initial=0)), _largest()))
    return _Run(model, int(budget), bool(any_receiver), threads, progress, trail).to_the_end(int(steps))


def _largest():
    from mpi4py import MPI

    return MPI.MAX


class _Model:
    """A model bound to a graph: numbered kinds, states, compiled loops."""

    def __init__(self, graph, agents, params, seed, role, joins, trace, check):
        self.graph, self.agents, self.trace, self.is_checked = graph, tuple(agents), trace, check
        if trace not in TRACES:
            raise ProgramError(f"trace = {trace!r} is none of {', '.join(TRACES)}")
        self.is_traced = trace in ("headers", "full")
        if not self.agents or len({a.name for a in self.agents}) < len(self.agents):
            raise ProgramError("one or more agent types with different names are needed")
        self.kinds = self._number_kinds()
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
    from hpcmp.agents.kinds import MessageType

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


class _Run:
    """A model on its way."""

    def __init__(self, model, budget, any_receiver, threads, progress, folder):
        self.model, self.graph, self.comm = model, model.graph, model.graph.comm
        self.budget, self.progress, self.threads = budget, progress, jit.Threads(1 if model.is_checked else threads)
        self.post = Post(model.graph, model, any_receiver)
        self.recorder = Recorder(model, folder, int(model.constants[1])) if model.is_traced else None
        n = self.graph.n_owned
        self.numbers, self.is_there, self.has_left = np.zeros(n, np.int64), np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        states = {agent.name: state for agent, state in zip(model.agents, model.states, strict=True)}
        self.found = Simulation(model.graph, model.agents, states)
        self.room = max(2 * budget, 1 << 16)
        self.sent = 0  # by all, in all steps so far
        self.ended = 0

    def to_the_end(self, steps):
        """All steps. Collective."""
        start = said = time.perf_counter()
        model, found = self.model, self.found
        with together(self.comm):
            for loops, state in zip(model.loops, model.states, strict=True):
                if loops["begin"]:
                    loops["begin"](model.seen(state), model.at_step(-1), 0, len(state))
        for step in range(steps):
            try:
                with np.errstate(over="ignore"):  # of draws in plain Python, which wrap as compiled ones do
                    totals = self._step(step)
            except HpcmpError as error:
                if self.recorder and error.agreed:  # of all ranks
                    self.recorder.stop(self.post)
                raise
            found.steps = step + 1
            if totals["not_done"] == 0:
                found.ended = "goal"
                break
            if totals["in_flight"] == 0 and totals["sent"] == 0 and not self._acts_alone():
                found.ended = "quiet"
                break
            if self.progress and self.comm.rank == 0 and time.perf_counter() - said > 5:
                said = time.perf_counter()
                self.progress(f"step {step}: {totals['sent']} messages sent, {totals['in_flight']} on their way")
        if self.recorder:
            found.step_digests, found.trail_digest = self.recorder.finish(self.post)
        found.seconds = self.comm.bcast(time.perf_counter() - start)
        found.result = self._result()
        return found

    def _acts_alone(self):
        return any(agent.acts_alone for agent in self.model.agents)

    def _step(self, step):
        """One step; what all ranks did: dict. Collective."""
        model, post = self.model, self.post
        self.is_there[:] = (model.joins <= step) & ~self.has_left
        mail = post.open(step)
        counts = np.zeros(7, np.int64)
        error, outboxes = None, []
        try:
            counts[inbox.RECEIVER_LEFT] = post.drop_absent(self.is_there)
            self._sort_and_limit(mail, counts, step)
            counts[inbox.DELIVERED] = len(post.slots) - counts.sum()
            outboxes = self._act(mail, step)
        except Exception as failed:  # told on all ranks
            error = failed
        raise_together(self.comm, error)
        if self.recorder:
            with together(self.comm):
                self.recorder.ended(post, step)
        sent, asked = post.close(outboxes)
        self.room = max(self.room, sent * 5 // (4 * self.threads.n_threads) + self.budget)
        post.deliver(asked, step)
        self.has_left |= ~self.is_there & (model.joins <= step)
        with together(self.comm):
            not_done = self._not_done(step)
        mine = [sent, counts[inbox.DELIVERED], counts.sum() - counts[inbox.DELIVERED], post.n_waiting, not_done]
        total = np.zeros(len(mine), np.int64)
        self.comm.Allreduce(np.array(mine, np.int64), total)
        totals = dict(zip(("sent", "delivered", "dropped", "in_flight", "not_done"), total.tolist(), strict=True))
        self.sent += totals["sent"]
        self.ended += totals["delivered"] + totals["dropped"]
        if self.sent != self.ended + totals["in_flight"]:
            error = ProgramError(
                f"step {step}: {self.sent} messages were sent, but {self.ended} came or were dropped and "
                f"{totals['in_flight']} are on their way"
            )
            raise_together(self.comm, error)  # of all ranks, since the sums are the same
        if self.recorder:
            self.recorder.count(post, totals["sent"])
        self.found.counts.append({name: totals[name] for name in ("sent", "delivered", "dropped", "in_flight")})
        return totals

    def _sort_and_limit(self, mail, counts, step):
        model, post = self.model, self.post
        chunks = _even(self.graph.n_owned, self.threads.n_threads)
        sender = mail[0]["sender"]
        self.threads.run(lambda lo, hi: inbox.sort_rows(post.ptr, post.slots, sender, lo, hi), chunks)
        post.keep_as_sent(model.trace == "full" and any(agent.merges for agent in model.agents))
        for agent, rows, loops in zip(model.agents, self.model.rows, model.loops, strict=True):
            post.refuse_unread(agent, rows, model.reads(agent), step)
            if agent.limits:
                limits = model.limits_of(agent)
                at = loops["limits"](rows, post.ptr, post.slots, mail, *limits, post.status, counts, 0, len(rows))
                if at >= 0:
                    raise ProgramError(
                        f"step {step}: agent {self.graph.id[rows[at]]} ({agent.name}) gets more messages than its limit "
                        f"of {', '.join(f'{v[0]} {k.name!r}' for k, v in agent.limits.items())}; "
                        "a policy would say what to do"
                    )

    def _act(self, mail, step):
        """All agents read and act: filled buffers, in the order of threads."""
        model, filled = self.model, {}
        for t, (agent, state, rows, loops) in enumerate(
            zip(model.agents, model.states, model.rows, model.loops, strict=True)
        ):

            def some(lo, hi, t=t, agent=agent, state=state, rows=rows, acts=loops["acts"]):
                made = []
                while lo < hi:
                    out, buffer = self.post.outbox(self.room, self.numbers, step)
                    made.append((out, buffer))
                    args = (rows, self.is_there, self.post.ptr, self.post.slots, mail, self.post.status, out)
                    try:
                        lo = acts(model.seen(state), *args, model.at_step(step), self.budget, self.room, lo, hi)
                    except Exception as error:
                        raise ProgramError(
                            f"{self._where(agent, out, step)}: {type(error).__name__}: {error}"
                        ) from error
                    if out.at[outbox.STATUS] != outbox.FINE:
                        wrong = WRONG[int(out.at[outbox.STATUS])].format(budget=self.budget)
                        raise ProgramError(f"{self._where(agent, out, step)} {wrong}")
                filled[t, hi] = made

            self.threads.run(some, _even(len(rows), self.threads.n_threads))
        return [one for key in sorted(filled) for one in filled[key]]

    def _where(self, agent, out, step):
        at, row = out.at, int(out.at[outbox.ROW])
        text = f"step {step}: agent {self.graph.id[row]} ({agent.name})"
        if at[outbox.OF_NUMBER] != outbox.NOWHERE:
            text += f", reading message {at[outbox.OF_NUMBER]} of agent {at[outbox.OF_SENDER]},"
        return text

    def _not_done(self, step):
        """Agents of this rank that are not done; with no goal at all 1."""
        model, goals, n = self.model, 0, 0
        for loops, state, rows in zip(model.loops, model.states, model.rows, strict=True):
            if loops["goal"]:
                goals += 1
                n += loops["goal"](model.seen(state), rows, self.is_there, model.at_step(step), 0, len(rows))
        return n if goals else 1

    def _result(self):
        """States by vertex, those of other types 0. Collective."""
        model, n = self.model, self.graph.n_owned
        columns = {}
        with together(self.comm):
            for agent, state, rows in zip(model.agents, model.states, model.rows, strict=True):
                for name, dtype in agent.state.items():
                    column = columns.setdefault(name, np.zeros(n, dtype))
                    if column.dtype != dtype:
                        raise ProgramError(f"two agent types have {name!r} with different dtypes")
                    column[rows] = state[name]
        return make_result(self.graph, "agents", columns, seconds={"run": self.found.seconds})


def _even(n, n_chunks):
    """Ranges of about one size that cover [0, n): list of (lo, hi)."""
    ends = [n * k // n_chunks for k in range(n_chunks + 1)]
    return [(lo, hi) for lo, hi in zip(ends[:-1], ends[1:], strict=True) if lo < hi]
