"""`hpcmp train`: a model on a graph, from a configuration."""

HELP = "train a graph neural network; the same weights on any number of ranks and threads"
EXAMPLES = (
    "mpirun -n 4 hpcmp train cora.toml cora.h5 -o run",
    "hpcmp train cora.toml cora.h5 -o run --set train.seeds=10 --set model.kind=sage",
    "mpirun -n 2 hpcmp train cora.toml cora.h5 -o run --resume      (go on, on any number of ranks)",
    "hpcmp train cora.toml cora.h5 -o run --weights w.safetensors   (start from these weights)",
)


def add_arguments(parser):
    """Declare the arguments. Local."""
    from hpcmp.cli.checkpointing import add_leaving

    parser.add_argument("config", metavar="CONFIG", help="TOML file with the tables [data], [model] and [train]")
    parser.add_argument("graph", metavar="GRAPH", help="graph file")
    parser.add_argument("-o", "--output", "--checkpoint", metavar="RUN", help="folder for checkpoints and history.h5")
    parser.add_argument(
        "--checkpoint-every",
        metavar="N|TIME",
        help="epochs (50) or time (60s, 5m) between two checkpoints (default: train.checkpoint_every of CONFIG)",
    )
    add_leaving(parser, "RUN/stop")
    parser.add_argument("--force", action="store_true", help="begin anew in a folder that holds a training")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the newest good checkpoints in RUN; a seed without one begins"
    )
    parser.add_argument(
        "--changed-code", action="store_true", help="resume though the code of a model of your own has changed"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="such as train.epochs=100")
    parser.add_argument(
        "--weights", metavar="FILE", help="safetensors to start from, names as torch_geometric has them"
    )
    parser.add_argument("--threads", type=int, default=1, metavar="T", help="threads of each rank (default 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(comm, args):
    """Open, train, write. Collective."""
    from hpcmp.cli.checkpointing import checkpoints_of
    from hpcmp.comm import together
    from hpcmp.engine.checkpoints import listening

    with together(comm):
        checkpoints = checkpoints_of(args, args.output, every=None, wanted="-o RUN")
    with listening(checkpoints):
        _train(comm, args, checkpoints)


def _train(comm, args, checkpoints):
    import time

    from hpcmp.cli import learning, probes
    from hpcmp.cli.output import note
    from hpcmp.comm import together
    from hpcmp.nn import job, weights

    with together(comm):
        learning.check_threads(args.threads)
        config = learning.read_config(args.config, args.set)
        make = learning.model_maker(config)
    first = None if args.weights is None else weights.read(comm, args.weights)
    if args.threads > 1 and (complaint := probes.too_many_threads(comm, args.threads)):
        note(comm, f"note: {complaint}")
    of_vertices = {config.data.labels, config.data.split} if config.train.loss != "links" else set()
    names = {config.data.features} | of_vertices
    graph, read_s = learning.open_for(comm, args.graph, names, config)
    if args.output is not None:
        job.prepare(comm, args.output, resume=args.resume, force=args.force)
    start = time.perf_counter()
    trained = job.train(
        graph,
        config,
        make,
        checkpoints=checkpoints,
        start_from=None if first is None else lambda model: weights.load(model, first, args.weights),
        threads=args.threads,
        progress=lambda text: note(comm, text),
    )
    run_s = time.perf_counter() - start - trained.write_s
    _print(comm, args, graph, trained, {"read": read_s, "run": run_s, "write": trained.write_s})


def _print(comm, args, graph, trained, seconds):
    from hpcmp.cli.output import say, say_json
    from hpcmp.engine.history import peak_rss_bytes

    metrics, histories = trained.metrics(), list(trained.histories.values())
    facts = {
        "program": trained.config.model.kind,
        "params": trained.config.tables(),
        "n_vertices": graph.n_vertices,
        "n_edges": graph.n_edges,
        "ranks": comm.size,
        "threads": args.threads,
        "steps": sum(history.n_epochs for history in histories),
        "converged": None,
        "seconds": seconds,
        "halo": {
            "rows": sum(sum(history.halo_rows) for history in histories),
            "bytes": sum(sum(history.halo_bytes) for history in histories),
            "wait_s": sum(sum(history.wait_s) for history in histories),
        },
        "peak_rss_bytes": comm.allreduce(peak_rss_bytes()),
        "metrics": metrics,
        "values": {
            "best_epochs": [history.best_epoch for history in histories],
            "digests": trained.digests,
        },
        "digest": trained.digest,
        "output": args.output,
    }
    if args.json:
        say_json(comm, facts)
        return
    say(
        comm,
        f"{facts['program']} on {graph.n_vertices} vertices, {graph.n_edges} edges; {comm.size} ranks x {args.threads} threads",
    )
    say(
        comm,
        f"{facts['steps']} epochs of {len(histories)} seeds, {seconds['run']:.3g} s; {facts['halo']['bytes']} bytes sent",
    )
    for name, found in metrics.items():
        say(comm, f"{name} = {found['mean']:.4f} +- {found['std']:.4f}")
    say(comm, f"digest {trained.digest}")
    if args.output is not None:
        say(comm, f"-> {args.output}")
