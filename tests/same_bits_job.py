"""One digest for each program, whatever runs it: mpiexec -n P python tests/same_bits_job.py [--share 2]

Runs every program of `PROGRAMS` on one graph, for each order of the input's
edges, each partition, each number of threads, with and without overlap; prints
on rank 0 a JSON object: program -> digest -> list of the settings that gave it.

``python tests/same_bits_job.py --table`` starts that on 1, 2, 3, 4 and 7 ranks
and writes docs/same-bits.md.
"""

import hashlib
import itertools
import json
import math
import platform
import sys
from pathlib import Path

import numpy as np

import hpcmp
from hpcmp import agents, algorithms, generate
from hpcmp.engine import push
from hpcmp.graph import with_vertex_field
from hpcmp.io.table import EdgeTable
from hpcmp.kernels import csr

RANKS = (1, 2, 3, 4, 7)
ORDERS = ("sorted", "shuffled")
METHODS = ("block", "hash", "metis")
THREADS = (1, 2)
OVERLAPS = (True, False)
N_PARTS = 14
SCALE = 9
HUB_EDGES = 5000  # so that one row has more than one segment of 4096 edges
CHUNK_WORK = 256  # rows and edges a thread takes at once: small, so that two threads share this graph

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "same-bits.md"
ROWS = {  # program -> what the table says of it
    "pagerank": "PageRank, float64, 20 steps",
    "sssp": "shortest paths over float64 weights",
    "weighted_sum": "weighted sum over 8 float32 channels, 4 steps",
    "std": "standard deviation of what neighbours hold, 4 steps",
    "softmax_sum": "softmax-weighted sum, 4 steps",
    "cdlp": "label propagation, 10 steps",
    "two_relations": "a message function for each of two relations, 4 steps",
    "agents": "two types of agents, 8 steps: states and trail; plain Python where there is no overlap",
}

# ---------------------------------------------------------------- programs


def start_channels(vertex, ctx, out):
    for k in range(8):
        out[k] = 1.0 / (1 + (vertex.id * (k + 3)) % 97)


weighted_sum = hpcmp.Program(
    state={"h": ("float32", 8)},
    init=start_channels,
    message=lambda sent, receiver, edge, ctx: sent * edge.weight,
    # The digits that rounding to float32 would hide: an order of its own anywhere changes them.
    update=lambda vertex, total, ctx: (total * 2.0**34) % 1.0,
    steps=4,
)

std = hpcmp.Program(
    state={"x": "float64"},
    init=lambda vertex, ctx: (vertex.id % 97) / 7,
    aggregate="std",
    update=lambda vertex, spread, ctx: vertex.x / 3 + spread,
    steps=4,
)

softmax_sum = hpcmp.Program(
    state={"x": "float64"},
    init=lambda vertex, ctx: (vertex.id % 89) / 11,
    message=lambda sent, receiver, edge, ctx: (edge.weight * sent - receiver.x, sent),
    aggregate="softmax_sum",
    update=lambda vertex, total, ctx: 0.1 + 0.9 * total,
    steps=4,
)

two_relations = hpcmp.Program(
    state={"x": "float64", "y": "float64"},
    init=lambda vertex, ctx: (1 / (1 + vertex.id % 31), math.sqrt(vertex.id)),
    send=lambda vertex, ctx: (vertex.x, vertex.y),
    messages={
        "cites": lambda sent, receiver, edge, ctx: edge.weight * sent[0] / 3,
        "writes": lambda sent, receiver, edge, ctx: sent[1] - receiver.y / 7,
    },
    update=lambda vertex, total, ctx: (total / (1 + vertex.in_degree), vertex.x + vertex.y / 5),
    steps=4,
)

# Agents that write along two relations by chance, wait, merge what comes, come late, and leave.
Word = agents.MessageType("word", relation="cites", x="float64")
Deed = agents.MessageType("deed", relation="writes", n="int64")
Tick = agents.MessageType("tick")


def add(into, msg):
    into.x += msg.x / 3


def hear(me, msg, out, ctx):
    me.x = me.x / 7 + msg.x
    if out.degree(Deed) > 0:
        q = int(agents.chance(me, ctx, 1) * out.degree(Deed))
        out.send_later(1 + int(agents.chance(me, ctx, 2) * 3), Deed, out.neighbour(q, Deed), me.n)


