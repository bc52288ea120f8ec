"""Message passing on graphs across MPI ranks.

Names are loaded when first used: importing hpcmp starts no MPI and compiles
nothing.
"""

import importlib

__version__ = "0.1.0"

_HOMES = {
    "Program": "engine.program",
    "Sum": "engine.program",
    "Min": "engine.program",
    "Max": "engine.program",
    "Any": "engine.program",
    "All": "engine.program",
    "Monoid": "kernels.aggregates",
    "Collect": "kernels.aggregates",
    "run": "engine.run",
    "Checkpoints": "engine.checkpoints",
    "Watchdog": "watchdog",
    "Result": "engine.result",
    "Graph": "graph",
    "open_graph": "io.graph_file",
    "write_graph": "io.graph_file",
    "build_graph": "assemble",
    "repartition": "parts",
    "receptive_field": "algorithms.receptive_field",
    "uniform": "random",
}
_MODULES = ("algorithms", "analysis", "comm", "errors", "generate", "io", "random")

__all__ = [*_HOMES, "__version__"]


def __getattr__(name):
    if name in _HOMES:
        return getattr(importlib.import_module(f"hpcmp.{_HOMES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"hpcmp.{name}")
    raise AttributeError(f"module 'hpcmp' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_HOMES, *_MODULES])
