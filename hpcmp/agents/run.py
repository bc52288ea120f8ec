"""A run of agents: read, act, deliver, count; step by step.

A step, on every rank: messages that are due are put in order and kept to their limits; agents read them and act, by
threads; what they sent goes to the ranks of its receivers, one buffer to each; counts, goals and failures go round in
one sum. Nothing depends on how agents are shared among ranks and threads: a message is named by its sender and the
sender's own numbering.
"""

import time
from dataclasses import dataclass, field

import numpy as np

from hpcmp import jit
from hpcmp.agents.post import Post, not_sent
from hpcmp.agents.record import Recorder
from hpcmp.comm import raise_together, together
from hpcmp.engine.reduce import Totals, share_of
from hpcmp.engine.result import make_result
from hpcmp.errors import HpcmpError, ProgramError
from hpcmp.kernels import inbox, outbox
from hpcmp.kernels.records import MOST

WRONG = {
    outbox.OVER_BUDGET: "sends more than {budget} messages in one step; `budget` allows more",
    outbox.OVER_NUMBER: f"has sent {MOST} messages, the most that can be numbered",
    outbox.BAD_DELAY: "sends a message that would be read before the next step: a delay is at least 1",
    outbox.TOO_LATE: f"sends a message that would be read after step {MOST}, the last there can be",
}


@dataclass
class Simulation:
    """What a run of agents leaves. The same on all ranks but for rows."""

    graph: object
    agents: tuple
    states: dict  # name of an agent type -> records of this rank's agents, ascending by id
    steps: int = 0
    ended: str = "steps"  # or "goal", "quiet"
    counts: list = field(default_factory=list)  # of each step: dict of sent, delivered, dropped, in_flight
    measures: dict = field(default_factory=dict)  # name -> values after each step
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


