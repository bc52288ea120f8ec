"""The table of rows: who is timed, what is made of the times, and the target.

T is the time of 20 matrix-vector products of python-graphblas on the same graph
(float32, semiring plus_second, the same threads). Rows without a target are
only to be looked at: igraph and scipy work on one thread, and so do we there.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Contestant:
    """One process, or one job of ranks, that is timed."""

    name: str  # a function of ours.py or rivals.py
    file: str = "plain"  # which of FILES it works on
    options: tuple = ()  # pairs (name, value) for the function
    ranks: int = 1
    threads: int = 2
    is_fresh: bool = False  # a new process for every repetition, where memory is what is measured


@dataclass(frozen=True)
class Row:
    """One line of the table of results."""

    key: str
    text: str
    contestants: dict  # label -> Contestant
    figure: object  # function of {label: median} that gives the number to compare
    target: float | None  # None: only to be looked at
    unit: str
    is_least: bool = False  # the target is a lower bound
    repeat: int | None = None  # None: as --repeat says
    keep: dict = field(default_factory=dict)

    def is_met(self, value):
        """Whether a figure reaches the target; None without one. Local."""
        if self.target is None:
            return None
        return value >= self.target if self.is_least else value <= self.target


# name -> arguments of `hpcmp generate`; {scale} is --scale. What every contestant reads.
FILES = {
    "plain": ("s{scale}.h5", "kronecker --scale {scale}"),
    "weighted": ("s{scale}-weighted.h5", "kronecker --scale {scale} --weights 1:255:int"),
    "channels": ("r{less}.h5", "kronecker --scale {less} --edge-factor 8 --weights 0.5:1.5"),
    "learning": ("k{learn}.h5", "kronecker --scale {learn} --edge-factor 10"),
    "text": ("s{scale}.tsv", "kronecker --scale {scale}"),
    "agents": ("agents.h5", "grid --height 400 --width 400"),
    "million": ("million.h5", "grid --height 1000 --width 1000"),
    "tiny": ("tiny.h5", "erdos-renyi --vertices 1000 --edges 8000"),
}


def ours(name, file="plain", ranks=1, threads=2, is_fresh=False, **options):
    """A contestant of ours.py. Local."""
    return Contestant(name, file, tuple(options.items()), ranks, threads, is_fresh)


rival = ours  # the same, of rivals.py
T = rival("graphblas_products")


def ratio(of, to):
    """The figure ``of / to``. Local."""
    return lambda median: median[of] / median[to]


def against_T(key, text, target, contestant):
    """A row in units of T. Local."""
    return Row(key, text, {"hpcmp": contestant, "T": T}, ratio("hpcmp", "T"), target, "T")


def against(key, text, target, contestant, other, name, **more):
    """A row that divides our time by a rival's. Local."""
    return Row(key, text, {"hpcmp": contestant, name: other}, ratio("hpcmp", name), target, f"of {name}", **more)


def beside(program, text, name, other, file="plain", **more):
    """A row without a target: a built-in program and a rival, one thread each. Local."""
    mine, other = ours(program, file, threads=1), rival(other, file, threads=1)
    return against(f"{program}-{name}", text, None, mine, other, name, **more)


def alone(key, text, target, contestant, unit, times=1.0, **more):
    """A row about ourselves: a value in some unit. Local."""
    return Row(key, text, {"hpcmp": contestant}, lambda median: median["hpcmp"] * times, target, unit, **more)


TOWN = {"file": "tiny", "threads": 1, "side": 100, "rounds": 20}


def ten(**options):
    """A million agents on a grid that send ten messages each in a step. Local."""
    return ours("agent_messages", "million", **options)


def slower(key, text, target, contestant, base):
    """A row that divides the pace of one by that of another. Local."""
    return Row(key, text, {"hpcmp": contestant, "base": base}, ratio("base", "hpcmp"), target, "times as long")


TEN = ten()
CHANNELS = ours("channel_sum", "channels")
SOURCES = 64
FEW_SOURCES = {"repeat": 8, "keep": {"statistic": "mean"}}

