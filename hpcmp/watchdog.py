"""Ends a job in which no rank gets on, and says whom the others wait for.

A thread of every rank looks now and then how far its rank is (`hpcmp.pulse`).
Kernels and MPI let go of Python's lock, so it can look whatever they do. A
rank that waits for a slow one stands still too: only when *all* stand still,
or do not answer, for the time given is that a hang.

The ranks' threads ask each other on a communicator of their own. Four ranks,
far apart, may lead: one that has stood still for half the time asks all others,
unless one before it does so. A rank whose process is stopped or gone is the one
that does not answer. The others tell where they are, whom they wait for, and
their stacks; the leader prints it, ranks with the same in one, and ends the
job. A rank that cannot lead ends it if no leader answers.

What is declared slow, and compiling, stands still `SLOW_FACTOR` times as long.
Time in which this thread itself did not run, such as of a suspended job, does not count.
"""

import contextlib
import linecache
import os
import re
import socket
import sys
import threading
import time
import traceback

from hpcmp import pulse
from hpcmp.comm import abort, may_lose_ranks, together
from hpcmp.errors import EXIT_HANG, HangError, LaunchError, RankLost

LEAST_S = 1.0
TICKS, MOST_TICK_S = 20, 0.5  # looks in the time given; and at least one in so many seconds
ASKS, MOST_ASK_S = 8, 2.0  # the same of a leader's questions
MOST_TICKS = 5  # a look that is later than so many was not delayed by load alone
LEAST_SILENT_S = 3.0  # a rank that lives answers sooner, on a loaded machine too
TURN_S = 1.5  # the next leader gives the one before it so much time
TELL_S = 3.0  # for the ranks' reports
END_S = 4.0  # after which a rank ends itself, where the launcher took the end of the leader for that of one rank
FRAMES = 16  # of a stack, the innermost
WAITS = re.compile(
    r"\.(Wait|Waitall|[Ii]?[Bb]arrier|[Bb]cast|[Aa]ll(reduce|gatherv?|toallv?)|[Gg]atherv?|[Ss]catterv?|Reduce\w*|"
    r"Recv|recv|Send|send|Probe|Dup|Split|\w+_all|Open|Close)\("
)
ABOVE = ("hpcmp.cli", "hpcmp.watchdog", "hpcmp.comm")  # what a command does is called by or calls these
IDLE = (os.path.join("concurrent", "futures", "thread.py"), "threading.py")  # where threads without work are


