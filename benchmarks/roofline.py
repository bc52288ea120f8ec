"""Where the time of a step goes: phases, the bytes they must move, and the memory's bandwidth.

    python benchmarks/roofline.py                            (scale 20, 2 threads: into docs/performance.md)
    python benchmarks/roofline.py --scale 16 --threads 1 --print

A phase's bytes are the least it can move: every array once, and for each edge
the row it reads, as if rows came one by one and none from a cache. A phase that
moves more GB/s than the memory does reads from caches; one far below it waits
for single rows, or computes.
"""

import argparse
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from ours import CHANNEL_PROGRAMS, channel_graph, self_comm
from run import machine
from timing import HERE, Pool, clock

import hpcmp
from hpcmp.jit import kernel

BEGIN, END = "<!-- begin: written by benchmarks/roofline.py -->", "<!-- end -->"
PHASES = {"send": ("send",), "edges": ("interior", "boundary"), "reduce": ("reduce",), "wait": ("wait",)}
BAR = 40  # characters of a whole step
COPY_BYTES = 1 << 28


def main():
    """Measure, and put the table into the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", default=str(Path(tempfile.gettempdir()) / "hpcmp-bench"), help="folder for graphs")
    parser.add_argument("--print", action="store_true", help="only print")
    args = parser.parse_args()
    Path(args.data).mkdir(parents=True, exist_ok=True)
    files = Pool([], Path(args.data), args.scale, 600)
    bandwidth = copy_bandwidth(args.threads)
    lines = [f"{machine()['machine']}; {args.threads} threads copy {bandwidth / 1e9:.1f} GB/s.", ""]
    graph = hpcmp.open_graph(self_comm(), str(files.file("plain")))
    result = hpcmp.algorithms.pagerank.run(graph, threads=args.threads)
    result = hpcmp.algorithms.pagerank.run(graph, threads=args.threads)
    lines += table(f"PageRank, scale {args.scale}", graph, result, 8, bandwidth)
    graph = channel_graph(SimpleNamespace(comm=None, path=str(files.file("channels"))))
    for _ in range(2):
        result = hpcmp.run(CHANNEL_PROGRAMS["sum"], graph, 5, threads=args.threads)
    lines += table("Weighted sum of 128 float32 channels", graph, result, 512, bandwidth, edge_bytes=4)
    lines += row_table()
    print("\n".join(lines))
    if not args.print:
        path = HERE.parent / "docs" / "performance.md"
        before, _, rest = path.read_text().partition(BEGIN)
        path.write_text("\n".join([before + BEGIN, "", *lines, END]) + rest.partition(END)[2])


def copy_bandwidth(threads):
    """Bytes read and written a second by threads that copy arrays no cache holds. Local."""
    arrays = [(np.ones(COPY_BYTES // 8 // threads), np.zeros(COPY_BYTES // 8 // threads)) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        seconds = min(clock(lambda: list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), arrays))) for _ in range(5))
    return 2 * COPY_BYTES / seconds


@kernel
def sum_in_turn(x, rows):
    """Sum of x[rows], each addition after the one before: the canonical order."""
    total = 0.0
    for e in range(rows.size):
        total += x[rows[e]]
    return total


@kernel
def sum_by_four(x, rows):
    """The same in four sums side by side, which is another order."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    for e in range(np.uint64(0), np.uint64(rows.size), np.uint64(4)):
        a += x[rows[e]]
        b += x[rows[e + np.uint64(1)]]
        c += x[rows[e + np.uint64(2)]]
        d += x[rows[e + np.uint64(3)]]
    return a + b + c + d


def row_table():
    """Lines of the table of single numbers read at random places, by the size of what they lie in. Local."""
    lines = ["Numbers read at random places and added up, one thread, ns each:", ""]
    lines += ["| of | KiB | in turn | by four |", "|---|---|---|---|"]
    generator = np.random.default_rng(0)
    for kind, size in ((kind, 1 << k) for kind in (np.float32, np.float64) for k in (12, 15, 18, 20)):
        x, rows = generator.random(size).astype(kind), generator.integers(0, size, 1 << 22).astype(np.uint32)
        best = [min(clock(lambda add=add: add(x, rows)) for _ in range(4)) for add in (sum_in_turn, sum_by_four)]
        ns = " | ".join(f"{seconds / len(rows) * 1e9:.2f}" for seconds in best)
        lines.append(f"| {np.dtype(kind)} | {x.nbytes >> 10} | {ns} |")
    return [*lines, ""]


def table(title, graph, result, row_bytes, bandwidth, edge_bytes=0):
    """Lines of one program's table: a phase each, with a bar. Local."""
    n, m = graph.n_vertices, graph.n_edges
    least = {
        "send": n * (2 * row_bytes + 8),  # state read, what is sent written, degree read
        "edges": m * (4 + edge_bytes + row_bytes) + n * (8 + row_bytes),  # sources, edge field, rows; pointers, state
        "reduce": n * 8,
        "wait": 0,
    }
    step_s = float(np.median(result.steps["total_s"]))
    lines = [f"{title}: {step_s * 1e3:.1f} ms a step, {m / step_s / 1e6:.3g} M edges/s", ""]
    lines += ["| phase | ms | of the step | bytes, least | GB/s | of a copy |", "|---|---|---|---|---|---|"]
    for phase, columns in PHASES.items():
        seconds = float(sum(np.median(result.steps[f"{name}_s"]) for name in columns))
        rate = least[phase] / max(seconds, 1e-12)
        bar = "#" * round(BAR * seconds / step_s) or "."
        moved = (
            f"{least[phase] / 1e6:.1f} MB | {rate / 1e9:.1f} | {rate / bandwidth:.2f}" if least[phase] else "- | - | -"
        )
        lines.append(f"| {phase} | {seconds * 1e3:.2f} | `{bar}` | {moved} |")
    return [*lines, ""]


if __name__ == "__main__":
    main()
