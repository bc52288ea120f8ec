"""Whether two vertices are joined, as what a model is trained for: some edges held out, the rest to hear along.

A model gives a row of every vertex; a pair's score is made of the rows of its ends (`hpcmp.nn.links`). All edges between
the same two vertices, of whatever relation and either direction, are held out together: one would tell of the other. Which
are, is a function of the vertices' ids, so the same for any parts, ranks and seeds of a training.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from hpcmp.errors import ProgramError
from hpcmp.graph import only_edges
from hpcmp.hashing import hash_rows
from hpcmp.nn import metrics
from hpcmp.nn.data import Data, load_features
from hpcmp.nn.links import DistMult, Pairs, by_origin, draw_pairs, link_loss, link_scores
from hpcmp.nn.module import Module
from hpcmp.nn.sums import alike
from hpcmp.nn.tape import Tensor
from hpcmp.nn.view import View

HELD_OUT_SEED = 11  # of hashes that hold edges out; part of what a split means
N_RANKED = 50  # drawn pairs among which an edge that was held out is ranked, in every epoch the same
METRICS = {
    "mrr": metrics.mrr,
    **{f"hits_{k}": partial(metrics.hits_at_k, k=k) for k in (1, 3, 10)},
    "roc_auc": lambda comm, positive, negative: _auc(comm, positive, negative),
}


@dataclass(frozen=True)
class Linked:
    """What a model of links gives: rows, and factors of relations (None: of none)."""

    rows: Tensor  # (n_owned, width)
    factors: Tensor | None  # (relations, width)

    @property
    def data(self):
        """The rows alone, as other models give them."""
        return self.rows.data


class LinkModel(Module):
    """A model whose rows are scored in pairs: by DistMult where there are relations, else by dot products."""

    def __init__(self, encoder, width, n_relations=0):
        self.encoder = encoder
        self.decoder = DistMult(n_relations, width) if n_relations else None

    def __call__(self, graph, x):
        return Linked(self.encoder(graph, x), self.decoder and self.decoder.factors)


@dataclass(frozen=True)
class Links:
    """Edges apart from drawn pairs; what `hpcmp.nn.tasks.Vertices` is for vertices.

    Attributes
    ----------
    metrics : tuple of str
        Of `METRICS`, told of "val" and "test"; empty: the first.
    negatives : int
        Pairs drawn for each edge, anew in each epoch.
    """

    metrics: tuple = ()
    negatives: int = 1
    loss: str = "links"

    def __post_init__(self):
        object.__setattr__(self, "metrics", tuple(self.metrics) or (next(iter(METRICS)),))
        for name in self.metrics:
            if name not in METRICS:
                raise ProgramError(f"metric {name!r} does not fit the loss links; these do: {', '.join(METRICS)}")

    def loss_of(self, data, out, split):
        """Loss of what the model gave for a split's edges: Tensor (1, 1). Collective."""
        positive, view = data.masks[split], data.view
        if "drawn" in data.kept:
            data.kept.pop("drawn").close()  # of the epoch before: this one's are needed until the way back
        data.kept["drawn"] = negative = draw_pairs(positive, self.negatives, view.seed, view.epoch)
        return link_loss(out.rows, positive, negative, out.factors)

    def evaluate(self, data, out):
        """Each metric of the splits that were held out: dict. Collective."""
        found = {}
        for split, positive in data.masks.items():
            if split == "train":
                continue
            if ("ranked", split) not in data.kept:
                data.kept["ranked", split] = draw_pairs(positive, N_RANKED)
            negative = data.kept["ranked", split]
            scores = (link_scores(out.rows, pairs, out.factors) for pairs in (positive, negative))
            ranked = next(scores), by_origin(negative, next(scores))
            for name in self.metrics:
                found[f"{split}_{name}"] = METRICS[name](data.comm, *ranked)
        return found


def load(graph, width, *, features="x", normalize="none", held_out=(0.05, 0.1), threads=1, keep_sums=True):
    """What a model of links is trained on: Data with pairs for masks. Collective.

    Parameters
    ----------
    width : int
        Of the rows that the model gives.
    features, normalize, keep_sums
        As of `hpcmp.nn.data.load`.
    held_out : (float, float)
        Shares of all pairs of vertices with edges, for "val" and "test".

    Raises
    ------
    ProgramError
        Features or shares do not fit, or no edge is left. Raised on every rank.
    """
    if len(held_out) != 2 or min(held_out) < 0 or sum(held_out) >= 1:
        raise alike(f"held_out = {list(held_out)} is not two shares, of val and of test, together below 1")
    view = View(graph, threads, keeps_sums=keep_sums)
    x = None if features is None else load_features(view, features, normalize)
    where = _splits(graph, held_out)
    view.use(only_edges(graph, where["train"]))
    plain, pairs = replace(graph, edge_fields={}, vertex_fields={}, categories={}), {}
    for split, keep in where.items():
        if graph.comm.allreduce(int(keep.sum())):
            pairs[split] = Pairs(only_edges(plain, keep))
    if "train" not in pairs:
        raise alike("no edge is left to train on; hold out less, or take a graph with more edges")
    return Data(view, x, None, pairs, width)


def hear_as_trained(view, held_out):
    """Leave out the edges that a training held out. Collective.

    Rows of vertices and relations that a model has are of the others alone.
    """
    view.use(only_edges(view.graph, _splits(view.graph, held_out)["train"]))


def _splits(graph, held_out):
    """Which in-edges each split has, all edges between two vertices the same: dict of str to bool (n_in,)."""
    ends = graph.id[graph.in_src], graph.id[graph.in_rows()]
    hashes = hash_rows([np.minimum(*ends), np.maximum(*ends)], HELD_OUT_SEED)
    place = (hashes >> np.uint64(11)).astype(np.float64) / 2.0**53  # in [0, 1)
    val, test = held_out[0], sum(held_out)
    return {"train": place >= test, "val": place < val, "test": (place >= val) & (place < test)}


def _auc(comm, positive, negative):
    scores = np.concatenate((positive, negative.reshape(-1)))
    return metrics.roc_auc(comm, scores, np.arange(len(scores)) < len(positive))
