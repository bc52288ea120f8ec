"""`hpcmp info`: what is in a file, and whether it is sound."""

HELP = "show what is in any file of hpcmp, and check it"
EXAMPLES = (
    "hpcmp info web.h5",
    "hpcmp info ranks.h5 --top rank 10                          (the 10 vertices with the largest rank)",
    "hpcmp info web.h5 --check                                  (read all of it: every index and the digest)",
    "hpcmp info ranks.h5 --json",
    "hpcmp info run/history.h5                                  (or run/checkpoint-0.h5, of training)",
    "hpcmp info trail                                           (the folder of a trail of messages)",
)


def add_arguments(parser):
    """Declare the arguments. Local."""
    parser.add_argument(
        "file", metavar="FILE", help="graph, result, history or checkpoint file, or the folder of a trail"
    )
    parser.add_argument(
        "--top", nargs=2, metavar=("FIELD", "K"), help="of a result: the K vertices with the largest value of FIELD"
    )
    parser.add_argument(
        "--check", action="store_true", help="read all of the file: every pointer, number and id, and the digest"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run_on_rank_0(args):
    """Print what is in the file. Local."""
    from hpcmp import analysis
    from hpcmp.analysis.check import check_graph, check_result
    from hpcmp.cli.reading import emit, emit_json
    from hpcmp.errors import GraphError

    found = analysis.open(args.file)
    checks, of = {
        analysis.GraphFile: (check_graph, _graph_facts),
        analysis.ResultFile: (check_result, _result_facts),
    }.get(type(found), (lambda training: training.check(), lambda training: training.facts()))
    facts = of(found)
    if args.top and not isinstance(found, analysis.ResultFile):
        raise GraphError(f"{args.file} is a {facts['kind']}; --top needs the result of a run")
    if args.check:
        checks(found)
        facts["checked"] = "every index and the digest"
    top = _top(found, *args.top) if args.top else None
    if args.json:
        emit_json(facts if top is None else {**facts, "top": top})
        return
    facts.pop("step_columns", None)  # for machines
    emit(
        *(
            f"{name.replace('_', ' '):16} {_shown(value)}"
            for name, value in facts.items()
            if value not in (None, "", {}, [])
        )
    )
    if top is not None:
        emit("", *_top_lines(top, args.top[0]))


def _graph_facts(graph):
    import numpy as np

    per_part = {"vertices": np.diff(graph.part_start), "in_edges": np.diff(graph.part_edge_start)}
    parts = {"n": graph.n_parts} | {k: [int(v.min()), int(v.max())] for k, v in per_part.items()}
    return {
        "file": str(graph.path),
        "kind": "graph",
        "directed": graph.directed,
        "n_vertices": graph.n_vertices,
        "n_edges": graph.n_edges,
        "names": graph.has_names,
        "vertex_fields": {name: str(f) for name, f in graph.vertex_fields.items()},
        "edge_fields": {name: str(f) for name, f in graph.edge_fields.items()},
        "categories": {name: len(texts) for name, texts in graph.categories.items()},
        "relations": list(graph.relations),
        "parts": parts,
        "digest": graph.digest,
        **graph.provenance,
    }


def _result_facts(result):
    return {
        "file": str(result.path),
        "kind": "result",
        "program": result.program,
        "params": result.params,
        "n_vertices": result.n_vertices,
        "n_edges": result.n_edges,
        "names": result.has_names,
        "fields": {name: str(f) for name, f in result.fields.items()},
        "values": result.values,
        "steps": result.n_steps,
        "converged": result.converged,
        "step_columns": list(result.step_columns),
        "ranks": result.size,
        "threads": result.threads,
        "mpi_library": result.mpi_library,
        "seconds": result.seconds,
        "halo": result.halo,
        "peak_rss_bytes": result.peak_rss_bytes,
        "digest": result.digest,
        "graph_digest": result.graph_digest,
        **result.provenance,
    }


def _top(result, field, k):
    """Rows of the largest values: list of dict."""
    from hpcmp.cli import UsageError

    if not k.isdigit() or int(k) == 0:
        raise UsageError(f"--top {field} {k}: {k!r} is no number of vertices; write --top {field} 10")
    ids, values = result.top(field, int(k))
    names = result.names_of(ids)
    rows = [{"id": i, field: v} for i, v in zip(ids.tolist(), values, strict=True)]
    if names is not None:
        rows = [{"id": row["id"], "name": str(name), field: row[field]} for row, name in zip(rows, names, strict=True)]
    return rows


def _top_lines(rows, field):
    """An aligned table of id or name, and value."""
    key = "name" if rows and "name" in rows[0] else "id"
    cells = [(key, field), *((str(row[key]), str(row[field])) for row in rows)]
    width = max(len(first) for first, _ in cells)
    return [f"{first:>{width}}  {second}" for first, second in cells]


def _shown(value):
    """A value in one line."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        text = ", ".join(f"{k} {_shown(v)}" for k, v in value.items())
    elif isinstance(value, list) and value and isinstance(value[0], dict):  # sources
        text = ", ".join(
            f"{v.get('name')} ({v.get('bytes')} bytes, SHA-256 {str(v.get('sha256'))[:12]}...)" for v in value
        )
    elif isinstance(value, list):
        text = " to ".join(map(str, value)) if [type(v) for v in value] == [int, int] else ", ".join(map(str, value))
    elif isinstance(value, float):
        text = f"{value:.6g}"
    else:
        return str(value)
    return text
