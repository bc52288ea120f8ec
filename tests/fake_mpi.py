"""An MPI of threads in one process, for exploring orders of events: one rank runs at a time, and a seed tells which.

Ranks change turns at every call. What MPI leaves open is drawn from the seed: who goes on, how long a message and word
of its receipt travel, whether a blocking send waits for its receiver, whether a rank leaves a collective before others
came to it. Only what MPI promises holds: of two messages that a receive could take, both from one sender, it takes the
first sent; a synchronous send ends when it was received; a collective cannot end before what it needs is there.

What MPI forbids is found out: a buffer of a receive is filled with rubbish until that is waited for, and one of a send
may be read as late as at its receipt. Calls of different collectives, messages that nobody took, and ranks none of
which can go on end a schedule with what every rank was doing. The same seed gives the same schedule.
"""

import collections
import pickle
import random
import sys
import threading
import traceback

import mpi4py
import numpy as np
from mpi4py import MPI

MOST_TURNS = 100_000  # of a schedule that ends
MOST_VAIN = 300  # looks in a row of a rank while nothing happened anywhere
RUBBISH = 0xE5
ANY = -1


class ScheduleError(AssertionError):
    """A schedule in which ranks do not come to their end, or break a rule of MPI."""


class _Ended(BaseException):
    """Unwinds the ranks of a schedule that has failed."""


class World:
    """Ranks and what is on its way between them, for one schedule."""

    def __init__(self, size, seed):
        self.size, self.seed, self.rng = size, seed, random.Random(seed)
        draw = self.rng.choice
        self.weights = [draw((1, 1, 4, 30)) for _ in range(size)]  # how often a rank has its turn
        self.stays = draw((0.0, 0.5, 0.95))  # chance that the rank at hand goes on
        self.arrives = draw((0.02, 0.3, 1.0))  # chance that something arrives before a turn
        self.eager = draw((0.0, 0.5, 1.0))  # chance that a send need not wait for its receiver
        self.leaves = draw((0.0, 1.0))  # chance that a rank leaves a collective as soon as it may
        self.ranks = [_Rank(r) for r in range(size)]
        self.on_its_way = {}  # channel -> events, in order
        self.n_events = 0  # that changed anything, so far
        self.n_turns = 0
        self.failure = None
        self.done = threading.Lock()
        self.done.acquire()
        self.log = collections.deque(maxlen=40)
        self.n_comms = 0
        self.posted = []  # messages that nobody has taken
        self.comms = self.new_comms()

    def new_comms(self):
        """A communicator of all ranks, as each of them sees it."""
        self.n_comms += 1
        shared = _Shared(self.n_comms, self.size)
        return [Comm(self, shared, r) for r in range(self.size)]

    # ------------------------------------------------------------ turns

    def run(self, main):
        """What ``main(comm)`` gave on every rank: list of (value, error)."""
        threads = [threading.Thread(target=self._rank, args=(r, main), daemon=True) for r in self.ranks]
        for rank, thread in zip(self.ranks, threads, strict=True):
            rank.thread = thread
            thread.start()
        self._choose(None).lock.release()
        self.done.acquire()
        for rank in self.ranks:  # of a schedule that failed
            if rank.is_alive:
                rank.lock.release()
            rank.thread.join()
        if self.failure is None and self.posted:
            self.failure = f"messages were never received: {', '.join(map(str, self.posted[:5]))}"
        if self.failure is not None:
            shown = "".join(f"\n  {line}" for line in self.log)
            raise ScheduleError(f"seed {self.seed}, {self.size} ranks: {self.failure}\nlast calls:{shown}")
        return [(rank.value, rank.error) for rank in self.ranks]

    def _rank(self, rank, main):
        rank.lock.acquire()
        try:
            if self.failure is None:
                rank.value = main(self.comms[rank.number])
        except _Ended:
            pass
        except BaseException as error:
            rank.error = error
        rank.is_alive = False
        self.n_events += 1
        if self.failure is not None:
            return
        try:
            chosen = self._choose(rank) if any(r.is_alive for r in self.ranks) else None
        except _Ended:
            return
        (chosen.lock if chosen else self.done).release()

    def turn(self, rank, call, condition=None):
        """Let others go on; return when it is this rank's turn and a condition holds."""
        if self.failure is not None:
            raise _Ended
        self.log.append(f"rank {rank.number}: {call}")
        rank.condition = condition
        chosen = self._choose(rank)
        if chosen is not rank:
            chosen.lock.release()
            rank.lock.acquire()
            if self.failure is not None:
                raise _Ended
        rank.condition = None

    def looked(self, rank, found):
        """A rank looked for something and goes on anyhow."""
        rank.n_vain = 0 if found or rank.seen != self.n_events else rank.n_vain + 1
        rank.seen = self.n_events

    def _choose(self, current):
        rng = self.rng
        self.n_turns += 1
        if self.n_turns > MOST_TURNS:
            self.fail(f"not at its end after {MOST_TURNS} turns", current)
        while self.on_its_way and rng.random() < self.arrives:
            self._arrive()
            if self.arrives == 1.0:
                break
        while True:
            ready = [r for r in self.ranks if r.is_alive and (r.condition is None or r.condition())]
            hopeless = [r for r in ready if r.n_vain > MOST_VAIN and r.seen == self.n_events]
            if len(hopeless) < len(ready):
                break
            if not self.on_its_way:
                self.fail("no rank can go on", current)
            self._arrive()
        if current in ready and current not in hopeless and rng.random() < self.stays:
            return current
        return rng.choices(ready, [self.weights[r.number] for r in ready])[0]

    def _arrive(self):
        channel = self.rng.choice(list(self.on_its_way))
        events = self.on_its_way[channel]
        events.popleft()()
        if not events:
            del self.on_its_way[channel]
        self.n_events += 1

    def send_off(self, channel, event):
        """Let an event happen some time, after those of the same channel."""
        self.on_its_way.setdefault(channel, collections.deque()).append(event)

    def fail(self, why, current=None):
        """End the schedule."""
        if self.failure is None:
            frames = sys._current_frames()
            lines = [why]
            for rank in self.ranks:
                if rank.is_alive and rank.thread.ident in frames:
                    stack = traceback.extract_stack(frames[rank.thread.ident])
                    kept = [f for f in stack if f.filename not in (__file__, threading.__file__)][-6:]
                    lines.append(f"rank {rank.number} at:\n" + "".join(traceback.format_list(kept)).rstrip())
                elif rank.error is not None:
                    shown = "".join(traceback.format_exception(rank.error)[-3:]).rstrip()
                    lines.append(f"rank {rank.number} has ended: {shown}")
                else:
                    lines.append(f"rank {rank.number} has ended")
            self.failure = "\n".join(lines)
            self.done.release()
        raise _Ended


