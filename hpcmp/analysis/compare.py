"""Two files of one kind: whether they hold the same bits, and where not.

Rows are compared as bits: 0.0 is not -0.0, and a NaN equals the same NaN. With
a tolerance, numbers as near as ``|a - b| <= atol + rtol * |b|`` are equal too.
"""

from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from hpcmp.analysis.check import digest_of, edge_parts, sum_of_hashes, vertex_parts
from hpcmp.analysis.graph import GraphFile
from hpcmp.errors import FormatError, GraphError
from hpcmp.io import h5

STEP_COLUMNS = ("active", "messages", "digest")  # and value_*: what neither ranks nor partition change


@dataclass(frozen=True)
class FieldDifference:
    """Where a field of two results differs."""

    name: str
    n_rows: int  # rows whose bits differ
    n_outside: int  # of them outside the tolerance
    first_id: int  # vertex of the first of them (outside the tolerance, if any is)
    first_channel: int | None  # None: the field has one value a vertex
    first_values: tuple  # of the first file and of the second
    max_absolute: float  # largest |a - b|; infinite where one is and the other not, or one is NaN
    max_relative: float  # largest |a - b| / max(|a|, |b|), likewise


@dataclass(frozen=True)
class StepDifference:
    """The first step at which two runs left different records."""

    step: int
    columns: dict  # column -> (value of the first, value of the second)


@dataclass(frozen=True)
class Comparison:
    """What `compare` found."""

    kind: str  # "result" or "graph"
    n_vertices: int  # of the first file
    layout: tuple = ()  # sentences: sizes, ids and fields that do not match
    fields: tuple = ()  # of FieldDifference, by name
    step: StepDifference | None = None
    n_steps: tuple = (0, 0)  # of the first run and of the second
    has_step_digests: bool = False
    notes: tuple = ()  # sentences: what else differs and is no part of the answer

    @property
    def is_same_bits(self):
        return not self.layout and not self.fields

    @property
    def is_equal(self):
        """The same bits, or all within the tolerance."""
        return not self.layout and not any(f.n_outside for f in self.fields)


def compare(a, b, rtol=0.0, atol=0.0):
    """Compare two results or two graphs. Local.

    Parameters
    ----------
    a, b : ResultFile or GraphFile
    rtol, atol : float
        Tolerance for fields of results; both 0: the bits have to be the same.

    Returns
    -------
    Comparison

    Raises
    ------
    FormatError
        One is a result, the other a graph.
    GraphError
        A tolerance is negative or NaN.
    """
    is_graph = [isinstance(x, GraphFile) for x in (a, b)]
    if is_graph[0] != is_graph[1]:
        kinds = ["graph" if is_one else "result" for is_one in is_graph]
        raise FormatError(f"{a.path} is a {kinds[0]}, {b.path} a {kinds[1]}; compare two of a kind")
    if not (rtol >= 0 and atol >= 0):
        raise GraphError(f"the tolerances rtol = {rtol} and atol = {atol} must be 0 or more")
    return _compare_graphs(a, b) if is_graph[0] else _compare_results(a, b, rtol, atol)


# ---------------------------------------------------------------- results


def _compare_results(a, b, rtol, atol):
    ids = _compare_ids(a, b)
    shared = [] if ids else [name for name in a.fields if a.fields[name] == b.fields.get(name)]
    found = [_compare_field(a, b, name, rtol, atol) for name in shared]
    return Comparison(
        kind="result",
        n_vertices=a.n_vertices,
        layout=(*ids, *_compare_types(a, b, a.fields, b.fields, "field")),
        fields=tuple(f for f in found if f is not None),
        step=None if ids else _first_step(a.steps, b.steps, rtol, atol),
        n_steps=(a.n_steps, b.n_steps),
        has_step_digests="digest" in a.steps and "digest" in b.steps,
        notes=tuple(_notes(a, b, ("program", "params", "graph_digest", "converged"))),
    )


def _compare_ids(a, b):
    """A sentence on the first vertex that only one has, or nothing."""
    only = None  # rows are in ascending id: where two first differ, the other file lacks the smaller
    for x, y in zip_longest(_id_blocks(a), _id_blocks(b), fillvalue=np.empty(0, np.int64)):
        n = min(len(x), len(y))
        differs = np.flatnonzero(x[:n] != y[:n])
        if len(differs):
            x, y = int(x[differs[0]]), int(y[differs[0]])
            only = (min(x, y), a if x < y else b)
            break
        if len(x) != len(y):
            only = (int((x if len(x) > n else y)[n]), a if len(x) > n else b)
            break
    if only is None and a.n_vertices == b.n_vertices:
        return ()
    sizes = f"{a.path} has {a.n_vertices} vertices, {b.path} has {b.n_vertices}"
    return (sizes if only is None else f"{sizes}; vertex {only[0]} is only in {only[1].path}",)


def _id_blocks(result):
    for rows in result.row_blocks([h5.ID]):
        yield rows[h5.ID]


def _compare_field(a, b, name, rtol, atol):
    """The difference of a field, or None."""
    n_rows = n_outside = 0
    first = first_outside = None
    max_absolute = max_relative = 0.0
    for x, y in zip(a.row_blocks([h5.ID, name]), b.row_blocks([name])):
        ids, x, y = x[h5.ID], x[name], y[name]
        rows = np.flatnonzero(_bits_differ(x, y).any(axis=1))
        if not len(rows):
            continue
        ids, x, y = ids[rows], x[rows], y[rows]
        absolute, relative, is_outside = _distances(x, y, rtol, atol)
        first = first or _first_place(ids, x, y, _bits_differ(x, y))
        first_outside = first_outside or _first_place(ids, x, y, is_outside)
        n_rows, n_outside = n_rows + len(rows), n_outside + int(is_outside.any(axis=1).sum())
        max_absolute, max_relative = max(max_absolute, absolute), max(max_relative, relative)
    if not n_rows:
        return None
    return FieldDifference(name, n_rows, n_outside, *(first_outside or first), max_absolute, max_relative)


