"""Protocols of several ranks under many schedules: python tests/schedules.py [N [PROTOCOL ...]]

Runs N schedules (5000 without) of the protocols in turn, with other seeds every time it is given another first seed
(``--first``). A failing one tells its seed; ``explore(PROTOCOL, [seed])`` does it again.
"""

import argparse
import contextlib
import functools
import math
import os
import random
import shutil
import sys
import tempfile
import time
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import fake_mpi
import numpy as np

import hpcmp
from hpcmp import agents, generate, watchdog
from hpcmp import comm as c
from hpcmp.engine import asynchronous, checkpoints
from hpcmp.errors import FileError, GraphError, HpcmpError, ProgramError, RemoteError, Suspended
from hpcmp.halo import Halo, build
from hpcmp.io import snapshot
from hpcmp.mail import Mail

SIZES = (2, 3, 4)
PLANS = 40  # different graphs

# ---------------------------------------------------------------- graphs


@functools.cache
def plan(number, size):
    """A small graph on some ranks: (edges, bounds of owned rows, ghosts of each rank)."""
    rng = random.Random(number)
    n = rng.randrange(size, 4 * size)
    if number % 2:  # a long way over all ranks
        path = rng.sample(range(n), n)
        edges = set(zip(path, path[1:], strict=False))
    else:
        ends = [(rng.randrange(n), rng.randrange(n)) for _ in range(rng.randrange(1, 3 * n))]
        edges = {(a, b) for a, b in ends if a != b}
    edges = sorted(edges | {(b, a) for a, b in edges})
    bounds = np.array([0, *sorted(rng.randrange(n + 1) for _ in range(size - 1)), n], np.int64)
    ghosts = []
    for r in range(size):
        owned = range(bounds[r], bounds[r + 1])
        ghosts.append(np.array(sorted({a for a, b in edges if b in owned and a not in owned}), np.int64))
    return edges, bounds, ghosts


def halo_of(comm, number):
    """The halo of this rank, as `hpcmp.halo.build` would make it, without a word to the others."""
    _, bounds, ghosts = plan(number, comm.size)
    first, end = int(bounds[comm.rank]), int(bounds[comm.rank + 1])
    owner = c.owner_of(bounds, ghosts[comm.rank])
    recv_ranks, counts = np.unique(owner, return_counts=True)
    asked = {r: g[(g >= first) & (g < end)] - first for r, g in enumerate(ghosts) if r != comm.rank}
    asked = {r: rows for r, rows in asked.items() if len(rows)}
    rows = np.concatenate([*asked.values(), np.empty(0, np.int64)]).astype(np.intp)
    return Halo(
        comm,
        end - first,
        len(ghosts[comm.rank]),
        np.array(list(asked), np.int64),
        np.cumsum([0, *map(len, asked.values())]),
        rows,
        recv_ranks,
        np.cumsum([0, *counts]),
    )


def gids(comm, number):
    """Of owned rows, then of ghosts."""
    _, bounds, ghosts = plan(number, comm.size)
    return np.concatenate((np.arange(bounds[comm.rank], bounds[comm.rank + 1]), ghosts[comm.rank]))


# ---------------------------------------------------------------- protocols


def routes(comm, seed):
    """Rows to a few ranks that do not expect them, twice, and to the ranks that own them."""
    rng = random.Random(seed)
    for _ in range(2):
        told = {
            (a, b): rng.randrange(4)
            for a in range(comm.size)
            for b in range(comm.size)
            if a != b and rng.random() < 0.5
        }
        outgoing = {b: np.arange(n) + 10 * a + b for (a, b), n in told.items() if a == comm.rank}
        found = c.sparse_exchange(comm, outgoing, np.int64)
        assert list(found) == sorted(a for a, b in told if b == comm.rank)
        for a, rows in found.items():
            assert np.array_equal(rows, np.arange(told[a, comm.rank]) + 10 * a + comm.rank)
    destination = np.array([rng.randrange(comm.size) for _ in range(5 * comm.size)])[comm.rank :: comm.size]
    route = c.Route(comm, destination)
    assert np.array_equal(route.there(destination), np.full(route.recv_counts.sum(), comm.rank))
    assert np.array_equal(route.back(route.there(destination * 7)), destination * 7)


