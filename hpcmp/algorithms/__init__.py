"""Algorithms on the public face of hpcmp, one file each.

A file holds the essay (method, cost, source), ``run(graph, ..., **how)`` whose
keyword arguments are the algorithm's options (``how`` goes to `hpcmp.run`), and
``verify(graph, result)``, which argues differently from the algorithm.
"""

import importlib
import inspect

NAMES = (
    "pagerank",
    "bfs",
    "sssp",
    "wcc",
    "cdlp",
    "lcc",
    "triangles",
    "kcore",
    "msbfs",
    "closeness",
    "betweenness",
    "degrees",
    "receptive_field",
)


def find(name):
    """The module of a built-in algorithm, or None. Local."""
    return importlib.import_module(f"hpcmp.algorithms.{name}") if name in NAMES else None


def options(module):
    """An algorithm's own options and their defaults: dict. Local."""
    parameters = inspect.signature(module.run).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def __getattr__(name):
    """``hpcmp.algorithms.pagerank`` and the like, loaded when first used. Local."""
    if name in NAMES:
        return find(name)
    raise AttributeError(f"module 'hpcmp.algorithms' has no attribute {name!r}")
