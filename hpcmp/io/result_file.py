"""Result files: rows in ascending id, and the tables of steps and ranks.

    id                 int64, the dimension and coordinate of all fields
    <field>            (id) or (id, <field>_channel)
    [name]             (id)
    steps/, ranks/     one dataset a column, along step or rank

Dimension scales are set so that xarray opens the file as it is.
"""

import json

import h5py
import numpy as np

from hpcmp.comm import collective, raise_together
from hpcmp.dtypes import ID
from hpcmp.errors import FileError, FormatError, GraphError, HpcmpError
from hpcmp.id_order import IdOrder
from hpcmp.io import h5
from hpcmp.io.parallel import Slab, write_file
from hpcmp.io.provenance import provenance

# Attributes of a result file besides those of every file.
COUNTS = ("n_edges", "n_steps", "size", "threads", "peak_rss_bytes")
TEXTS, DIGESTS = ("program", "mpi_library"), ("digest", "graph_digest")
RECORDS = ("params", "values", "seconds", "halo")  # JSON objects; so are converged and sources


@collective
def write_result(result, path, command=None):
    """Write a result file. Collective.

    Raises
    ------
    FileError
        The file cannot be written. Raised on every rank.
    """
    from mpi4py import MPI

    graph = result.graph
    order = IdOrder(graph)
    slabs = {h5.ID: Slab(order.id, order.first, order.n, {"long_name": "vertex id"})}
    if graph.name is not None:
        text = h5py.string_dtype("utf-8", graph.name.dtype.itemsize)
        slabs[h5.NAME] = Slab(order.take(graph.name), order.first, order.n, {"long_name": "vertex name"}, text)
    for name, a in result.state.items():
        slabs[name] = Slab(order.take(a), order.first, order.n, {"long_name": f"{name} of the vertex"})
    attrs = {
        "format": h5.RESULT,
        "version": h5.VERSION,
        "program": result.program,
        "params": json.dumps(result.params, default=_plain),
        "values": json.dumps(result.values, default=_plain),
        "n_vertices": graph.n_vertices,
        "n_edges": graph.n_edges,
        "graph_digest": graph.digest or "",
        "digest": result.digest,
        "n_steps": result.n_steps,
        "converged": json.dumps(result.converged),
        "seconds": json.dumps(result.seconds),
        "halo": json.dumps(result.halo),
        "size": graph.comm.size,
        "threads": result.threads,
        "peak_rss_bytes": result.peak_rss_bytes,
        "mpi_library": " ".join(MPI.Get_library_version().split("\x00")[0].splitlines()[0].split()),
        **provenance(command, graph.sources),
    }
    write_file(graph.comm, path, slabs, attrs, lambda handle: _finish(handle, result))


def _finish(handle, result):
    """Tables, and the scales by which xarray knows dimensions."""
    handle[h5.ID].make_scale(h5.ID)
    fields = [name for name in handle if name != h5.ID]
    for name in fields:
        handle[name].dims[0].attach_scale(handle[h5.ID])
        if handle[name].ndim == 2:
            channel = handle.create_dataset(f"{name}_channel", data=np.arange(handle[name].shape[1]))
            channel.make_scale(f"{name}_channel")
            handle[name].dims[1].attach_scale(channel)
    for group, table in ((h5.STEPS, result.steps), (h5.RANKS, result.ranks)):
        _write_table(handle.create_group(group), table)


def _write_table(group, table):
    dimension = next(iter(table), None)
    for column, values in table.items():
        values = np.asarray(values)
        made = group.create_dataset(column, data=values)
        if column.startswith("value_"):
            pass  # whatever the program makes of it
        elif column.endswith("_s"):
            h5.set_attributes(made, {"units": "s"})
        elif column.endswith("_bytes"):
            h5.set_attributes(made, {"units": "bytes"})
        if column == dimension:
            made.make_scale(column)
        else:
            made.dims[0].attach_scale(group[dimension])


