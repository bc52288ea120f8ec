"""A graph file: vertices by gid, and their in-edges in canonical order.

Rows lie part after part: row ``gid`` of every vertex array is the vertex
``id[gid]``, and its in-edges are ``in_src[in_ptr[gid] : in_ptr[gid + 1]]``
(gids of the sources). `order` puts rows in ascending id.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from hpcmp.analysis.frame import PROVENANCE, as_text, blocks, check_field, columns_of, field_of, pandas
from hpcmp.dtypes import RELATION
from hpcmp.errors import FormatError, require
from hpcmp.io import graph_head, h5


@dataclass(frozen=True)
class EdgeBlock:
    """A run of the edges of a graph file."""

    first: int  # number of the first of them
    src: np.ndarray  # int64 (k,) gids
    dst: np.ndarray  # int64 (k,) gids, rising
    fields: dict  # name -> (k,)
    relation: np.ndarray | None  # uint16 (k,); None: one relation


@dataclass(frozen=True)
class GraphFile:
    """A graph on disk."""

    path: Path
    n_vertices: int
    n_edges: int  # as they are stored: an undirected edge counts twice, unless it is a loop
    directed: bool
    digest: str
    part_start: np.ndarray  # int64 (n_parts + 1,) gids
    part_edge_start: np.ndarray  # int64 (n_parts + 1,) the first in-edge of each part
    relations: tuple  # names of the relations; empty: one without a name
    categories: dict  # vertex field -> tuple of the texts its codes stand for
    sources: tuple  # files the graph came from: {"name":, "bytes":, "sha256":}
    has_names: bool
    has_relation: bool
    vertex_fields: dict  # name -> Field
    edge_fields: dict  # name -> Field
    attrs: dict  # all attributes of the file

    @classmethod
    def read_frame(cls, handle, path):
        """All but the rows, from an open file. Local.

        Raises
        ------
        FormatError
            It breaks a rule of graph files.
        """
        head = graph_head.read_head(handle, path)

        def fields(group, names):
            found = {name: head["datasets"][f"{group}/{name}"] for name in names}
            return {name: field_of(shape, dtype) for name, (_, dtype, shape) in found.items()}

        same = ("n_vertices", "n_edges", "directed", "digest", "part_start", "relations", "categories", "sources")
        return cls(
            path=Path(path),
            part_edge_start=head["edge_start"],
            vertex_fields=fields(h5.VERTICES, head["vertex_fields"]),
            edge_fields=fields(h5.EDGES, head["edge_fields"]),
            attrs=h5.attributes(handle, path),
            **{name: head[name] for name in (*same, "has_names", "has_relation")},
        )

    # ------------------------------------------------------------ arrays

    @property
    def n_parts(self):
        return len(self.part_start) - 1

    @property
    def provenance(self):
        """Where the file came from: version, time, command, sources."""
        return {**{name: self.attrs[name] for name in PROVENANCE if name in self.attrs}, "sources": list(self.sources)}

    @cached_property
    def id(self):
        """Vertex ids by gid: int64 (n,)."""
        return self._read("vertices/id")

    @cached_property
    def order(self):
        """Position of each vertex among all ids, ascending: int64 (n,)."""
        order = self._read("vertices/order")
        self._check_range("vertices/order", order, self.n_vertices)
        return order

    @property
    def name(self):
        """Vertex names by gid: str (n,); None where vertices have only ids."""
        return as_text(self.name_bytes) if self.has_names else None

    @cached_property
    def name_bytes(self):
        """Vertex names by gid, in UTF-8: 'S' (n,); None where vertices have only ids."""
        return self._read("vertices/name") if self.has_names else None

    @cached_property
    def in_ptr(self):
        """First in-edge of each vertex: int64 (n + 1,)."""
        ptr = self._read("in_edges/ptr")
        self._check_ptr(ptr)
        return ptr

    @cached_property
    def in_src(self):
        """Gid of the source of each in-edge: int64 (m,)."""
        src = self._read("in_edges/src")
        self._check_range("in_edges/src", src, self.n_vertices)
        return src

    @property
    def relation(self):
        """Number of the relation of each in-edge: uint16 (m,)."""
        return self._read("in_edges/relation") if self.has_relation else np.zeros(self.n_edges, RELATION)

    def vertex(self, name, decode=False):
        """A vertex field by gid: (n,) or (n, width). Local.

        Parameters
        ----------
        decode : bool
            Give the texts of a field that holds codes; None where a vertex
            has none.
        """
        check_field(name, self.vertex_fields, f"the vertices of {self.path}")
        codes = self._read(f"vertices/{name}")
        if not decode or name not in self.categories:
            return codes
        texts = np.array([*self.categories[name], None], object)
        return texts[np.where((codes >= 0) & (codes < len(texts) - 1), codes, len(texts) - 1)]

    def edge(self, name):
        """An edge field, in the order of the in-edges: (m,). Local."""
        check_field(name, self.edge_fields, f"the edges of {self.path}")
        return self._read(f"in_edges/{name}")

    def degrees(self):
        """In- and out-degree by gid: two int64 (n,). Local."""
        return np.diff(self.in_ptr), self._read("vertices/out_degree")

    def edge_blocks(self, fields=None, block_rows=None):
        """Edges block by block, in the order of the file. Local.

        Parameters
        ----------
        fields : sequence of str or None
            Edge fields to read; None: all.

        Yields
        ------
        EdgeBlock

        Raises
        ------
        FormatError
            Pointers go back, or a source is no vertex.
        """
        names = list(self.edge_fields) if fields is None else fields
        for name in names:
            check_field(name, self.edge_fields, f"the edges of {self.path}")
        with h5.opened(self.path, h5.GRAPH) as handle:
            ptr = h5.read(self._dataset(handle, "in_edges/ptr"), self.path)
            self._check_ptr(ptr)
            src = self._dataset(handle, "in_edges/src")
            columns = {name: self._dataset(handle, f"in_edges/{name}") for name in names}
            relation = self._dataset(handle, "in_edges/relation") if self.has_relation else None
            for lo, hi in blocks(self.n_edges, block_rows):
                block = EdgeBlock(
                    lo,
                    h5.read(src, self.path, lo, hi),
                    _rows_of_edges(ptr, lo, hi),
                    {name: h5.read(column, self.path, lo, hi) for name, column in columns.items()},
                    None if relation is None else h5.read(relation, self.path, lo, hi),
                )
                self._check_range("in_edges/src", block.src, self.n_vertices, lo)
                if relation is not None:
                    self._check_range("in_edges/relation", block.relation, len(self.relations), lo)
                yield block

    # ------------------------------------------------------------ views

    def to_scipy(self, field=None):
        """Adjacency as a scipy CSR array: row src, column dst. Local.

        Rows and columns are by ascending id; ``id[argsort(order)]`` names
        them. Repeated edges are added up.

        Parameters
        ----------
        field : str or None
            Edge field for the entries; None: 1.0 for each edge.
        """
        require("scipy", "scipy", "an adjacency matrix")
        from scipy import sparse

        values = np.ones(self.n_edges) if field is None else self.edge(field)
        src, dst = self.order[self.in_src], np.repeat(self.order, np.diff(self.in_ptr))
        return sparse.coo_array((values, (src, dst)), shape=(self.n_vertices, self.n_vertices)).tocsr()

    def to_pandas_edges(self):
        """Edges as a pandas frame: ``src`` and ``dst`` ids, and fields. Local.

        An undirected edge has two rows, one in each direction.
        """
        ends = {"src": self.id[self.in_src], "dst": np.repeat(self.id, np.diff(self.in_ptr))}
        if self.has_relation:
            ends["relation"] = pandas().Categorical.from_codes(self.relation, self.relations)
        return pandas().DataFrame(ends | {name: self.edge(name) for name in self.edge_fields})

    def to_pandas_vertices(self):
        """Fields and degrees of vertices as a pandas frame by ascending id. Local."""
        in_degree, out_degree = self.degrees()
        columns = {h5.NAME: self.name} if self.has_names else {}
        columns |= {"in_degree": in_degree, "out_degree": out_degree}
        for name in self.vertex_fields:
            columns |= columns_of(name, self.vertex(name, decode=True))
        index = pandas().Index(self.id, name=h5.ID)
        return pandas().DataFrame(columns, index=index).iloc[np.argsort(self.order)]

    # ------------------------------------------------------------ private

    def _read(self, name):
        with h5.opened(self.path, h5.GRAPH) as handle:
            return h5.read(self._dataset(handle, name), self.path)

    def _dataset(self, handle, name):
        """A dataset; the file may have been replaced since its frame was read."""
        rows = self.n_vertices if name.startswith("vertices/") else self.n_edges
        if name == "in_edges/ptr":
            rows = self.n_vertices + 1
        found = h5.dataset(handle, name, path=self.path)
        if found.shape[0] != rows:
            raise FormatError(f"{self.path} changed while it was being read; open it again")
        return found

    def _check_ptr(self, ptr):
        falls = np.flatnonzero(ptr[1:] < ptr[:-1])
        if len(falls):
            row = int(falls[0])
            raise FormatError(
                f"{self.path}: in_edges/ptr goes back at row {row} ({ptr[row]} then {ptr[row + 1]}); the file is damaged"
            )
        if ptr[0] != 0 or ptr[-1] != self.n_edges:
            raise FormatError(
                f"{self.path}: in_edges/ptr runs from {ptr[0]} to {ptr[-1]}, not from 0 to n_edges = {self.n_edges}; "
                "the file is damaged"
            )

    def _check_range(self, name, values, limit, first=0, low=0):
        wrong = np.flatnonzero((values < low) | (values >= limit))
        if len(wrong):
            raise FormatError(
                f"{self.path}: {name}[{first + wrong[0]}] = {values[wrong[0]]} is outside [{low}, {limit}); the file is damaged"
            )


def _rows_of_edges(ptr, lo, hi):
    """Gid of the row that each of the edges [lo, hi) ends in."""
    first, end = np.searchsorted(ptr, [lo, hi - 1], side="right") - 1
    counts = np.minimum(ptr[first + 1 : end + 2], hi) - np.maximum(ptr[first : end + 1], lo)
    return np.repeat(np.arange(first, end + 1), counts)
