"""A run of agents: read, act, deliver, count; step by step.

A step, on every rank: messages that are due are put in order and kept to their limits; agents read them and act, by
threads; what they sent goes to the ranks of its receivers, one buffer to each; counts, goals and failures go round in
one sum. Nothing depends on how agents are shared among ranks and threads: a message is named by its sender and the
sender's own numbering.
"""

import contextlib
import time
from dataclasses import dataclass, field

import numpy as np

from hpcmp import analysis, jit
from hpcmp.agents import resume, wrong
from hpcmp.agents.post import Post
from hpcmp.comm import raise_together, together
from hpcmp.engine.reduce import Totals, share_of
from hpcmp.engine.result import make_result
from hpcmp.errors import ProgramError
from hpcmp.io.trail import COUNTS
from hpcmp.kernels import inbox, places


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
    trail: object = None  # the folder of the records, if one was given
    result: object = None  # hpcmp.Result: state fields by vertex, digest
    seconds: float = 0.0  # of all steps; result.seconds has those of compiling and of running

    @property
    def digest(self):
        """SHA-256 of all states by id; the same on any ranks."""
        return self.result.digest

    @property
    def trace(self):
        """The records that were kept, as `hpcmp.analysis.open` gives them; on any rank."""
        if self.trail is None:
            raise ProgramError("no records were kept; simulate(trail=folder, trace='headers' or 'full') keeps them")
        return analysis.open(self.trail)

    def __getitem__(self, name):
        return self.result[name]


