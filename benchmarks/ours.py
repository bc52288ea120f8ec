"""hpcmp itself: each function loads a graph and gives ``once(k)``, which tells seconds, or what the row is about.

Where a run is timed it is ``result.seconds["run"]``: without compilation and digest.
"""

import contextlib
import importlib.util
import io
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from rivals import pick_sources
from timing import HERE, clock, environment, launcher

import hpcmp

CHANNEL_STEPS = 5
TINY_STEPS = 5000
EXCHANGE_ROWS = 1_000_000


def opened(job, **fields):
    """The graph of a job. Collective."""
    return hpcmp.open_graph(job.comm or self_comm(), job.path, **fields)


def self_comm():
    """A communicator of this process alone. Local."""
    from mpi4py import MPI

    return MPI.COMM_SELF


def built_in(name):
    """Make the contestant that runs a built-in program. Local."""

    def make(job, **options):
        graph, module = opened(job), getattr(hpcmp.algorithms, name)
        if "dtype" in options and "dtype" not in hpcmp.algorithms.options(module):
            raise NotImplementedError(f"{name} has no option dtype")
        if name in ("bfs", "sssp", "betweenness"):
            ids = graph.id[: graph.n_owned][np.argsort(graph.order)]
            sources = [int(ids[at]) for at in pick_sources(graph.in_degree[np.argsort(graph.order)])]

        def once(k):
            if name in ("bfs", "sssp"):
                options["source"] = sources[k % len(sources) if name == "bfs" else 0]
            if name == "betweenness":
                options["sources"] = sources[:4]
            return module.run(graph, threads=job.threads, **options).seconds["run"]

        return once

    return make


PROGRAMS = ("pagerank", "bfs", "sssp", "wcc", "cdlp", "lcc", "triangles", "betweenness")
pagerank, bfs, sssp, wcc, cdlp, lcc, triangles, betweenness = map(built_in, PROGRAMS)


def channel_program(message):
    """One message function summed over 128 float32 channels. Local."""
    return hpcmp.Program(
        name="channels",
        state={"h": ("float32", 128)},
        init=lambda vertex, ctx: np.float32(vertex.id % 7),
        send=lambda vertex, ctx: vertex.h,
        message=message,
        aggregate="sum",
        update=lambda vertex, total, ctx: total,
    )


CHANNEL_PROGRAMS = {
    "sum": channel_program(lambda sent, receiver, edge, ctx: edge.weight * sent),
    "message": channel_program(lambda sent, receiver, edge, ctx: max(sent + edge.weight, np.float32(0))),
}


def channel_graph(job):
    """The graph of channel sums, its weights as float32, which the rivals have too. Collective."""
    graph = opened(job, edge_fields=("weight",))
    return replace(graph, edge_fields={"weight": graph.edge_fields["weight"].astype(np.float32)})


def channel_sum(job, message="sum"):
    """A step of a weighted sum, or of another message, over channels. Collective."""
    graph = channel_graph(job)

    def once(k):
        result = hpcmp.run(CHANNEL_PROGRAMS[message], graph, CHANNEL_STEPS, threads=job.threads)
        return result.seconds["run"] / CHANNEL_STEPS

    return once


def tiny_step(job):
    """Seconds of one step on a graph that fits any cache. Collective."""
    graph = opened(job)
    return lambda k: hpcmp.algorithms.pagerank.run(graph, TINY_STEPS).seconds["run"] / TINY_STEPS


def exchange(job):
    """Every second of 2 M rows goes to the other rank, packed and unpacked. Collective."""
    from hpcmp import halo

    n = 2 * EXCHANGE_ROWS
    ghosts = np.arange(0, n, 2, dtype=np.int64) + n * (1 - job.comm.rank)
    plan = halo.build(job.comm, np.array([0, n, 2 * n]), ghosts)
    bound = plan.bind((np.ones(plan.n_local),))
    return lambda k: clock(lambda: bound.end(bound.begin()))


def bare_exchange(job):
    """Persistent requests on two plain buffers of the same size. Collective."""
    from mpi4py import MPI

    out, into = np.ones(EXCHANGE_ROWS), np.empty(EXCHANGE_ROWS)
    other = 1 - job.comm.rank
    requests = [job.comm.Recv_init(into, other), job.comm.Send_init(out, other)]

    def swap():
        MPI.Prequest.Startall(requests)
        MPI.Request.Waitall(requests)

    return lambda k: clock(swap)


