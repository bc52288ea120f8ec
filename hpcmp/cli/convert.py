"""`hpcmp convert`: from the files people have to a graph file."""

HELP = "read edge lists, LDBC, MatrixMarket, METIS, GraphML, npz or N-Triples files and write a graph file"
EXAMPLES = (
    "hpcmp convert web.txt.gz -o web.h5                          (SNAP edge list)",
    "mpirun -n 4 hpcmp convert roads.tsv --undirected -o roads.h5   (third column: weight)",
    "hpcmp convert graph.e -o graph.h5                           (LDBC graph.v, graph.e, graph.properties)",
    "hpcmp convert cites=cites.tsv writes=writes.tsv -o papers.h5   (two relations)",
    "hpcmp convert papers.tsv --undirected --vertices papers.vertices.tsv --features papers.features.tsv -o papers.h5",
    "hpcmp convert friends.csv --names -o friends.h5             (vertices have names)",
    "hpcmp convert aifb.nt.gz --reverse-relations --train trainingSet.tsv --test testSet.tsv "
    "--key person --label label_affiliation -o aifb.h5   (RDF to learn from)",
)

SPLITS = {  # category of the vertex field `split` -> what its option says
    "train": "table with a header, of vertices to learn from; gives the vertex fields `label` and `split`",
    "val": "the same, of vertices by which to choose between models",
    "test": "the same, of vertices to test on",
}


