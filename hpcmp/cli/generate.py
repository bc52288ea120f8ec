"""`hpcmp generate`: graphs made from numbers, the same on any ranks."""

HELP = "make a graph: kronecker, erdos-renyi, grid, ring, or the product of two edge lists"
EXAMPLES = (
    "hpcmp generate kronecker --scale 16 -o kron16.h5",
    "mpirun -n 4 hpcmp generate kronecker --scale 22 --weights 1:255:int -o kron22.h5",
    "hpcmp generate kronecker --scale 16 -o kron16.tsv      (a text edge list, loops and duplicates included)",
    "hpcmp generate grid --height 1000 --width 1000 -o grid.h5",
    "hpcmp generate product A.edges B.edges -o product.h5",
)


def add_arguments(parser):
    """Declare the arguments. Local."""
    from hpcmp.cli.output import add_output

    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    made = {}
    for kind, text in (
        ("kronecker", "stochastic Kronecker graph with Graph500's parameters"),
        ("erdos-renyi", "edges between vertices drawn uniformly"),
        ("grid", "vertices on a rectangle, joined to the next in row and column"),
        ("ring", "one cycle"),
        ("product", "Kronecker product of two undirected edge lists (first line: number of vertices)"),
    ):
        made[kind] = kinds.add_parser(kind, help=text, description=text)
    made["kronecker"].add_argument("--scale", type=int, required=True, help="log2 of the number of vertices")
    made["kronecker"].add_argument("--edge-factor", type=int, default=16, help="edges per vertex (default 16)")
    for kind in ("erdos-renyi", "ring"):
        made[kind].add_argument("--vertices", type=int, required=True)
        made[kind].add_argument("--directed", action="store_true", help="each edge runs one way only")
    made["erdos-renyi"].add_argument("--edges", type=int, required=True)
    made["grid"].add_argument("--height", type=int, required=True)
    made["grid"].add_argument("--width", type=int, required=True)
    made["product"].add_argument("first", help="edge list: a line with n, then `u v ...`, each edge once")
    made["product"].add_argument("second")
    for kind, sub in made.items():
        add_output(sub, "graph.h5, or edges.tsv / edges.csv for text", required=True)
        sub.add_argument("--parts", type=int, metavar="V", help="cut into V parts")
        sub.add_argument("--multigraph", action="store_true", help="keep loops and repeated edges in graph.h5")
        sub.add_argument("--json", action="store_true", help="print one JSON object")
        if kind != "product":
            sub.add_argument("--seed", type=int, default=1)
            sub.add_argument("--weights", metavar="LOW:HIGH[:int]", help="uniform edge weights")


def run(comm, args):
    """Make the graph and write it. Collective."""
    from hpcmp.assemble import build_graph
    from hpcmp.cli.common import report_json, report_lines
    from hpcmp.cli.output import check_output, say, say_json
    from hpcmp.comm import together
    from hpcmp.io.graph_file import write_graph
    from hpcmp.io.parallel import write_text

    check_output(comm, args, getattr(args, "first", None), getattr(args, "second", None))
    with together(comm):
        table = _table(comm, args)
    if not str(args.output).endswith((".h5", ".hdf5")):
        from hpcmp.io.text import format_columns

        separator = b"," if str(args.output).endswith(".csv") else b"\t"
        columns = [table.src, table.dst, *table.fields.values()]
        write_text(comm, args.output, format_columns(columns, separator=separator))
        n = comm.allreduce(len(table.src))
        say_json(comm, {"n_lines": n, "output": args.output}) if args.json else say(comm, f"{n} edges -> {args.output}")
        return
    drop = not args.multigraph
    graph, report = build_graph(comm, table, drop_loops=drop, drop_duplicates=drop, n_parts=args.parts)
    write_graph(graph, args.output)
    if args.json:
        say_json(comm, report_json(graph, report, args.output))
    else:
        say(comm, "\n".join([*report_lines(graph, report), f"-> {args.output}"]))


def _table(comm, args):
    from hpcmp import generate

    weights = None if args.kind == "product" else _weights(args.weights)
    if args.kind == "kronecker":
        return generate.kronecker(comm, args.scale, args.edge_factor, seed=args.seed, weights=weights)
    if args.kind == "erdos-renyi":
        return generate.erdos_renyi(
            comm, args.vertices, args.edges, seed=args.seed, weights=weights, directed=args.directed
        )
    if args.kind == "grid":
        return generate.grid(comm, args.height, args.width, seed=args.seed, weights=weights)
    if args.kind == "ring":
        return generate.ring(comm, args.vertices, seed=args.seed, weights=weights, directed=args.directed)
    return generate.product(comm, generate.read_factor(args.first), generate.read_factor(args.second))


def _weights(text):
    from hpcmp.errors import InputError

    if text is None:
        return None
    low, _, rest = text.partition(":")
    high, _, kind = rest.partition(":")
    try:
        low, high = float(low), float(high)
    except ValueError:
        raise InputError(f"--weights {text!r} is not LOW:HIGH or LOW:HIGH:int") from None
    if kind not in ("", "int") or not low <= high:
        raise InputError(f"--weights {text!r} is not LOW:HIGH or LOW:HIGH:int with LOW <= HIGH")
    return (low, high, "int") if kind else (low, high)