def _first_place(ids, x, y, is_there):
    """Id, channel and both values of the first place, or None."""
    if not is_there.any():
        return None
    k, channel = (int(i) for i in np.unravel_index(is_there.argmax(), is_there.shape))
    place = (k, channel) if x.ndim == 2 else k
    return int(ids[k]), channel if x.ndim == 2 else None, (x[place], y[place])


def _bits_differ(x, y):
    """Values whose bytes are not the same: bool (n, width)."""
    shape = (len(x), x[0].size if len(x) else 1, x.dtype.itemsize)
    x, y = (np.ascontiguousarray(v).view(np.uint8).reshape(shape) for v in (x, y))
    return (x != y).any(axis=2)


def _distances(x, y, rtol, atol):
    """Largest |x - y| and |x - y| / max(|x|, |y|), and the values outside the tolerance: bool (n, width)."""
    if not (rtol or atol):
        is_outside = _bits_differ(x, y)
    x, y = (v.astype(np.float64).reshape(len(v), -1) for v in (x, y))
    same = (x == y) | (np.isnan(x) & np.isnan(y))
    with np.errstate(invalid="ignore", over="ignore"):
        absolute = np.where(same, 0.0, np.abs(x - y))
        absolute[np.isnan(absolute)] = np.inf  # a NaN beside a number
        larger = np.maximum(np.abs(x), np.abs(y))
        relative = np.where(np.isinf(absolute), np.inf, absolute / np.where(larger > 0, larger, 1.0))
        if rtol or atol:
            is_outside = ~(same | (np.isfinite(y) & (absolute <= atol + rtol * np.abs(y))))
    return float(absolute.max(initial=0.0)), float(relative.max(initial=0.0)), is_outside


def _first_step(a, b, rtol, atol):
    """The first row of two tables of steps that differs, or None."""
    columns = [name for name in a if name in b and (name in STEP_COLUMNS or name.startswith("value_"))]
    n = min((len(table["step"]) for table in (a, b) if table), default=0)
    differs = {name: _step_differs(a[name][:n], b[name][:n], rtol, atol) for name in columns}
    rows = np.flatnonzero(np.any([*differs.values(), np.zeros(n, np.bool_)], axis=0))
    if not len(rows):
        return None
    row = int(rows[0])
    return StepDifference(
        int(a["step"][row]), {name: (a[name][row], b[name][row]) for name in columns if differs[name][row]}
    )


def _step_differs(x, y, rtol, atol):
    if x.dtype != y.dtype:
        return np.ones(len(x), np.bool_)
    return _distances(x, y, rtol, atol)[2][:, 0] if x.dtype.kind == "f" else _bits_differ(x, y)[:, 0]


# ---------------------------------------------------------------- graphs


def _compare_graphs(a, b):
    layout = []
    if not a.digest or not b.digest or a.digest != b.digest:
        layout = _compare_frames(a, b)
    if not layout and _digest(a) != _digest(b):
        layout = _compare_contents(a, b) or ["the digests differ"]
    notes = []
    if not np.array_equal(a.part_start, b.part_start):
        notes.append(f"the partition differs ({a.n_parts} and {b.n_parts} parts), which changes no result")
    return Comparison("graph", a.n_vertices, tuple(layout), notes=tuple(notes))


def _digest(graph):
    return graph.digest or digest_of(graph)


def _compare_frames(a, b):
    found = _notes(a, b, ("n_vertices", "n_edges", "directed", "relations", "has_names", "categories"))
    found += _compare_types(a, b, a.vertex_fields, b.vertex_fields, "vertex field")
    return found + _compare_types(a, b, a.edge_fields, b.edge_fields, "edge field")


def _compare_contents(a, b):
    """Sentences on the columns that differ, by sums of hashes: rows may lie in any order."""

    def differ(parts):
        return sum_of_hashes(parts(a), 1) != sum_of_hashes(parts(b), 1)

    if differ(lambda graph: vertex_parts(graph, [])):
        return [f"the vertices differ ({'names' if a.has_names else 'ids'})"]
    found = [
        f"the vertex field {name} differs" for name in a.vertex_fields if differ(lambda g: vertex_parts(g, [name]))
    ]
    if differ(lambda graph: edge_parts(graph, [])):
        return [*found, "the edges differ (other endpoints or relations)"]
    return found + [
        f"the edge field {name} differs" for name in a.edge_fields if differ(lambda g: edge_parts(g, [name]))
    ]


# ---------------------------------------------------------------- both


def _compare_types(a, b, fields_a, fields_b, what):
    """Sentences on fields that one lacks or that have other types."""
    found = []
    for name in sorted({*fields_a, *fields_b}):
        x, y = fields_a.get(name), fields_b.get(name)
        if x is None or y is None:
            found.append(f"the {what} {name} is only in {(a if y is None else b).path}")
        elif x != y:
            found.append(f"the {what} {name} is {x} in {a.path} and {y} in {b.path}")
    return found


def _notes(a, b, names):
    """Sentences on attributes that are not the same."""
    pairs = ((name, getattr(a, name), getattr(b, name)) for name in names)
    return [f"{name.replace('_', ' ')}: {_shown(x)} and {_shown(y)}" for name, x, y in pairs if x != y]


def _shown(value):
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