def take(me, msg, out, ctx):
    me.n = me.n * 31 + msg.sender + msg.n


def tick(me, msg, out, ctx):
    me.x += agents.chance(me, ctx, 3)
    if me.n % 5 == 0:
        out.leave()


def speak(me, out, ctx):
    if out.degree(Word) > 0 and agents.chance(me, ctx, 4) < 0.5:
        out.send(Word, out.neighbour(int(agents.chance(me, ctx, 5) * out.degree(Word)), Word), me.x + 0.1)
    if agents.chance(me, ctx, 6) < 0.3:
        out.send_later(1 + me.id % 3, Tick, me.id)


def worth(me, ctx):
    return me.x


def people():
    """Two types of agents, one of which forgets."""
    types = [agents.Agent(name, {"x": "float64", "n": "int64"}) for name in ("talker", "doer")]
    for agent, policy in zip(types, ("drop_old", "drop_new"), strict=True):
        agent.on(Word, limit=2, policy=add)(hear)
        agent.on(Deed, limit=1, policy=policy)(take)
        agent.on(Tick)(tick)
        agent.each_step(speak)
        agent.measure(hpcmp.Sum)(worth)
    return types


class History(str):
    """What a run of agents left: SHA-256 of states, trail and measures."""

    @property
    def digest(self):
        return hashlib.sha256(self.encode()).hexdigest()


def live(graph, threads, overlap):
    """Run `people`. Collective."""
    id = graph.id[: graph.n_owned]
    staged = with_vertex_field(with_vertex_field(graph, "role", id % 2), "comes", np.where(id % 5 == 1, 3, 0))
    run = agents.simulate(
        staged, people(), steps=8, seed=7, joins="comes", trace="full", threads=threads, check=not overlap
    )
    return History(f"{run.digest} {run.trail_digest} {run.measures['worth'].tolist()} {run.counts}")


PROGRAMS = {
    "pagerank": algorithms.find("pagerank").run,
    "sssp": algorithms.find("sssp").run,
    "weighted_sum": lambda graph, **how: hpcmp.run(weighted_sum, graph, **how),
    "std": lambda graph, **how: hpcmp.run(std, graph, **how),
    "softmax_sum": lambda graph, **how: hpcmp.run(softmax_sum, graph, **how),
    "cdlp": algorithms.find("cdlp").run,
    "two_relations": lambda graph, **how: hpcmp.run(two_relations, graph, **how),
    "agents": live,
}

# ---------------------------------------------------------------- graphs


