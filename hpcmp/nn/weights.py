"""Weights under the names and in the shapes that torch_geometric's layers have, to and from safetensors.

Ours are (width in, width out), torch's (out, in). A model of stock layers has
names that ``load_state_dict`` of a torch model with the same attributes takes:
``convs.0.lin.weight``. Linear layers are named as torch.nn.Linear's; a
parameter of a user's own keeps its name and shape.
"""

import os
from pathlib import Path

import numpy as np

from hpcmp.comm import raise_together
from hpcmp.errors import FormatError, HpcmpError, require
from hpcmp.io.free import refuse_more_than_is_free
from hpcmp.io.h5 import check_is_file
from hpcmp.nn.layers import GAT, GCN, GIN, RGCN, SAGE, GATv2, Linear, NNConv
from hpcmp.nn.module import Buffer, Module, Parameter, name_of_key
from hpcmp.nn.norms import BatchNorm, LayerNorm
from hpcmp.nn.relations import RelationRows
from hpcmp.nn.sums import alike

# How an array of ours is another's, and back.
TURNED = (lambda a: a.T, lambda a: a.T)
FLAT = (lambda a: a.reshape(-1), lambda a: a.reshape(1, -1))
HEADS = (lambda a: a[None], lambda a: a[0])
SAME = (lambda a: a, lambda a: a)


def relational(layer):
    """How the weight of an RGCN is theirs, and back. Collective.

    Theirs is (n_in, n_out) for each relation or basis. Without features n_in is the vertices by id; rows that nobody hears are 0.
    """
    weight, n_out = layer.weight, layer.n_out
    if layer.n_blocks:
        n = layer.n_blocks
        shape = layer.n_relations, n, layer.n_in // n, n_out // n
        return lambda a: a.reshape(shape), lambda a: a.reshape(weight.shape)
    if layer.n_in is not None:
        return SAME
    if not isinstance(weight, RelationRows):
        return (
            lambda a: a.reshape(len(a), -1, n_out).transpose(1, 0, 2),
            lambda a: a.transpose(1, 0, 2).reshape(a.shape[1], -1),
        )
    at = weight.all_places()[None] // [[1], [layer.n_relations]]
    at[0] %= layer.n_relations

    def there(a):
        out = np.zeros((layer.n_relations, weight.n_vertices, n_out), a.dtype)
        out[tuple(at)] = a
        return out

    return there, lambda a: a[tuple(at)]


# Layer -> name of ours -> (name of theirs, how). A layer inside is named by its own line: "lin" of Linear is
# lin.weight and lin.bias. How may be a function of the layer. A layer that comes later gets a line here.
NAMES = {
    Linear: {"weight": ("weight", TURNED), "bias": ("bias", FLAT)},
    GCN: {"weight": ("lin.weight", TURNED), "bias": ("bias", FLAT)},
    SAGE: {"neighbours": ("lin_l", None), "own": ("lin_r", None), "pool": ("lin", None)},
    GIN: {"first": ("nn.0", None), "second": ("nn.2", None)},
    GAT: {
        "weight": ("lin.weight", TURNED),
        "source": ("att_src", HEADS),
        "target": ("att_dst", HEADS),
        "bias": ("bias", FLAT),
    },
    GATv2: {
        "source": ("lin_l", None),
        "target": ("lin_r", None),
        "attention": ("att", HEADS),
        "bias": ("bias", FLAT),
    },
    RGCN: {"weight": ("weight", relational), "bias": ("bias", FLAT)},
    NNConv: {"network": ("nn", None), "own": ("lin", None)},
    LayerNorm: {"weight": ("weight", FLAT), "bias": ("bias", FLAT)},
    BatchNorm: {name: (name, FLAT) for name in ("weight", "bias", "running_mean", "running_var")},
}
NUMBERS = {GIN: {"epsilon": "eps"}}  # what is no parameter of ours, but in the others' files
MOVED = {NNConv: {"lin.bias": "bias"}}  # what a layer inside has, and theirs the outer layer