class Watchdog:
    """Watches all ranks of a communicator while inside. Collective to make, to enter and to leave.

    Parameters
    ----------
    comm : MPI.Comm
    seconds : float
        How long all ranks may stand still.

    Raises
    ------
    LaunchError
        The time is too short, or MPI serves one thread alone. Raised on every rank.
    """

    def __init__(self, comm, seconds):
        from mpi4py import MPI

        with together(comm):
            if not seconds >= LEAST_S:
                raise LaunchError(f"a watchdog of {seconds:g} s is too short; let it be at least {LEAST_S:g} s")
            if comm.size > 1 and MPI.Query_thread() < MPI.THREAD_MULTIPLE:
                raise LaunchError(
                    "the watchdog asks other ranks from a thread of its own, but MPI was started for one thread alone; "
                    "unset MPI4PY_RC_THREAD_LEVEL, or use an MPI with MPI_THREAD_MULTIPLE"
                )
        self.comm, self.seconds = comm.Dup(), float(seconds)
        self.places = comm.allgather((socket.gethostname(), os.getpid()))
        self.leaders = list(dict.fromkeys(k * (comm.size - 1) // 3 for k in range(4)))
        self.turn = self.leaders.index(comm.rank) if comm.rank in self.leaders else len(self.leaders)
        self.tick_s = min(MOST_TICK_S, self.seconds / TICKS)
        self.ask_s = min(MOST_ASK_S, self.seconds / ASKS)
        self.age_s, self.taken = 0.0, None  # how long it stands still, and where
        self.asked, self.ages, self.told = {}, {}, {}  # rank -> since when it owes an answer; (when, age); report
        self.excused, self.last_ask, self.led_until = set(), 0.0, 0.0
        self.sends = []
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self):
        pulse.listen(self._announce)
        self.thread.start()
        return self

    def __exit__(self, kind, error, trace):
        try:
            if error is None or (getattr(error, "agreed", False) and not isinstance(error, RankLost)):
                self.comm.Barrier()  # still watched; afterwards no rank asks another
        finally:
            pulse.listen(None)
            self.stopped.set()
            self.thread.join()

    # ------------------------------------------------------------ looking

    def _watch(self):
        last = time.monotonic()
        while not self.stopped.wait(self.tick_s):
            now = time.monotonic()
            self._look(min(now - last, MOST_TICKS * self.tick_s))
            last = now
            if self.comm.size > 1:
                self._listen(now)
                self._lead(now)
            elif self.age_s >= self.seconds:
                self._end([], {0: self._report()})

    def _look(self, passed_s):
        """Whether this rank got on."""
        compiling = getattr(sys.modules.get("hpcmp.jit"), "_LOCKS", None)  # not there before the module is imported
        waits = _place_of_waiting(sys._current_frames()[threading.main_thread().ident])
        taken = (*pulse.taken(), compiling and compiling.seconds, waits)
        if taken != self.taken:
            self.taken, self.age_s = taken, 0.0
        else:
            is_slow = pulse.is_slow() or (compiling is not None and compiling.depth > 0)
            self.age_s += passed_s / (pulse.SLOW_FACTOR if is_slow else 1)

    def _report(self):
        """What this rank does: (where, ranks that it waits for, stacks)."""
        frames, names = sys._current_frames(), {t.ident: t.name for t in threading.enumerate()}
        main = threading.main_thread().ident
        stacks = []
        for ident, frame in sorted(frames.items(), key=lambda item: item[0] != main):
            is_idle = ident != main and frame.f_code.co_filename.endswith(IDLE)
            if ident != threading.get_ident() and not is_idle:
                title = "" if ident == main else f"  thread {names.get(ident, ident)}:\n"
                stacks.append(title + "".join(traceback.format_stack(frame, FRAMES)))
        tellers = self.taken[1] if self.taken else ()
        where = tellers[-1] if tellers else f"in {_stage(frames[main])}"
        return where, _waits_for(frames[main]), "".join(stacks)

    # ------------------------------------------------------------ the other ranks

    def _send(self, rank, kind, value=None):
        self.sends = [request for request in self.sends if not self._is_over(request)]
        with self._whoever_died():
            self.sends.append(self.comm.isend((kind, value), dest=rank))

    def _is_over(self, request):
        with self._whoever_died():
            return request.test()[0]
        return True

    @contextlib.contextmanager
    def _whoever_died(self):
        """Go on where MPI lets a job live when a rank dies, and complains of it."""
        from mpi4py import MPI

        try:
            yield
        except MPI.Exception:
            if not may_lose_ranks(self.comm):
                raise
            self.comm.Ack_failed()

    def _announce(self, is_silent):
        """Tell those who would ask that this rank will not answer for a while. From the main thread."""
        for rank in self.leaders:
            if rank != self.comm.rank:
                with self._whoever_died():
                    self.comm.send(("silent", is_silent), dest=rank)

    def _listen(self, now):
        from mpi4py import MPI

        status = MPI.Status()
        while (message := self._next(status)) is not None:
            (kind, value), rank = message.recv(), status.Get_source()
            if kind == "ask":
                if value < self.turn:
                    self.led_until = now + 3 * self.ask_s + self.tick_s
                self._send(rank, "age", self.age_s)
            elif kind == "age":
                self.ages[rank] = (now, value)
                self.asked.pop(rank, None)
            elif kind == "tell":
                self._send(rank, "told", self._report())
            elif kind == "told":
                self.told[rank] = value
            elif kind == "end":
                time.sleep(END_S)
                os._exit(EXIT_HANG)
            elif value:  # a silence begins
                self.excused.add(rank)
            else:
                self.excused.discard(rank)

    def _next(self, status):
        with self._whoever_died():
            return self.comm.improbe(status=status)
        return None

    def _lead(self, now):
        """Ask the others, if that is for us; end the job if no rank gets on."""
        if self.age_s < self.seconds / 2 or now < self.led_until:
            self.ages.clear()
            self.last_ask = 0.0
            return
        is_leader = self.turn < len(self.leaders)
        others = [r for r in (range(self.comm.size) if is_leader else self.leaders) if r != self.comm.rank]
        if now - self.last_ask >= self.ask_s:
            self.last_ask = now
            for rank in others:
                if rank not in self.asked:  # what a stopped rank does not take must not pile up
                    self.asked[rank] = now
                    self._send(rank, "ask", self.turn)
        if self.age_s < self.seconds + self.turn * TURN_S:
            return
        silent = [rank for rank in others if self._is_silent(rank, now)]
        if is_leader and all(rank in silent or self._stands_still(rank, now) for rank in others):
            self._end(silent, self._reports(set(others) - set(silent)))
        if not is_leader and len(silent) == len(others):
            self._end(silent, {self.comm.rank: self._report()})

    def _is_silent(self, rank, now):
        is_excused = rank in self.excused
        limit_s = pulse.SLOW_FACTOR * self.seconds if is_excused else max(LEAST_SILENT_S, self.seconds / 2)
        return rank in self.asked and now - self.asked[rank] >= limit_s

    def _stands_still(self, rank, now):
        when, age_s = self.ages.get(rank, (0.0, 0.0))
        return age_s >= self.seconds and now - when < 3 * self.ask_s + self.tick_s

    def _reports(self, ranks):
        """Of this rank and those that answer soon."""
        for rank in ranks:
            self._send(rank, "tell")
        end = time.monotonic() + TELL_S
        while set(self.told) < ranks and time.monotonic() < end:
            self._listen(time.monotonic())
            time.sleep(0.01)
        return {self.comm.rank: self._report(), **self.told}

    # ------------------------------------------------------------ the end

    def _end(self, silent, reports):
        """Print what is known, and end all ranks."""
        groups = {}
        for rank, report in sorted(reports.items()):
            groups.setdefault(report, []).append(rank)
        lines = []
        for (where, waits, stack), ranks in groups.items():
            does = "at work" if waits is None else f"waiting for {named(waits) if waits else 'all ranks'}"
            lines.append(f"hpcmp: {named(ranks)} of {self.comm.size}: {where}, {does}\n{stack}")
        sys.stderr.write("".join(lines))
        for rank in set(range(self.comm.size)) - {self.comm.rank}:
            self._send(rank, "end")
        abort(self.comm, HangError(self._verdict(silent, reports)))

    def _verdict(self, silent, reports):
        text = f"no rank got on for {self.seconds:g} s, so the job ends (--watchdog)"
        if silent:
            if len(silent) == 1:
                host, pid = self.places[silent[0]]
                state = (
                    _state_of(pid) if host == socket.gethostname() else "it was stopped, has died, or its machine has"
                )
                return f"{text}: rank {silent[0]} (process {pid} on {host}) does not answer: {state}"
            return f"{text}: {named(silent)} do not answer: they were stopped, have died, or their machine has"
        busy = [rank for rank, (_, waits, _) in sorted(reports.items()) if waits is None]
        if len(busy) == self.comm.size:
            return f"{text}: {'it is' if self.comm.size == 1 else 'all ranks are'} at work"
        if busy:
            return f"{text}: {named(busy)} {'is' if len(busy) == 1 else 'are'} at work while the others wait"
        return f"{text}: all ranks wait for each other"


def named(ranks):
    """Ranks as a text: ``rank 3``, ``ranks 0-2, 7``. Local."""
    runs = []
    for rank in sorted(ranks):
        if runs and runs[-1][1] == rank - 1:
            runs[-1][1] = rank
        else:
            runs.append([rank, rank])
    shown = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
    return f"rank{'s' * (len(ranks) > 1)} {shown}"


def _stage(thread):
    """The outermost function of hpcmp below the command line in which a thread is."""
    names = []
    for frame, _ in traceback.walk_stack(thread):
        module = frame.f_globals.get("__name__", "")
        if module.startswith("hpcmp.") and not module.startswith(ABOVE):
            names.append(frame.f_code.co_name)
    return names[-1] if names else "the command"


def _place_of_waiting(thread):
    """Where in hpcmp a thread waits in MPI, or None; to come to another place is to get on."""
    for frame, _ in traceback.walk_stack(thread):
        if frame.f_globals.get("__name__", "").startswith("hpcmp."):
            return (frame.f_code.co_filename, frame.f_lineno) if _is_waiting(frame) else None
    return None


def _is_waiting(frame):
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
    return WAITS.search(line) is not None


def _waits_for(thread):
    """Ranks that a thread waits for in MPI, all of them (), or None if it does not wait."""
    is_innermost = True  # of hpcmp's functions
    for frame, _ in traceback.walk_stack(thread):
        is_ours = frame.f_globals.get("__name__", "").startswith("hpcmp.")
        holder = frame.f_locals.get("self") if is_ours else None
        if hasattr(holder, "waits_for") and (ranks := holder.waits_for()) is not None:
            return tuple(ranks)
        if is_innermost and (_is_waiting(frame) or frame.f_code.co_name == "sparse_exchange"):
            return ()
        is_innermost = is_innermost and not is_ours
    return None


def _state_of(pid):
    """Why a process of this machine does not answer."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            state = stat.read().rpartition(")")[2].split()[0]
    except OSError:
        return "it has died"
    known = {"T": "it is stopped", "t": "it is stopped", "Z": "it has died", "X": "it has died"}
    return known.get(state, "it runs, but its Python does not")