class _Rank:
    def __init__(self, number):
        self.number, self.value, self.error = number, None, None
        self.is_alive, self.condition, self.n_vain, self.seen = True, None, 0, -1
        self.lock = threading.Lock()
        self.lock.acquire()


# ---------------------------------------------------------------- buffers


class _Buffer:
    """What an upper-case call is given: bytes, the size of a unit, how many, and where those of each rank begin."""

    def __init__(self, spec):
        spec = list(spec) if isinstance(spec, list | tuple) else [spec]
        self.array = np.asarray(spec[0])
        assert self.array.flags.c_contiguous, "MPI needs the bytes of an array in a row"
        kinds = [x for x in spec[1:] if isinstance(x, MPI.Datatype)]
        counts = [x for x in spec[1:] if not isinstance(x, MPI.Datatype)]
        self.unit = kinds[0].Get_size() if kinds else self.array.itemsize
        self.bytes = self.array.reshape(-1).view(np.uint8)
        self.counts = counts[0] if counts else None
        self.n_bytes = self.bytes.nbytes if self.counts is None else None
        if isinstance(self.counts, int | np.integer):
            self.n_bytes = int(self.counts) * self.unit
        assert self.n_bytes is None or self.n_bytes <= self.bytes.nbytes, "more is told to be sent than there is"

    def parts(self, size):
        """The bytes of each rank."""
        counts = self.counts
        if counts is None:
            counts = [self.bytes.nbytes // self.unit // size] * size
        if isinstance(counts, tuple):
            counts, starts = counts
        else:
            starts = np.concatenate(([0], np.cumsum(counts[:-1])))
        return [self.bytes[int(a) * self.unit : int(a + n) * self.unit] for a, n in zip(starts, counts, strict=True)]

    def flat(self):
        """The bytes of a message."""
        return self.bytes[: self.n_bytes]


class _Letter:
    """A message from its posting to its receipt."""

    def __init__(self, comm, dest, tag, read, is_synchronous):
        self.source, self.dest, self.tag, self.read = comm.rank, dest, tag, read
        self.has_arrived = self.is_received = False
        world = comm.world
        is_eager = not is_synchronous and world.rng.random() < world.eager
        self.is_sent = is_eager
        self.content = read() if is_eager else None
        self.n_bytes = len(self.content if is_eager else read())
        world.posted.append(self)
        comm.shared.letters[dest].append(self)
        world.send_off((comm.shared.number, comm.rank, dest, tag), self._arrive)
        world.n_events += 1
        self.world, self.comm = world, comm

    def __str__(self):
        return f"{self.n_bytes} bytes from rank {self.source} to {self.dest}, tag {self.tag}"

    def _arrive(self):
        self.has_arrived = True
        _match(self.comm.shared, self.dest, self.world)

    def take(self):
        """A receive takes it from what has come."""
        self.comm.shared.letters[self.dest].remove(self)

    def receive(self):
        """Its content; the sender learns of it some time later."""
        if self.content is None:
            self.content = self.read()
        self.world.posted.remove(self)
        if not self.is_sent:
            self.world.send_off(("receipt", id(self)), self._sent)
        self.world.n_events += 1
        return self.content

    def _sent(self):
        self.is_sent = True


class _Shared:
    """What the ranks of a communicator have in common."""

    def __init__(self, number, size):
        self.number, self.size = number, size
        self.letters = [[] for _ in range(size)]  # to each rank, not yet taken, in the order of sending
        self.receives = [[] for _ in range(size)]  # posted and not matched, in order
        self.meetings = {}  # collectives under way
        self.n_met = [0] * size


# ---------------------------------------------------------------- requests


class Request:
    """A handle of what goes on. ``is_done`` tells, ``finish`` ends it."""

    def __init__(self, comm, begin=None, op=None):
        self.comm, self.begin, self.op = comm, begin, op

    def Start(self):
        assert self.op is None, "a persistent request is started while it is active"
        self.op = self.begin()

    def _is_done(self):
        return self.op is None or self.op.is_done()

    def _finish(self):
        op, self.op = self.op, None
        return op.finish() if op is not None else None

    def Test(self):
        return type(self).Testall([self])

    def test(self):
        rank = self.comm.me
        self.comm.world.turn(rank, "test")
        is_done = self._is_done()
        self.comm.world.looked(rank, is_done)
        return (True, self._finish()) if is_done else (False, None)

    def Wait(self):
        type(self).Waitall([self])

    wait = Wait

    def Get_status(self):
        return self._is_done()

    def Free(self):
        if self.op is not None and self.comm.world.failure is None:
            self.comm.world.fail("an active request is freed")

    @staticmethod
    def Startall(requests):
        for request in requests:
            request.Start()

    @staticmethod
    def Testall(requests):
        if not requests:
            return True
        comm = requests[0].comm
        comm.world.turn(comm.me, "Testall")
        is_done = all(r._is_done() for r in requests)
        comm.world.looked(comm.me, is_done)
        if is_done:
            for request in requests:
                request._finish()
        return is_done

    @staticmethod
    def Waitall(requests):
        if not requests:
            return
        comm = requests[0].comm
        comm.world.turn(comm.me, "Waitall", lambda: all(r._is_done() for r in requests))
        for request in requests:
            request._finish()


class _Sending:
    def __init__(self, letter):
        self.letter = letter

    def is_done(self):
        return self.letter.is_sent

    def finish(self):
        return None


class _Receiving:
    def __init__(self, comm, buffer, source, tag):
        self.comm, self.buffer, self.source, self.tag, self.content = comm, buffer, source, tag, None
        buffer.flat()[:] = RUBBISH
        comm.shared.receives[comm.rank].append(self)
        _match(comm.shared, comm.rank, comm.world)

    def is_done(self):
        return self.content is not None

    def finish(self):
        _write(self.buffer, self.content, self.comm.world)


def _match(shared, rank, world):
    """Give what has come to the receives that were posted, in the order of these."""
    for receive in list(shared.receives[rank]):
        letter = _first(shared, rank, receive.source, receive.tag, world)
        if letter is not None:
            letter.take()
            receive.content = letter.receive()
            shared.receives[rank].remove(receive)


def _first(shared, rank, source, tag, world):
    """A message that a receive may take now, or None."""
    firsts = {}
    for letter in shared.letters[rank]:
        if source in (ANY, letter.source) and tag in (ANY, letter.tag):
            firsts.setdefault(letter.source, letter)
    come = [letter for letter in firsts.values() if letter.has_arrived]
    return world.rng.choice(come) if come else None


def _write(buffer, content, world):
    if len(content) > buffer.flat().nbytes:
        world.fail(f"a message of {len(content)} bytes is received into {buffer.flat().nbytes}")
    buffer.bytes[: len(content)] = np.frombuffer(content, np.uint8)


class Message:
    """A message that was probed for."""

    def __init__(self, comm, letter):
        self.comm, self.letter = comm, letter

    def Recv(self, buffer):
        self.comm.world.turn(self.comm.me, "Mrecv")
        _write(_Buffer(buffer), self.letter.receive(), self.comm.world)

    def recv(self):
        self.comm.world.turn(self.comm.me, "mrecv")
        return pickle.loads(self.letter.receive())


# ---------------------------------------------------------------- communicators


class _Meeting:
    """A collective: what each rank that came brought."""

    def __init__(self, kind, rank):
        self.kind, self.first, self.brought, self.n_left, self.seen_by = kind, rank, {}, 0, set()


class _Met:
    """A collective in the background."""

    def __init__(self, comm, meeting, finish):
        self.comm, self.meeting, self.take = comm, meeting, finish

    def is_done(self):
        return self.comm.rank in self.meeting.seen_by

    def finish(self):
        self.take(self.meeting)


class Comm:
    """A communicator as one rank sees it."""

    def __init__(self, world, shared, rank):
        self.world, self.shared, self.rank, self.size = world, shared, rank, shared.size
        self.me = world.ranks[rank]

    # ------------------------------------------------------------ two ranks

    def _letter(self, buffer, dest, tag, is_synchronous=False):
        return _Letter(self, dest, tag, lambda: _Buffer(buffer).flat().tobytes(), is_synchronous)

    def Isend(self, buffer, dest, tag=0):
        self.world.turn(self.me, f"Isend to {dest}, tag {tag}")
        return Request(self, op=_Sending(self._letter(buffer, dest, tag)))

    def Issend(self, buffer, dest, tag=0):
        self.world.turn(self.me, f"Issend to {dest}, tag {tag}")
        return Request(self, op=_Sending(self._letter(buffer, dest, tag, True)))

    def isend(self, value, dest, tag=0):
        self.world.turn(self.me, f"isend to {dest}, tag {tag}")
        content = pickle.dumps(value)
        return Request(self, op=_Sending(_Letter(self, dest, tag, lambda: content, False)))

    def Irecv(self, buffer, source=ANY, tag=ANY):
        self.world.turn(self.me, f"Irecv from {source}, tag {tag}")
        return Request(self, op=_Receiving(self, _Buffer(buffer), source, tag))

    def Send(self, buffer, dest, tag=0):
        self.Isend(buffer, dest, tag).Wait()

    def send(self, value, dest, tag=0):
        self.isend(value, dest, tag).Wait()

    def Recv(self, buffer, source=ANY, tag=ANY):
        self.Irecv(buffer, source, tag).Wait()

    def Send_init(self, buffer, dest, tag=0):
        return Request(self, begin=lambda: _Sending(self._letter(buffer, dest, tag)))

    def Recv_init(self, buffer, source=ANY, tag=ANY):
        return Request(self, begin=lambda: _Receiving(self, _Buffer(buffer), source, tag))

    def Improbe(self, source=ANY, tag=ANY, status=None):
        self.world.turn(self.me, f"Improbe from {source}, tag {tag}")
        letter = _first(self.shared, self.rank, source, tag, self.world)
        self.world.looked(self.me, letter is not None)
        return None if letter is None else self._probed(letter, status)

    improbe = Improbe

    def Mprobe(self, source=ANY, tag=ANY, status=None):
        found = []

        def has_come():
            found[:] = filter(None, [_first(self.shared, self.rank, source, tag, self.world)])
            return bool(found)

        self.world.turn(self.me, f"Mprobe from {source}, tag {tag}", has_come)
        return self._probed(found[0], status)

    def _probed(self, letter, status):
        letter.take()
        if status is not None:
            status.source, status.tag = letter.source, letter.tag
            status.Set_elements(MPI.BYTE, letter.n_bytes)
        return Message(self, letter)

    # ------------------------------------------------------------ all ranks

    def _come(self, kind, what):
        """Bring what this rank has to the next collective."""
        shared = self.shared
        number = shared.n_met[self.rank]
        shared.n_met[self.rank] += 1
        meeting = shared.meetings.setdefault(number, _Meeting(kind, self.rank))
        if meeting.kind != kind:
            first = f"rank {meeting.first} calls {meeting.kind}"
            self.world.fail(f"rank {self.rank} calls {kind} where {first}: collective {number} of the communicator")
        meeting.brought[self.rank] = what
        self.world.n_events += 1
        return number, meeting

    def _meet(self, kind, what, needs):
        """What the ranks brought, once those that are needed have come: dict."""
        number, meeting = self._come(kind, what)
        if self.world.rng.random() >= self.world.leaves:
            needs = range(self.size)
        self.world.turn(self.me, kind, lambda: all(r in meeting.brought for r in needs))
        meeting.n_left += 1
        if meeting.n_left == self.size:
            del self.shared.meetings[number]
        return meeting.brought

    def _all(self, kind, what):
        brought = self._meet(kind, what, range(self.size))
        return [brought[r] for r in range(self.size)]

    def _in_background(self, kind, what, finish):
        self.world.turn(self.me, kind)
        number, meeting = self._come(kind, what)
        if len(meeting.brought) == self.size:
            for r in range(self.size):
                self.world.send_off(("seen", self.shared.number, number, r), lambda r=r: meeting.seen_by.add(r))
            del self.shared.meetings[number]
        return Request(self, op=_Met(self, meeting, finish))

    def Barrier(self):
        self._all("Barrier", None)

    barrier = Barrier

    def Ibarrier(self):
        return self._in_background("Ibarrier", None, lambda meeting: None)

    def allreduce(self, value, op=MPI.SUM):
        values = [pickle.loads(v) for v in self._all(f"allreduce {_name(op)}", pickle.dumps(value))]
        return _folded(values, op)

    def allgather(self, value):
        return [pickle.loads(v) for v in self._all("allgather", pickle.dumps(value))]

    def bcast(self, value=None, root=0):
        what = pickle.dumps(value) if self.rank == root else None
        return pickle.loads(self._meet(f"bcast from {root}", what, [root])[root])

    def gather(self, value, root=0):
        needs = range(self.size) if self.rank == root else []
        brought = self._meet(f"gather at {root}", pickle.dumps(value), needs)
        return [pickle.loads(brought[r]) for r in range(self.size)] if self.rank == root else None

    def Allreduce(self, send, recv, op=MPI.SUM):
        recv = _Buffer(recv)
        mine = recv.array.copy() if send is MPI.IN_PLACE else _Buffer(send).array.copy()
        found = self._all(f"Allreduce {_name(op)} of {mine.size}", mine)
        recv.array[...] = _folded(found, op)

    def Iallreduce(self, send, recv, op=MPI.SUM):
        send, recv = _Buffer(send).array, _Buffer(recv).array
        recv[...] = np.frombuffer(bytes([RUBBISH]) * recv.nbytes, recv.dtype).reshape(recv.shape)

        def finish(meeting):
            if not hasattr(meeting, "result"):  # what was brought may be read as late as now
                meeting.result = _folded([meeting.brought[r] for r in range(self.size)], op)
            recv[...] = meeting.result

        return self._in_background(f"Iallreduce {_name(op)} of {send.size}", send, finish)

    def Bcast(self, buffer, root=0):
        buffer = _Buffer(buffer)
        what = buffer.flat().tobytes() if self.rank == root else None
        _write(buffer, self._meet(f"Bcast from {root}", what, [root])[root], self.world)

    def Alltoall(self, send, recv):
        self._pieces("Alltoall", send, recv)

    def Alltoallv(self, send, recv):
        self._pieces("Alltoallv", send, recv)

    def _pieces(self, kind, send, recv):
        found = self._all(kind, [part.tobytes() for part in _Buffer(send).parts(self.size)])
        for part, pieces in zip(_Buffer(recv).parts(self.size), found, strict=True):
            self._fill(part, pieces[self.rank])

    def _fill(self, part, content):
        if part.nbytes != len(content):
            self.world.fail(f"{len(content)} bytes are sent to rank {self.rank} where it expects {part.nbytes}")
        part[:] = np.frombuffer(content, np.uint8)

    def Allgatherv(self, send, recv):
        found = self._all("Allgatherv", _Buffer(send).flat().tobytes())
        for part, content in zip(_Buffer(recv).parts(self.size), found, strict=True):
            self._fill(part, content)

    def Gatherv(self, send, recv, root=0):
        needs = range(self.size) if self.rank == root else []
        brought = self._meet(f"Gatherv at {root}", _Buffer(send).flat().tobytes(), needs)
        for r, part in enumerate(_Buffer(recv).parts(self.size) if self.rank == root else ()):
            self._fill(part, brought[r])

    def Scatterv(self, send, recv, root=0):
        what = [part.tobytes() for part in _Buffer(send).parts(self.size)] if self.rank == root else None
        self._fill(_Buffer(recv).flat(), self._meet(f"Scatterv from {root}", what, [root])[root][self.rank])

    def Reduce_scatter(self, send, recv, counts, op=MPI.SUM):
        total = _folded(self._all(f"Reduce_scatter {_name(op)}", _Buffer(send).array.copy()), op)
        at = sum(counts[: self.rank])
        _Buffer(recv).array[...] = total[at : at + counts[self.rank]]

    def Dup(self):
        made = self._meet("Dup", self.world.new_comms() if self.rank == 0 else None, [0])
        return made[0][self.rank]

    def Abort(self, code=1):
        self.world.fail(f"rank {self.rank} ends all ranks with the code {code}")


def _name(op):
    return next((name for name in ("SUM", "MAX", "MIN", "LOR", "LAND") if getattr(MPI, name) == op), "op")


def _folded(values, op):
    fold = {"SUM": lambda a, b: a + b, "MAX": np.maximum, "MIN": np.minimum}[_name(op)]
    out = values[0].copy() if isinstance(values[0], np.ndarray) else values[0]
    for value in values[1:]:
        out = fold(out, value)
    return out if isinstance(out, np.ndarray) or not isinstance(out, np.generic) else out.item()


class _Module:
    """What ``from mpi4py import MPI`` gives while ranks are threads: constants and types as they are."""

    Request = Request

    def __getattr__(self, name):
        return getattr(MPI, name)


def run(size, seed, main):
    """One schedule of ``main(comm)`` on so many ranks; what each gave.

    Raises
    ------
    ScheduleError
        The ranks did not come to their end, or broke a rule of MPI.
    Exception
        The lowest failing rank's, if one did and all came to their end.
    """
    outcomes = outcomes_of(size, seed, main)
    for _, error in outcomes:
        if error is not None:
            raise error
    return [value for value, _ in outcomes]


def outcomes_of(size, seed, main):
    """One schedule; (value, error) of each rank."""
    mpi4py.MPI = _Module()
    try:
        return World(size, seed).run(main)
    finally:
        mpi4py.MPI = MPI
