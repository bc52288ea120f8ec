"""`hpcmp run`: a program on a graph, the result in a file."""

HELP = "run a built-in program or one from a Python file on a graph"
EXAMPLES = (
    "mpirun -n 4 hpcmp run pagerank web.h5 -o ranks.h5",
    "mpirun -n 4 hpcmp run bfs web.h5 --source 17 --verify -o depth.h5",
    "hpcmp run pagerank web.h5 --set variant=networkx --set damping=0.9",
    "mpirun -n 2 hpcmp run heat.py:heat grid.h5 --steps 100 -o heat.h5     (your own program)",
    "mpirun -n 4 hpcmp run sssp roads.h5 --source 17 --mode async         (no rank waits for another)",
    "hpcmp run heat.py:heat small.h5 --steps 3 --check                     (as plain Python: print, pdb)",
    "mpirun -n 4 hpcmp run pagerank web.h5 -o r.h5 --checkpoint ck --checkpoint-every 60s --resume  (start it again)",
    "hpcmp run bfs small.h5 --source 17 --trace headers --trail trail      (each message; then `trace`)",
)
TRACED = ("step", "active", "messages", "halo_rows", "halo_bytes")  # columns of the steps that tell of messages


def add_arguments(parser):
    """Declare the arguments. Local."""
    from hpcmp.algorithms import NAMES
    from hpcmp.cli.checkpointing import add_checkpoints
    from hpcmp.cli.output import add_output

    parser.add_argument("program", metavar="PROGRAM", help=f"path/to/file.py:name, or one of {', '.join(NAMES)}")
    parser.add_argument("graph", metavar="GRAPH", help="graph file")
    add_output(parser, "result file to write")
    parser.add_argument(
        "--steps", type=int, help="at most so many steps; with --mode async rounds of a rank, more are an error"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter or option of the program"
    )
    parser.add_argument("--source", type=int, metavar="ID", help="short for --set source=ID")
    parser.add_argument(
        "--mode",
        default="auto",
        help="auto (default), step; with only_changed: frontier; for monotone programs and contractions: async",
    )
    parser.add_argument("--check", action="store_true", help="run the functions as plain Python")
    parser.add_argument("--threads", type=int, default=1, metavar="T", help="threads of each rank (default 1)")
    parser.add_argument("--no-overlap", action="store_true", help="wait for halos before computing (changes no bit)")
    parser.add_argument("--step-digests", action="store_true", help="keep a fingerprint of the state after every step")
    parser.add_argument(
        "--trace",
        help="off (default), counts: the messages of each step, or headers: a record of each, for small graphs",
    )
    parser.add_argument(
        "--trail", metavar="DIR", help="folder for the records (--trace headers); --force replaces a trail"
    )
    parser.add_argument("--trace-steps", metavar="A:B", help="record only steps A to B, both included")
    add_checkpoints(parser)
    parser.add_argument("--verify", action="store_true", help="check the answer of a built-in program by its verifier")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(comm, args):
    """Open, run, verify, write. Collective."""
    from hpcmp.cli.checkpointing import checkpoints_of
    from hpcmp.comm import together
    from hpcmp.engine.checkpoints import listening

    with together(comm):
        checkpoints = checkpoints_of(args, args.checkpoint)
    with listening(checkpoints):
        _run(comm, args, checkpoints)


def _run(comm, args, checkpoints):
    import time

    from hpcmp import algorithms
    from hpcmp.cli import probes
    from hpcmp.cli.common import parse_range, parse_settings
    from hpcmp.cli.output import check_output, note, refuse_to_replace_trail
    from hpcmp.comm import together
    from hpcmp.engine.record import check_trace
    from hpcmp.errors import ProgramError

    with together(comm):
        settings = parse_settings(args.set)
        if args.source is not None:
            settings["source"] = args.source
        if args.threads < 1:
            raise ProgramError(f"--threads {args.threads} must be at least 1")
        trace, window = (
            args.trace or ("headers" if args.trail else "off"),
            parse_range("--trace-steps", args.trace_steps),
        )
        check_trace(trace, args.trail, window, args.mode)
        if args.trail and comm.rank == 0:
            refuse_to_replace_trail(args.trail, args.force)
        built_in = algorithms.find(args.program)
        if built_in is None and args.verify:
            raise ProgramError("--verify is for built-in programs; a verifier of your own can read the result file")
    check_output(comm, args, args.graph, args.program.rpartition(":")[0])
    if args.threads > 1 and (complaint := probes.too_many_threads(comm, args.threads)):
        note(comm, f"note: {complaint}")
    how = {"steps": args.steps, "threads": args.threads}
    runs_steps = {
        "mode": args.mode,
        "check": args.check,
        "overlap": not args.no_overlap,
        "step_digests": args.step_digests,
    }
    how |= runs_steps | {"progress": lambda text: note(comm, text)}
    if checkpoints is not None:
        how["checkpoints"] = checkpoints
    if trace != "off":
        how |= {"trace": trace, "trail": args.trail, "trace_steps": window}
    start = time.perf_counter()
    if built_in is None:
        graph, result = _run_file(comm, args, settings, how)
    else:
        graph, result = _run_built_in(comm, args, built_in, settings, how)
    seconds = {"read": graph[1], "compile": 0.0, "run": 0.0, "write": 0.0} | result.seconds
    if args.verify:
        built_in.verify(graph[0], result, **settings)
    if args.output is not None:
        begin = time.perf_counter()
        result.write(args.output)
        seconds["write"] = time.perf_counter() - begin
    print_result(comm, args, result, seconds, time.perf_counter() - start, args.verify, trace)