def halos(comm, seed):
    """A halo is built; its exchanges, several in flight."""
    number = seed % PLANS
    _, bounds, ghosts = plan(number, comm.size)
    halo, expected, mine = build(comm, bounds, ghosts[comm.rank]), halo_of(comm, number), gids(comm, number)
    for name in ("send_ranks", "send_ptr", "send_rows", "recv_ranks", "recv_ptr"):
        assert np.array_equal(getattr(halo, name), getattr(expected, name))
    n = halo.n_owned
    bound = np.zeros(halo.n_local)
    exchange = halo.bind((bound,))
    for turn in range(2):
        x, y = np.where(np.arange(halo.n_local) < n, mine + turn, 0.0), np.zeros((halo.n_local, 2), np.int32)
        y[:n] = mine[:n, None] * [2, 3]
        bound[:n] = mine[:n] * 5.0 + turn
        first, second, third = halo.forward_begin(x), halo.forward_begin((y, x.copy())), exchange.begin()
        bound_end, first_end = (lambda: exchange.end(third)), (lambda: halo.forward_end(x, first))
        for end in (bound_end, first_end) if (comm.rank + turn) % 2 else (first_end, bound_end):
            end()
        halo.forward_end((y, x.copy()), second)
        assert np.array_equal(x, mine + turn) and np.array_equal(bound, mine * 5.0 + turn)
        assert np.array_equal(y, mine[:, None] * np.array([2, 3]))
    ones = np.where(np.arange(halo.n_local) < n, 0, 1)
    halo.reverse(ones)
    assert ones[:n].tolist() == [sum(g in some for some in ghosts) for g in mine[:n]]
    changed = np.zeros(halo.n_local, np.bool_)
    changed[:n] = mine[:n] % 3 != 0
    z = np.where(changed, mine * 1.5, 0.0)
    pending = halo.changed_begin((z,), changed)
    z[n:] = -1.0
    halo.changed_end((z,), changed, pending)
    assert np.array_equal(changed, mine % 3 != 0) and np.array_equal(z[n:], np.where(changed, mine * 1.5, -1.0)[n:])
    length = mine[:n] % 4
    ptr = np.concatenate(([0], np.cumsum(length)))
    ghost_ptr, values = halo.forward_ragged(ptr, np.repeat(mine[:n], length))
    assert np.array_equal(np.diff(ghost_ptr), mine[n:] % 4)
    assert np.array_equal(values, np.repeat(mine[n:], mine[n:] % 4))
    halo.close()


def failures(comm, seed):
    """Several agreements in a row, in each of which some ranks fail."""
    rng = random.Random(seed)
    for turn in range(3):
        failing = {r: rng.choice((GraphError, FileError, KeyError)) for r in range(comm.size) if rng.random() < 0.3}
        error = None
        try:
            with c.together(comm):
                if comm.rank in failing:
                    raise failing[comm.rank](f"turn {turn}")
        except (HpcmpError, KeyError, RemoteError) as caught:
            error = caught
        told = comm.allgather(type(error).__name__)
        if not failing:
            assert told == ["NoneType"] * comm.size
            continue
        first = failing[min(failing)]
        assert f"turn {turn}" in str(error) and error.agreed
        if first is KeyError:  # the rank's own, and word of it elsewhere
            assert told == ["KeyError" if r == min(failing) else "RemoteError" for r in range(comm.size)]
        else:
            assert told == [first.__name__] * comm.size


