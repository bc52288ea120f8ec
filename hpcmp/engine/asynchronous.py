"""Runs without steps: every rank works with what has arrived, and none waits.

A rank does all the work it has, sends what its peers should know, takes what
has come, and goes on. Allowed where the end does not depend on the way:

monotone programs
    Changed vertices push until nothing changes: the bits of the step loop.
contractions
    All rows are computed again and again until nothing that is sent moves by
    more than the tolerance: the same answer within it.

The end is found by counting (F. Mattern, Distributed Computing 2, 1987): idle
ranks sum the messages sent and received, in the background. When two sums in a
row agree, in both numbers and with each other, no message is on its way and no
rank has work. A rank whose function failed takes part in that until all have
stopped, so no message is left behind.
"""

import os
import time

import numpy as np

from hpcmp.comm import raise_together
from hpcmp.engine.fingerprint import names_used
from hpcmp.engine.loop import PROGRESS_S, Loop
from hpcmp.errors import ProgramError
from hpcmp.mail import Mail

PATIENCE = 20  # idle looks for messages before a rank sleeps between them
NAP_S = 50e-6
MAX_ROUNDS = 1_000_000  # of a rank over its rows, for a contraction without --steps


def why_not(program, bound):
    """Why a program cannot run without steps, or None. Local."""
    if program.reduce or program.until is not None:
        return "it has no steps after which values could be reduced; this program has reduce or until"
    if "step" in names_used(*program.functions):
        return "a function of this program asks for ctx.step"
    if program.contraction is not None:
        return None
    if not program.monotone:
        return "the program promises neither monotone=True nor contraction=TOLERANCE"
    if bound.push is None or not bound.fold.is_idempotent:
        return f"the aggregate {program.aggregate!r} of these messages may not hear one twice"
    return None


