"""Stock models by name: layers one after the other, as the papers' first examples have them.

A kind is a function from widths and options to a layer; `KINDS` is all there is.
"""

from types import FunctionType

from hpcmp.engine.fingerprint import fingerprint
from hpcmp.errors import ProgramError
from hpcmp.nn.elementwise import dropout, elu, leaky_relu, relu
from hpcmp.nn.layers import GAT, GCN, GIN, RGCN, SAGE, GATv2
from hpcmp.nn.module import Module

ACTIVATIONS = {"relu": relu, "elu": elu, "leaky_relu": leaky_relu, "none": lambda x: x}


class Stack(Module):
    """Layers one after the other: dropout before each, an activation between.

    Parameters
    ----------
    convs : list of Module
        Called as ``layer(view, x)``, the first with x None where there are no
        features. The name is that of torch_geometric's models, whose weights
        have names that begin with it.
    """

    def __init__(self, convs, activation=relu, p=0.5):
        self.convs, self.activation, self.p = list(convs), activation, p

    def __call__(self, view, x):
        for k, layer in enumerate(self.convs):
            x = layer(view, x if x is None else dropout(self.activation(x) if k else x, self.p))
        return x


def gcn(n_in, n_out, model, is_last):
    """A GCN layer and its width. Local."""
    return GCN(n_in, n_out), n_out


def sage(n_in, n_out, model, is_last):
    """A SAGE layer and its width. Local."""
    return SAGE(n_in, n_out, model.aggregate), n_out


def gin(n_in, n_out, model, is_last):
    """A GIN layer and its width. Local."""
    return GIN(n_in, n_out), n_out


def gat(n_in, n_out, model, is_last):
    """A GAT layer and its width: hidden ones of several heads. Local."""
    heads = 1 if is_last else model.heads
    return GAT(n_in, n_out, heads, dropout=model.attention_dropout), heads * n_out


def gatv2(n_in, n_out, model, is_last):
    """A GATv2 layer and its width: hidden ones of several heads. Local."""
    heads = 1 if is_last else model.heads
    return GATv2(n_in, n_out, heads, dropout=model.attention_dropout), heads * n_out


def rgcn(n_in, n_out, model, is_last, n_relations):
    """An RGCN layer and its width. Local."""
    return RGCN(n_in, n_out, n_relations, n_bases=model.bases, n_blocks=model.blocks), n_out


# Another layer becomes a stock model by a function above and a line here.
KINDS = {"gcn": gcn, "sage": sage, "gin": gin, "gat": gat, "gatv2": gatv2, "rgcn": rgcn}
ACTIVATION_OF = {"gat": "elu", "gatv2": "elu"}  # where "auto" is not relu
FEATURELESS = ("rgcn",)  # kinds that do without features


def make(model, n_in, n_out, n_relations=0):
    """A stock model. Local.

    Parameters
    ----------
    model : hpcmp.nn.config.Model
    n_in, n_out : int
        Width of features (None: there are none), number of classes.
    n_relations : int
        Of the graph.

    Raises
    ------
    ProgramError
        There is none of that kind, or it does not fit.
    """
    check_kind(model.kind, n_in is not None)
    layers, width = [], n_in
    more = {"n_relations": n_relations} if model.kind == "rgcn" else {}
    for k, n in enumerate((*model.hidden, n_out)):
        layer, width = KINDS[model.kind](width, n, model, k == len(model.hidden), **more)
        layers.append(layer)
    named = ACTIVATION_OF.get(model.kind, "relu") if model.activation == "auto" else model.activation
    return Stack(layers, ACTIVATIONS[named], model.dropout)


def check_kind(kind, has_features=True):
    """Refuse what is no stock model, or one that needs features without them. Local."""
    if kind not in KINDS:
        raise ProgramError(f"model.kind = {kind!r} is neither one of {', '.join(KINDS)} nor path/to/file.py:name")
    if not has_features and kind not in FEATURELESS:
        raise ProgramError(
            f"model.kind = {kind!r} needs features; name a vertex field in data.features, or use {', '.join(FEATURELESS)}"
        )


def make_own(made, spec, n_in, n_out):
    """A user's model: what a class or function gives for (n_in, n_out). Local.

    n_in is None where there are no features.

    Raises
    ------
    ProgramError
        It fails, gives no Module, or one without parameters.
    """
    try:
        model = made(n_in, n_out)
    except ProgramError:
        raise
    except Exception as error:
        raise ProgramError(
            f"{spec} called with (n_in, n_out) = ({n_in}, {n_out}): {type(error).__name__}: {error}"
        ) from error
    if not isinstance(model, Module) or not callable(model):
        raise ProgramError(
            f"{spec} gives a {type(model).__name__}; a hpcmp.nn.Module that is called with (view, x) is needed"
        )
    if not model.parameters():
        raise ProgramError(f"{spec} has no parameters; layers are found as attributes, set in __init__")
    return model


def code_of(made, model):
    """Fingerprint of a user's class or function and of what it gave. Local.

    Parameters
    ----------
    made : callable that gave the model
    model : Module
        Counted are the methods of it and of all modules in it that are not of hpcmp, and all they call.

    Returns
    -------
    str
        64 hex digits.
    """
    kinds, functions, seen, todo = {}, [], set(), [made, model]
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Module):
            kinds |= {cls.__qualname__: cls for cls in type(value).__mro__ if cls.__module__.split(".")[0] != "hpcmp"}
        if isinstance(value, FunctionType):
            functions.append(value)
        elif isinstance(value, list | tuple):
            todo.extend(value)
        elif isinstance(value, Module | dict):
            todo.extend((value if isinstance(value, dict) else vars(value)).values())
    for name in sorted(kinds):
        methods = (vars(kinds[name])[key] for key in sorted(vars(kinds[name])))
        plain = (getattr(m, "__func__", getattr(m, "fget", m)) for m in methods)
        functions.extend(f for f in plain if isinstance(f, FunctionType))
    return fingerprint(functions)
