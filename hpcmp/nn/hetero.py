"""Vertices of several types, with features of their own widths, and relations with layers of their own.

Which type a vertex has is a vertex field of texts (or of numbers). All vertices are rows of one tensor, as wide as the widest
type's features; `TypedLinear` brings them to one width, and `HeteroConv` runs a layer on the edges of each relation alone.
"""

import copy
from dataclasses import replace

import numpy as np

from hpcmp.comm import together
from hpcmp.errors import ProgramError
from hpcmp.graph import only_edges
from hpcmp.kernels import learning
from hpcmp.nn.data import field_of
from hpcmp.nn.dense import one_blas_thread
from hpcmp.nn.layers import Linear
from hpcmp.nn.module import Module
from hpcmp.nn.sums import alike
from hpcmp.nn.tape import made

JOINED = ("sum", "mean", "max", "min")


class TypedLinear(Module):
    """x_i W_t + b_t, t the type of vertex i and x_i the first columns of its row.

    Parameters
    ----------
    widths : dict of str to int
        Type -> width of its features; 0: none, b_t alone.
    n_out : int
    field : str
        Vertex field of types: texts, or numbers, which are then the keys as
        text.

    Raises
    ------
    ProgramError
        When called: vertices of another type, or rows narrower than a type's
        width. Of features that never change (`View.tensor`) also: numbers
        beyond the width of a vertex's type; of rows that a layer gave they
        are not read. Raised on every rank.
    """

    def __init__(self, widths, n_out, field="type", bias=True):
        self.lins = {str(name): Linear(n_in, n_out, bias) for name, n_in in widths.items()}
        self.n_out, self.field = n_out, field

    def __call__(self, graph, x):
        view, widths = graph, [lin.weight.shape[0] for lin in self.lins.values()]
        codes = codes_of(view, self.field, self.lins)
        if x.width < max(widths, default=0):
            raise alike(f"the features have {x.width} columns, a type {max(widths)}")
        if x.is_lasting and ("typed", x) not in view.kept:
            self._refuse_unread(view, x, codes, widths)
            view.kept["typed", x] = True
        return typed_linear(x, codes, list(self.lins.values()))

    def _refuse_unread(self, view, x, codes, widths):
        with together(view.comm):
            for code, (name, width) in enumerate(zip(self.lins, widths, strict=True)):
                rows = np.flatnonzero((codes == code) & x.data[:, width:].any(axis=1))
                if len(rows):
                    vertex = view.graph.id[rows[0]]
                    raise ProgramError(f"vertex {vertex} of type {name!r} has features beyond its {width} columns")


def typed_linear(x, codes, lins):
    """x W + b of every row, by the layer that its code numbers. Collective.

    Parameters
    ----------
    x : Tensor (n_owned, width)
        Of a row the first columns are read, as many as its layer takes.
    codes : int (n_owned,)
    lins : list of Linear, all of one width out, all with a bias or none
    """
    view, n_out = x.view, lins[0].weight.shape[1]
    out = np.empty((len(x.data), n_out), x.data.dtype)

    def by_type(lo, hi):
        """(layer's number, its rows) of a part's rows."""
        for code in np.unique(codes[lo:hi]).tolist():
            yield code, lo + np.flatnonzero(codes[lo:hi] == code)

    def one(p, lo, hi):
        for code, rows in by_type(lo, hi):
            weight, bias = lins[code].weight.data, lins[code].bias
            out[rows] = x.data[rows, : len(weight)] @ weight
            if bias is not None:
                out[rows] += bias.data

    with one_blas_thread():
        view.over_parts(one)
    parameters = [p for lin in lins for p in (lin.weight, lin.bias) if p is not None]

    def back(d):
        dx = np.zeros_like(x.data) if x.wants_grad else None
        dw = [np.zeros((view.n_parts, *lin.weight.shape), d.dtype) for lin in lins]
        db = [np.zeros((view.n_parts, n_out), d.dtype) for _ in lins]

        def one_back(p, lo, hi):
            for code, rows in by_type(lo, hi):
                weight, given = lins[code].weight.data, d[rows]
                if dx is not None:
                    dx[rows, : len(weight)] = given @ weight.T
                dw[code][p] = x.data[rows, : len(weight)].T @ given
                learning.sum_columns(given, db[code][p : p + 1], np.array([0, len(rows)]), 0, 1)

        with one_blas_thread():
            view.over_parts(one_back)
        found = []
        for lin, weights, biases in zip(lins, dw, db, strict=True):
            found.append(view.tree_sum(weights))
            if lin.bias is not None:
                found.append(view.tree_sum(biases).reshape(1, -1))
        return (dx, *found)

    return made(out, view, (x, *parameters), back)


