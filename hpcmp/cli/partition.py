"""`hpcmp partition`: cut a graph into other parts, and judge a cut."""

HELP = "cut a graph into other parts and report edge cut, halo rows and imbalance"
EXAMPLES = (
    "hpcmp partition web.h5 --parts 64 --method metis -o web64.h5",
    "mpirun -n 4 hpcmp partition web.h5 --parts 1024 --method hash -o web-hash.h5",
    "hpcmp partition web.h5 --report                            (judge the parts it has)",
    "hpcmp partition web.h5 --method file --from parts.txt -o web-mine.h5",
)
COLUMNS = {"ranks": "d", "edge_cut": "d", "cut_share": ".3f", "halo_rows": "d", "halo_max": "d", "imbalance": ".3f"}


def add_arguments(parser):
    """Declare the arguments. Local."""
    parser.add_argument("graph", metavar="GRAPH")
    parser.add_argument("-o", "--output", help="graph file to write")
    parser.add_argument("--parts", type=int, metavar="V", help="number of parts (default: as many as now)")
    parser.add_argument("--method", default="degree", help="degree (default), block, hash, metis, file")
    parser.add_argument(
        "--from",
        dest="part_file",
        metavar="FILE",
        help="for method file: one part a line in id order, or lines `id part`",
    )
    parser.add_argument("--report", action="store_true", help="only report on the parts the graph has")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(comm, args):
    """Cut, report, write. Collective."""
    from hpcmp import partition
    from hpcmp.cli.output import note, say, say_json, table
    from hpcmp.comm import together
    from hpcmp.errors import PartitionError
    from hpcmp.io.graph_file import open_graph, write_graph
    from hpcmp.io.parallel import check_writable
    from hpcmp.parts import METHODS, repartition

    with together(comm):
        if args.output is None and not args.report:
            raise PartitionError("there is nothing to do: give -o FILE to write, or --report to look")
        if args.method not in METHODS:
            raise PartitionError(f"--method {args.method!r} is not one of {', '.join(METHODS)}")
        if (args.method == "file") != (args.part_file is not None):
            raise PartitionError("--method file and --from FILE go together")
        if args.parts is not None:
            partition.check_parts(args.parts)
    if args.output is not None:
        check_writable(comm, args.output, args.graph, args.part_file)
    graph = open_graph(comm, args.graph)
    if not args.report:
        note(comm, f"cutting by {args.method}")
        graph = repartition(graph, args.method, args.parts, part=_parts_from_file(comm, graph, args.part_file))
    if args.output is not None:
        write_graph(graph, args.output)
    rows = partition.report(comm, graph)
    if args.json:
        kept = None if args.report else args.method
        say_json(
            comm,
            {"method": kept, "n_parts": graph.n_parts, "report": rows, "digest": graph.digest, "output": args.output},
        )
        return
    say(comm, f"{graph.n_parts} parts of {graph.n_vertices} vertices and {graph.n_edges} edges; on so many ranks:")
    say(comm, "\n".join(table(rows, COLUMNS)))
    if args.output is not None:
        say(comm, f"-> {args.output}")


def _parts_from_file(comm, graph, path):
    from hpcmp.io.readers import read_parts
    from hpcmp.parts import part_of_rows

    return None if path is None else part_of_rows(graph, *read_parts(comm, path), path)