class AsyncLoop(Loop):
    """A run that is one long step."""

    n_rounds = 0
    _mail, _n_idle = None, 0  # looks in a row that found neither work nor messages

    def run(self, n_rounds):
        """Work until no rank has work and no message is on its way. Collective.

        A rank that goes over its rows more than n_rounds times ends the run
        with an error; None: as often as it takes, a contraction `MAX_ROUNDS`.
        """
        error = why_not(self.program, self.bound)
        raise_together(self.comm, ProgramError(f"mode async: {error}") if error else None)
        self.frontier.remembers = self._may_remember()
        is_contraction = self.program.contraction is not None
        self.max_rounds = MAX_ROUNDS if n_rounds is None and is_contraction else n_rounds
        self.history.begin_step()
        counts = self._initialise()
        if self.exchange is not None:  # ghosts of a contraction start from what their owners send at first
            self._attempt(self._send_all)
            self._agree(None, self._ctx())
            self.exchange.end(self.exchange.begin())
        self._posted = [a[: self.graph.n_owned].copy() for a in self.bound.sent]
        mail = self._mail = Mail(self.graph.halo, self.bound.sent)
        work = self._contract if is_contraction else self._spread
        self._go_on(mail, work)
        active, messages = counts["changed"] or self.graph.n_vertices, counts["out_edges"] or self.graph.n_edges
        self.history.own_rows, self.history.own_bytes = mail.n_rows, mail.n_bytes
        self.totals.count(halo_rows=mail.n_rows, halo_bytes=mail.n_bytes)
        counts = self._agree(None, self._ctx())
        self.history.lap("interior")
        self.history.end_step(active, messages, counts, self.values)
        self.step, self.converged = 1, True

    def where(self):
        """How far the run is, for other threads. Local."""
        mail = self._mail
        told = f", {mail.n_sent} messages sent, {mail.n_received} received" if mail else ""
        return f"round {self.n_rounds} of this rank{told}"

    def waits_for(self):
        """Ranks whose messages an idle rank waits for; of a busy one None. Local."""
        return self.graph.halo.recv_ranks.tolist() if self._n_idle else None

    def _go_on(self, mail, work):
        """Work, send and receive until all ranks have nothing to do."""
        ended, has_work, said = Ended(self.comm), True, time.perf_counter()
        while True:
            arrived = mail.receive()
            if ended.is_failing:
                has_work = False
                mail.forget()
            elif has_work or arrived:
                self._n_idle = 0
                self._attempt(lambda: work(mail))
                has_work = False
            is_sent = self.error is not None or mail.post()  # else the last messages are still on their way
            if is_sent and not arrived and ended.ask(mail.n_sent, mail.n_received, self.error is not None):
                break
            self._n_idle = 0 if arrived else self._n_idle + 1
            _rest(self._n_idle)
            if self.progress and time.perf_counter() - said > PROGRESS_S:
                said = time.perf_counter()
                self.progress(f"{mail.n_sent} messages sent by rank 0")
        self._n_idle = 0
        mail.close()

    # ------------------------------------------------------------ work

    def _spread(self, mail):
        """Push changes until nothing changes here."""
        frontier, b, ctx = self.frontier, self.bound, self._ctx()
        frontier.way = "push"
        push = self._push()
        ghosts = mail.take_ghosts()
        if len(ghosts):
            push.tell(ctx, ghosts, are_ghosts=True)
            self._settle(ctx)
        while frontier.n_found:
            self._begin_round()
            senders = frontier.turn()
            self._map(b.send, b.vertices, ctx, senders, b.sent)
            mail.mark(senders)
            push.tell(ctx, senders)
            self._settle(ctx)

    def _contract(self, mail):
        """Compute all rows until nothing that is sent moves by more than the tolerance."""
        ctx, n, tolerance = self._ctx(), self.graph.n_owned, self.program.contraction
        mail.take_ghosts()
        sent = self.bound.sent
        while True:
            self._begin_round()
            before = [a[:n].copy() for a in sent]
            self._relax(ctx, self.graph.interior)
            self._relax(ctx, self.graph.boundary)
            self._send_all()
            if not any(_moved(a[:n], b, tolerance).any() for a, b in zip(sent, before, strict=True)):
                break
        is_new = np.zeros(n, np.bool_)
        for a, b in zip(sent, self._posted, strict=True):
            is_new |= _moved(a[:n], b, tolerance).reshape(n, -1).any(axis=1)
        rows = np.flatnonzero(is_new)
        for a, b in zip(sent, self._posted, strict=True):
            b[rows] = a[rows]
        mail.mark(rows)

    def _begin_round(self):
        if self.n_rounds == self.max_rounds:
            promise = "monotone" if self.program.contraction is None else f"contraction={self.program.contraction}"
            raise ProgramError(
                f"mode async: rows still change after {self.max_rounds} rounds of a rank over its rows; "
                f"check the promise {promise}, or allow more rounds: --steps N (steps=N)"
            )
        self.n_rounds += 1

    def _send_all(self):
        b = self.bound
        self._map(b.send, b.vertices, self._ctx(), self.frontier.everyone, b.sent)


def _moved(new, old, tolerance):
    return np.abs(new.astype(np.float64) - old) > tolerance


def _rest(n_idle):
    """Let a rank that shares this core go on. Local."""
    if n_idle > PATIENCE:
        time.sleep(NAP_S)
    elif n_idle:
        os.sched_yield()


class Ended:
    """Sums of messages sent and received, asked for by idle ranks."""

    def __init__(self, comm):
        self.comm = comm
        self.mine, self.total = np.zeros(3, np.int64), np.zeros(3, np.int64)
        self.before, self.request = None, None
        self.is_failing = False

    def ask(self, n_sent, n_received, has_failed):
        """Whether all is done; called again and again by an idle rank. Local."""
        if self.request is None:
            self.mine[:] = n_sent, n_received, has_failed
            self.request = self.comm.Iallreduce(self.mine, self.total)
        if not self.request.Test():
            return False
        self.request = None
        n_sent, n_received, n_failed = self.total.tolist()
        self.is_failing = n_failed > 0
        found = (n_sent, n_received, n_failed)
        is_done = n_sent == n_received and found == self.before
        self.before = found
        return is_done
