"""What a reader hands to the graph builder: this rank's share of an input.

Vertices are still called what the user calls them: ids (int64) or names
(UTF-8 bytes, numpy 'S'). `hpcmp.assemble` numbers them and cuts parts.
"""

from dataclasses import dataclass, field

import numpy as np

from hpcmp.dtypes import ID


@dataclass(frozen=True)
class EdgeTable:
    """Edges as they were read, spread over the ranks in any way."""

    src: np.ndarray  # (m,) int64 ids, or names 'S<width>' (one width on all ranks)
    dst: np.ndarray  # (m,) same dtype as src
    fields: dict = field(default_factory=dict)  # name -> (m,); same names and dtypes on all ranks
    relation: np.ndarray | None = None  # (m,) uint16, index into relations; None: one relation
    relations: tuple = ()  # names of the relations; empty: one without a name
    vertices: np.ndarray = field(
        default_factory=lambda: np.empty(0, ID)
    )  # (v,) declared apart from edges; same kind as src
    directed: bool | None = None  # what the input says; None: it does not say
    sources: tuple = ()  # ({"name":, "bytes":, "sha256":}, ...) the same on all ranks
    notes: tuple = ()  # what the reader took for granted, in words; the same on all ranks


@dataclass(frozen=True)
class VertexTable:
    """Fields of vertices, spread over the ranks in any way."""

    key: np.ndarray  # (v,) int64 ids or names 'S<width>'
    fields: dict  # name -> (v,) or (v, width)
    categories: dict = field(default_factory=dict)  # name -> tuple of str; the field holds int32 codes into it
    sources: tuple = ()


@dataclass(frozen=True)
class LabelTable:
    """Labels of some of the vertices, from one file for each split; all rows spread over the ranks in any way."""

    key: np.ndarray  # (t,) int64 ids or names 'S<width>'
    label: np.ndarray  # (t,) int64, 0 or more
    file: np.ndarray  # (t,) int64, index into splits and sources
    line: np.ndarray  # (t,) int64, from 1, in that file
    splits: tuple  # text for the vertices of each file, such as train; all differ
    classes: tuple | None = None  # texts that the labels number; None: they are numbers of the user
    sources: tuple = ()
    notes: tuple = ()  # as of `EdgeTable`


@dataclass(frozen=True)
class FeatureTable:
    """Sparse features, one entry a row; a missing entry is 0."""

    key: np.ndarray  # (f,) int64 ids or names 'S<width>'
    column: np.ndarray  # (f,) int64
    value: np.ndarray  # (f,) float32
    n_columns: int  # over all ranks
    sources: tuple = ()
    notes: tuple = ()  # as of `EdgeTable`
