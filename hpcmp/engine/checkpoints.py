"""When a run is checkpointed, and when it leaves to be started again.

All ranks must decide alike. So each says at the end of a step what it wishes
(`Wishes`), the sums of that travel with what the ranks tell each other anyway,
and all act on the sums: a signal that reached one rank is heard by all.
"""

import contextlib
import os
import re
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from hpcmp.comm import on_rank_0, raise_together, together
from hpcmp.errors import FileError, MemoryLimitError, ProgramError, Suspended
from hpcmp.io import room, snapshot
from hpcmp.io.whole_file import DAMAGED, set_aside

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
STOP_FILE = "stop"  # in the folder of checkpoints: as a signal, for launchers that pass none on
LOOK_S = 1.0  # between two looks for it
SLOW_BYTES_PER_S = 1e8  # what a first checkpoint is taken to be written at
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
WISHES = ("write", "leave", "written")


def seconds_of(what, text):
    """Seconds of ``90``, ``90s``, ``5m``, ``2h``, ``1d``, ``H:MM:SS``: float. Local.

    Raises
    ------
    ProgramError
        It is none of these, or not over 0.
    """
    text = str(text).strip()
    found = re.fullmatch(r"(\d+(?:\.\d*)?)([smhd]?)", text)
    clock = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)", text)
    seconds = 0.0
    if found:
        seconds = float(found[1]) * UNITS[found[2] or "s"]
    elif clock:
        days, hours, minutes, rest = (int(part or 0) for part in clock.groups())
        seconds = ((days * 24 + hours) * 60 + minutes) * 60.0 + rest
    if not 0 < seconds < float("inf"):
        raise ProgramError(f"{what} {text} is no time; write seconds, or 90s, 5m, 2h, 1d, H:MM:SS")
    return seconds


@dataclass(frozen=True)
class Checkpoints:
    """Where and when a run is checkpointed.

    Parameters
    ----------
    folder : path
    every : int or str, optional
        Steps between two checkpoints; or a time, such as "60s", between them.
    on_signal : bool
        SIGTERM or SIGUSR1 to any rank, and a file ``stop`` in the folder, end
        the run after the step, with a checkpoint.
    max_walltime : number or str, optional
        So does the time for which the process has run, less what a step and a
        checkpoint take.
    resume : bool
        Go on from the newest good checkpoint in the folder, if there is one.
    force : bool
        Unless it goes on, remove the checkpoints that the folder holds.
    changed_code : bool
        Go on even if the code of the program has changed.
    partners : Partners, optional
        Keeps checkpoints in memory too, for when ranks die and the others go on.
    """

    folder: object
    every: object = None
    on_signal: bool = True
    max_walltime: object = None
    resume: bool = False
    force: bool = False
    changed_code: bool = False
    partners: object = None

    def __post_init__(self):
        self.interval  # noqa: B018
        if self.max_walltime is not None:
            seconds_of("max_walltime", self.max_walltime)

    @property
    def interval(self):
        """(steps, seconds) between two checkpoints, one of them None or both. Local."""
        if self.every is None:
            return None, None
        if isinstance(self.every, int) or str(self.every).strip().isdigit():
            if int(self.every) < 1:
                raise ProgramError(f"a checkpoint every {self.every} steps cannot be; at least 1 is needed")
            return int(self.every), None
        return None, seconds_of("a checkpoint every", self.every)


# ---------------------------------------------------------------- signals


class _Heard:
    """Whether a signal has come since `listen`."""

    def __init__(self):
        self.number = None
        self._before = {}

    def listen(self):
        """Remember signals instead of dying of them; only the main thread can. Local."""
        if self._before or threading.current_thread() is not threading.main_thread():
            return
        self.number = None
        self._before = {s: signal.signal(s, self._note) for s in SIGNALS}

    def _note(self, number, _frame):
        self.number = number

    def forget(self):
        """Let signals do again what they did before. Local."""
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before, self.number = {}, None


heard = _Heard()


@contextlib.contextmanager
def listening(asked):
    """Hear signals inside, from the first line of a command on. Local.

    Parameters
    ----------
    asked : Checkpoints or None
    """
    if asked is None or not asked.on_signal:
        yield
        return
    heard.listen()
    try:
        yield
    finally:
        heard.forget()


# ---------------------------------------------------------------- policy