class Smallest(asynchronous.AsyncLoop):
    """Each row learns the smallest gid that reaches it, without steps."""

    def __init__(self, comm, number, failing):
        edges, bounds, _ = plan(number, comm.size)
        halo = halo_of(comm, number)
        self.comm, self.graph, self.error, self.step = comm, SimpleNamespace(halo=halo), None, 0
        self.program, self.progress, self.failing, self.n_calls = None, None, failing, 0
        self.x = gids(comm, number).copy()
        place = {int(g): k for k, g in enumerate(self.x)}
        self.x[halo.n_owned :] = 1000
        owned = range(bounds[comm.rank], bounds[comm.rank + 1])
        self.edges = [(place[a], place[b]) for a, b in edges if b in owned]
        self.mail = Mail(halo, (self.x,))
        self.mail.mark(np.arange(halo.n_owned))

    def work(self, mail):
        """All that follows from what has come."""
        self.n_calls += 1
        if self.failing == (self.comm.rank, self.n_calls):
            raise ValueError("too hot")
        mail.take_ghosts()
        news = True
        while news:
            news = [(a, b) for a, b in self.edges if self.x[a] < self.x[b]]
            for a, b in news:
                self.x[b] = min(self.x[a], self.x[b])
                mail.mark([b])


def endings(comm, seed):
    """A run without steps ends when all is done, or a rank has failed, and not before."""
    number, rng = seed % PLANS, random.Random(seed)
    failing = (rng.randrange(comm.size), rng.randrange(1, 4)) if rng.random() < 0.3 else None
    loop = Smallest(comm, number, failing)
    loop._go_on(loop.mail, loop.work)
    has_failed = comm.allreduce(int(loop.error is not None))
    sent, received = comm.allreduce(loop.mail.n_sent), comm.allreduce(loop.mail.n_received)
    assert sent == received
    if has_failed:
        with contextlib.suppress(ProgramError):
            c.raise_together(comm, loop.error)
            raise AssertionError("a rank failed and others went on")
    else:
        assert np.array_equal(loop.x, smallest(number, comm.size)[gids(comm, number)])


@functools.cache
def smallest(number, size):
    edges, bounds, _ = plan(number, size)
    x = np.arange(bounds[-1])
    for _ in x:
        for a, b in edges:
            x[b] = min(x[a], x[b])
    return x


class _Slow:
    """A thread that works when it likes: what it was given is done at a look that chance chooses."""

    def __init__(self, n_threads=1, is_full=lambda: False):
        self.is_full = is_full

    def submit(self, work, *args):
        return _Later(self.is_full(), lambda: work(*args))

    def close(self):
        """Nothing is left."""


class _Later(Future):
    def __init__(self, is_full, work):
        super().__init__()
        self.is_full, self.work = is_full, work

    def done(self):
        if not super().done() and fake_mpi.here().world.rng.random() < 0.5:
            self._do()
        return super().done()

    def result(self, timeout=None):
        if not super().done():
            self._do()
        return super().result()

    def _do(self):
        try:
            if self.is_full:
                raise OSError(28, "No space left on device")
            self.set_result(self.work())
        except OSError as error:
            self.set_exception(error)


class _Wishes:
    """Wishes by chance: rank 0 to write, any to leave."""

    every = None

    def __init__(self, comm, rng, steps):
        self.comm, self.leaves = comm, {rng.randrange(2 * steps): rng.randrange(comm.size)}
        self.writes = {step for step in range(steps) if rng.random() < 0.4}
        self.cost_s = 0.0

    def of_step(self, step):
        """Of the script."""
        return int(self.comm.rank == 0 and step in self.writes), int(self.leaves.get(step) == self.comm.rank)

    def written(self, cost_s):
        """No clock."""