def ingest(job, what="speed"):
    """Text to graph file: edges per second of all ranks, or peak bytes per edge above the libraries'. Collective."""
    from hpcmp import cli
    from hpcmp.cli import convert

    folder = tempfile.mkdtemp() if job.comm.rank == 0 else None
    folder = Path(job.comm.bcast(folder))
    small = folder / "small.tsv"
    if job.comm.rank == 0:
        small.write_text("".join(f"{i}\t{i * 7 % 1000}\n" for i in range(1, 1000)))
    job.comm.Barrier()

    def convert_file(source):
        args = cli.make_parser().parse_args(["convert", str(source), "-o", str(folder / "g.h5")])
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            convert.run(job.comm, args)

    convert_file(small)  # compiles, or loads what was compiled
    n_edges = os.path.getsize(job.path) and count_lines(job)

    def once(k):
        if not job.__dict__.setdefault("is_warm", False):  # the warm-up was the small file
            job.is_warm = True
            return 0.0
        before = memory("VmRSS")
        reset_peak()
        seconds = max(job.comm.allgather(clock(lambda: convert_file(job.path))))
        peak = job.comm.allreduce(memory("VmHWM") - before)
        for path in folder.iterdir() if job.comm.rank == 0 else ():
            path.unlink()
        return peak / n_edges if what == "bytes" else n_edges / seconds

    return once


def count_lines(job):
    """Lines of the input; read by rank 0, which also warms the page cache. Collective."""
    n = 0
    if job.comm.rank == 0:
        with open(job.path, "rb") as file:
            while block := file.read(1 << 24):
                n += block.count(b"\n")
    return job.comm.bcast(n)


def open_file(job):
    """Bytes per second of opening the graph file. Collective."""
    size = os.path.getsize(job.path)

    def once(k):
        start = time.perf_counter()
        graph = opened(job)
        seconds = max(job.comm.allgather(time.perf_counter() - start))
        graph.close()
        return size / seconds

    return once


def pagerank_memory(job):
    """Peak memory of opening and running, above the libraries, in units of 8 bytes/edge + 80/vertex. Collective."""
    state = {"asked": False}

    def once(k):
        if not state["asked"]:  # the warm-up: libraries and kernels, on a graph without size
            state["asked"] = True
            table = hpcmp.generate.ring(self_comm(), 1000)
            hpcmp.algorithms.pagerank.run(hpcmp.build_graph(self_comm(), table)[0], threads=job.threads)
            return 0.0
        before = memory("VmRSS")
        reset_peak()
        graph = opened(job)
        hpcmp.algorithms.pagerank.run(graph, threads=job.threads)
        return (memory("VmHWM") - before) / (8 * graph.n_edges + 80 * graph.n_vertices)

    return once


def memory(name):
    """A line of /proc/self/status in bytes. Local."""
    return next(
        int(s.split()[1]) * 1024 for s in Path("/proc/self/status").read_text().splitlines() if s.startswith(name)
    )


def reset_peak():
    """Let VmHWM start again from what is in use now. Local."""
    Path("/proc/self/clear_refs").write_text("5")


def start(job, on=1, cold=False):
    """Seconds of the whole command ``hpcmp run bfs``, with a warm or an empty cache. Local."""
    argv = [*launcher(on), sys.executable, "-m", "hpcmp", "run", "bfs", job.path]

    def once(k):
        with tempfile.TemporaryDirectory() as empty:
            env = environment() | ({"HPCMP_CACHE_DIR": empty} if cold else {})
            return clock(lambda: subprocess.run(argv, check=True, capture_output=True, env=env))

    return once


def timers(job):
    """Share of a run that is spent in the methods of History. Collective."""
    from hpcmp.engine import history

    spent = [0.0]

    def timed(method):
        def call(*args):
            begin = time.perf_counter()
            method(*args)
            spent[0] += time.perf_counter() - begin

        return call

    for name in ("begin_step", "lap", "carried", "end_step"):
        setattr(history.History, name, timed(getattr(history.History, name)))
    graph = opened(job)

    def once(k):
        spent[0] = 0.0
        seconds = hpcmp.algorithms.pagerank.run(graph, threads=job.threads).seconds["run"]
        return spent[0] / seconds

    return once