class Wishes:
    """What this rank wishes at the end of a step, by its clock, signals and files. Local."""

    def __init__(self, comm, asked):
        self.asked, self.rank = asked, comm.rank
        self.every, self.every_s = asked.interval
        self.ends_at = None
        if asked.max_walltime is not None:
            self.ends_at = _process_began() + seconds_of("max_walltime", asked.max_walltime)
        self.last_at = self._step_at = self._looked_at = time.monotonic()
        self.step_s, self.cost_s = 0.0, 0.5  # of the longest step; of a checkpoint
        self.is_stopped = False

    def of_step(self, step):
        """(wishes to write, wishes to leave) after so many steps. Local."""
        now = time.monotonic()
        self.step_s, self._step_at = max(self.step_s, now - self._step_at), now
        writes = self.every is not None and step % self.every == 0
        if self.rank == 0 and self.every_s is not None:
            writes = now - self.last_at >= self.every_s
        return int(writes), int(self._leaves(now))

    def _leaves(self, now):
        if heard.number is not None:
            return True
        if self.rank > 0:
            return False
        if self.ends_at is not None and now + 2 * (self.step_s + self.cost_s) >= self.ends_at:
            return True
        if self.asked.on_signal and now - self._looked_at >= LOOK_S:
            self._looked_at = now
            self.is_stopped = self.is_stopped or remove_stop_file(self.asked.folder)
        return self.is_stopped

    def written(self, cost_s):
        """A checkpoint was begun or written, which took so long. Local."""
        self.last_at = self._step_at = time.monotonic()
        self.cost_s = max(self.cost_s, cost_s)


def remove_stop_file(folder):
    """Remove the file by which a run is told to leave; whether there was one. Local."""
    try:
        (Path(folder) / STOP_FILE).unlink()
    except OSError:
        return False
    return True