def whole_table(comm):
    """All edges, on every rank alike: a Kronecker graph, and a hub. Collective."""
    edges = generate.kronecker(comm, SCALE, weights=(0.1, 2.0))
    src, dst, weight = (
        np.concatenate(comm.allgather(column)) for column in (edges.src, edges.dst, edges.fields["weight"])
    )
    n = 1 << SCALE
    spread = np.arange(HUB_EDGES) * 7 % n
    src, dst = np.concatenate((src, spread)), np.concatenate((dst, np.full(HUB_EDGES, n // 2)))
    weight = np.concatenate((weight, 1 / (1 + np.arange(HUB_EDGES))))
    relation = ((src * 31 + dst * 17 + np.arange(len(src))) % 3 == 0).astype(np.uint16)
    return src, dst, weight, relation


def table_in(comm, columns, order):
    """The edges in another order, this rank's share of them. Collective."""
    src, dst, weight, relation = columns
    if order == "sorted":
        by = np.lexsort((relation, weight, dst, src))
    else:
        by = np.random.default_rng(5).permutation(len(src))
    mine = by[comm.rank :: comm.size] if order == "shuffled" else np.array_split(by, comm.size)[comm.rank]
    return EdgeTable(
        src[mine],
        dst[mine],
        {"weight": weight[mine]},
        relation[mine],
        ("cites", "writes"),
        np.arange(comm.rank, 1 << SCALE, comm.size),
        directed=False,
    )


def settings(order, method, share):
    """Threads and overlap to run with: all, or with ``share=2`` every second setting, in which all pairs occur. Local."""
    number = ORDERS.index(order) + METHODS.index(method)
    for (i, threads), (k, overlap) in itertools.product(enumerate(THREADS), enumerate(OVERLAPS)):
        if (number + i + k) % share == 0:
            yield threads, overlap


def digests(comm, share):
    """program -> digest -> settings that gave it. Collective."""
    csr.CHUNK_WORK, push.MIN_PUSHED_EDGES = CHUNK_WORK, 0
    columns = whole_table(comm)
    found = {name: {} for name in PROGRAMS}
    for order in ORDERS:
        built, _ = hpcmp.build_graph(comm, table_in(comm, columns, order))
        for method in METHODS:
            graph = hpcmp.repartition(built, method, N_PARTS)
            if graph.digest != built.digest:
                raise AssertionError(f"another partition gave the graph another digest: {method}")
            for threads, overlap in settings(order, method, share):
                setting = [comm.size, method, threads, order, overlap]
                for name, run in PROGRAMS.items():
                    digest = run(graph, threads=threads, overlap=overlap).digest
                    found[name].setdefault(digest, []).append(setting)
    return found


# ---------------------------------------------------------------- the table in the docs


def machine():
    """What exp, the one function here that is not ours, depends on: str."""
    return f"{platform.machine()}, {' '.join(platform.libc_ver())}"


def table(found):
    """docs/same-bits.md for digests ``{program: digest}``: str."""
    n_runs = len(RANKS) * len(METHODS) * len(THREADS) * len(ORDERS) * len(OVERLAPS)
    lines = [
        "# Same bits",
        "",
        "A result does not depend on the number of ranks or threads, on the partition, on the order of edges in the input,",
        "nor on whether communication was overlapped. Each digest below (SHA-256 over ids and fields) is that of",
        f"{n_runs} runs: every combination of",
        "",
        f"* ranks {', '.join(map(str, RANKS))}",
        f"* partition {', '.join(METHODS)} ({N_PARTS} parts)",
        f"* threads {', '.join(map(str, THREADS))}",
        f"* edges of the input {', '.join(ORDERS)}",
        "* overlap on, off",
        "",
        f"on a Kronecker graph of scale {SCALE} with float64 weights, repeated edges and loops, and one vertex that hears",
        f"more than {HUB_EDGES} edges. `python tests/same_bits_job.py --table` writes this file, `tests/test_same_bits.py`",
        "checks it: every second setting, in which all pairs occur; all of them with HPCMP_LONG_TESTS=1.",
        "",
        "| program | runs | digest |",
        "|---|---|---|",
        *(f"| {ROWS[name]} | {n_runs} | `{found[name]}` |" for name in ROWS),
        "",
        "Arithmetic, comparisons and square roots round alike on any machine. The softmax-weighted sum also calls `exp`, which",
        f"is the C library's: its digest holds for {machine()}.",
    ]
    return "\n".join(lines) + "\n"


def documented():
    """What the table says: program -> digest. Local."""
    lines = DOCUMENT.read_text().splitlines()
    digests = [line.split("`")[1] for line in lines if line.startswith("| ") and "`" in line]
    return dict(zip(ROWS, digests, strict=True))


def digests_on(ranks, share=1):
    """`digests` in a job of so many ranks. Local."""
    import jobs

    done = jobs.run_script(ranks, "same_bits_job.py", "--share", share)
    if done.returncode:
        raise AssertionError(done.stderr[-6000:])
    return json.loads(done.stdout.splitlines()[-1])


def one_digest(ranks):
    """The digest of each program, which all its runs share: program -> digest. Local."""
    out = {}
    for name, by_digest in digests_on(ranks).items():
        if len(by_digest) > 1:
            raise AssertionError(f"{name} gave {len(by_digest)} digests: {by_digest}")
        out[name] = next(iter(by_digest))
    return out


def main():
    if "--table" in sys.argv:
        found = [one_digest(ranks) for ranks in RANKS]
        if any(other != found[0] for other in found):
            raise AssertionError(f"the digests depend on the number of ranks: {dict(zip(RANKS, found))}")
        DOCUMENT.write_text(table(found[0]))
        return
    from hpcmp.comm import ends_all_ranks, world

    comm = world()
    with ends_all_ranks(comm):
        found = digests(comm, int(sys.argv[-1]) if "--share" in sys.argv else 1)
    if comm.rank == 0:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