def _run_file(comm, args, settings, how):
    from hpcmp.algorithms.checks import require_source
    from hpcmp.cli.common import load_program
    from hpcmp.comm import together
    from hpcmp.engine.fingerprint import names_used
    from hpcmp.engine.program import with_params
    from hpcmp.engine.room import least_row_bytes
    from hpcmp.engine.run import run as run_program

    with together(comm):
        program = load_program(args.program)
        with_params(program, settings)
        names = names_used(*program.functions)
    graph, read_s = _open(comm, args.graph, names, least_row_bytes(program))
    if args.source is not None:
        require_source(graph, args.source)
    result = run_program(program, graph, params=settings, **how)
    return (graph, read_s), _named(result, args.program)


def _named(result, spec):
    from dataclasses import replace

    return replace(result, program=spec if result.program == "program" else result.program)


def _run_built_in(comm, args, module, settings, how):
    import inspect

    from hpcmp.algorithms import options
    from hpcmp.comm import together
    from hpcmp.engine.program import like_default
    from hpcmp.engine.room import least_row_bytes
    from hpcmp.errors import ProgramError

    with together(comm):
        known = options(module)
        accepted = inspect.signature(module.run).parameters
        own = {name for name in known if name != "threads"}
        for name in settings:
            if name not in own:
                raise ProgramError(
                    f"{name!r} is not a parameter of {args.program} (it has: {', '.join(sorted(own)) or 'none'})"
                )
        settings = {name: like_default(known[name], value, name) for name, value in settings.items()}
        if "how" not in accepted:  # no step loop: a graph kernel
            defaults = {"steps": None, "mode": "auto", "check": False, "overlap": True, "step_digests": False}
            defaults |= {"trace": "off", "checkpoints": None}
            if "threads" not in accepted:
                defaults["threads"] = 1
            for name, default in defaults.items():
                if how.get(name, default) != default:
                    raise ProgramError(
                        f"{args.program} runs no steps; --{name.rstrip('s') if name == 'checkpoints' else name} does not apply"
                    )
            how = {"threads": how["threads"]} if "threads" in accepted else {}
    graph, read_s = _open(comm, args.graph, getattr(module, "FIELDS", ()), least_row_bytes())
    return (graph, read_s), module.run(graph, **settings, **how)


def _open(comm, path, names, row_bytes):
    import time

    from hpcmp.io.graph_file import open_graph

    start = time.perf_counter()
    graph = open_graph(comm, path, vertex_fields=names, edge_fields=names, row_bytes=row_bytes)
    return graph, time.perf_counter() - start


def print_result(comm, args, result, seconds, wall_s, is_verified=False, trace="off"):
    """Print what a run came to, as lines or JSON. Collective."""
    from hpcmp.cli.checkpointing import costs_of
    from hpcmp.cli.output import say, say_json, table

    graph = result.graph
    facts = {
        "program": result.program,
        "params": result.params,
        "n_vertices": graph.n_vertices,
        "n_edges": graph.n_edges,
        "ranks": comm.size,
        "threads": result.threads,
        "steps": result.n_steps,
        "converged": result.converged,
        "seconds": seconds,
        "halo": result.halo,
        "peak_rss_bytes": result.peak_rss_bytes,
        "values": result.values,
        "digest": result.digest,
        "output": args.output,
        **({"verified": True} if is_verified else {}),
        **({} if trace == "off" else _traced(result)),
        **({} if result.checkpoints is None else {"checkpoints": result.checkpoints}),
    }
    if args.json:
        say_json(comm, facts)
        return
    ended = {True: ", ended by its own rule", False: ", before its own rule to end held", None: ""}[result.converged]
    say(
        comm,
        f"{result.program} on {graph.n_vertices} vertices, {graph.n_edges} edges; {comm.size} ranks x {result.threads} threads",
    )
    say(
        comm,
        f"{result.n_steps} steps{ended}; {', '.join(f'{k} {v:.3g} s' for k, v in seconds.items())}, {wall_s:.3g} s in all",
    )
    halo = result.halo
    say(
        comm,
        f"halo: {halo['rows']} rows, {halo['bytes']} bytes sent, {halo['wait_s']:.3g} s waited by the slowest rank",
    )
    if result.checkpoints is not None:
        say(comm, costs_of(result.checkpoints))
    if trace == "counts":
        columns = _traced(result)["counts"]
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        say(comm, "\n".join(table(rows, dict.fromkeys(columns, ""))))
    for name, value in result.values.items():
        say(comm, f"{name} = {value}")
    if is_verified:
        say(comm, "verified")
    say(comm, f"digest {result.digest}")
    if result.trail_digest:
        say(comm, f"digest of the trail {result.trail_digest}")
    for path in (result.trail, args.output):
        if path is not None:
            say(comm, f"-> {path}")


def _traced(result):
    """What a trace tells: columns of the steps, and the digest of the records."""
    columns = {name: result.steps[name].tolist() for name in TRACED if name in result.steps}
    return {"counts": columns, "trail": result.trail, "trail_digest": result.trail_digest}
