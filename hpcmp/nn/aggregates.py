"""What aggregates of messages need: the share of an edge in a mean, and which edge had the largest or the least.

A row keeps the place, among its in-edges, of the one whose message was taken, channel by channel. The transposed edges carry
their places as a field, so that a sender too sees which of its messages were taken: the first in canonical order, on any
ranks, parallel edges and relations told apart.
"""

import numpy as np

from hpcmp.graph import reversed_edges, with_edge_field
from hpcmp.nn.sums import alike

BEST = ("max", "min")
AGGREGATES = ("sum", "mean", *BEST)
PLACE = "place in row"  # edge field of transposed edges


def check_aggregate(aggregate):
    """Refuse what is no aggregate of messages. Local."""
    if aggregate not in AGGREGATES:
        raise alike(f"aggregate {aggregate!r} is not one of {', '.join(AGGREGATES)}")


def share_of_edges(view, aggregate):
    """What a sum is multiplied by: (n_owned, 1), None for nothing. Local."""
    if aggregate != "mean":
        return None
    return (1 / np.maximum(view.graph.in_degree, 1)).astype(view.dtype)[:, None]


def place_dtype(graph):
    """Dtype of the place of an edge in its row, the same on all ranks. Local."""
    return np.int32 if graph.n_edges <= np.iinfo(np.int32).max else np.int64


def numbered(view):
    """Places of in-edges, and the turned graph that has them. Collective.

    Returns
    -------
    places : (n_in,) array
    turned : Graph
        With the edge field `PLACE`.
    """
    if "numbered" not in view.kept:
        graph = view.graph
        first = graph.in_ptr[:-1].astype(np.int64)
        places = (np.arange(graph.n_in) - np.repeat(first, graph.in_degree)).astype(place_dtype(graph))
        view.kept["numbered"] = places, reversed_edges(with_edge_field(graph, PLACE, places))
    return view.kept["numbered"]