class _Number:
    """A number of a layer, as if it were a parameter."""

    shape = whole_shape = (1,)

    def whole(self, values):
        """The same. Local."""
        return values

    mine = whole

    def __init__(self, owner, name):
        self.owner, self.name = owner, name

    @property
    def data(self):
        return np.array([getattr(self.owner, self.name)], np.float32)

    @data.setter
    def data(self, values):
        setattr(self.owner, self.name, float(values[0]))


def names(model):
    """Name of theirs -> (parameter or buffer, how) of all: dict. Collective."""
    return dict(_walk(model, ""))


def state_of(model):
    """Weights as torch_geometric has them: dict of str to array. Collective.

    Only rows of vertices are brought from other ranks: a model without is
    alike on all of them.
    """
    return {name: np.ascontiguousarray(there(p.whole(p.data))) for name, (p, (there, _)) in names(model).items()}


def load(model, arrays, path="the file"):
    """Give a model the weights that `state_of` would. Collective.

    Raises
    ------
    ProgramError
        A weight is absent, of another shape or no number, or there are others.
        Raised on every rank.
    """
    wanted = names(model)
    odd = [*sorted(set(wanted) - set(arrays)), *sorted(set(arrays) - set(wanted))]
    if odd:
        has = "has no" if odd[0] in wanted else "has a"
        raise alike(f"{path} {has} weight {odd[0]!r}; the model needs {', '.join(wanted)}")
    for name, (p, (there, back)) in wanted.items():
        shape = there(p.whole(p.data)).shape
        if arrays[name].shape != shape:
            raise alike(f"{path}: {name} is {arrays[name].shape}; the model needs {shape}")
        if not np.isfinite(arrays[name]).all():
            raise alike(f"{path}: {name} holds what is no number")
        p.data = p.mine(np.ascontiguousarray(back(arrays[name])).astype(p.data.dtype).reshape(p.whole_shape))


def read(comm, path):
    """Arrays of a safetensors file, on all ranks: dict. Collective.

    Raises
    ------
    FileError, FormatError, MissingExtraError
        Raised on every rank.
    """
    found, error = None, None
    if comm.rank == 0:
        try:
            found = read_file(path)
        except HpcmpError as caught:
            error = caught
    raise_together(comm, error)
    return comm.bcast(found)


def to_bytes(model, facts):
    """A model's weights as the bytes of a safetensors file. Collective.

    Parameters
    ----------
    facts : dict of str to str
        What the file says of itself.
    """
    return _safetensors().save(state_of(model), {"format": "pt", **facts})


def read_file(path):
    """Arrays of a safetensors file: dict. Local.

    Raises
    ------
    FileError, FormatError, MissingExtraError
    """
    check_is_file(path)
    refuse_more_than_is_free(2 * os.path.getsize(path), path)
    try:
        return _safetensors().load(Path(path).read_bytes())
    except MemoryError:
        raise
    except Exception as error:  # safetensors has an exception of its own
        if isinstance(error, HpcmpError):
            raise
        raise FormatError(f"{path} is no safetensors file that can be read: {error}") from error


def _safetensors():
    require("safetensors", "safetensors", "weights as safetensors")
    return require("safetensors.numpy", "safetensors", "weights as safetensors")


def _walk(owner, prefix):
    table, moved = NAMES.get(type(owner), {}), MOVED.get(type(owner), {})
    moved = {f"{prefix}{inner}": f"{prefix}{outer}" for inner, outer in moved.items()}
    for name, value in vars(owner).items():
        theirs, how = table.get(name, (name, None))
        for key, found in _found(value, f"{prefix}{theirs}", how(owner) if callable(how) else how or SAME):
            yield moved.get(key, key), found
    for name, theirs in NUMBERS.get(type(owner), {}).items():
        if not isinstance(getattr(owner, name), Parameter):
            yield f"{prefix}{theirs}", (_Number(owner, name), SAME)


def _found(value, name, how):
    if isinstance(value, Parameter | Buffer):
        yield name, (value, how)
    elif isinstance(value, Module):
        yield from _walk(value, f"{name}.")
    elif isinstance(value, list | tuple):
        for k, item in enumerate(value):
            yield from _found(item, f"{name}.{k}", how)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _found(item, f"{name}.{name_of_key(key)}", how)
