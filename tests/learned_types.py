"""A graph with vertices of three types and relations between them."""

from dataclasses import replace

import numpy as np
from building import build
from graphs import sample
from learned import N_PARTS

from hpcmp.graph import with_vertex_field
from hpcmp.nn.view import View

TYPES = ("author", "paper", "venue")
KEYS = (
    ("author", "writes", "paper"),
    ("paper", "written by", "author"),
    ("paper", "cites", "paper"),
    ("paper", "in", "venue"),
)
RELATIONS = ("cites", "in", "writes", "written by")
N = 90


def _edges():
    """(src, dst, relation) between vertices whose type is id % 3, an id may be heard twice."""
    draw, found = np.random.default_rng(3), []
    for source, name, receiver in KEYS:
        for _ in range(120):
            src, dst = 3 * draw.integers(0, N // 3, 2)
            found.append((src + TYPES.index(source), dst + TYPES.index(receiver), RELATIONS.index(name)))
    return np.array(found)


EDGES = _edges()
SAMPLE = sample(range(N), EDGES[:, :2].tolist(), weight=np.ones(len(EDGES)))


def typed_view(comm, dtype=np.float64, threads=1):
    """Their view, on ranks of a communicator."""
    graph = build(comm, SAMPLE, n_parts=N_PARTS, relation=EDGES[:, 2], relations=RELATIONS)
    graph = with_vertex_field(graph, "type", (graph.id[: graph.n_owned] % 3).astype(np.int32))
    return View(replace(graph, categories={"type": TYPES}), threads, 0, dtype)
