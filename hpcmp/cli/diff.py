"""`hpcmp diff`: whether two files hold the same bits, and where not."""

HELP = """compare two results, or two graphs: the same bits, and if not, where they begin to differ
(exit code 0: equal, 3: different)"""
EXAMPLES = (
    "hpcmp diff one.h5 four.h5",
    "hpcmp diff mine.h5 theirs.h5 --rtol 1e-6                   (floats may differ by so much)",
    "hpcmp diff a.h5 b.h5 --json",
)
EXIT_DIFFERENT = 3


def add_arguments(parser):
    """Declare the arguments. Local."""
    parser.add_argument("a", metavar="A", help="graph or result file")
    parser.add_argument("b", metavar="B", help="another of the same kind")
    parser.add_argument("--rtol", type=float, default=0.0, metavar="R", help="results: let |a - b| be ATOL + R * |b|")
    parser.add_argument(
        "--atol", type=float, default=0.0, metavar="A", help="results: see --rtol (both 0: the same bits)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run_on_rank_0(args):
    """Compare and say where; 0 when equal, 3 when different. Local."""
    from dataclasses import asdict

    from hpcmp import analysis
    from hpcmp.cli.reading import emit, emit_json

    a, b = analysis.open(args.a, analysis.ROWS), analysis.open(args.b, analysis.ROWS)
    found = analysis.compare(a, b, args.rtol, args.atol)
    if args.json:
        emit_json({"a": args.a, "b": args.b, "same_bits": found.is_same_bits, "equal": found.is_equal, **asdict(found)})
    else:
        emit(*_lines(found, args))
    return 0 if found.is_equal else EXIT_DIFFERENT


def _lines(found, args):
    tolerance = f"rtol {args.rtol:g} and atol {args.atol:g}"
    if found.is_same_bits:
        verdict = "the same bits"
    else:
        verdict = f"equal within {tolerance}" if found.is_equal else "different"
    lines = [f"{args.a} and {args.b}: {verdict}", *found.layout]
    lines += [_field_line(f, found.n_vertices, args.rtol or args.atol) for f in found.fields]
    if found.n_steps[0] != found.n_steps[1]:
        lines.append(f"steps: {found.n_steps[0]} and {found.n_steps[1]}")
    lines += _step_lines(found)
    return lines + [f"also {note}" for note in found.notes]


def _field_line(f, n_vertices, has_tolerance):
    outside = f" ({f.n_outside} outside the tolerance)" if has_tolerance else ""
    channel = "" if f.first_channel is None else f" channel {f.first_channel}"
    x, y = f.first_values
    return (
        f"{f.name}: {f.n_rows} of {n_vertices} vertices differ{outside}, first vertex {f.first_id}{channel}: {x} and {y}; "
        f"largest difference {f.max_absolute:g}, relative {f.max_relative:g}"
    )


def _step_lines(found):
    if found.kind == "graph" or found.is_same_bits and found.step is None:
        return []
    lines = []
    if found.step is not None:
        pairs = ", ".join(f"{name} {x} and {y}" for name, (x, y) in found.step.columns.items())
        lines.append(f"first differing step: {found.step.step} ({pairs})")
    if not found.has_step_digests and not found.is_same_bits:
        if not lines:
            lines.append("no step differs in what the runs recorded")
        lines.append("run both with --step-digests to see the first step after which any state differs")
    return lines
