"""`hpcmp export`: results as tables, graphs as edge lists, trained weights, for other programs."""

import contextlib
import os

HELP = "write a result as a table, a graph as an edge list (csv, tsv, ldbc, parquet), or trained weights (safetensors)"
EXAMPLES = (
    "hpcmp export ranks.h5 -o ranks.csv",
    "hpcmp export ranks.h5 --format ldbc                        (id and value, to standard output)",
    "hpcmp export paths.h5 --fields distance --names -o paths.tsv",
    "hpcmp export web.h5 -o web.tsv                             (an edge list: src, dst, fields)",
    "hpcmp export run -o w.safetensors                          (weights, as torch_geometric names them)",
)
SEPARATORS = {"csv": b",", "tsv": b"\t", "ldbc": b" "}
FORMATS = (*SEPARATORS, "parquet", "safetensors")


def add_arguments(parser):
    """Declare the arguments. Local."""
    from hpcmp.cli.learning import add_model
    from hpcmp.cli.output import add_output

    parser.add_argument("file", metavar="FILE", help="graph or result file; folder or checkpoint of hpcmp train")
    add_output(parser, "file to write (default: standard output)", metavar="OUT")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="csv and tsv have a header; ldbc is `id value` a line, for one field of a result "
        "(default: by the ending of OUT, else csv)",
    )
    parser.add_argument("--fields", metavar="A,B", help="only these fields, in this order (default: all)")
    parser.add_argument("--seed", type=int, help="which seed's weights (default: the first)")
    add_model(parser)
    parser.add_argument("--names", action="store_true", help="write the names of vertices where their ids would stand")


def run_on_rank_0(args):
    """Write the table. Local."""
    from hpcmp import analysis
    from hpcmp.errors import GraphError

    kind = args.format or _format_of(args.output)
    if kind == "safetensors":
        _write_weights(args)
        return
    found = analysis.open(args.file, analysis.ROWS)
    if args.names and not found.has_names:
        raise GraphError(f"{args.file} has no names of vertices; leave out --names")
    is_graph = isinstance(found, analysis.GraphFile)
    fields = _chosen(args, found.edge_fields if is_graph else found.fields)
    if kind == "ldbc":
        _check_ldbc(found, is_graph, fields)
    tables = _edges(found, fields, args.names) if is_graph else _rows(found, fields, args.names)
    if kind == "parquet":
        _write_parquet(args, tables)
    else:
        _write_text(args, kind, tables)


def _format_of(output):
    ending = os.path.splitext(output or "")[1].lstrip(".").lower()
    return ending if ending in FORMATS else "csv"


def _chosen(args, fields):
    from hpcmp.errors import GraphError

    names = list(fields) if args.fields is None else [name.strip() for name in args.fields.split(",")]
    for name in names:
        if name not in fields:
            raise GraphError(
                f"--fields: {name!r} is not a field of {args.file} (it has: {', '.join(fields) or 'none'})"
            )
    return list(dict.fromkeys(names))


def _check_ldbc(found, is_graph, fields):
    from hpcmp.errors import GraphError

    if is_graph:
        raise GraphError(f"{found.path} is a graph, ldbc a format of results; use --format tsv")
    if len(fields) != 1:
        raise GraphError(f"ldbc holds one field and {found.path} has {', '.join(fields)}; choose with --fields")
    if found.fields[fields[0]].width is not None:
        raise GraphError(
            f"ldbc holds one value a vertex and {fields[0]} has {found.fields[fields[0]].width} channels; use csv"
        )


# ---------------------------------------------------------------- what is written


def _rows(result, fields, names):
    """Blocks of a result as columns: dict of name to array."""
    from hpcmp.analysis.frame import columns_of

    key = "name" if names else "id"
    empty = {name: _no_values(result.fields[name]) for name in fields}
    for rows in _at_least_one(result.row_blocks([key, *fields]), {key: _no_keys(names), **empty}):
        yield {column: values for name, a in rows.items() for column, values in columns_of(name, a).items()}


def _edges(graph, fields, names):
    """Blocks of edges as columns; each undirected edge once."""
    import numpy as np

    keys = graph.name_bytes if names else graph.id
    relations = np.array([name.encode() for name in graph.relations])
    for block in _at_least_one(graph.edge_blocks(fields), None):
        if block is None:
            columns = {"src": _no_keys(names), "dst": _no_keys(names)}
            columns |= {name: _no_values(graph.edge_fields[name]) for name in fields}
        else:
            columns = {"src": keys[block.src], "dst": keys[block.dst]}
            columns |= {} if block.relation is None else {"relation": relations[block.relation]}
            columns |= block.fields
            if not graph.directed:  # an edge and its reverse are stored, a loop once
                is_first = graph.order[block.src] <= graph.order[block.dst]
                columns = {name: a[is_first] for name, a in columns.items()}
        yield columns


def _at_least_one(blocks, otherwise):
    """The blocks, or one of no rows, from which a header can be written."""
    first = next(blocks, otherwise)
    yield first
    yield from blocks


def _no_keys(names):
    import numpy as np

    return np.empty(0, "S1" if names else np.int64)


def _no_values(field):
    import numpy as np

    return np.empty((0,) if field.width is None else (0, field.width), field.dtype)


# ---------------------------------------------------------------- how it is written


def _write_text(args, kind, tables):
    from hpcmp.cli.writing import output_of
    from hpcmp.io.text import format_columns

    with output_of(args, args.file) as out:
        for k, columns in enumerate(tables):
            if k == 0 and kind != "ldbc":
                out.write(SEPARATORS[kind].join(name.encode() for name in columns) + b"\n")
            text = format_columns(list(columns.values()), SEPARATORS[kind])
            if kind == "ldbc":  # the benchmark's own word
                text = text.replace(b" inf\n", b" infinity\n").replace(b" -inf\n", b" -infinity\n")
            out.write(text)


def _write_parquet(args, tables):
    from hpcmp.cli.writing import output_of
    from hpcmp.errors import FileError, require

    arrow = require("pyarrow", "parquet", "parquet")
    parquet = require("pyarrow.parquet", "parquet", "parquet")
    if args.output is None:
        raise FileError("parquet is no text for standard output; give -o OUT")
    with output_of(args, args.file) as out, contextlib.ExitStack() as stack:
        writer = None
        for columns in tables:
            texts = {name: a.astype(object) if a.dtype.kind == "S" else a for name, a in columns.items()}
            arrays = [arrow.array(a, arrow.string() if a.dtype == object else None) for a in texts.values()]
            table = arrow.Table.from_arrays(arrays, list(texts))
            writer = writer or stack.enter_context(parquet.ParquetWriter(out, table.schema))
            writer.write_table(table)


def _write_weights(args):
    from hpcmp.cli.learning import model_with_weights
    from hpcmp.cli.writing import output_of
    from hpcmp.errors import FileError
    from hpcmp.nn import job, weights

    path = job.find_checkpoint(args.file, args.seed)
    if args.output is None:
        raise FileError("safetensors is no text for standard output; give -o OUT")
    model, head = model_with_weights(path, model=args.model)
    text = weights.to_bytes(model, {"seed": str(head["seed"]), "digest": head["digest"]})
    with output_of(args, path) as out:
        out.write(text)
