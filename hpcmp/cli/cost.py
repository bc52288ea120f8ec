"""What a step of PageRank will cost on P ranks, before anyone spends node hours.

    step = max over ranks (edges * t_edge + vertices * t_vertex) * slowdown / threads
         + max over ranks (copied bytes * t_copy + max(0, messages * latency + bytes / bandwidth - interior))
         + t_step + t_hop * log2 P

`shares` counts edges, vertices, messages and rows of every rank for any P from
the parts alone. Rates are measured where this runs (`calibrate`) or come from a
file. ``t_edge`` depends on whether the rows a rank reads fit its caches, so it
is measured on pieces of the graph itself, of several sizes, and interpolated.
``slowdown`` is what cores that work at once take from each other; it comes from
the same pieces run on all cores. ``copied`` bytes are packed and unpacked, which
nothing hides; what is on the wire meanwhile hides behind interior rows.

    memory = base + kernels + max over ranks (max(opening, graph + run))

each a sum of bytes for every vertex, edge, ghost and row sent (`hpcmp.io.room`,
`hpcmp.engine.room`), and opening marks all vertices of the graph.
"""

import math
import os

import numpy as np

from hpcmp import edges, partition
from hpcmp.algorithms import pagerank
from hpcmp.cli import probes
from hpcmp.comm import collective, on_rank_0, owner_of
from hpcmp.engine.room import run_rates
from hpcmp.graph import Rows, from_sorted
from hpcmp.io import room

SENT_BYTES = 8  # what PageRank sends of a vertex
SAMPLE_S = 0.25  # a piece is run for about so long
SMALLEST_ROWS = 4096
SHRINK = 4  # each piece has this many times fewer edges than the one before
RING_ROWS = 1 << 18
ASSUMED = {"latency_us": 2.0, "bandwidth_GB_s": 5.0, "exchange_GB_s": 2.0, "allreduce_us": 4.0, "network_ranks": 0}