class HeteroConv(Module):
    """h_i = sum over relations that end in i's type of what the relation's layer gives.

    Every layer is called with the graph of its relation's edges alone, and rows of all vertices. Vertices in whose type no
    relation ends have zeros. As ``torch_geometric.nn.HeteroConv``, with one tensor in place of one a type.

    Parameters
    ----------
    convs : dict
        (type of the source, relation, type of the receiver), or a relation's
        name alone, of whatever types -> layer. Relations left out are not heard.
    aggregate : "sum", "mean", "max" or "min"
        Over relations; the gradient of a largest goes to the first that has it.
    field : str
        Vertex field of types.

    Raises
    ------
    ProgramError
        When called: the graph has no such relation or type, or a relation has
        edges between types that no key names. Raised on every rank.
    """

    def __init__(self, convs, aggregate="sum", field="type"):
        if aggregate not in JOINED:
            raise ProgramError(f"aggregate {aggregate!r} is not one of {', '.join(JOINED)}")
        if not convs:
            raise ProgramError("a HeteroConv without a relation hears nothing")
        self.convs, self.aggregate, self.field = dict(convs), aggregate, field

    def __call__(self, graph, x):
        view = graph
        key = "relations", self.field, tuple(self.convs)
        if key not in view.kept:
            view.kept[key] = restricted_views(view, self.convs, self.field)
        parts, masks = [], []
        for conv, (part, mask) in zip(self.convs.values(), view.kept[key], strict=True):
            part.seed, part.n_draws = view.seed, view.n_draws
            part.epoch, part.is_training = view.epoch, view.is_training
            parts.append(seen_by(view, conv(part, seen_by(part, x))))
            masks.append(mask)
            view.n_draws = part.n_draws
        if len({part.width for part in parts}) > 1:
            raise alike(
                f"the relations' layers give {', '.join(str(part.width) for part in parts)} columns, not one width"
            )
        return joined(view, parts, masks, self.aggregate)


def codes_of(view, field, wanted):
    """Place of every vertex's type in ``wanted``: int64 (n_owned,). Collective.

    Raises
    ------
    ProgramError
        The graph has no such field, or vertices of other types. Raised on
        every rank.
    """
    key = "codes", field, tuple(wanted)
    if key in view.kept:
        return view.kept[key]
    codes = type_codes(view, field)
    names = view.graph.categories.get(field)
    used = set().union(*view.comm.allgather(np.unique(codes).tolist()))
    named = {code: str(code) if names is None or code < 0 else names[code] for code in sorted(used)}
    others = [name for name in named.values() if name not in wanted]
    if others:
        raise alike(f"there are vertices of type {others[0]!r}; the layer has {', '.join(wanted)}")
    place = {name: k for k, name in enumerate(wanted)}
    out = np.zeros(len(codes), np.int64)
    for code, name in named.items():
        out[codes == code] = place[name]
    view.kept[key] = out
    return out


def type_codes(view, field):
    """Vertex field of types as it is: int64 (n_owned,). Collective."""
    with together(view.comm):
        codes = field_of(view.graph, field)
        if codes.ndim != 1 or codes.dtype.kind not in "iu":
            raise ProgramError(f"{field!r} is no vertex field of texts or whole numbers, as types are")
    return codes.astype(np.int64)


def restricted_views(view, keys, field):
    """For each key a view of its edges alone, and who hears them. Collective.

    Returns
    -------
    list of (View, bool (n_owned,))
    """
    graph, rows = view.graph, view.graph.in_rows()
    is_typed = any(isinstance(key, tuple) for key in keys)
    here = type_codes(view, field) if is_typed else np.zeros(graph.n_owned, np.int64)
    there, names = view.with_ghosts(here), graph.categories.get(field)
    relation = np.zeros(graph.n_in, np.int64) if graph.relation is None else graph.relation
    found, taken, listed = [], np.zeros(graph.n_in, np.bool_), np.zeros(graph.n_in, np.bool_)
    for key in keys:
        source, name, receiver = key if isinstance(key, tuple) else (None, key, None)
        if name not in graph.relations:
            raise alike(f"the graph has no relation {name!r} (it has: {', '.join(graph.relations) or 'none'})")
        keep = relation == graph.relations.index(name)
        listed |= keep
        mask = np.ones(graph.n_owned, np.bool_)
        if source is not None:
            mask = here == _code(receiver, names, field)
            keep = keep & (there[graph.in_src] == _code(source, names, field)) & mask[rows]
        taken |= keep
        part = copy.copy(view)
        part.use(only_edges(replace(graph, directed=True), keep))
        found.append((part, mask))
    n_left = view.comm.allreduce(int((listed & ~taken).sum()))
    if n_left:
        raise alike(f"{n_left} edges of the relations run between types that no key (source, relation, receiver) names")
    return found


def _code(name, names, field):
    """The number that stands for a type."""
    if names is None and str(name).lstrip("-").isdigit():
        return int(name)
    if names is None or name not in names:
        raise alike(f"no vertex has the type {name!r} in {field!r} (types: {', '.join(names or ('numbers',))})")
    return names.index(name)


def seen_by(view, x):
    """The same rows in another view of the graph. Local."""
    return x if x.view is view else made(x.data, view, (x,), lambda d: (d,))


def joined(view, parts, masks, aggregate):
    """Aggregate of several tensors, each over the rows of its mask. Local."""
    out = np.zeros_like(parts[0].data)
    n_heard = np.sum(masks, axis=0)[:, None]
    share = (1 / np.maximum(n_heard, 1)).astype(out.dtype) if aggregate == "mean" else None
    best = np.full(out.shape, -1, np.int16) if aggregate in ("max", "min") else None
    for k, (part, mask) in enumerate(zip(parts, masks, strict=True)):
        if best is None:
            out[mask] += part.data[mask]
            continue
        is_better = (best < 0) | (part.data > out if aggregate == "max" else part.data < out)
        is_better &= mask[:, None]
        out[is_better], best[is_better] = part.data[is_better], k
    if share is not None:
        out *= share

    def back(d):
        d = d if share is None else d * share
        zero = d.dtype.type(0)
        return tuple(np.where(m[:, None] if best is None else best == k, d, zero) for k, m in enumerate(masks))

    return made(out, view, tuple(parts), back)
