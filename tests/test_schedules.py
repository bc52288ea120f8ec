"""Protocols of several ranks hold under many orders of events; each of them broken is found out."""

import inspect
import random
from unittest import mock

import fake_mpi
import numpy as np
import pytest
import schedules

from hpcmp import comm as c
from hpcmp import exchange, halo, mail, watchdog
from hpcmp.agents import post
from hpcmp.engine import asynchronous, checkpoints, loop
from hpcmp.io import snapshot

MANY = 60  # schedules of a protocol that holds
MOST = 600  # in which a broken one is found out


@pytest.mark.parametrize("protocol", schedules.PROTOCOLS)
def test_protocol_holds_in_any_order_of_events(protocol):
    n = MANY // schedules.COSTS.get(protocol, 1)
    assert schedules.explore(protocol, range(n)) == n


# ---------------------------------------------------------------- broken ones


def edited(function, old, new):
    """A function with some of its text exchanged."""
    text = inspect.getsource(function)
    assert old in text, f"{function.__qualname__} no longer has {old!r}: break it in another way"
    lines = text.replace(old, new).splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    scope = dict(function.__globals__)
    exec("\n".join(line[indent:] for line in lines), scope)
    return scope[function.__name__]


BROKEN = {
    "a barrier before all was received": (
        "routes",
        c,
        "sparse_exchange",
        ("if MPI.Request.Testall(sends):", "if True:"),
    ),
    "sends that do not wait for their receipt": ("routes", c, "sparse_exchange", ("comm.Issend", "comm.Isend")),
    "an exchange left before others know of its end": ("routes", c, "sparse_exchange", ("comm.Barrier()", "pass")),
    "no word to those that did not fail": (
        "failures",
        c,
        "raise_together",
        ("if n_failed == 0:", "if n_failed == 0 or (error is None and comm.rank == 1):"),
    ),
    "the highest failing rank speaks": (
        "failures",
        c,
        "raise_together",
        ("for r, f in enumerate(findings) if f", "for r, f in reversed(list(enumerate(findings))) if f"),
    ),
    "ghosts read before they came": ("halos", exchange.Pending, "wait", ("if self.requests:", "if False:")),
    "two exchanges in flight in one buffer": (
        "halos",
        halo.Halo,
        "_take",
        ("self.idle.setdefault(layout, [])", "[b for b in self.made if b.home.dtype == layout]"),
    ),
    "changed rows read before they came": ("halos", halo.Halo, "changed_end", ("pending.wait()", "pass")),
    "counted once": ("endings", asynchronous.Ended, "ask", (" and found == self.before", "")),
    "sums that agree twice, but not with each other": (
        "endings",
        asynchronous.Ended,
        "ask",
        ("n_sent == n_received and ", ""),
    ),
    "a rank that failed reads no more": (
        "endings",
        asynchronous.AsyncLoop,
        "_go_on",
        ("arrived = mail.receive()", "arrived = self.error is None and mail.receive()"),
    ),
    "messages left unread by a rank that stops": (
        "endings",
        mail.Mail,
        "receive",
        ("n_misses < LOOKS", "n_misses < 0"),
    ),
    "rows changed while they are written": ("keeping", checkpoints.Keeper, "_begin", ("if not must:", "if False:")),
    "a rank commits by its own disk": (
        "keeping",
        checkpoints.Keeper,
        "after_step",
        ('sums["written"] == self.comm.size', "self.writer.is_written"),
    ),
    "a rank leaves by its own wish": (
        "keeping",
        checkpoints.Keeper,
        "after_step",
        ('sums["leave"]', "self.wishes.of_step(step)[1]"),
    ),
    "a failed part is kept to itself": (
        "keeping",
        snapshot.Writer,
        "commit",
        ("raise_together(self.comm, error)", "if error: raise error"),
    ),
    "a checkpoint is under way whose folder could not be made": (
        "keeping",
        snapshot.Writer,
        "begin",
        ("        self._part =", "        self.step = step\n        self._part ="),
    ),
    "a failure raised by the rank that had it": (
        "runs",
        loop.Loop,
        "_attempt",
        ("self.error = ProgramError(", "raise ProgramError("),
    ),
    "a rank whose agent failed sends nothing": (
        "acts",
        post.Post,
        "deliver",
        ("if self.comm.size > 1 else None", "if self.comm.size > 1 and not error else error"),
    ),
    "a rank that gets on is not heard": (
        "watching",
        watchdog.Watchdog,
        "_stands_still",
        ("age_s >= self.seconds and ", ""),
    ),
    "one leader alone": ("watching", watchdog.Watchdog, "_lead", ("now < self.led_until", "self.turn > 0")),
    "a rank is silent at once": ("watching", watchdog.Watchdog, "_is_silent", (">= limit_s", ">= 0")),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_protocol_is_found_out(what):
    protocol, owner, name, (old, new) = BROKEN[what]
    with mock.patch.object(owner, name, edited(getattr(owner, name), old, new)), pytest.raises(fake_mpi.ScheduleError):
        schedules.explore(protocol, range(MOST), sizes=(3, 4))


# ---------------------------------------------------------------- the fake itself


def test_seed_gives_the_same_schedule_again():
    def turns(seed):
        said = []

        def main(comm):
            for turn in range(5):
                said.append((comm.rank, turn))
                comm.Barrier()

        fake_mpi.run(3, seed, main)
        return said

    assert turns(4) == turns(4)
    assert len({str(turns(seed)) for seed in range(20)}) > 10


def test_blocking_sends_to_each_other_are_a_deadlock_where_they_wait():
    def main(comm):
        comm.Send(np.zeros(3), 1 - comm.rank)
        comm.Recv(np.zeros(3), 1 - comm.rank)

    with pytest.raises(fake_mpi.ScheduleError, match=r"(?s)no rank can go on\nrank 0 at:\n.*comm.Send") as found:
        for seed in range(20):
            fake_mpi.run(2, seed, main)
    assert "rank 1 at:" in str(found.value)


def test_messages_of_one_sender_do_not_overtake_each_other():
    def main(comm):
        if comm.rank:
            for k in range(4):
                comm.isend(k, 0, tag=k % 2)
            return None
        status = fake_mpi.MPI.Status()
        found = [comm.Mprobe(status=status).recv() for _ in range(4 * (comm.size - 1))]
        return sorted(found)

    for seed in range(20):
        assert fake_mpi.run(3, seed, main)[0] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_different_collectives_are_found_out():
    def main(comm):
        return comm.allreduce(1) if comm.rank else comm.allgather(1)

    with pytest.raises(fake_mpi.ScheduleError, match=r"calls all\w+.* where rank \d calls all\w+"):
        fake_mpi.run(2, 0, main)


def test_message_that_nobody_takes_is_found_out():
    with pytest.raises(fake_mpi.ScheduleError, match="never received: 8 bytes from rank 0 to 1, tag 5"):
        fake_mpi.run(2, 0, lambda comm: comm.rank or comm.Isend(np.zeros(1), 1, tag=5) and None)


def test_collectives_give_what_mpi_gives():
    rng = random.Random(3)
    counts = np.array([[rng.randrange(4) for _ in range(3)] for _ in range(3)])

    def main(comm):
        mine = np.arange(counts[comm.rank].sum()) + 100 * comm.rank
        total = np.zeros(2)
        comm.Allreduce(np.array([comm.rank, 1.0]), total)
        there = c.alltoallv(comm, mine, counts[comm.rank], counts[:, comm.rank])
        return total.tolist(), c.alltoallv(
            comm, there, counts[:, comm.rank], counts[comm.rank]
        ).tolist() == mine.tolist()

    assert fake_mpi.run(3, 0, main) == [([3.0, 3.0], True)] * 3