def read_head(handle, path):
    """What a result file says of itself, its datasets checked but not read. Local.

    Returns
    -------
    dict
        ``attrs`` as they are, ``fields``, ``steps`` and ``ranks`` as name ->
        (shape, dtype), and single attributes by their names.

    Raises
    ------
    FormatError
        It is not a complete result file.
    """
    n = h5.attribute(handle, "n_vertices", int, path=path)
    if n < 0:
        raise FormatError(f"{path}: n_vertices = {n} must not be negative")
    if h5.dataset(handle, h5.ID, path=path, ndim=1, kinds="i", rows=n).dtype != ID:
        raise FormatError(f"{path}: {h5.ID} has dtype {handle[h5.ID].dtype}; {ID} is needed")
    has_names = h5.NAME in handle
    if has_names:
        h5.dataset(handle, h5.NAME, path=path, ndim=1, kinds="S", rows=n)
    fields = {}
    for name in h5.names_of(handle, path):
        if name not in (h5.ID, h5.NAME, h5.STEPS, h5.RANKS):
            found = h5.dataset(handle, name, path=path, ndim=(1, 2), kinds="biuf")
            if not h5.is_scale(found, path):  # numbers of channels
                fields[name] = _shape_of(h5.dataset(handle, name, path=path, rows=n))
    return {
        "attrs": h5.attributes(handle, path),
        "n_vertices": n,
        "has_names": has_names,
        "fields": fields,
        h5.STEPS: _table_head(handle, h5.STEPS, path),
        h5.RANKS: _table_head(handle, h5.RANKS, path),
        **{name: h5.attribute(handle, name, int, path=path) for name in COUNTS},
        **{name: h5.attribute(handle, name, str, path=path) for name in TEXTS},
        **{name: h5.digest(handle, name, path=path) for name in DIGESTS},
        **{name: h5.json_attribute(handle, name, dict, path=path) for name in RECORDS},
        "converged": h5.json_attribute(handle, "converged", bool | None, path=path),
        "sources": h5.json_attribute(handle, "sources", list, path=path),
    }


def _table_head(handle, name, path):
    """Columns of a table, which are all as long as its dimension: name -> (shape, dtype)."""
    columns = {}
    for column in h5.names_of(h5.group(handle, name, path=path), path):
        columns[column] = _shape_of(h5.dataset(handle, f"{name}/{column}", path=path, ndim=1, kinds="biufS"))
    n_rows = {shape[0] for shape, _ in columns.values()}
    if len(n_rows) > 1:
        counts = " and ".join(map(str, sorted(n_rows)))
        raise FormatError(f"{path}: the columns of {name} have {counts} rows; all need the same")
    return columns


def _shape_of(found):
    return found.shape, found.dtype


def read_field_for(graph, path, name):
    """A field of a result file, as this rank's owned rows of a graph. Collective.

    Raises
    ------
    FormatError, GraphError
        The file is damaged, has no such field, or lacks a vertex of the
        graph. Raised on every rank.
    """
    column, error = None, None
    try:
        with h5.opened(path, h5.RESULT) as handle:
            ids = h5.dataset(handle, h5.ID, path=path, ndim=1, kinds="i", rows=graph.n_vertices)
            found = h5.dataset(handle, name, path=path, kinds="biuf", rows=graph.n_vertices)
            if graph.n_owned:
                lo, hi = int(graph.order.min()), int(graph.order.max()) + 1
                column = h5.read(found, path, lo, hi)[graph.order - lo]
                if np.any(h5.read(ids, path, lo, hi)[graph.order - lo] != graph.id[: graph.n_owned]):
                    raise GraphError(f"{path} is of another graph: its ids differ; run the program on this one")
            else:
                column = found[:0]
    except HpcmpError as caught:
        error = caught
    except OSError as caught:
        error = FileError(f"{path} cannot be read: {caught}")
    raise_together(graph.comm, error)
    return column


def _plain(value):
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
