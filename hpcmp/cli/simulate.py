"""`hpcmp simulate`: a model of agents on a graph, states and a trail in files."""

HELP = "run agents with typed messages on a graph; the same history on any number of ranks and threads"
EXAMPLES = (
    "mpirun -n 4 hpcmp simulate rumour.py:model town.h5 --steps 100 --seed 7 -o states.h5",
    "mpirun -n 4 hpcmp simulate rumour.py:model town.h5 --steps 100 --trace full --trail trail   (then `trace`)",
    "hpcmp simulate rumour.py:model small.h5 --steps 3 --check  (as plain Python: print, pdb)",
    "mpirun -n 4 hpcmp simulate rumour.py:model town.h5 --steps 9000 --trail trail --checkpoint ck --resume  (start it again)",
)


def add_arguments(parser):
    """Declare the arguments. Local."""
    from hpcmp.cli.checkpointing import add_checkpoints
    from hpcmp.cli.output import add_output

    parser.add_argument(
        "model", metavar="MODEL", help="path/to/file.py:name of an Agent, a list of them, or a function that gives one"
    )
    parser.add_argument("graph", metavar="GRAPH", help="graph file; its vertices are the agents")
    add_output(parser, "result file to write: states by vertex")
    parser.add_argument("--steps", type=int, required=True, help="at most so many steps")
    parser.add_argument("--seed", type=int, default=0, help="of random numbers (default 0)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter: ctx.NAME")
    parser.add_argument("--role", default="role", metavar="FIELD", help="vertex field with agent types (default role)")
    parser.add_argument("--joins", metavar="FIELD", help="vertex field with the step in which an agent comes")
    parser.add_argument(
        "--any-receiver", action="store_true", help="let agents send to any id, not to neighbours alone"
    )
    parser.add_argument(
        "--unknown", default="error", help="what a message to an id that no agent has does: error (default), or drop"
    )
    parser.add_argument("--budget", type=int, metavar="N", help="most messages that an agent sends in one step")
    parser.add_argument("--trace", help="off, headers or full; default: headers with --trail, else off")
    parser.add_argument("--trail", metavar="DIR", help="folder for a record of every message; --force replaces a trail")
    parser.add_argument(
        "--trace-sample",
        type=float,
        default=1.0,
        metavar="X",
        help="records of a share of conversations (default 1: all)",
    )
    add_checkpoints(parser)
    parser.add_argument("--check", action="store_true", help="run the functions as plain Python")
    parser.add_argument("--threads", type=int, default=1, metavar="T", help="threads of each rank (default 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(comm, args):
    """Open, simulate, write. Collective."""
    from hpcmp.cli.checkpointing import checkpoints_of
    from hpcmp.comm import together
    from hpcmp.engine.checkpoints import listening

    with together(comm):
        checkpoints = checkpoints_of(args, args.checkpoint)
    with listening(checkpoints):
        _run(comm, args, checkpoints)


def _run(comm, args, checkpoints):
    import time

    from hpcmp import agents
    from hpcmp.cli import probes
    from hpcmp.cli.common import parse_settings
    from hpcmp.cli.output import check_output, note, refuse_to_replace_trail
    from hpcmp.comm import together
    from hpcmp.engine.fingerprint import names_used
    from hpcmp.errors import ProgramError
    from hpcmp.io.graph_file import open_graph

    with together(comm):
        settings, model = parse_settings(args.set), load_model(args.model)
        if args.threads < 1 or args.steps < 0:
            raise ProgramError("--threads must be at least 1 and --steps at least 0")
        if args.trail and not args.resume and comm.rank == 0:
            refuse_to_replace_trail(args.trail, args.force)
    check_output(comm, args, args.graph, args.model.rpartition(":")[0])
    if args.threads > 1 and (complaint := probes.too_many_threads(comm, args.threads)):
        note(comm, f"note: {complaint}")
    start = time.perf_counter()
    looks_at_edges = "edge" in names_used(*(function for agent in model for function in agent.functions))
    graph = open_graph(comm, args.graph, edge_fields=None if looks_at_edges else ())
    read_s = time.perf_counter() - start
    found = agents.simulate(
        graph,
        model,
        steps=args.steps,
        seed=args.seed,
        params=settings,
        role=args.role,
        joins=args.joins,
        any_receiver=args.any_receiver,
        unknown=args.unknown,
        budget=args.budget,
        trace=args.trace or ("headers" if args.trail else "off"),
        trail=args.trail,
        sample=args.trace_sample,
        threads=args.threads,
        check=args.check,
        checkpoints=checkpoints,
        progress=lambda text: note(comm, text),
    )
    seconds = {"read": read_s, **found.result.seconds, "write": 0.0}
    if args.output is not None:
        begin = time.perf_counter()
        found.result.write(args.output)
        seconds["write"] = time.perf_counter() - begin
    _print(comm, args, found, settings, seconds)


def load_model(spec):
    """The agents of ``path/to/file.py:name``: list. Local.

    Raises
    ------
    FileError, ProgramError
        There is no such file or name, the file fails, or it is no model.
    """
    from hpcmp.agents import Agent
    from hpcmp.cli.common import is_file_spec, load_object
    from hpcmp.errors import ProgramError

    if not is_file_spec(spec):
        raise ProgramError(f"{spec!r} is not of the form path/to/file.py:name")
    model = load_object(spec, "agents", lambda value: isinstance(value, Agent))
    if callable(model) and not isinstance(model, Agent):
        try:
            model = model()
        except Exception as error:
            raise ProgramError(f"{spec}() failed: {type(error).__name__}: {error}") from error
    model = [model] if isinstance(model, Agent) else model
    if not isinstance(model, list | tuple) or not all(isinstance(agent, Agent) for agent in model) or not model:
        raise ProgramError(f"{spec} is no Agent, no list of them, and no function that gives one")
    return list(model)


def _print(comm, args, found, settings, seconds):
    """Print what a run came to, as lines or JSON. Collective."""
    from hpcmp.cli.checkpointing import costs_of
    from hpcmp.cli.output import say, say_json
    from hpcmp.engine.history import peak_rss_bytes

    graph, totals = (
        found.graph,
        {name: sum(row[name] for row in found.counts) for name in ("sent", "delivered", "dropped")},
    )
    totals["in_flight"] = found.counts[-1]["in_flight"] if found.counts else 0
    facts = {
        "program": args.model,
        "params": settings,
        "seed": args.seed,
        "n_vertices": graph.n_vertices,
        "n_edges": graph.n_edges,
        "ranks": comm.size,
        "threads": args.threads,
        "steps": found.steps,
        "ended": found.ended,
        "converged": found.ended != "steps",
        "seconds": seconds,
        "peak_rss_bytes": comm.allreduce(peak_rss_bytes()),
        "values": totals,
        "digest": found.digest,
        "trail_digest": found.trail_digest,
        "trail": args.trail,
        "output": args.output,
        **({} if found.result.checkpoints is None else {"checkpoints": found.result.checkpoints}),
    }
    if args.json:
        say_json(comm, facts)
        return
    why = {"steps": "", "goal": ", all agents are done", "quiet": ", nothing is on its way"}[found.ended]
    say(
        comm,
        f"{args.model}: {graph.n_vertices} agents, {found.steps} steps{why}; {comm.size} ranks x {args.threads} threads",
    )
    say(
        comm,
        f"{', '.join(f'{name} {n}' for name, n in totals.items())}; {', '.join(f'{k} {v:.3g} s' for k, v in seconds.items())}",
    )
    if found.result.checkpoints is not None:
        say(comm, costs_of(found.result.checkpoints))
    say(comm, f"digest {found.digest}")
    if found.trail_digest:
        say(comm, f"digest of the trail {found.trail_digest}")
    for path in (args.trail, args.output):
        if path is not None:
            say(comm, f"-> {path}")
