"""The step loop.

A step, in the words of the program model:

    s_j  = send(h_j)                     vertices
    halo: s_j of boundary vertices travel while interior rows are computed
    a_i  = aggregate message(s_j, h_i, e_ji);  h_i' = update(h_i, a_i)
    g    = reduce(h');  stop?

State is updated in place: all that crosses edges went through `send` first, so
no row reads another's state. A step's communication does not depend on
whether a function failed on this rank; the failure is told with the sums at
its end, and all ranks raise it together.
"""

import time

import numpy as np

from hpcmp import jit
from hpcmp.comm import raise_together
from hpcmp.engine import resume
from hpcmp.engine.bind import state_record
from hpcmp.engine.explain import place_of
from hpcmp.engine.frontier import Frontier, joined
from hpcmp.engine.history import History
from hpcmp.engine.push import Push
from hpcmp.engine.reduce import Totals, share_of
from hpcmp.engine.result import state_hash
from hpcmp.errors import HpcmpError, ProgramError
from hpcmp.kernels import csr, exact

PROGRESS_S = 5.0
MIN_MAPPED_ROWS = 4096  # fewer are done before another thread has woken up


class Loop:
    """The state of a run between its steps."""

    def __init__(self, bound, graph, mode, threads, overlap, step_digests, progress):
        self.bound, self.graph, self.comm, self.mode = bound, graph, graph.comm, mode
        self.program = bound.program
        self.overlap, self.step_digests = overlap, step_digests
        self.threads = jit.Threads(threads)
        self.progress = progress if graph.comm.rank == 0 else None
        self.history = History(self.program.reduce)
        self.frontier = Frontier(graph, self.program, mode, can_push=bound.push is not None)
        self.totals = Totals(self.program.reduce)
        self.values = {name: r.identity for name, r in self.program.reduce.items()}
        self.error = None  # the first failure on this rank, until all ranks know
        self.step = 0
        self.converged = False
        self.buckets = None  # or `Buckets`
        self.recorder = None  # or `MessageRecorder`
        self.keeper = None  # or `Keeper`
        self.exchange = None if self.program.only_changed else graph.halo.bind(bound.sent)
        self._chunks = {}
        self._pushing = None

    def run(self, n_steps, saved=None):
        """Step until the program ends, or n_steps were done. Collective.

        Parameters
        ----------
        saved : Loaded, optional
            The checkpoint to go on from.
        """
        only_changed = self.program.only_changed
        self.frontier.remembers = n_steps is None and self._may_remember()
        counts = self._initialise() if saved is None else self._go_on_from(saved)
        said = time.perf_counter()
        while n_steps is None or self.step < n_steps:
            if only_changed and counts["changed"] == 0 and not counts["waiting"]:
                break
            if only_changed and counts["changed"] == 0:
                counts = self._next_bucket()
            active = (counts["changed"], counts["out_edges"]) if only_changed else self._everybody
            self.history.begin_step()
            counts = self._one_step(*active)
            self.history.end_step(*active, counts, self.values)
            if self.recorder is not None:
                self.recorder.after_step(self)
            self.step += 1
            if self.progress and time.perf_counter() - said > PROGRESS_S:
                said = time.perf_counter()
                self.progress(self._progress_line(active[0]))
            if self.program.until is not None and self._is_done():
                self.converged = True
                return
            if self.keeper is not None:
                self.keeper.after_step(self.step, counts, lambda: resume.take(self), is_last=self.step == n_steps)
        self.converged = only_changed and counts["changed"] == 0 and not counts["waiting"]

    def where(self):
        """How far the run is, for other threads. Local."""
        phase = self.history.phase
        return f"step {self.step}, after its phase {phase}" if phase else f"step {self.step}, in its first phase"

    def _may_remember(self):
        """Whether only the end counts, so that a message heard before need not be heard again."""
        program, fold = self.program, self.bound.fold
        is_free = program.monotone and not program.reduce and program.until is None
        return is_free and fold is not None and fold.is_idempotent

    @property
    def _everybody(self):
        """Vertices and messages of a step in which all send."""
        return self.graph.n_vertices, self.graph.n_edges

    def _initialise(self):
        b, everyone = self.bound, self.frontier.everyone
        ctx = self._ctx()
        self._attempt(lambda: self._map(b.init, b.static, ctx, everyone, tuple(b.state.values())))
        if b.active is not None:
            is_active = np.zeros(self.graph.n_owned, np.bool_)
            self._attempt(lambda: self._map(b.active, b.vertices, ctx, everyone, (is_active,)))
            self.frontier.first(is_active)
        if self.program.only_changed:
            self._count_found(ctx)
        return self._agree(None, ctx)

    def _go_on_from(self, saved):
        resume.give(self, saved)
        ctx = self._ctx()
        if self.program.only_changed:
            self._count_found(ctx)
        values = self.values
        counts = self._agree(None, ctx)
        self.values = values  # what compares two steps cannot be told from one
        return counts

    def _count_found(self, ctx):
        """How many send in the next step, here."""
        if self.buckets is not None:
            self._attempt(lambda: self._set_found(*self.buckets.part(ctx, joined(self.frontier.found))))
        else:
            self.totals.count(changed=self.frontier.n_found, out_edges=sum(self.frontier.found_edges))

    def _set_found(self, rows, out_edges):
        self.frontier.found = [rows]
        self.totals.count(changed=len(rows), out_edges=out_edges, waiting=self.buckets.n_waiting)

    def _next_bucket(self):
        """Open the lowest bucket in which a vertex of any rank waits. Collective."""
        from mpi4py import MPI

        ctx, lowest = self._ctx(), [np.inf]

        def look():
            lowest[0] = self.buckets.open(ctx)

        self._attempt(look)
        limit = self.comm.allreduce(lowest[0], op=MPI.MIN)
        self._attempt(lambda: self._set_found(*self.buckets.advance(ctx, limit)))
        return self._agree(None, ctx)

    def _one_step(self, n_active, n_messages):
        b, frontier, history = self.bound, self.frontier, self.history
        ctx, old = self._ctx(), self._old_state()
        senders = frontier.begin_step(n_active, n_messages)
        self._attempt(lambda: self._map(b.send, b.vertices, ctx, senders, b.sent))
        history.lap("send")

        pending = self._forward_begin()
        if not self.overlap:
            self._forward_end(pending)
            history.lap("wait")
        self._attempt(lambda: self._interior(ctx, senders))
        history.lap("interior")
        if self.overlap:
            self._forward_end(pending)
            history.lap("wait")
        self._attempt(lambda: self._boundary(ctx))
        history.lap("boundary")

        history.carried(pending)
        self.totals.count(halo_rows=pending.n_rows, halo_bytes=pending.n_bytes)
        if self.program.only_changed:
            self._count_found(ctx)
        if self.keeper is not None:
            self.totals.count(**self.keeper.of_step(self.step + 1))
        counts = self._agree(old, ctx)
        history.lap("reduce")
        return counts

    # ------------------------------------------------------------ local work

    def _interior(self, ctx, senders):
        """What can be done while halos travel."""
        if self.frontier.way == "push":
            self._push().tell(ctx, senders)
        else:
            self._relax(ctx, self.frontier.interior())

    def _boundary(self, ctx):
        """What needs the ghosts."""
        if self.frontier.way != "push":
            self._relax(ctx, self.frontier.boundary())
            return
        if self.graph.n_ghost:
            self._push().tell(ctx, self.frontier.ghost_senders(), are_ghosts=True)
        self._settle(ctx)

    def _settle(self, ctx):
        """Update the rows that heard something pushed."""
        push, b = self._push(), self.bound
        rows, out = push.rows(), tuple(b.state.values())

        def settle(news, lo, hi):
            return b.settle(
                b.vertices, push.acc, push.hears, push.remembers, ctx, rows, out, self.graph.out_degree, news, lo, hi
            )

        self._update(settle, rows, self._even_chunks(len(rows)))

    def _relax(self, ctx, rows):
        """Messages, aggregate and update of some rows that look along their in-edges."""
        if len(rows) == 0:
            return
        b, g, changed = self.bound, self.graph, self.frontier.changed
        out = tuple(b.state.values())

        def step(news, lo, hi):
            return b.step(
                g.in_ptr, g.in_src, b.edges, b.vertices, b.sent, changed, ctx, rows, out, g.out_degree, news, lo, hi
            )

        self._update(step, rows, self._chunks_of(rows))

    def _update(self, kernel, rows, chunks):
        """Update rows chunk by chunk; remember which changed, and count their out-edges."""
        if not self.program.only_changed:
            none = self.frontier.everyone[:0]
            self.threads.run(lambda lo, hi: kernel(none, lo, hi), chunks)
            return
        news, frontier = self.frontier.room(len(rows)), self.frontier

        def call(lo, hi):
            n_new, out_edges = kernel(news, lo, hi)
            if n_new:
                frontier.found.append(news[lo : lo + int(n_new)])
                frontier.found_edges.append(int(out_edges))

        self.threads.run(call, chunks)

    def _push(self):
        if self._pushing is None:
            self._pushing = Push(self.bound, self.graph, self.frontier.everyone, self.threads, self.frontier.remembers)
        return self._pushing

    def _map(self, loop, vertices, ctx, rows, out):
        """One function of vertices over some rows."""
        n = len(rows)
        if n <= MIN_MAPPED_ROWS:
            loop(vertices, ctx, rows, out, 0, n)
        else:
            self.threads.run(lambda lo, hi: loop(vertices, ctx, rows, out, lo, hi), self._even_chunks(n))

    def _even_chunks(self, n):
        """Ranges of as many rows."""
        size = max(-(-n // (4 * self.threads.n_threads)), MIN_MAPPED_ROWS)
        return [(lo, min(lo + size, n)) for lo in range(0, n, size)]

    def _chunks_of(self, rows):
        """Ranges of equal work; those of row lists that live as long as the graph are kept."""
        is_lasting = rows is self.graph.interior or rows is self.graph.boundary
        if not is_lasting or id(rows) not in self._chunks:
            found = csr.chunks(self.graph.in_ptr, rows, self.threads.n_threads)
            if not is_lasting:
                return found
            self._chunks[id(rows)] = found
        return self._chunks[id(rows)]

    def _old_state(self):
        """A copy of the state where a reduction will compare."""
        if not any(compares for _, compares in self.bound.reducers.values()):
            return None
        return {name: a.copy() for name, a in self.bound.state.items()}

    def _reduce_state(self, old, ctx):
        """This rank's share of the global values of the state as it is now."""
        b, n = self.bound, self.graph.n_owned
        for name, (loop, compares) in b.reducers.items():
            if compares and old is None:  # nothing has changed before the first step
                continue
            vertices = (state_record(old), state_record(b.state)) if compares else (b.vertices,)
            self._add_shares(name, lambda share, lo, hi, loop=loop, of=vertices: loop(*of, ctx, share, lo, hi), n)
        if self.step_digests:
            self.totals.count(digest=state_hash(self.graph.id[: self.graph.n_owned], b.state))

    def _add_shares(self, name, add_rows, n):
        """Let threads add up their rows apart, then all shares; so too more rows than one share can hold."""
        if n <= MIN_MAPPED_ROWS or (self.threads.n_threads == 1 and n <= exact.MAX_ADDS):
            add_rows(self.totals.shares[name], 0, n)
            return
        shares = []

        def call(lo, hi):
            share = share_of(self.program.reduce[name])
            add_rows(share, lo, hi)
            shares.append(share)

        self.threads.run(call, self._even_chunks(n))
        for share in shares:
            self.totals.add(name, share)

    def _attempt(self, work):
        """Do local work; remember the first failure and skip what follows it."""
        if self.error is not None:
            return
        try:
            work()
        except HpcmpError as error:
            self.error = error
        except Exception as error:
            what = f"{type(error).__name__}: {error}{place_of(error)}"
            self.error = ProgramError(f"a function of the program raised {what} in step {self.step}")

    # ------------------------------------------------------------ with the other ranks

    def _forward_begin(self):
        if self.exchange is not None:
            return self.exchange.begin()
        return self.graph.halo.changed_begin(self.bound.sent, self.frontier.changed)

    def _forward_end(self, pending):
        if self.exchange is not None:
            self.exchange.end(pending)
        else:
            self.graph.halo.changed_end(self.bound.sent, self.frontier.changed, pending)

    def close(self):
        """Let threads and requests go. Local."""
        self.threads.close()
        if self.keeper is not None:
            self.keeper.close()
        if self.exchange is not None:
            self.exchange.close()

    def _agree(self, old, ctx):
        """Reduce, and learn whether any rank failed."""
        self._attempt(lambda: self._reduce_state(old, ctx))
        self.totals.count(failed=self.error is not None)
        counts, values = self.totals.reduce(self.comm)
        self.totals.clear()
        if counts["failed"]:
            raise_together(self.comm, self.error)
        self.values = values
        return counts

    def _is_done(self):
        """Rank 0 asks, so that a clock or a file in `until` cannot part the ranks."""
        answer, error = None, None
        if self.comm.rank == 0:
            try:
                answer = bool(self.program.until(self._ctx()))
            except Exception as caught:
                error = ProgramError(f"until raised {type(caught).__name__}: {caught}")
        answer, text = self.comm.bcast((answer, error and str(error)))
        if text:
            raise_together(self.comm, ProgramError(text))
        return answer

    def _ctx(self):
        return self.bound.ctx(self.step, self.graph, self.values)

    def _progress_line(self, n_active):
        mean_s = np.mean(self.history.seconds["total"][-10:])
        return f"step {self.step}, {n_active} active, {mean_s:.3g} s a step"