class Run:
    """A model on its way."""

    def __init__(self, model, budget, any_receiver, threads, progress, folder, until):
        self.model, self.graph, self.comm = model, model.graph, model.graph.comm
        self.budget, self.progress, self.threads = budget, progress, jit.Threads(1 if model.is_checked else threads)
        self.post = Post(model, any_receiver, budget, self.threads.n_threads)
        self.recorder = Recorder(model, folder, int(model.constants[1])) if model.is_traced else None
        states = {agent.name: state for agent, state in zip(model.agents, model.states, strict=True)}
        self.found = Simulation(model.graph, model.agents, states)
        self.until, self.totals = until, Totals(model.measures)
        self.found.measures = {name: [] for name in model.measures}
        self.sent = 0  # by all, in all steps so far
        self.ended = 0

    def to_the_end(self, steps):
        """All steps. Collective."""
        start = said = time.perf_counter()
        model, found = self.model, self.found
        with together(self.comm):
            for begin, state in zip(model.begins, model.states, strict=True):
                if begin:
                    begin(model.seen(state), model.at_step(-1), 0, len(state))
        for step in range(steps):
            try:
                with np.errstate(over="ignore"):  # of draws in plain Python, which wrap as compiled ones do
                    totals = self._step(step)
            except HpcmpError as error:
                if self.recorder and error.agreed:  # of all ranks
                    self.recorder.stop(self.post)
                raise
            found.steps = step + 1
            if totals["not_done"] == 0 or (self.until and self._is_over()):
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

    def _is_over(self):
        """Whether the measures are such that the run ends, by the word of rank 0. Collective."""
        with together(self.comm):
            values = {name: values[-1] for name, values in self.found.measures.items()}
            try:
                is_over = self.comm.rank == 0 and bool(self.until(values))
            except Exception as error:
                raise ProgramError(f"`until` failed: {type(error).__name__}: {error}") from error
        return self.comm.bcast(is_over)

    def _acts_alone(self):
        return any(agent.acts_alone for agent in self.model.agents)

    def _step(self, step):
        """One step; what all ranks did: dict. Collective."""
        model, post = self.model, self.post
        error, boxes = None, []
        try:
            boxes = self._act(step)
        except Exception as failed:  # told on all ranks
            error = failed
        post.deliver(boxes, error, step)
        if model.measures:
            with together(self.comm):
                self._measure(step)
        totals = self._totals(boxes, step)
        if model.measures:
            for name, value in self.totals.reduce(self.comm)[1].items():
                self.found.measures[name].append(value)
        return totals

    def _act(self, step):
        """All agents read and act: (inbox, outbox) of each segment of blocks."""
        model, post, ctx = self.model, self.post, self.model.at_step(step)
        segments = post.open()
        boxes = {s: post.boxes(s, blocks, step) for s, blocks in enumerate(segments)}
        states, open_boxes = tuple(model.seen(state) for state in model.states), dict(boxes)
        while open_boxes:
            done = []

            def some(s, end, todo=open_boxes, done=done):
                into, out = todo[s]
                try:
                    is_done = model.step(states, model.table, into, out, ctx)
                except Exception as error:
                    raise ProgramError(f"{self._where(out, step)}: {type(error).__name__}: {error}") from error
                if out.at[outbox.STATUS] != outbox.FINE:
                    raise self._refused(out, step)
                if is_done:
                    done.append(s)

            self.threads.run(some, [(s, s + 1) for s in open_boxes])
            open_boxes = {s: both for s, both in open_boxes.items() if s not in done}
            if open_boxes:
                open_boxes = post.more_room(open_boxes)
                boxes |= open_boxes
        return list(boxes.values())

    def _totals(self, boxes, step):
        """Counts of a step over all ranks, after a check that no message is lost: dict. Collective."""
        sent = sum(int(out.at[outbox.N_SENT]) for _, out in boxes)
        due = sum(int(into.at[inbox.N_DUE]) for into, _ in boxes)
        dropped = sum(int(into.counts.sum()) for into, _ in boxes)
        has_goals = any(agent.goal_function for agent in self.model.agents)
        not_done = sum(int(into.at[inbox.NOT_DONE]) for into, _ in boxes) if has_goals else 1
        mine = np.array([sent, due - dropped, dropped, self.post.n_waiting, not_done], np.int64)
        total = np.empty_like(mine)
        self.comm.Allreduce(mine, total)
        totals = dict(zip(("sent", "delivered", "dropped", "in_flight", "not_done"), total.tolist(), strict=True))
        self.sent += totals["sent"]
        self.ended += totals["delivered"] + totals["dropped"]
        if self.sent != self.ended + totals["in_flight"]:
            error = ProgramError(
                f"step {step}: {self.sent} messages were sent, but {self.ended} came or were dropped and "
                f"{totals['in_flight']} are on their way"
            )
            raise_together(self.comm, error)  # of all ranks, since the sums are the same
        self.found.counts.append({name: totals[name] for name in ("sent", "delivered", "dropped", "in_flight")})
        return totals

    def _agent_of(self, out):
        """The agent whose turn it is, as errors name it."""
        table, row = self.model.table, int(out.at[outbox.ROW])
        return self.model.agents[table.type[row]]

    def _where(self, out, step):
        at = out.at
        text = f"step {step}: agent {at[outbox.ID]} ({self._agent_of(out).name})"
        if at[outbox.OF_NUMBER] != outbox.NOWHERE:
            text += f", reading message {at[outbox.OF_NUMBER]} of agent {at[outbox.OF_SENDER]},"
        return text

    def _refused(self, out, step):
        """The error of what a status says."""
        at, agent = out.at, self._agent_of(out)
        status, kind = int(at[outbox.STATUS]), self.model.kinds[int(at[outbox.ASKED_KIND])].name
        if status == outbox.NOT_NEAR:
            why = "is neither a neighbour nor the sender"
            return not_sent(step, at[outbox.ID], kind, at[outbox.NUMBER], at[outbox.ASKED_ID], why, False)
        if status == outbox.UNREAD:
            return ProgramError(
                f"step {step}: agent {at[outbox.ID]} ({agent.name}) reads no message {kind!r}, which agent "
                f"{at[outbox.OF_SENDER]} sent it (its message {at[outbox.OF_NUMBER]})"
            )
        if status == outbox.OVER_LIMIT:
            limits = ", ".join(f"{v[0]} {k.name!r}" for k, v in agent.limits.items())
            return ProgramError(
                f"step {step}: agent {at[outbox.ID]} ({agent.name}) gets more messages than its limit of {limits}; "
                "a policy would say what to do"
            )
        return ProgramError(f"{self._where(out, step)} {WRONG[status].format(budget=self.budget)}")

    def _measure(self, step):
        """Take in all agents of this rank."""
        model, totals = self.model, self.totals
        totals.clear()
        for loops, state, rows in zip(model.measure_loops, model.states, model.rows, strict=True):
            for name, loop in loops.items():

                def some(lo, hi, name=name, loop=loop, state=state, rows=rows):
                    share = share_of(model.measures[name])
                    loop(model.seen(state), rows, model.table.is_there, model.at_step(step), share, lo, hi)
                    shares.append(share)

                shares = []
                self.threads.run(some, _even(len(rows), self.threads.n_threads))
                for share in shares:
                    totals.add(name, share)

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
                    column[model.vertex[rows]] = state[name]
        found, table = self.found, {"step": np.arange(self.found.steps)}
        for name in found.counts[0] if found.counts else ():
            table[name] = np.array([row[name] for row in found.counts])
        found.measures = {name: np.array(values) for name, values in found.measures.items()}
        return make_result(
            self.graph,
            "agents",
            columns,
            seconds={"run": found.seconds},
            n_steps=found.steps,
            converged=found.ended != "steps",
            steps=table | {f"value_{name}": values for name, values in found.measures.items()},
            values={name: values[-1].item() for name, values in found.measures.items() if len(values)},
        )


def _even(n, n_chunks):
    """Ranges of about one size that cover [0, n): list of (lo, hi)."""
    ends = [n * k // n_chunks for k in range(n_chunks + 1)]
    return [(lo, hi) for lo, hi in zip(ends[:-1], ends[1:], strict=True) if lo < hi]
