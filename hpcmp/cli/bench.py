"""`hpcmp bench`: how fast programs run here, on so many ranks."""

HELP = "time built-in programs on a generated graph, and the messages between ranks"
EXAMPLES = (
    "hpcmp bench",
    "mpirun -n 4 hpcmp bench --scale 20 --programs pagerank,bfs",
    "srun --mpi=pmi2 hpcmp bench --scale 24 --threads 8 --json",
)
PROGRAMS = "pagerank,bfs,sssp,wcc,cdlp,triangles"
COLUMNS = {
    "program": "",
    "steps": "d",
    "run_s": ".3g",
    "step_s": ".3g",
    "edges_per_s": ".3g",
    "halo_MB": ".1f",
    "wait_s": ".3g",
    "imbalance": ".2f",
    "peak_MB": ".0f",
}


def add_arguments(parser):
    """Declare the arguments. Local."""
    parser.add_argument("--scale", type=int, default=16, help="log2 of the vertices of a Kronecker graph (default 16)")
    parser.add_argument("--edge-factor", type=int, default=16, help="edges per vertex (default 16)")
    parser.add_argument("--programs", default=PROGRAMS, help=f"built-in ones, commas between (default {PROGRAMS})")
    parser.add_argument("--threads", type=int, default=1, metavar="T", help="threads of each rank (default 1)")
    parser.add_argument(
        "--repeat", type=int, default=3, help="timed runs of each program (default 3), after one untimed"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(comm, args):
    """Make the graph, run each program a few times, print medians. Collective."""
    from hpcmp import algorithms, generate
    from hpcmp.assemble import build_graph
    from hpcmp.cli import probes
    from hpcmp.cli.output import note, say, say_json, table
    from hpcmp.comm import together
    from hpcmp.errors import ProgramError

    with together(comm):
        names = args.programs.split(",")
        for name in names:
            if algorithms.find(name) is None:
                raise ProgramError(f"{name!r} is not a built-in program (there are: {', '.join(algorithms.NAMES)})")
        for option, value in (("--threads", args.threads), ("--repeat", args.repeat)):
            if value < 1:
                raise ProgramError(f"{option} {value} must be at least 1")
    complaint = probes.too_many_threads(comm, args.threads)
    if complaint:
        note(comm, f"! {complaint}")
    with together(comm):
        made = generate.kronecker(comm, args.scale, args.edge_factor, weights=(1, 255, "int"))
    graph, _ = build_graph(comm, made, drop_loops=True, drop_duplicates=True)
    rows = []
    for name in names:
        note(comm, f"running {name}")
        rows.append(_timed(comm, graph, name, args))
    facts = {
        "scale": args.scale,
        "n_vertices": graph.n_vertices,
        "n_edges": graph.n_edges,
        "ranks": comm.size,
        "threads": args.threads,
        "network": probes.network(comm),
        "programs": rows,
    }
    if args.json:
        say_json(comm, facts)
        return
    say(
        comm,
        f"Kronecker graph of scale {args.scale}: {graph.n_vertices} vertices, {graph.n_edges} directed edges; "
        f"{comm.size} ranks x {args.threads} threads",
    )
    say(comm, "\n".join(table([_shown(row) for row in rows], COLUMNS)))
    for name, value in facts["network"].items():
        quantity, _, unit = name.partition("_")
        say(comm, f"{quantity} {value} {unit.replace('_', '/')}")


def _timed(comm, graph, name, args):
    """Figures of one program: those of the median run. Collective."""
    import inspect

    from hpcmp import algorithms

    module = algorithms.find(name)
    accepted = inspect.signature(module.run).parameters
    how = {"threads": args.threads} if "threads" in accepted or "how" in accepted else {}
    if "source" in accepted:
        how["source"] = _busiest(comm, graph)
    if "sources" in accepted:
        how["sources"] = [_busiest(comm, graph)]
    results = [module.run(graph, **how) for _ in range(args.repeat + 1)][1:]  # the first compiled
    slowest = [max(comm.allgather(r.seconds["run"])) for r in results]
    run_s, k = sorted((s, k) for k, s in enumerate(slowest))[len(slowest) // 2]
    result = results[k]
    n_messages = int(result.steps["messages"].sum()) if "messages" in result.steps else graph.n_edges
    return {
        "program": name,
        "steps": result.n_steps,
        "seconds": {"run": run_s, "step": run_s / max(result.n_steps, 1)},
        "messages": n_messages,
        "edges_per_s": n_messages / run_s,
        "halo": result.halo,
        "imbalance": float(result.ranks["imbalance"].max()),
        "peak_rss_bytes": result.peak_rss_bytes,
        "digest": result.digest,
    }


def _busiest(comm, graph):
    """Id of the vertex that most edges reach, the smallest of several: it lies in the large component. Collective."""
    degree, ids = graph.in_degree, graph.id[: graph.n_owned]
    most = int(degree.max(initial=-1))
    mine = (most, -int(ids[degree == most].min()) if most >= 0 else 0)
    return -max(comm.allgather(mine))[1]


def _shown(row):
    return row | {
        "run_s": row["seconds"]["run"],
        "step_s": row["seconds"]["step"],
        "halo_MB": row["halo"]["bytes"] / 1e6,
        "wait_s": row["halo"]["wait_s"],
        "peak_MB": row["peak_rss_bytes"] / 1e6,
    }
