"""`hpcmp partition`: cut a graph into other parts, and judge a cut."""

HELP = "cut a graph into other parts and report edge cut, halo rows and imbalance"
EXAMPLES = (
    "hpcmp partition web.h5 --parts 64 --method metis -o web64.h5",
    "mpirun -n 4 hpcmp partition web.h5 --parts 1024 --method hash -o web-hash.h5",
    "hpcmp partition web.h5 --report                            (judge the parts it has)",
    "hpcmp partition web.h5 --report --ranks 1,2,64,4096        (and predict the time of a step of PageRank)",
    "hpcmp partition web.h5 --report --ranks 1024 --rates cluster.json",
    "hpcmp partition web.h5 --method file --from parts.txt -o web-mine.h5",
)
COLUMNS = {"ranks": "d", "edge_cut": "d", "cut_share": ".3f", "halo_rows": "d", "halo_max": "d", "imbalance": ".3f"}
PREDICTED = {"ranks": "d", "edge_cut": "d", "halo_rows": "d", "imbalance": ".3f"}
PREDICTED |= dict.fromkeys(("compute_ms", "halo_ms", "reduce_ms", "step_ms"), ".3f") | {"memory_MB": ".0f"}
MAX_RANKS = 1 << 16


def add_arguments(parser):
    """Declare the arguments. Local."""
    from hpcmp.cli.output import add_output

    parser.add_argument("graph", metavar="GRAPH")
    add_output(parser, "graph file to write")
    parser.add_argument("--parts", type=int, metavar="V", help="number of parts (default: as many as now)")
    parser.add_argument("--method", default="degree", help="degree (default), block, hash, metis, file")
    parser.add_argument(
        "--from",
        dest="part_file",
        metavar="FILE",
        help="for method file: one part a line in id order, or lines `id part`",
    )
    parser.add_argument("--report", action="store_true", help="only report on the parts the graph has")
    parser.add_argument("--ranks", metavar="P,P,...", help="predict time and memory of PageRank on so many ranks")
    parser.add_argument("--threads", type=int, default=1, metavar="T", help="threads of each rank, for --ranks")
    parser.add_argument(
        "--per-machine", type=int, metavar="R", help="ranks of a machine, for --ranks (default: cores / T)"
    )
    parser.add_argument(
        "--rates", metavar="FILE", help="rates printed by `hpcmp doctor --json` on the machine in question"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(comm, args):
    """Cut, report, write. Collective."""
    from hpcmp import partition
    from hpcmp.cli import cost
    from hpcmp.cli.output import check_output, note, say, say_json, table
    from hpcmp.comm import together
    from hpcmp.errors import PartitionError
    from hpcmp.io.graph_file import open_graph, write_graph
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
        sizes, known = _sizes(args), _known_rates(args.rates)
    base_bytes = cost.memory_now()
    check_output(comm, args, args.graph, args.part_file)
    graph = open_graph(comm, args.graph)
    if not args.report:
        note(comm, f"cutting by {args.method}")
        graph = repartition(graph, args.method, args.parts, part=_parts_from_file(comm, graph, args.part_file))
    if args.output is not None:
        write_graph(graph, args.output)
    facts = {"method": None if args.report else args.method, "n_parts": graph.n_parts}
    if sizes:
        note(comm, "measuring rates and counting messages")
        rates = cost.calibrate(graph, base_bytes, known)
        found = cost.shares(graph, sizes)
        rows = [cost.predict(found[size], rates, args.threads, args.per_machine) for size in sizes]
        facts |= {"prediction": rows, "rates": rates}
    else:
        rows = facts["report"] = partition.report(comm, graph)
    if args.json:
        say_json(comm, facts | {"digest": graph.digest, "output": args.output})
        return
    say(comm, f"{graph.n_parts} parts of {graph.n_vertices} vertices and {graph.n_edges} edges; on so many ranks:")
    if sizes:
        say(comm, "\n".join(table([_in_units(row) for row in rows], PREDICTED)))
        say(comm, _whence(rates, max(sizes), graph.n_parts))
    else:
        say(comm, "\n".join(table(rows, COLUMNS)))
    if args.output is not None:
        say(comm, f"-> {args.output}")


def _sizes(args):
    """Numbers of ranks to predict: list of int."""
    from hpcmp.errors import PartitionError

    if args.ranks is None:
        return []
    try:
        sizes = [int(text) for text in args.ranks.split(",")]
    except ValueError:
        raise PartitionError(f"--ranks {args.ranks!r} is not a list of numbers such as 1,64,4096") from None
    for size in sizes:
        if not 1 <= size <= MAX_RANKS:
            raise PartitionError(f"--ranks {size} is outside [1, {MAX_RANKS}]")
    for option, value in (("--threads", args.threads), ("--per-machine", args.per_machine)):
        if value is not None and value < 1:
            raise PartitionError(f"{option} {value} must be at least 1")
    return sizes


def _known_rates(path):
    """Rates from a file, none without one: dict."""
    from hpcmp.cli import cost
    from hpcmp.errors import FileError
    from hpcmp.io.nested import parse_json

    if path is None:
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            return cost.read_rates(parse_json(file.read()))
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, AttributeError, TypeError, KeyError):
        raise FileError(f"{path} is not what `hpcmp doctor --json` prints") from None


def _in_units(row):
    return {
        **row,
        **{f"{name}_ms": row[f"{name}_s"] * 1e3 for name in ("compute", "halo", "reduce", "step")},
        "memory_MB": row["memory_bytes"] / 1e6,
    }


def _whence(rates, most, n_parts):
    """What the prediction rests on, in a line or two."""
    n = rates["network_ranks"]
    network = f"measured between {n} ranks" if n else "assumed; give --rates of `mpirun -n P hpcmp doctor --json` there"
    text = (
        f"one step of PageRank, slowest rank; memory of the largest rank\n"
        f"network {network}: latency {rates['latency_us']} us, {rates['bandwidth_GB_s']} GB/s"
    )
    return (
        text
        if most <= n_parts
        else f"{text}\nof {most} ranks, {most - n_parts} or more would own no part; cut into more"
    )


def _parts_from_file(comm, graph, path):
    from hpcmp.io.readers import read_parts
    from hpcmp.parts import part_of_rows

    return None if path is None else part_of_rows(graph, *read_parts(comm, path), path)