def keeping(comm, seed):
    """Checkpoints of a run: of parts that are written in their own time, on disks that may be full."""
    rng, steps = random.Random(seed), 8
    folder = Path(tempfile.gettempdir()) / f"hpcmp-schedules-{os.getpid()}"
    full = {(step, rng.randrange(comm.size)) for step in range(steps) if rng.random() < 0.2}  # no room for a part
    closed = {step for step in range(steps) if rng.random() < 0.1}  # nor for its folder
    wishes = _Wishes(comm, rng, steps)
    if comm.rank == 0:
        shutil.rmtree(folder, ignore_errors=True)
        _CLOSED[:] = closed
    comm.Barrier()
    asked, error = checkpoints.Checkpoints(folder, on_signal=False, resume=True), None
    keeper = checkpoints.Keeper(comm, asked, {"graph": "g"})
    keeper.writer._thread = _Slow(is_full=lambda: (keeper.writer.step, comm.rank) in full)
    keeper.wishes = wishes
    assert keeper.resume() is None
    x = np.full(3, -1)
    try:
        for step in range(steps):
            x[:] = step
            sums = {name: comm.allreduce(n) for name, n in keeper.of_step(step).items()}
            keeper.after_step(step, sums, lambda: ({}, {"rows": {"x": x}}))
        keeper.finish()
    except (Suspended, FileError) as caught:
        error = caught
    told = set(comm.allgather((type(error).__name__, str(error), keeper.writer.n_written)))
    assert len(told) == 1, f"ranks do not agree: {told}"
    assert error is None or error.agreed
    left = min(wishes.leaves)
    is_full = left in closed or any((left, r) in full for r in range(comm.size))
    expected = type(None) if left >= steps else FileError if is_full else Suspended
    assert type(error) is expected, f"{error!r}, not {expected.__name__}"
    found = snapshot.load_newest(comm, folder, None)
    if isinstance(error, Suspended):
        assert found.step == left
    assert not list(folder.glob(".step-*"))
    if found is not None:
        assert set(found.tables["rows"]["x"]) <= {found.step}
        assert comm.allreduce(len(found.tables["rows"]["x"])) == 3 * comm.size
    assert (found is None) == (keeper.writer.n_written == 0)
    if found is not None:
        comm.Barrier()
        if comm.rank == 0:
            _damage(rng.choice(sorted(snapshot.path_of(folder, found.step).iterdir())))
        comm.Barrier()
        older = snapshot.load_newest(comm, folder, lambda text: None)
        steps_left = comm.allgather(None if older is None else older.step)
        assert steps_left == [min(snapshot.steps_in(folder))] * comm.size or steps_left == [None] * comm.size
        assert older is None or older.step < found.step
    comm.Barrier()
    if comm.rank == 0:
        shutil.rmtree(folder)


