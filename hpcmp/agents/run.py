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
from hpcmp.agents import wrong
from hpcmp.agents.post import Post
from hpcmp.comm import raise_together, together
from hpcmp.engine.reduce import Totals, share_of
from hpcmp.engine.result import make_result
from hpcmp.errors import MemoryLimitError, ProgramError
from hpcmp.io.room import free_bytes, shown
from hpcmp.kernels import inbox, places

COPIES = 3  # of a message on its way: as it was sent, in the order of ranks, and where it came


@dataclass
class Simulation:
    """What a run of agents leaves. The same on all ranks but for rows."""

    graph: object
    agents: tuple
    states: dict  # name of an agent type -> records of this rank's agents, in the order of their rows
    steps: int = 0
    ended: str = "steps"  # or "goal", "quiet"
    counts: list = field(default_factory=list)  # of each step: dict of sent, delivered, dropped, in_flight
    measures: dict = field(default_factory=dict)  # name -> values after each step
    step_digests: list = field(default_factory=list)  # of the messages that were sent in a step, with a trace
    trail_digest: str = ""  # SHA-256 of them
    trail: object = None  # the folder of the records, if one was given
    result: object = None  # hpcmp.Result: state fields by vertex, digest
    seconds: float = 0.0

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

    def __init__(self, model, budget, any_receiver, threads, progress, recorder, until):
        self.model, self.graph, self.comm = model, model.graph, model.graph.comm
        self.budget, self.progress, self.threads = budget, progress, jit.Threads(1 if model.is_checked else threads)
        self.post = Post(model.graph, model, any_receiver)
        self.recorder = recorder
        n = self.graph.n_owned
        self.numbers, self.is_there, self.has_left = np.zeros(n, np.int64), np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        states = {agent.name: state for agent, state in zip(model.agents, model.states, strict=True)}
        self.found = Simulation(model.graph, model.agents, states, trail=recorder and recorder.trail.folder)
        self.room = max(2 * budget, 1 << 16)
        self.until, self.totals = until, Totals(model.measures)
        self.found.measures = {name: [] for name in model.measures}
        self.sent = 0  # by all, in all steps so far
        self.ended = 0
        self.most = 0  # messages for which there was room

    def to_the_end(self, steps):
        """All steps. Collective."""
        start = said = time.perf_counter()
        model, found = self.model, self.found
        with together(self.comm):
            for agent, loops, state, rows in zip(model.agents, model.loops, model.states, model.rows, strict=True):
                if loops["begin"]:
                    with self._named(agent, rows, "begin") as at:
                        loops["begin"](model.seen(state), at, model.at_step(-1), 0, len(state))
        for step in range(steps):
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
        self.is_there[:] = (model.joins <= step) & ~self.has_left
        mail = post.open(step)
        counts = np.zeros(7, np.int64)
        error, not_done, sent, asked = None, 0, 0, None
        try:
            counts[inbox.RECEIVER_LEFT] = post.drop_absent(self.is_there)
            self._sort_and_limit(mail, counts, step)
            counts[inbox.DELIVERED] = len(post.slots) - counts.sum()
            outboxes = self._act(model.views(post.buffer), step)
            not_done = self._not_done(step)
            self._measure(step)
            sent, asked = post.close(outboxes)
            self._refuse_too_much(step, sent)
        except Exception as failed:  # told on all ranks
            error = failed
        raise_together(self.comm, error)
        self.room = max(self.room, sent * 5 // (4 * self.threads.n_threads) + self.budget)
        post.deliver(asked, step)
        if self.recorder:
            with together(self.comm):
                self.recorder.ended(post, step)
        self.has_left |= ~self.is_there & (model.joins <= step)
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
        if model.measures:
            for name, value in self.totals.reduce(self.comm)[1].items():
                self.found.measures[name].append(value)
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
                with self._named(agent, rows, f"step {step}, policy", mail[0]) as at:
                    over = loops["limits"](
                        rows, post.ptr, post.slots, mail, *limits, post.status, counts, at, 0, len(rows)
                    )
                if over >= 0:
                    raise ProgramError(
                        f"step {step}: agent {self.graph.id[rows[over]]} ({agent.name}) gets more messages than its limit "
                        f"of {', '.join(f'{v[0]} {k.title!r}' for k, v in agent.limits.items())}; "
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
                    with wrong.named(agent, lambda: f"step {step}, room for {self.room} messages"):
                        out, buffer = self.post.outbox(self.room, self.numbers, step)
                    self._refuse_too_much(step, sum(int(o.at[places.FILLED]) for o, _ in made))
                    made.append((out, buffer))
                    args = (rows, self.is_there, self.post.ptr, self.post.slots, mail, self.post.status, out)
                    with wrong.named(agent, lambda out=out: wrong.who(model, step, agent, out.at)):
                        lo = acts(model.seen(state), *args, model.at_step(step), self.budget, self.room, lo, hi)
                    if out.at[places.STATUS] != places.FINE:
                        raise wrong.told(model, step, agent, out, self.budget)
                filled[t, hi] = made

            self.threads.run(some, _even(len(rows), self.threads.n_threads))
        return [one for key in sorted(filled) for one in filled[key]]

    def _refuse_too_much(self, step, n):
        """Refuse messages of this rank for which there is no room on their way."""
        if n <= self.most:
            return
        self.most = n * 5 // 4  # not asked again in every step
        needed, free = COPIES * n * self.model.width, free_bytes()
        if free is not None and needed > free:
            raise MemoryLimitError(
                f"step {step}: {n} messages of {self.model.width} bytes take {shown(needed)} on their way from one rank, "
                f"{shown(free)} are free"
            )

    @contextlib.contextmanager
    def _named(self, agent, rows, what, mail=None):
        """Where a loop keeps the row and the message at hand; what its function raises is told with them."""
        at = np.full(2, -1, np.int64)

        def where():
            text = f"{what} of agent {self.graph.id[rows[at[0]]]} ({agent.name})"
            return text if at[1] < 0 else f"{text}, message {mail['number'][at[1]]} of agent {mail['sender'][at[1]]}"

        with wrong.named(agent, where):
            yield at

    def _not_done(self, step):
        """Agents of this rank that are not done; with no goal at all 1."""
        model, goals, n = self.model, 0, 0
        for agent, loops, state, rows in zip(model.agents, model.loops, model.states, model.rows, strict=True):
            if loops["goal"]:
                goals += 1
                with self._named(agent, rows, f"step {step}, goal") as at:
                    n += loops["goal"](model.seen(state), rows, self.is_there, at, model.at_step(step), 0, len(rows))
        return n if goals else 1

    def _measure(self, step):
        """Take in all agents of this rank."""
        model, totals = self.model, self.totals
        totals.clear()
        for agent, loops, state, rows in zip(model.agents, model.loops, model.states, model.rows, strict=True):
            for name, loop in loops["measures"].items():

                def some(lo, hi, agent=agent, name=name, loop=loop, state=state, rows=rows):
                    share = share_of(model.measures[name])
                    with self._named(agent, rows, f"step {step}, measure {name!r}") as at:
                        loop(model.seen(state), rows, self.is_there, at, model.at_step(step), share, lo, hi)
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
                    columns.setdefault(name, np.zeros(n, dtype))[rows] = state[name]
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
