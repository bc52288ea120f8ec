"""Samples on ranks, and what lies on ranks back in one place."""

import numpy as np

import hpcmp
from hpcmp.io.table import EdgeTable

_GRAPHS = {}  # (communicator, sample, options) -> graph, so that a law need not build what another has built


def share(comm, m, deal="cyclic", seed=0):
    """Which of m lines this rank reads: "cyclic", "first" (rank 0 all), "last" or "shuffled"."""
    if deal in ("first", "last"):
        return np.arange(m if comm.rank == (0 if deal == "first" else comm.size - 1) else 0)
    if deal == "shuffled":
        return np.random.default_rng(seed).permutation(m)[comm.rank :: comm.size]
    return np.arange(m)[comm.rank :: comm.size]


def table(comm, sample, deal="cyclic", weight="float64", relation=None, relations=(), fields=None):
    """This rank's lines of a sample; ``weight=None``: without weights."""
    mine, owned = share(comm, len(sample.src), deal), share(comm, len(sample.ids), deal)
    more = {} if weight is None else {"weight": sample.weight[mine].astype(weight)}
    more |= {name: a[mine] for name, a in (fields or {}).items()}
    kind = None if relation is None else relation[mine].astype(np.uint16)
    return EdgeTable(
        sample.src[mine], sample.dst[mine], more, kind, relations, sample.ids[owned], directed=sample.directed
    )


def build(comm, sample, *, deal="cyclic", weight="float64", method=None, **options):
    """The graph of a sample, perhaps partitioned anew. Kept for the next who asks."""
    named = {"deal": deal, "weight": weight, "method": method, **options}
    key = (id(comm), id(sample), repr(sorted(named.items())))
    if key not in _GRAPHS:
        more = {k: options.pop(k) for k in ("relation", "relations", "fields") if k in options}
        graph, _ = hpcmp.build_graph(comm, table(comm, sample, deal, weight, **more), **options)
        if method is not None:
            graph = hpcmp.repartition(graph, method)
        _GRAPHS[key] = graph, sample  # the sample too: its id must not be used again
    return _GRAPHS[key][0]


def everywhere(graph, values):
    """id -> value of owned rows of all ranks, the same on all ranks."""
    parts = graph.comm.allgather((graph.id[: graph.n_owned], values))
    return {int(v): x for ids, column in parts for v, x in zip(ids, column.tolist())}


def as_column(graph, by_id, dtype=None):
    """Owned rows of a dict by id."""
    return np.array([by_id[int(v)] for v in graph.id[: graph.n_owned]], dtype)


def listed_edges(graph):
    """(src id, dst id, relation, fields ...) of all ranks' in-edges, row by row, the same on all ranks."""
    columns = [graph.id[graph.in_src], graph.id[graph.in_rows()]]
    columns += [np.zeros(graph.n_in, np.int64) if graph.relation is None else graph.relation]
    columns += [graph.edge_fields[name] for name in sorted(graph.edge_fields)]
    return [e for part in graph.comm.allgather(list(zip(*(c.tolist() for c in columns)))) for e in part]


def same_on_all(comm, value):
    """Whether all ranks hold an equal value."""
    return len(set(map(repr, comm.allgather(value)))) == 1


def agreed_error(comm, kind, call):
    """Text of the error that every rank raises alike."""
    error = None
    try:
        call()
    except kind as caught:
        error = caught
    found = comm.allgather(None if error is None else (type(error).__name__, str(error), error.agreed))
    assert None not in found, f"no {kind.__name__} on ranks {[r for r, f in enumerate(found) if f is None]}"
    assert len(set(found)) == 1, found
    assert found[0][2], "the ranks did not agree on it"
    return found[0][1]
