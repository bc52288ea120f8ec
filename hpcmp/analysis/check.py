"""Every index and every bit of a file, looked at.

`open` checks the frame of a file: names, types, sizes. These functions read
all of it, in blocks; a graph needs some 60 bytes of memory for each vertex.
"""

import numpy as np

from hpcmp.analysis.frame import BLOCK_ROWS, blocks
from hpcmp.errors import FormatError
from hpcmp.hashing import GRAPH_SEEDS, graph_digest, hash_sum
from hpcmp.io import h5


def check_result(result):
    """Check all rows of a result file; its digest. Local.

    Raises
    ------
    FormatError
        Ids do not rise, a table has another length than the run, or the rows
        have another digest than the run computed.
    """
    last = None
    for rows in result.row_blocks([h5.ID]):
        ids = rows[h5.ID] if last is None else np.concatenate(([last], rows[h5.ID]))
        falls = np.flatnonzero(ids[1:] <= ids[:-1])
        if len(falls):
            a, b = ids[falls[0] : falls[0] + 2]
            raise FormatError(f"{result.path}: ids must rise, {b} comes after {a}; the file is damaged")
        last = ids[-1]
    for table, dimension, n_rows in ((result.steps, "step", result.n_steps), (result.ranks, "rank", result.size)):
        counted = table.get(dimension, np.empty(0))
        if table and (len(counted) != n_rows or not np.array_equal(counted, np.arange(n_rows))):
            raise FormatError(
                f"{result.path}: the table {dimension}s does not count 0 .. {n_rows - 1} in its column {dimension}"
            )
    return result.verify_digest()


def check_graph(graph):
    """Check all vertices and edges of a graph file; its digest. Local.

    Raises
    ------
    FormatError
        A pointer goes back, a number is out of range, ids repeat, in-edges
        are not in canonical order, a degree is wrong, or the vertices and
        edges have another digest than the file says.
    """
    _check_vertices(graph)
    out_degree = np.zeros(graph.n_vertices, np.int64)
    last = None
    block_rows = max(BLOCK_ROWS, graph.n_vertices // 4)  # bincount costs a pass over all vertices
    for block in graph.edge_blocks([], block_rows):
        out_degree += np.bincount(block.src, minlength=graph.n_vertices)
        last = _check_canonical(graph, block, last)
    wrong = np.flatnonzero(out_degree != graph.degrees()[1])
    if len(wrong):
        row = wrong[0]
        raise FormatError(
            f"{graph.path}: vertices/out_degree[{row}] = {graph.degrees()[1][row]}, {out_degree[row]} edges leave "
            f"vertex {graph.id[row]}; the file is damaged"
        )
    found = digest_of(graph)
    if graph.digest and found != graph.digest:
        raise FormatError(
            f"{graph.path}: vertices and edges have the digest {found[:16]}..., the file says {graph.digest[:16]}...; "
            "it was changed after it was written: restore it or convert the input again"
        )
    return found


def digest_of(graph):
    """Fingerprint of a graph file, as `hpcmp.graph.digest_of`: 64 hex digits. Local."""
    vertex_fields, edge_fields = sorted(graph.vertex_fields), sorted(graph.edge_fields)
    sums = [
        sum_of_hashes(parts, seed)
        for seed in GRAPH_SEEDS
        for parts in (vertex_parts(graph, vertex_fields), edge_parts(graph, edge_fields))
    ]
    return graph_digest(graph, sums)


def vertex_parts(graph, fields):
    """Ids, names and fields of vertices, block by block: lists of columns. Local."""
    names = [h5.ID, *([h5.NAME] if graph.has_names else []), *fields]
    with h5.opened(graph.path, h5.GRAPH) as handle:
        columns = [graph._dataset(handle, f"{h5.VERTICES}/{name}") for name in names]
        for lo, hi in blocks(graph.n_vertices):
            yield [h5.read(column, graph.path, lo, hi) for column in columns]


def edge_parts(graph, fields):
    """Ends, relation and fields of edges, block by block: lists of columns. Local."""
    for block in graph.edge_blocks(fields):
        relation = [] if block.relation is None else [block.relation]
        yield [graph.id[block.dst], graph.id[block.src], *relation, *(block.fields[name] for name in fields)]


def sum_of_hashes(parts, seed):
    """Hash of rows in any order: int. Local."""
    return sum(int(hash_sum(columns, seed)) for columns in parts) % 2**64


def _check_vertices(graph):
    place = np.full(graph.n_vertices, -1, np.int64)
    place[graph.order] = np.arange(graph.n_vertices)
    missing = np.flatnonzero(place < 0)
    if len(missing):
        raise FormatError(
            f"{graph.path}: vertices/order is no permutation, {missing[0]} is missing; the file is damaged"
        )
    ids = graph.id[place]
    falls = np.flatnonzero(ids[1:] <= ids[:-1])
    if len(falls):
        a, b = ids[falls[0] : falls[0] + 2]
        raise FormatError(f"{graph.path}: vertices/order puts id {b} after id {a}; ids must rise: the file is damaged")
    for name, texts in graph.categories.items():
        graph._check_range(f"vertices/{name}", graph.vertex(name), len(texts), low=-1)  # -1: the vertex has none


def _check_canonical(graph, block, last):
    """Check that (dst, relation, order of src) never falls; the last of the block."""
    relation = np.zeros(len(block.src), np.int64) if block.relation is None else block.relation.astype(np.int64)
    key = np.stack((block.dst, relation, graph.order[block.src]))
    key = key if last is None else np.concatenate((last, key), axis=1)
    falls = np.zeros(key.shape[1] - 1, np.bool_)
    for column in key[::-1]:  # the last column decides where those before are equal
        falls = (column[1:] < column[:-1]) | ((column[1:] == column[:-1]) & falls)
    wrong = np.flatnonzero(falls)
    if len(wrong):
        row = block.first + int(wrong[0]) + (last is None)
        raise FormatError(
            f"{graph.path}: in_edges/src[{row}] comes after a source of higher order; "
            "in-edges must lie in canonical order: convert the input again"
        )
    return key[:, -1:]