class Run:
    """A model on its way."""

    def __init__(self, model, budget, any_receiver, threads, progress, recorder, until, drops_unknown, keeper):
        self.model, self.graph, self.comm = model, model.graph, model.graph.comm
        self.budget, self.progress, self.threads = budget, progress, jit.Threads(1 if model.is_checked else threads)
        self.post = Post(model, any_receiver, drops_unknown, budget, self.threads.n_threads)
        self.recorder, self.keeper = recorder, keeper
        states = {agent.name: state for agent, state in zip(model.agents, model.states, strict=True)}
        self.found = Simulation(model.graph, model.agents, states, trail=recorder and recorder.trail.folder)
        self.until, self.totals = until, Totals(model.measures)
        self.found.measures = {name: [] for name in model.measures}
        late = [
            model.table.joins[at] for agent, at in zip(model.agents, model.places, strict=True) if agent.goal_function
        ]
        self.late = np.sort(np.concatenate([*late, np.zeros(0, np.int64)]))  # when agents with a goal come
        self.sent = 0  # by all, in all steps so far
        self.ended = 0
        self._acting = {}  # of each segment of blocks whose agents act: its outbox

    def where(self):
        """How far the run is, for other threads. Local."""
        outboxes = tuple(self._acting.values())
        at_hand = [wrong.who(self.model, self.found.steps, out.at).rstrip(",") for out in outboxes]
        return "; ".join(at_hand) or f"step {self.found.steps}, its agents have acted"

    def to_the_end(self, steps, saved=None):
        """All steps, from the first or from a checkpoint on. Collective."""
        start = said = time.perf_counter()
        compiled = jit.compile_s()
        found = self.found
        if saved is None:
            self._begin()
        else:
            resume.give(self, saved)
        if self.recorder:
            self.recorder.begin()
        for step in range(found.steps, steps):
            try:
                totals = self._step(step)
            except Exception as error:
                if self.recorder and getattr(error, "agreed", False):  # of all ranks
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
            if self.keeper:
                self.keeper.after_step(step + 1, totals, lambda: resume.take(self), is_last=step + 1 == steps)
        costs = self.keeper.finish() if self.keeper else None
        if self.recorder:
            found.step_digests, found.trail_digest = self.recorder.finish(self.post)
        found.seconds, compile_s = self.comm.bcast((time.perf_counter() - start, jit.compile_s() - compiled))
        found.result = self._result({"compile": compile_s, "run": found.seconds - compile_s}, costs)
        return found

    def _begin(self):
        """The first states. Collective."""
        model = self.model
        with together(self.comm):
            for agent, begin, state in zip(model.agents, model.begins, model.states, strict=True):
                if begin:
                    with self._named(agent, state, "begin") as at:
                        begin(model.seen(state), at, model.at_step(-1), 0, len(state))

    def _is_over(self):
        """Whether the measures are such that the run ends, by the word of rank 0. Collective."""
        with together(self.comm):
            values = {name: values[-1] for name, values in self.found.measures.items()}
            try:
                is_over = self.comm.rank == 0 and bool(self.until(values))
            except Exception as error:
                raise ProgramError(f"`until` failed: {type(error).__name__}: {error}") from error
        return self.comm.bcast(is_over)

    def _n_to_come(self, step):
        """Agents with a goal that come after a step. Local."""
        return len(self.late) - int(np.searchsorted(self.late, step, "right"))

    def _acts_alone(self):
        return any(agent.acts_alone for agent in self.model.agents)

    def _step(self, step):
        """One step; what all ranks did: dict. Collective."""
        model, post = self.model, self.post
        error, boxes = None, []
        try:
            boxes = self._act(step)
            if self.recorder:
                self.recorder.lap("act")
            self._measure(step)
        except Exception as failed:  # told on all ranks
            error = failed
        error = post.deliver(boxes, error, step)
        if self.recorder and not error:
            try:
                self.recorder.ended([into.log for into, _ in boxes], post.lost, step)
            except Exception as failed:
                error = failed
        totals = self._totals(boxes, error, step)
        if self.recorder:
            self.recorder.count(boxes, post, totals["sent"], totals["late"] > 0)
        if model.measures:
            for name, value in self.totals.reduce(self.comm)[1].items():
                self.found.measures[name].append(value)
        return totals

    def _act(self, step):
        """All agents read and act: (inbox, outbox) of each segment of blocks."""
        model, post, ctx = self.model, self.post, self.model.at_step(step)
        states = tuple(model.seen(state) for state in model.states)
        boxes = {}
        for s, blocks in enumerate(post.open(step)):
            log = self.recorder.log(s, post.n_due(blocks), step) if self.recorder else ()
            boxes[s] = post.boxes(s, blocks, step, log)
        waiting = dict(boxes)
        self._acting = {s: out for s, (_, out) in boxes.items()}
        while waiting:
            done = []

            def some(s, end, waiting=waiting, done=done):
                into, out = waiting[s]
                is_done = False
                with (
                    wrong.named(model.agents, lambda: wrong.who(model, step, out.at)),
                    contextlib.suppress(places.Stopped),
                ):
                    is_done = model.step(states, model.table, into, out, ctx)
                if out.at[places.STATUS] != places.FINE:
                    raise wrong.told(model, step, out.at, self.budget)
                if is_done:
                    done.append(s)
                    self._acting.pop(s)

            self.threads.run(some, [(s, s + 1) for s in waiting])
            waiting = {s: both for s, both in waiting.items() if s not in done}
            if waiting:
                waiting = post.more_room(waiting)
                boxes |= waiting
        return list(boxes.values())

    def _totals(self, boxes, error, step):
        """Counts of a step over all ranks, after a look that no rank failed and no message is lost: dict. Collective."""
        sent = sum(int(out.at[places.N_SENT]) for _, out in boxes)
        due = sum(int(into.at[inbox.N_DUE]) for into, _ in boxes)
        dropped = sum(int(into.counts.sum()) for into, _ in boxes)
        not_done = sum(int(into.at[inbox.NOT_DONE]) for into, _ in boxes) + self._n_to_come(step)
        not_done = not_done if any(agent.goal_function for agent in self.model.agents) else 1
        is_late = self.recorder is not None and self.recorder.trail.is_late
        mine = [sent, due - dropped, dropped + self.post.n_lost, self.post.n_waiting, not_done, is_late]
        wishes = self.keeper.of_step(step + 1) if self.keeper else {}
        mine = np.array([*mine, *wishes.values(), error is not None], np.int64)
        total = np.empty_like(mine)
        self.comm.Allreduce(mine, total)
        *totals, n_failed = total.tolist()
        if n_failed:
            raise_together(self.comm, error)
        totals = dict(zip((*COUNTS, "not_done", "late", *wishes), totals, strict=True))
        self.sent += totals["sent"]
        self.ended += totals["delivered"] + totals["dropped"]
        if self.sent != self.ended + totals["in_flight"]:
            error = ProgramError(
                f"step {step}: {self.sent} messages were sent, but {self.ended} came or were dropped and "
                f"{totals['in_flight']} are on their way"
            )
            raise_together(self.comm, error)  # of all ranks, since the sums are the same
        self.found.counts.append({name: totals[name] for name in COUNTS})
        return totals

    @contextlib.contextmanager
    def _named(self, agent, state, what):
        """Where a loop keeps the place of the agent at hand; what its function raises is told with it."""
        at = np.full(1, -1, np.int64)
        with wrong.named((agent,), lambda: f"{what} of agent {state['id'][at[0]]} ({agent.name})"):
            yield at

    def _measure(self, step):
        """Take in all agents of this rank."""
        model, totals = self.model, self.totals
        totals.clear()
        for agent, loops, state, rows in zip(
            model.agents, model.measure_loops, model.states, model.places, strict=True
        ):
            for name, loop in loops.items():

                def some(lo, hi, agent=agent, name=name, loop=loop, state=state, rows=rows):
                    share = share_of(model.measures[name])
                    with self._named(agent, state, f"step {step}, measure {name!r}") as at:
                        loop(model.seen(state), rows, model.table.is_there, at, model.at_step(step), share, lo, hi)
                    shares.append(share)

                shares = []
                self.threads.run(some, _even(len(rows), self.threads.n_threads))
                for share in shares:
                    totals.add(name, share)

    def _result(self, seconds, costs):
        """What is left of the run, `costs` of its checkpoints among it. Collective."""
        with together(self.comm):
            columns = self.model.columns()
        found, table = self.found, {"step": np.arange(self.found.steps)}
        for name in found.counts[0] if found.counts else ():
            table[name] = np.array([row[name] for row in found.counts])
        found.measures = {name: np.array(values) for name, values in found.measures.items()}
        return make_result(
            self.graph,
            "agents",
            columns,
            seconds=seconds,
            n_steps=found.steps,
            converged=found.ended != "steps",
            steps=table | {f"value_{name}": values for name, values in found.measures.items()},
            values={name: values[-1].item() for name, values in found.measures.items() if len(values)},
            checkpoints=costs,
        )


def _even(n, n_chunks):
    """Ranges of about one size that cover [0, n): list of (lo, hi)."""
    ends = [n * k // n_chunks for k in range(n_chunks + 1)]
    return [(lo, hi) for lo, hi in zip(ends[:-1], ends[1:], strict=True) if lo < hi]