ROWS = (
    against_T("pagerank-float32", "PageRank, 20 steps, float32", 0.6, ours("pagerank", dtype="float32")),
    against_T("pagerank-float64", "PageRank, 20 steps, float64", 0.85, ours("pagerank")),
    against(
        "bfs",
        f"BFS, mean of {SOURCES} sources",
        1 / 24,
        ours("bfs"),
        rival("networkit_bfs"),
        "NetworKit",
        repeat=SOURCES,
        keep={"statistic": "mean"},
    ),
    against("wcc", "Weakly connected components", 1 / 12, ours("wcc"), rival("networkit_wcc"), "NetworKit"),
    against_T("sssp", "Shortest paths, integer weights 1..255", 0.58, ours("sssp", "weighted")),
    against_T("betweenness", "Betweenness of 4 sources", 3.2, ours("betweenness")),
    against_T("triangles", "Triangles", 14, ours("triangles")),
    against_T("cdlp", "Label propagation, 10 steps", 3.5, ours("cdlp")),
    against_T("lcc", "Local clustering coefficient", 18, ours("lcc")),
    against(
        "channels-csr",
        "Weighted sum, 128 float32 channels",
        1 / 4,
        CHANNELS,
        rival("torch_csr", "channels"),
        "torch CSR",
    ),
    against(
        "channels-scatter",
        "Weighted sum, 128 float32 channels",
        1 / 30,
        CHANNELS,
        rival("pyg_scatter", "channels"),
        "gather-scatter",
    ),
    against(
        "channels-message",
        "A user's message max(h + w, 0), 128 channels",
        1.15,
        ours("channel_sum", "channels", message="message"),
        CHANNELS,
        "our weighted sum",
    ),
    alone("tiny-1", "One step of a tiny graph, 1 rank", 30, ours("tiny_step", "tiny", threads=1), "us", 1e6),
    alone("tiny-2", "One step of a tiny graph, 2 ranks", 80, ours("tiny_step", "tiny", 2, 1), "us", 1e6),
    against(
        "ranks-pagerank",
        "PageRank, 2 ranks x 1 thread",
        0.6,
        ours("pagerank", ranks=2, threads=1),
        ours("pagerank", threads=1),
        "1 rank x 1 thread",
    ),
    against(
        "ranks-channels",
        "Weighted sum of channels, 2 ranks x 1 thread",
        0.6,
        ours("channel_sum", "channels", ranks=2, threads=1),
        ours("channel_sum", "channels", threads=1),
        "1 rank x 1 thread",
    ),
    Row(
        "exchange",
        "Exchange of 1 M float64 rows, 2 ranks",
        {"hpcmp": ours("exchange", "tiny", 2, 1), "bare": ours("bare_exchange", "tiny", 2, 1)},
        ratio("bare", "hpcmp"),
        0.7,
        "of bare bandwidth",
        is_least=True,
    ),
    alone(
        "ingest-speed",
        "Text edge list to graph file, 2 ranks",
        4,
        ours("ingest", "text", 2, 1, is_fresh=True),
        "M edges/s",
        1e-6,
        is_least=True,
    ),
    alone(
        "ingest-memory",
        "The same, peak over all ranks",
        80,
        ours("ingest", "text", 2, 1, is_fresh=True, what="bytes"),
        "bytes/edge",
    ),
    alone(
        "open",
        "Open the graph file warm, 2 ranks",
        1,
        ours("open_file", ranks=2, threads=1),
        "GB/s",
        1e-9,
        is_least=True,
    ),
    alone(
        "memory",
        "Peak memory of the PageRank run",
        1,
        ours("pagerank_memory", is_fresh=True),
        "of 8 bytes/edge + 80/vertex",
    ),
    alone("start-1", "`hpcmp run bfs`, whole process, 1 rank", 1.5, ours("start", "tiny"), "s"),
    alone("start-2", "`hpcmp run bfs`, whole process, 2 ranks", 2.5, ours("start", "tiny", on=2), "s"),
    alone("start-first", "The same the first time ever, 1 rank", 20, ours("start", "tiny", cold=True), "s", repeat=1),
    alone("timers", "Timers and history in a PageRank run", 1, ours("timers"), "% of the run", 100),
    Row(
        "model-1",
        "Predicted / measured step of PageRank, 1 rank",
        {"hpcmp": ours("predicted", threads=1)},
        lambda median: abs(median["hpcmp"] - 1),
        0.3,
        "off",
    ),
    Row(
        "model-2",
        "Predicted / measured step of PageRank, 2 ranks",
        {"hpcmp": ours("predicted", ranks=2, threads=1)},
        lambda median: abs(median["hpcmp"] - 1),
        0.3,
        "off",
    ),
    beside("bfs", "BFS, mean of 8 sources, 1 thread", "igraph", "igraph_bfs", **FEW_SOURCES),
    beside("bfs", "BFS, mean of 8 sources, 1 thread", "scipy", "scipy_bfs", **FEW_SOURCES),
    beside("wcc", "Weakly connected components, 1 thread", "igraph", "igraph_wcc"),
    beside("wcc", "Weakly connected components, 1 thread", "scipy", "scipy_wcc"),
    beside("pagerank", "PageRank, 20 steps, float64; scipy: 20 CSR products, 1 thread", "scipy", "scipy_products"),
    beside("sssp", "Shortest paths, 1 thread", "igraph", "igraph_sssp", "weighted", repeat=3),
    beside("sssp", "Shortest paths, 1 thread", "scipy", "scipy_sssp", "weighted", repeat=3),
    beside("triangles", "Triangles, 1 thread", "igraph", "igraph_triangles", repeat=1),
    *(
        against(
            f"learn-{kind}-{name.split()[0].lower()}",
            f"Training epoch of {kind.upper()}, 128-256-256-40",
            target,
            ours("train_epoch", "learning", kind=kind),
            rival(other, "learning", kind=kind),
            name,
            **{"repeat": 2} if name == "PyG" else {},
        )
        for kind, other, name, target in (
            ("gcn", "pyg_csr_epoch", "CSR PyG", 1 / 3),
            ("gcn", "dgl_epoch", "DGL", 0.55),
            ("sage", "pyg_epoch", "PyG", 1 / 7),
            ("sage", "pyg_csr_epoch", "CSR PyG", None),
            ("sage", "dgl_epoch", "DGL", 0.65),
            ("gat", "pyg_epoch", "PyG", 1 / 12),
            ("gat", "dgl_epoch", "DGL", 0.4),
        )
    ),
    *(
        against(
            f"learn-{kind}-memory",
            f"Peak memory of the process that trains {kind.upper()}",
            1.0,
            ours("train_memory", "learning", is_fresh=True, kind=kind),
            rival("dgl_memory", "learning", is_fresh=True, kind=kind),
            "DGL",
            repeat=1,
        )
        for kind in ("gcn", "sage", "gat")
    ),
    against(
        "learn-ranks",
        "Training epoch of GCN, 2 ranks x 1 thread",
        1.15,
        ours("train_epoch", "learning", ranks=2, threads=1, kind="gcn"),
        ours("train_epoch", "learning", kind="gcn"),
        "1 rank x 2 threads",
    ),
    against(
        "agents-schelling",
        "Schelling, 100 x 100 cells, 8,000 agents, radius 2, 20 rounds",
        1 / 50,
        ours("schelling", **TOWN),
        rival("mesa_schelling", **TOWN),
        "Mesa",
    ),
    alone(
        "agents-pace",
        "160,000 agents on a grid, each a message a step; repast4py publishes 0.01 M a core",
        1,
        ours("agent_steps", "agents", threads=1),
        "M agent steps/s",
        1e-6,
        is_least=True,
    ),
    alone(
        "agents-grid",
        "A million agents on a grid, ten messages each a step",
        20,
        TEN,
        "M messages/s",
        1e-6,
        is_least=True,
    ),
    alone(
        "agents-power-law",
        "The same on the Kronecker graph",
        20,
        ours("agent_messages", "plain"),
        "M messages/s",
        1e-6,
        is_least=True,
    ),
    slower(
        "agents-ranks", "The same on the grid, 2 ranks x 1 thread", 1.3, ours("agent_messages", "million", 2, 1), TEN
    ),
    slower("agents-counts", "Its trail: counts", 1.03, ten(trace="counts"), TEN),
    slower("agents-headers", "Its trail: digests of records", 1.25, ten(trace="headers"), TEN),
    slower("agents-full", "Its trail: and of 32 bytes of payload", 1.6, ten(trace="full", words=4), ten(words=4)),
    alone(
        "agents-headers-disk", "Its trail on disk", 24, ten(trace="headers", is_kept=True), "bytes/message", repeat=1
    ),
    alone(
        "agents-full-disk",
        "Its trail on disk, 32 bytes of payload",
        56,
        ten(trace="full", words=4, is_kept=True),
        "bytes/message",
        repeat=1,
    ),
    Row(
        "agents-small",
        "One step of 1,000 agents, each a message",
        {"hpcmp": ours("agent_steps", "tiny", threads=1, steps=2000)},
        lambda median: 1000 / median["hpcmp"] * 1e6,
        300,
        "us",
    ),
    against(
        "checkpoint",
        "A checkpoint of 1 GB of state, 2 ranks, on the disk",
        1.3,
        ours("write_checkpoint", "tiny", ranks=2, threads=1),
        rival("dd_fsync", "tiny"),
        "dd with fsync",
    ),
)
