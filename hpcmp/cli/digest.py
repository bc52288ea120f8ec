"""`hpcmp digest`: the fingerprint by which results are compared."""

HELP = "print the digest of a result (computed from its rows, and checked) or of a graph"
EXAMPLES = (
    "hpcmp digest ranks.h5",
    "hpcmp digest ranks.h5 --json",
    '[ "$(hpcmp digest a.h5)" = "$(hpcmp digest b.h5)" ]',
)


def add_arguments(parser):
    """Declare the arguments. Local."""
    parser.add_argument("file", metavar="FILE", help="graph or result file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run_on_rank_0(args):
    """Print the digest. Local."""
    from hpcmp import analysis
    from hpcmp.cli.reading import emit, emit_json

    found = analysis.open(args.file, analysis.ROWS)
    is_graph = isinstance(found, analysis.GraphFile)
    digest = found.digest if is_graph else found.verify_digest()
    if args.json:
        kind = "graph" if is_graph else "result"
        emit_json({"file": args.file, "kind": kind, "digest": digest, "n_vertices": found.n_vertices})
    else:
        emit(digest)