def add_arguments(parser):
    """Declare the arguments. Local."""
    from hpcmp.cli.output import add_output

    parser.add_argument(
        "input", nargs="+", metavar="INPUT", help="files of one format; NAME=FILE gives its edges a relation"
    )
    add_output(parser, "graph file to write", required=True)
    parser.add_argument(
        "--format", help="edgelist, ldbc, matrixmarket, metis, graphml, npz, ntriples (default: by name)"
    )
    direction = parser.add_mutually_exclusive_group()
    direction.add_argument(
        "--directed",
        dest="directed",
        action="store_const",
        const=True,
        help="edges run one way (default for edge lists)",
    )
    direction.add_argument(
        "--undirected", dest="directed", action="store_const", const=False, help="each line is an edge both ways"
    )
    parser.add_argument(
        "--columns", metavar="A,B,...", help="names of the columns: src,dst[,weight,time:int64,relation,...]"
    )
    parser.add_argument(
        "--header",
        action="store_true",
        default=None,
        help="the first line names the columns (default: if its first two words are no numbers, which a note tells)",
    )
    parser.add_argument("--separator", help="one character between columns (default: blanks, tabs, commas)")
    parser.add_argument("--comments", default="#%", help="characters that start a comment line (default #%%)")
    parser.add_argument("--names", action="store_true", help="vertices are names, not numbers; kept in the file")
    parser.add_argument("--weight", metavar="FIELD", help="this edge field becomes `weight`")
    parser.add_argument(
        "--vertices", metavar="FILE", help="table with a column id or name; the others become vertex fields"
    )
    parser.add_argument("--features", metavar="FILE", help="lines `vertex column value`; become the vertex field x")
    parser.add_argument(
        "--reverse-relations",
        action="store_true",
        help="add a relation ^R of the reversed edges of each relation R (directed graphs)",
    )
    for split, text in SPLITS.items():
        parser.add_argument(f"--{split}", metavar="FILE", help=text)
    parser.add_argument("--key", metavar="COLUMN", help="column of these tables that holds the vertex: its id or name")
    parser.add_argument(
        "--label", metavar="COLUMN", help="column of these tables that holds the class: text, or a number from 0"
    )
    parser.add_argument("--drop-loops", action="store_true", help="leave out edges from a vertex to itself")
    parser.add_argument(
        "--drop-duplicates", action="store_true", help="keep one of edges with the same ends and relation"
    )
    parser.add_argument(
        "--parts", type=int, metavar="V", help="cut into V parts (default: about one per 1024 vertices)"
    )
    parser.add_argument("--method", default="degree", help="how to cut: degree (default), block, hash, metis")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(comm, args):
    """Read, build, write. Collective."""
    from hpcmp.assemble import build_graph
    from hpcmp.cli.common import report_json, report_lines
    from hpcmp.cli.output import check_output, note, say, say_json
    from hpcmp.comm import raise_together
    from hpcmp.errors import PartitionError
    from hpcmp.io.graph_file import write_graph
    from hpcmp.io.readers import guess_format, read_edges, read_features, read_labels, read_vertices
    from hpcmp.parts import repartition

    files = [name.partition("=")[2] or name for name in args.input]
    splits = _splits(comm, args)
    check_output(comm, args, *args.input, *files, args.vertices, args.features, *splits.values())
    if args.method not in ("degree", "block", "hash", "metis"):
        raise_together(comm, PartitionError(f"--method {args.method!r} is not degree, block, hash or metis"))
    note(comm, f"reading {', '.join(args.input)}")
    text = {"separator": args.separator, "comments": args.comments}
    vertices = read_vertices(comm, args.vertices, names=args.names, **text) if args.vertices else None
    kind = args.format or guess_format(args.input[0].partition("=")[2] or args.input[0])
    names = args.names or (kind == "edgelist" and vertices is not None and vertices.key.dtype.kind == "S")
    table = read_edges(
        comm,
        args.input,
        format=args.format,
        columns=tuple(args.columns.split(",")) if args.columns else None,
        names=names,
        header=args.header,
        **text,
    )
    names = table.src.dtype.kind == "S"
    features = read_features(comm, args.features, names=names, **text) if args.features else None
    labels = None
    if splits:
        labels = read_labels(comm, splits, key=args.key, label=args.label, format=kind, names=names, **text)
    for found in (one for read in (table, features, labels) if read for one in read.notes):
        note(comm, f"note: {found}")
    table = _with_weight(comm, table, args.weight)
    note(comm, "building the graph")
    graph, report = build_graph(
        comm,
        table,
        vertices=vertices,
        features=features,
        labels=labels,
        directed=args.directed,
        reverse_relations=args.reverse_relations,
        drop_loops=args.drop_loops,
        drop_duplicates=args.drop_duplicates,
        n_parts=args.parts,
    )
    if args.method != "degree":
        graph = repartition(graph, args.method)
    write_graph(graph, args.output)
    if args.json:
        say_json(comm, report_json(graph, report, args.output))
    else:
        say(comm, "\n".join([*report_lines(graph, report), f"-> {args.output}"]))


def _splits(comm, args):
    """Tables with labels: dict of split to path; none without --train. Collective."""
    from hpcmp.comm import together
    from hpcmp.errors import InputError

    splits = {split: getattr(args, split) for split in SPLITS if getattr(args, split) is not None}
    given = [*splits, *(name for name in ("key", "label") if getattr(args, name) is not None)]
    with together(comm):
        missing = [name for name in ("train", "key", "label") if name not in given]
        if given and missing:
            what = {"train": "FILE, the table of vertices to learn from"}
            raise InputError(
                f"--{given[0]} needs --{missing[0]} {what.get(missing[0], 'COLUMN, the name of a column of the tables')}"
            )
    return splits


def _with_weight(comm, table, field):
    from dataclasses import replace

    from hpcmp.comm import raise_together
    from hpcmp.errors import InputError

    if field is None:
        return table
    error = None
    if field not in table.fields:
        error = InputError(
            f"--weight {field!r} is not an edge field of the input (it has: {', '.join(table.fields) or 'none'})"
        )
    raise_together(comm, error)
    if field != "weight" and "weight" in table.fields:
        error = error or InputError(
            f"--weight {field!r} would replace the edge field 'weight' of the input; name that one otherwise"
        )
        raise_together(comm, error)
    fields = dict(table.fields)
    fields["weight"] = fields.pop(field)
    return replace(table, fields=fields)