@collective
def shares(graph, sizes):
    """What each rank would hold, send and hear on so many ranks. Collective.

    Parameters
    ----------
    sizes : sequence of int
        Numbers of ranks; more than parts is legal, the rest own nothing.

    Returns
    -------
    dict of int to dict
        For each size int64 (size,) ``vertices``, ``edges``,
        ``interior_edges`` (of rows that hear no other rank), ``sent`` and
        ``received`` rows, ``messages`` (to and from peers; an upper bound
        where this graph lies on several ranks), and the number ``edge_cut``.
    """
    comm = graph.comm
    weights = partition.part_weights(comm, graph)
    src, part, n_edges = _sorted_pairs(graph)
    src_part, row_part = owner_of(graph.part_start, src), graph.part_of_rows()
    lowest, highest = _parts_heard(graph, row_part)
    found = {}
    for size in sizes:
        rank_of = owner_of(partition.deal(weights, size), np.arange(graph.n_parts)).astype(np.int32)
        home, away, own = rank_of[src_part], rank_of[part], rank_of[row_part]
        is_cut = home != away
        is_row = is_cut.copy()  # the first of the pairs of a vertex and a rank: they lie side by side
        is_row[1:] &= (src[1:] != src[:-1]) | (away[1:] != away[:-1])
        senders, receivers = home[is_row], away[is_row]
        peers = np.unique(senders * np.int64(size) + receivers)
        inside = (rank_of[lowest] == own) & (rank_of[highest] == own)
        columns = {
            "vertices": np.bincount(own, minlength=size),
            "edges": np.bincount(own, graph.in_degree, minlength=size),
            "interior_edges": np.bincount(own[inside], graph.in_degree[inside], minlength=size),
            "sent": np.bincount(senders, minlength=size),
            "received": np.bincount(receivers, minlength=size),
            "messages": np.bincount(peers // size, minlength=size) + np.bincount(peers % size, minlength=size),
            "edge_cut": np.bincount(home[is_cut], n_edges[is_cut], minlength=size),
        }
        mine = np.array(list(columns.values())).astype(np.int64)
        total = np.empty_like(mine)
        comm.Allreduce(mine, total)
        found[size] = dict(zip(columns, total, strict=True))
        found[size]["messages"] = np.minimum(found[size]["messages"], 2 * (size - 1))
        found[size]["edge_cut"] = int(found[size]["edge_cut"].sum())
    return found


def predict(share, rates, threads=1, ranks_per_machine=None):
    """Seconds of a step and bytes of memory of the slowest and largest rank. Local.

    Parameters
    ----------
    share : dict
        One value of `shares`.
    rates : dict
        As `calibrate` returns them.

    Returns
    -------
    dict
        ``ranks, edge_cut, halo_rows, imbalance`` of the cut; ``step_s`` and
        its parts ``compute_s, halo_s, reduce_s``; ``memory_bytes``.
    """
    vertices, edges = share["vertices"], share["edges"]
    size = len(vertices)
    rows = vertices + share["received"]
    on_machine = min(size, ranks_per_machine or max(rates["cores"] // threads, 1))
    slowdown = _slowdown(rates, rows, min(on_machine * threads, rates["cores"]))
    t_edge = _between(rates["edge_ns"], rows) * 1e-9 * slowdown / threads
    t_vertex = rates["vertex_ns"] * 1e-9 * slowdown / threads
    compute = edges * t_edge + vertices * t_vertex
    n_bytes = SENT_BYTES * np.maximum(share["sent"], share["received"])
    t_wire = 1e-9 / rates["bandwidth_GB_s"]
    t_copy = max(1e-9 / rates["exchange_GB_s"] - t_wire, 0.0)
    wire = share["messages"] / 2 * rates["latency_us"] * 1e-6 + n_bytes * t_wire
    halo = n_bytes * t_copy + np.maximum(wire - share["interior_edges"] * t_edge, 0.0)
    reduce_s = rates["step_us"] * 1e-6 + rates["hop_us"] * 1e-6 * math.log2(size)
    parts = {"compute_s": float(compute.max()), "halo_s": float(halo.max()), "reduce_s": reduce_s}
    work = vertices + partition.ALPHA * edges
    opening = room.bytes_of(rates["open_bytes"], share) + room.TABLE_BYTES * vertices.sum()
    needed = np.maximum(opening, room.bytes_of(rates["run_bytes"], share))
    return {
        "ranks": size,
        "edge_cut": share["edge_cut"],
        "halo_rows": int(share["received"].sum()),
        "imbalance": float(work.max() / max(work.mean(), 1e-300)),
        "step_s": sum(parts.values()),
        **parts,
        "memory_bytes": int(rates["base_bytes"] + rates["kernel_bytes"] + needed.max()),
    }


@collective
def calibrate(graph, base_bytes, known=None):
    """Rates of this machine for this graph, less those known. Collective.

    Rank 0 measures while the others sleep.

    Parameters
    ----------
    base_bytes : int
        Memory of this process before the graph was opened.
    known : dict, optional
        From `read_rates`.

    Returns
    -------
    dict
        ``step_us, vertex_ns``; ``edge_ns`` and ``slowdown`` as lists of
        (rows read, value); ``cores``; ``kernel_bytes``; the network as `probes.network` tells
        it, and ``hop_us`` of an all-reduce; ``open_bytes`` and ``run_bytes``
        (each: bytes of a vertex, an edge, a row sent or received), and
        ``base_bytes``. The same on all ranks.
    """
    comm, known = graph.comm, dict(known or {})
    rates = {"cores": len(probes.cores())} | _memory(graph, base_bytes)
    if "edge_ns" not in known:
        rates |= on_rank_0(comm, lambda: kernel_rates(graph), others_sleep=True)
    if "latency_us" not in known:
        rates |= {**probes.network(comm), "network_ranks": comm.size} if comm.size > 1 else ASSUMED
    rates |= known
    hops = math.log2(rates["network_ranks"]) if rates["network_ranks"] > 1 else 1.0
    return comm.bcast(rates | {"hop_us": rates["allreduce_us"] / hops})


def read_rates(facts):
    """Rates out of what ``--json`` of doctor or partition printed: dict. Local."""
    rates = {name: value for name, value in facts.get("rates", {}).items() if name in KERNEL_RATES}
    network = facts.get("ping_pong") or facts.get("rates", {})
    rates |= {name: network[name] for name in ASSUMED if name in network}
    if facts.get("ping_pong"):
        rates["network_ranks"] = facts["ranks"]
    return rates


# ---------------------------------------------------------------- rates of kernels

KERNEL_RATES = ("step_us", "vertex_ns", "edge_ns", "slowdown", "cores", "kernel_bytes")


def kernel_rates(graph):
    """Rates of PageRank's loops on pieces of this rank's share of a graph. Local.

    On a ring, where an edge costs next to nothing, a step tells the time of a
    vertex; on one vertex that of a step; on a piece of the graph, less both,
    that of an edge.
    """
    n_cores = len(probes.cores())
    before = memory_now()
    t_step = _step_seconds(_ring(2))
    kernel_bytes = max(memory_now() - before, 0)
    t_vertex = max(_step_seconds(_ring(RING_ROWS)) - t_step, 0.0) / RING_ROWS
    edge_ns, slowdown = [], []
    for n_rows in _piece_sizes(graph):
        piece = _piece(graph, n_rows)
        alone = _step_seconds(piece)
        work = max(alone - t_step - piece.n_owned * t_vertex, 0.05 * alone)
        edge_ns.append((piece.n_owned, work / piece.n_in * 1e9))
        shared = _step_seconds(piece, n_cores) if n_cores > 1 else alone
        # Seconds of core over seconds alone. A short step tells of threads waking up, not of memory.
        is_long = alone > 20 * t_step
        slowdown.append((piece.n_owned, max(1.0, (shared - t_step) * n_cores / (alone - t_step)) if is_long else 1.0))
        if piece is not graph:
            piece.close()
    return {
        "step_us": t_step * 1e6,
        "vertex_ns": t_vertex * 1e9,
        "edge_ns": sorted(edge_ns),
        "slowdown": sorted(slowdown),
        "cores": n_cores,
        "kernel_bytes": kernel_bytes,
    }


def _step_seconds(graph, threads=1):
    """Median seconds of a step, what a run does once left out."""
    trial = np.median(pagerank.run(graph, 3, threads=threads).steps["total_s"])  # also compiles
    steps = int(np.clip(SAMPLE_S / max(trial, 1e-6), 7, 2000))
    return float(np.median(pagerank.run(graph, steps, threads=threads).steps["total_s"]))


def _piece_sizes(graph):
    """Numbers of first rows that hold all edges, a quarter, a sixteenth, ...: list of int."""
    sizes, n_edges = [], graph.n_in
    while n_edges > 0 and (not sizes or sizes[-1] > SMALLEST_ROWS):
        sizes.append(max(int(np.searchsorted(graph.in_ptr, np.uint64(n_edges))), 1))
        n_edges //= SHRINK
    return list(dict.fromkeys(sizes)) if graph.n_in else []


def _piece(graph, n_rows):
    """The first owned rows as a graph of this process alone, what they hear as rows without in-edges."""
    if n_rows == graph.n_owned and graph.comm.size == 1:
        return graph
    n_edges = int(graph.in_ptr[n_rows])
    is_heard = np.zeros(graph.n_local, np.bool_)
    is_heard[graph.in_src[:n_edges]] = True
    is_heard[:n_rows] = True
    row = np.cumsum(is_heard) - 1
    in_degree = np.zeros(int(row[-1]) + 1, np.int64)
    in_degree[:n_rows] = graph.in_degree[:n_rows]
    return _graph_alone(in_degree, row[graph.in_src[:n_edges]])


def _ring(n):
    return _graph_alone(np.ones(n, np.int64), np.roll(np.arange(n, dtype=np.int64), 1))


def _graph_alone(in_degree, src):
    from mpi4py import MPI

    n = len(in_degree)
    number = np.arange(n, dtype=np.int64)
    bounds = {"part_start": np.array([0, n]), "rank_parts": np.array([0, 1])}
    return from_sorted(
        MPI.COMM_SELF, Rows(number, number), edges.pointers(in_degree), {"src": src}, directed=True, **bounds
    )


# ---------------------------------------------------------------- the rest of the formula


def _between(points, rows):
    """Value at so many rows, between measured ones by their logarithm: float64 (size,)."""
    at, values = np.array(points, float).reshape(-1, 2).T
    return np.interp(np.log(np.maximum(rows, 1)), np.log(at), values) if len(at) else np.zeros(len(rows))


def _slowdown(rates, rows, n_busy):
    """How much longer a core takes when so many work: from 1 for one to what was measured for all."""
    if not rates["slowdown"]:
        return 1.0
    share = (n_busy - 1) / max(rates["cores"] - 1, 1)
    return 1 + (_between(rates["slowdown"], rows) - 1) * share


def _sorted_pairs(graph):
    """Vertices of this rank and the parts that hear them, by both; with the edges between."""
    src, part, n_edges = partition.heard_by_part(graph.comm, graph)
    key = src * graph.n_parts + part
    if np.any(key[1:] < key[:-1]):  # they came from several ranks
        by_key = np.argsort(key)
        src, part, n_edges = src[by_key], part[by_key], n_edges[by_key]
    return src, part, n_edges


def _parts_heard(graph, row_part):
    """Lowest and highest part that each owned row hears; its own for one without in-edges."""
    part = owner_of(graph.part_start, graph.local_gids())[graph.in_src]
    lowest, highest = row_part.copy(), row_part.copy()
    hears = graph.in_degree > 0
    starts = graph.in_ptr[:-1][hears].astype(np.intp)
    if len(starts):
        lowest[hears] = np.minimum.reduceat(part, starts)
        highest[hears] = np.maximum.reduceat(part, starts)
    return lowest, highest


def _memory(graph, base_bytes):
    """Bytes that opening the graph takes, and a run of PageRank on it, for each vertex, edge and row that travels."""
    held, run = room.held_rates(graph), run_rates(SENT_BYTES, SENT_BYTES)
    return {
        "open_bytes": room.open_rates(graph),
        "run_bytes": {name: held[name] + run[name] for name in held},
        "base_bytes": base_bytes,
    }


def memory_now():
    """Resident bytes of this process, 0 where it cannot be told. Local."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0