def train_epoch(job, kind, widths=(128, 256, 256, 40)):
    """Seconds of an epoch of training: forward, backward, Adam. Collective."""
    from hpcmp import nn
    from hpcmp.nn.data import Data

    graph = opened(job)
    x = np.cos(graph.id[: graph.n_owned, None] * 0.37 + np.arange(widths[0]) * 1.1).astype(np.float32)
    labels = graph.id[: graph.n_owned] % widths[-1]
    make = {
        "gcn": nn.GCN,
        "sage": nn.SAGE,
        "gat": lambda a, b: nn.GAT(a, b // 4, heads=4) if b % 64 == 0 else nn.GAT(a, b, heads=4, concat=False),
    }[kind]

    class Net(nn.Module):
        def __init__(self):
            self.layers = [make(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True)]

        def __call__(self, view, x):
            for layer in self.layers[:-1]:
                x = nn.relu(layer(view, x))
            return self.layers[-1](view, x)

    view, masks = nn.View(graph, job.threads), {"train": np.ones(graph.n_owned, bool)}
    training = nn.Training(Net(), Data(view, view.tensor(x), labels, masks, widths[-1]), nn.Adam(lr=0.01))
    return lambda k: clock(lambda: training.train_once(k))


def train_memory(job, kind):
    """Peak memory of this process after three epochs, in GB. Collective."""
    epoch = train_epoch(job, kind)

    def once(k):
        for t in range(3):
            epoch(t)
        return memory("VmHWM") / 1e9

    return once


def schelling(job, side, rounds):
    """Rounds of examples/schelling.py, without its first two steps: what Mesa's constructor does. Collective."""
    model = example("schelling")
    graph = model.town(job.comm or self_comm(), side, side * side * 4 // 5, 2, seed=1)

    def seconds(n):
        return model.run(graph, n, threads=job.threads).seconds

    return lambda k: seconds(rounds) - min(seconds(0) for _ in range(3))


def agent_steps(job, steps=20):
    """Agents times steps per second, where each sends a message a step to one of its neighbours. Collective."""
    from hpcmp import agents

    ping, walker = agents.MessageType("ping", step="int64"), agents.Agent("walker", {"heard": "int64"})

    @walker.on(ping)
    def hear(me, msg, out, ctx):
        me.heard += 1

    @walker.each_step
    def tell(me, out, ctx):
        if out.degree() > 0:
            out.send(ping, out.neighbour(int(agents.chance(me, ctx) * out.degree())), ctx.step)

    graph = opened(job)
    return lambda k: (
        graph.n_vertices * steps / agents.simulate(graph, [walker], steps=steps, threads=job.threads).seconds
    )


def ten_messages(words=1):
    """Agents that each send ten messages a step over their neighbours, in turn, and add up what they read. Local."""
    from hpcmp import agents

    note = agents.MessageType("note", **{f"word{k}": "int64" for k in range(words)})
    one = agents.Agent("one", {"total": "int64", "at": "int64"})
    more = (0,) * (words - 1)

    @one.on(note)
    def hear(me, msg, out, ctx):
        me.total += msg.word0

    @one.each_step
    def tell(me, out, ctx):
        n, q = out.degree(), me.at
        if n > 0:
            for _ in range(10):
                if q >= n:
                    q = 0
                out.send(note, out.neighbour(q), me.total & 7, *more)
                q += 1
        me.at = q

    return one


def agent_messages(job, trace="off", words=1, is_kept=False, steps=10):
    """Messages per second that agents read, ten sent by each in a step. Collective.

    With ``is_kept`` bytes of a message in the folder of the trail.
    """
    from hpcmp import agents

    graph, one = opened(job), ten_messages(words)

    def once(k):
        with tempfile.TemporaryDirectory() as folder:
            trail = Path(folder) / "trail" if is_kept else None
            run = agents.simulate(graph, [one], steps=steps, threads=job.threads, trace=trace, trail=trail)
            if is_kept:
                return sum(f.stat().st_size for f in trail.iterdir()) / sum(row["sent"] for row in run.counts)
        return sum(row["delivered"] for row in run.counts) / run.seconds

    return once


def write_checkpoint(job, n_bytes=1 << 30):
    """Seconds from a run's state to a checkpoint that has its name. Collective."""
    from hpcmp.io import snapshot

    n = n_bytes // 16 // job.comm.size
    state = {"order": np.arange(n), "value": np.random.default_rng(job.comm.rank).random(n)}

    def once(k):
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            writer = snapshot.Writer(job.comm, job.comm.bcast(folder))

            def write():
                writer.begin(k + 1, {}, {"vertices": state})
                writer.commit()

            seconds = clock(write)
            writer.close()
            job.comm.Barrier()
        return seconds

    return once


def example(name):
    """A file of examples/ as a module. Local."""
    spec = importlib.util.spec_from_file_location(name, HERE.parent / "examples" / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # numba looks for it there when it loads kernels
    spec.loader.exec_module(module)
    return module


def predicted(job):
    """Predicted over measured seconds of a step of PageRank. Collective."""
    from hpcmp.cli import cost

    graph = opened(job)
    share = cost.shares(graph, [graph.comm.size])[graph.comm.size]

    def once(k):
        step = cost.predict(share, cost.calibrate(graph, 0))["step_s"]
        run = hpcmp.algorithms.pagerank.run(graph, threads=job.threads)
        return step / (run.seconds["run"] / run.n_steps)

    return once