def _process_began():
    """`time.monotonic` when this process began."""
    try:
        with open("/proc/self/stat") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
        with open("/proc/uptime") as file:
            uptime = float(file.read().split()[0])
        return time.monotonic() - (uptime - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return time.monotonic()


class Keeper:
    """The checkpoints of one run. Collective to make.

    Parameters
    ----------
    asked : Checkpoints
    identity : dict
        What a run must have in common with one that goes on from it, by name;
        ``code`` may differ with ``changed_code``.
    say : callable (text) or None
        Called on rank 0.

    Raises
    ------
    FileError
        The folder cannot be used. Raised on every rank.
    """

    def __init__(self, comm, asked, identity, say=None):
        self.comm, self.asked, self.identity = comm, asked, identity
        self.say = say if say is not None and comm.rank == 0 else _silent
        self.writer = snapshot.Writer(comm, asked.folder)
        self.wishes = Wishes(comm, asked)
        self.stall_s = 0.0  # that the run waited for checkpoints
        self.resumed_from = None
        self.listens = asked.on_signal and not heard._before
        if self.listens:
            heard.listen()

    def resume(self):
        """The checkpoint to go on from, or None for a fresh start. Collective.

        Raises
        ------
        ProgramError
            It is of another run. Raised on every rank.
        FileError
            The folder holds checkpoints and nothing was said of them. Raised on
            every rank.
        """
        error, folder = None, self.asked.folder
        if self.comm.rank == 0:
            remove_stop_file(folder)
        if not self.asked.resume:
            if self.comm.rank == 0 and snapshot.steps_in(folder):
                if self.asked.force:
                    snapshot.clear(folder)
                else:
                    error = FileError(
                        f"{folder} holds checkpoints of a run already; go on with it by --resume, or begin anew with --force"
                    )
            raise_together(self.comm, error)
            return None
        where = "in memory"
        found = self.asked.partners.newest(self.comm) if self.asked.partners else None
        if found is None:
            where, found = f"in {folder}", snapshot.load_newest(self.comm, folder, self.say)
        if found is None:
            are_bad = on_rank_0(
                self.comm, lambda: set_aside(snapshot.path_of(folder, step) for step in snapshot.steps_in(folder))
            )
            self.say(
                f"no checkpoint in {folder} can be used; they are kept as {DAMAGED}*, and the run begins anew"
                if are_bad
                else f"no checkpoint in {folder} yet; the run begins"
            )
            return None
        raise_together(self.comm, self._unlike(found.facts["identity"]))
        self.resumed_from = found.step
        self.say(f"going on from the checkpoint of step {found.step} {where}")
        return found

    def _unlike(self, theirs):
        for name, mine in self.identity.items():
            if theirs.get(name) == mine or (name == "code" and self.asked.changed_code):
                continue
            if name == "code":
                return ProgramError(
                    f"the checkpoints in {self.asked.folder} were made with other code of this program; go on with that, "
                    "say that the change does not matter with --changed-code, or begin anew with --force"
                )
            return ProgramError(
                f"the checkpoints in {self.asked.folder} are of another run: {name} is {theirs.get(name)!r} there and "
                f"{mine!r} here; go on with that, or begin anew with --force"
            )
        return None

    def of_step(self, step):
        """What this rank wishes, by name; to be summed over the ranks. Local."""
        write, leave = self.wishes.of_step(step)
        is_written = self.writer.step is not None and self.writer.is_written
        return dict(zip(WISHES, (write, leave, int(is_written)), strict=True))

    def after_step(self, step, sums, take, is_last=False):
        """Do what the sums of all ranks' wishes say. Collective.

        Parameters
        ----------
        sums : dict
            Of `of_step`.
        take : callable () -> (facts, tables)
            The state of the run; arrays that can be written are copied, or the
            run waits. Without memory for it, all ranks raise MemoryLimitError;
            what else it raises ends the run. Collective.
        is_last : bool
            The run ends now, and need not leave.

        Raises
        ------
        Suspended
            The run is to leave and its checkpoint is on the disk. On every rank.
        FileError
            It cannot be written. Raised on every rank.
        """
        if self.writer.step is not None and sums["written"] == self.comm.size:
            self._commit()
        if sums["leave"] and not is_last:
            self._leave(step, take)
        if sums["write"] and self.writer.step is not None and self.wishes.every is not None:
            self._commit()  # after so many steps means all of them
        if sums["write"] and self.writer.step is None:
            self._begin(step, take)

    def _begin(self, step, take, must=False):
        """Begin to write the state; wait for it where it must be written, or could not be copied."""
        start = self._begun_at = time.perf_counter()
        n_bytes, waits = 0, must
        with self._told(step, must, MemoryLimitError):
            facts, tables = take()
            facts = {"identity": self.identity, **facts}
            n_bytes = sum(a.nbytes for a in _arrays(tables))
            if not must:  # the run goes on and changes them
                copies = self._copies(step, tables)
                tables, waits = copies or tables, copies is None
            if self.asked.partners and not waits:
                self.asked.partners.keep(self.comm, step, facts, tables)
            with self._told(step, must, FileError):
                self.writer.begin(step, facts, tables)
        stall_s = time.perf_counter() - start
        self.stall_s += stall_s
        self.wishes.written(stall_s + (n_bytes / SLOW_BYTES_PER_S if not self.writer.n_written else 0))
        if waits and self.writer.step is not None:
            self._commit(must)

    def _copies(self, step, tables):
        """Tables that the run does not change; None without memory for them, on all ranks. Collective."""
        try:
            needed = sum(a.nbytes for a in _arrays(tables) if a.flags.writeable)
            room.refuse_what_cannot_fit(self.comm, "a copy of the state takes", needed)
            with together(self.comm):
                return {table: {name: _kept(a) for name, a in columns.items()} for table, columns in tables.items()}
        except MemoryLimitError as error:
            self.say(f"the run waits for the checkpoint of step {step} to be written: {error}")
            return None

    def _commit(self, must=False):
        start, step = time.perf_counter(), self.writer.step
        with self._told(step, must, FileError):
            self.writer.commit()
        self.stall_s += time.perf_counter() - start
        self.wishes.cost_s = max(self.wishes.cost_s, time.perf_counter() - self._begun_at)

    @contextlib.contextmanager
    def _told(self, step, must, kind):
        """Tell of an error of all ranks, and go on unless the checkpoint must be written."""
        try:
            yield
        except kind as error:
            if must:
                raise
            self.say(f"no checkpoint of step {step}: {error}; the run goes on, with the one before")

    def _leave(self, step, take):
        if self.writer.step is not None:
            self._commit()
        self._begin(step, take, must=True)
        error = Suspended(f"checkpointed after step {step} in {self.asked.folder}; --resume goes on from there")
        raise_together(self.comm, error)

    def finish(self):
        """Wait for what is being written; what it all took: dict. Collective."""
        if self.writer.step is not None:
            self._commit()
        return {
            "written": self.writer.n_written,
            "bytes": self.writer.n_bytes,
            "stall_s": self.stall_s,
            "write_s": self.writer.seconds,
            "resumed_from": self.resumed_from,
        }

    def close(self):
        """Let the thread and the signals go. Local."""
        self.writer.close()
        if self.listens:
            heard.forget()


def _arrays(tables):
    return [a for columns in tables.values() for a in columns.values()]


def _kept(a):
    return a.copy() if a.flags.writeable else a


def _silent(_text):
    """Say nothing."""
