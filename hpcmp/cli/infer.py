"""`hpcmp infer`: what a trained model says of every vertex."""

HELP = "apply a trained model to a graph: the class of every vertex, or its output, in a result file"
EXAMPLES = (
    "mpirun -n 4 hpcmp infer run cora.h5 -o classes.h5",
    "hpcmp infer run cora.h5 --logits --seed 3 -o classes.h5",
    "hpcmp infer run cora.h5 --model net.py:Net -o classes.h5      (a model of your own)",
    "hpcmp infer run/checkpoint-0.h5 other.h5 -o classes.h5        (a graph it was not trained on)",
)


def add_arguments(parser):
    """Declare the arguments. Local."""
    from hpcmp.cli.learning import add_model
    from hpcmp.cli.output import add_output

    parser.add_argument("run", metavar="RUN", help="folder of hpcmp train, or one of its checkpoints")
    parser.add_argument("graph", metavar="GRAPH", help="graph file with the same features")
    add_output(parser, "result file to write")
    add_model(parser)
    parser.add_argument("--logits", action="store_true", help="write what the model gives for every class too")
    parser.add_argument("--seed", type=int, help="which of the seeds (default: the first)")
    parser.add_argument("--threads", type=int, default=1, metavar="T", help="threads of each rank (default 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(comm, args):
    """Open, apply, write. Collective."""
    import time

    from hpcmp.cli import learning
    from hpcmp.cli.output import check_output, note
    from hpcmp.cli.run import print_result
    from hpcmp.comm import together
    from hpcmp.engine.result import make_result
    from hpcmp.io import checkpoint as files
    from hpcmp.nn import View, checkpoint, config, job, linked
    from hpcmp.nn.training import apply

    start = time.perf_counter()
    with together(comm):
        learning.check_threads(args.threads)
        path = job.find_checkpoint(args.run, args.seed)
    check_output(comm, args, args.graph, path)
    found = files.read_checkpoint(comm, path)
    with together(comm):
        model, head = learning.model_with_weights(path, found, args.model)
        told = config.from_tables(head["config"])
    graph, read_s = learning.open_for(comm, args.graph, {told.data.features}, told)
    begin = time.perf_counter()
    view = View(graph, args.threads)
    if graph.digest != head["graph_digest"]:
        note(comm, "note: the model was trained on another graph")
    elif told.train.loss == "links":
        linked.hear_as_trained(view, told.data.held_out)
    checkpoint.spread(model, view, head)
    logits, sent = apply(model, view, told.data.features, told.data.normalize, head["n_in"])
    state = {"class": logits.argmax(axis=1)} if told.train.loss == "cross_entropy" else {"output": logits}
    state |= {"logits": logits} if args.logits and "class" in state else {}
    params = {"run": args.run, "seed": head["seed"], "epochs": head["n_epochs"], "weights": head["digest"]}
    seconds = {"read": read_s, "run": time.perf_counter() - begin}
    result = make_result(
        graph, f"infer {told.model.kind}", state, params=params, seconds=seconds, halo=sent, threads=args.threads
    )
    if args.output is not None:
        begin = time.perf_counter()
        result.write(args.output)
        seconds["write"] = time.perf_counter() - begin
    print_result(comm, args, result, seconds, time.perf_counter() - start)