def _damage(path):
    """Another bit in the middle of a file."""
    text = bytearray(path.read_bytes())
    text[len(text) // 2] ^= 1
    path.write_bytes(text)


_CLOSED: list = []  # steps whose folder cannot be made


def _new_part_folder(path, make=snapshot.new_part_folder):
    if int(path.name.partition("-")[2]) in _CLOSED:
        raise OSError(28, "No space left on device")
    return make(path)


def _spread(vertex, smallest, ctx):
    if vertex.id == ctx.fails and smallest < 5:
        raise ValueError("too hot")
    return min(vertex.x, smallest)


LABELS = hpcmp.Program(
    state={"x": "int64"},
    init=lambda vertex, ctx: vertex.id,
    update=_spread,
    aggregate="min",
    only_changed=True,
    monotone=True,
    params={"fails": -1},
)


def runs(comm, seed):
    """A graph is built and a program run on it, in every mode; a function of one rank may fail."""
    mode, fails = ("step", "frontier", "async")[seed % 3], 7 if seed % 4 == 0 else -1
    graph, _ = hpcmp.build_graph(comm, generate.ring(comm, 9), n_parts=5)
    try:
        found = hpcmp.run(LABELS, graph, mode=mode, check=True, params={"fails": fails})
    except ProgramError as error:
        assert fails >= 0 and error.agreed and "too hot" in str(error)
    else:
        assert fails < 0 and not found["x"].any()


Word = agents.MessageType("word", hops="int64")
TALKER = agents.Agent("talker", state={"heard": "int64"})


@TALKER.on(Word)
def _hear(me, msg, out, ctx):
    me.heard += msg.hops
    if ctx.to_anybody:
        out.send(Word, (7 * me.id + msg.hops) % 9, msg.hops + 1)
    else:
        out.to_neighbours(Word, msg.hops + 1)


@TALKER.each_step
def _talk(me, out, ctx):
    if ctx.step == 0:
        out.to_neighbours(Word, me.id)
    if ctx.step == 3 and me.id == ctx.fails:
        raise ValueError("too hot")


def acts(comm, seed):
    """Agents that write to neighbours or to anybody; a function of one may fail."""
    fails, to_anybody = 7 if seed % 4 == 0 else -1, seed % 8 < 4
    params = {"fails": fails, "to_anybody": to_anybody}
    graph, _ = hpcmp.build_graph(comm, generate.ring(comm, 9), n_parts=5)
    try:
        found = agents.simulate(graph, [TALKER], steps=5, params=params, any_receiver=to_anybody, check=True)
    except ProgramError as error:
        assert fails >= 0 and error.agreed and "too hot" in str(error)
    else:
        assert fails < 0 and len(found.counts) == 5
        heard = comm.allreduce(int(found["heard"].sum()))
        assert heard == HEARD[to_anybody], heard


HEARD = {True: 396, False: 1692}  # by all agents in five steps


def leaving(comm, seed):
    """Runs that leave when one rank is told to, after any step, and go on."""
    rng, folder = random.Random(seed), Path(tempfile.gettempdir()) / f"hpcmp-schedules-{os.getpid()}"
    graph, _ = hpcmp.build_graph(comm, generate.ring(comm, 9), n_parts=5)
    asked = hpcmp.Checkpoints(folder, rng.randrange(1, 4), resume=True, on_signal=False)
    how = {"check": True, "checkpoints": asked, "progress": lambda text: None}
    if comm.rank == 0:
        shutil.rmtree(folder, ignore_errors=True)
    n_left = 0
    while True:
        leaves = (rng.randrange(comm.size), rng.randrange(1, 5)) if n_left < 3 else None
        comm.Barrier()
        _LEAVES[:] = [leaves]
        comm.Barrier()
        try:
            if seed % 2:
                found = hpcmp.run(LABELS, graph, **how)
                assert found.n_steps == 5 and not found["x"].any()
            else:
                params = {"fails": -1, "to_anybody": True}
                found = agents.simulate(graph, [TALKER], steps=5, params=params, any_receiver=True, **how)
                assert comm.allreduce(int(found["heard"].sum())) == HEARD[True]
        except Suspended as error:
            assert error.agreed and leaves is not None
            n_left += 1
        else:
            break
    assert comm.allgather(n_left) == [n_left] * comm.size
    comm.Barrier()
    if comm.rank == 0:
        shutil.rmtree(folder)


_LEAVES: list = []  # (rank, after how many of its steps)


def _leaves(self, now):
    self.n_asked = getattr(self, "n_asked", 0) + 1
    return (self.rank, self.n_asked) in _LEAVES


class _Watch(watchdog.Watchdog):
    """A watchdog whose looks a schedule drives; it tells instead of ending the job."""

    def _report(self):
        return "here", None, ""

    def _end(self, silent, reports):
        self.comm.world.table.verdicts.append((self.comm.rank, silent, sorted(reports)))


def _clock():
    """Of this rank."""
    comm = fake_mpi.here()
    return comm.world.table.rounds[comm.rank] * TICK_S


def _tick(seconds=0):
    """Let a rank's clock go on, if it is not too fast, and messages arrive in time."""
    comm = fake_mpi.here()
    world, rounds = comm.world, comm.world.table.rounds
    world.turn(comm.me, "tick", lambda: rounds[comm.rank] <= min(rounds.values()) + 2)
    rounds[comm.rank] += 1
    world.n_events += 1
    while rounds[comm.rank] % FLUSH == 0 and world.on_its_way:
        world._arrive(must=True)


TICK_S = 0.25  # of a rank's clock; ranks' clocks differ by two of them at most
FLUSH = 4  # no message takes longer than so many


def watching(comm, seed):
    """Ranks that get on, stand still or are stopped: the job is ended if none gets on, and only then."""
    rng, world = random.Random(seed), comm.world
    seconds, begin_s = rng.choice((4.0, 10.0)), 3.0
    kinds = [rng.choice(("still", "still", "silent", "works")) for _ in range(comm.size)]
    kinds[rng.randrange(comm.size)] = "still" if seed % 2 else "works"
    if seed % 2:
        kinds = ["still" if kind == "works" else kind for kind in kinds]
    since = [begin_s + 2 * rng.random() for _ in kinds]  # when each stands still or is stopped
    watch = _Watch(comm, seconds)
    if not hasattr(world, "table"):
        world.table = SimpleNamespace(rounds=dict.fromkeys(range(comm.size), 0), verdicts=[])
    table, mine, now, last = world.table, kinds[comm.rank], 0.0, 0.0
    while not table.verdicts and now < 2 * seconds + begin_s + 12:
        if mine == "silent" and now >= since[comm.rank]:
            break
        _tick()
        now = _clock()
        stands_still = now >= since[comm.rank] and mine == "still"
        if not stands_still and (rng.random() < 0.5 * TICK_S or now - last > 0.8 * seconds):
            last = now
        watch.age_s = now - last
        watch._listen(now)
        watch._lead(now)
    table.rounds.pop(comm.rank, None)
    comm.Barrier()
    world.posted.clear()  # questions to those that are stopped
    if "works" in kinds:
        assert not table.verdicts, f"{kinds}: {table.verdicts}"
    else:
        assert table.verdicts, f"{kinds}: no rank was told of"
        leader, silent, told = table.verdicts[0]
        assert silent == [r for r, kind in enumerate(kinds) if kind == "silent"], f"{kinds}: {table.verdicts}"
        assert told == [r for r, kind in enumerate(kinds) if kind == "still"], f"{kinds}: {table.verdicts}"
        assert now <= seconds + max(since) + 10, f"{kinds}: after {now} s"


PROTOCOLS = {f.__name__: f for f in (routes, halos, failures, endings, keeping, runs, acts, leaving, watching)}

COSTS = {"runs": 6, "acts": 6, "leaving": 15}  # of a schedule, where one of the others is 1: fewer are run


def explore(protocol, seeds, sizes=SIZES):
    """Schedules of a protocol, one a seed; how many.

    Raises
    ------
    ScheduleError
        Of the first that fails, with its seed.
    """
    main = PROTOCOLS[protocol] if isinstance(protocol, str) else protocol
    with (
        mock.patch.object(asynchronous, "_rest", lambda n_idle: None),
        mock.patch.object(snapshot, "new_part_folder", _new_part_folder),
        mock.patch.object(snapshot, "Workers", _Slow),
        mock.patch.object(checkpoints.Wishes, "_leaves", _leaves),
        mock.patch.object(watchdog, "time", SimpleNamespace(monotonic=_clock, sleep=_tick)),
        mock.patch.object(os, "fsync", lambda descriptor: None),
    ):
        for seed in seeds:
            size = sizes[seed % len(sizes)]
            try:
                fake_mpi.run(size, seed, lambda comm, seed=seed: main(comm, seed))
            except fake_mpi.ScheduleError:
                raise
            except Exception as error:
                raise fake_mpi.ScheduleError(f"seed {seed}, {size} ranks: {type(error).__name__}: {error}") from error
    return len(seeds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("n", nargs="?", type=int, default=5000)
    parser.add_argument("protocols", nargs="*", default=list(PROTOCOLS))
    parser.add_argument("--first", type=int, default=0, help="first seed")
    args = parser.parse_args()
    begin, n_all = time.perf_counter(), 0
    shares = {name: 1 / COSTS.get(name, 1) for name in args.protocols}
    for name, share in shares.items():
        start = time.perf_counter()
        n = explore(name, range(args.first, args.first + math.ceil(args.n * share / sum(shares.values()))))
        sys.stdout.write(f"{name}: {n} schedules, {time.perf_counter() - start:.1f} s\n")
        sys.stdout.flush()
        n_all += n
    sys.stdout.write(f"{n_all} schedules, {time.perf_counter() - begin:.1f} s\n")


if __name__ == "__main__":
    main()
