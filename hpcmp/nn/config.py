"""What a training is told: data, model and training, each a table of keys with a type and a default.

    [data]                       [model]               [train]
    features = "x"               kind = "gcn"          epochs = 200
    normalize = "rows"           hidden = [16]         lr = 0.01

A key that is not known is refused, so that a slip does not train another model.
"""

from dataclasses import asdict, dataclass, field, fields

from hpcmp.errors import ProgramError


@dataclass(frozen=True)
class Data:
    """Which vertex fields are read, and how."""

    features: str = "x"  # "": none, each vertex has learned rows of its own
    labels: str = "label"
    split: str = "split"
    normalize: str = "none"  # or "rows": each row of features divided by its sum
    held_out: tuple = (0.05, 0.1)  # of links: shares of edges for val and test
    keep_sums: bool = True  # over neighbours of features that never change: made once, the same bits


@dataclass(frozen=True)
class Model:
    """The model: a stock one by name, or path/to/file.py:name."""

    kind: str = "gcn"
    hidden: tuple = (16,)  # width of each hidden layer; of GAT and GATv2, of each of their heads
    dropout: float = 0.5  # before every layer
    attention_dropout: float = 0.0  # of GAT's and GATv2's weights of edges
    activation: str = "auto"  # between layers: relu, of GAT and GATv2 elu
    heads: int = 8  # of GAT's and GATv2's hidden layers
    aggregate: str = "mean"  # of SAGE
    bases: int = 0  # of RGCN: weights of relations are mixed from so many; 0: each has its own
    blocks: int = 0  # of RGCN: weights are block-diagonal; 0: they are not
    width: int = 16  # of the last layer, where links are learned


@dataclass(frozen=True)
class Train:
    """How it is trained, and what is kept."""

    epochs: int = 200
    lr: float = 0.01
    weight_decay: float = 5e-4
    schedule: str = "constant"  # of lr: "cosine" over all epochs, "step", "plateau"
    warm_up: int = 0  # epochs, of cosine
    decay: float = 0.1  # factor, of step and plateau
    decay_every: int = 50  # epochs, of step
    decay_patience: int = 10  # epochs, of plateau
    lowest: float = 0.0  # lr, of cosine and plateau
    clip: float = 0.0  # largest norm of all gradients; 0: any
    groups: dict = field(default_factory=dict)  # pattern of parameters' names -> their own lr and weight_decay
    loss: str = "cross_entropy"
    negatives: int = 1  # of links: pairs drawn for each edge
    class_weights: tuple = ()  # one a class, or "balanced"
    metrics: tuple = ("auto",)  # of the loss, see hpcmp.nn.tasks; "auto": the first
    monitor: str = "auto"  # metric that patience, select and plateau go by; "auto": val_ and the first of the metrics
    optimizer: str = "adam"
    momentum: float = 0.0  # of sgd
    patience: int = 0  # end after so many epochs without a better monitored metric; 0: never
    seed: int = 0  # the first of the seeds
    seeds: int = 1  # how many, one training each
    select: str = "last"  # weights and metrics at the end, or of the "best" epoch by the monitored metric
    checkpoint_every: int = 50  # epochs


CHOICES = {
    "data.normalize": ("none", "rows"),
    "model.activation": ("auto", "relu", "elu", "leaky_relu", "none"),
    "model.aggregate": ("mean", "max", "sum", "pool"),
    "train.optimizer": ("adam", "adamw", "sgd"),
    "train.select": ("last", "best"),
    "train.schedule": ("constant", "cosine", "step", "plateau"),
    "train.loss": ("cross_entropy", "bce", "mse", "links"),
}
LEAST = {  # key -> (least value, whether it may be that value)
    "data.held_out": (0, True),
    "model.hidden": (1, True),
    "model.dropout": (0, True),
    "model.attention_dropout": (0, True),
    "model.heads": (1, True),
    "model.bases": (0, True),
    "model.blocks": (0, True),
    "model.width": (1, True),
    "train.epochs": (0, True),
    "train.lr": (0, False),
    "train.weight_decay": (0, True),
    "train.warm_up": (0, True),
    "train.decay": (0, False),
    "train.decay_every": (1, True),
    "train.decay_patience": (0, True),
    "train.lowest": (0, True),
    "train.clip": (0, True),
    "train.negatives": (1, True),
    "train.class_weights": (0, True),
    "train.momentum": (0, True),
    "train.patience": (0, True),
    "train.seed": (0, True),
    "train.seeds": (1, True),
    "train.checkpoint_every": (1, True),
}
BELOW = {"data.held_out": 1, "model.dropout": 1, "model.attention_dropout": 1, "train.momentum": 1, "train.decay": 1}
SHARES = ("data.held_out", "train.class_weights")  # keys of several numbers that need not be whole
SHOWN = 60  # characters of a key or value in a message
# Keys by which a training that goes on may differ from what its checkpoint was made with: they change no epoch.
OF_GROUPS = ("lr", "weight_decay")
FREE = ("data.keep_sums", "train.epochs", "train.patience", "train.seed", "train.seeds", "train.checkpoint_every")


@dataclass(frozen=True)
class Config:
    """All that a training is told."""

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    train: Train = field(default_factory=Train)

    def tables(self):
        """As plain tables, as `from_tables` takes them: dict. Local."""
        return {name: {k: _plain(v) for k, v in table.items()} for name, table in asdict(self).items()}

    def flat(self):
        """Values by dotted key: dict. Local."""
        return {f"{name}.{k}": v for name, table in self.tables().items() for k, v in table.items()}

    @property
    def seeds(self):
        return range(self.train.seed, self.train.seed + self.train.seeds)


TABLES = {"data": Data, "model": Model, "train": Train}
KNOWN = tuple(f"{name}.{f.name}" for name, kind in TABLES.items() for f in fields(kind))


def from_tables(tables, settings=None):
    """The configuration that tables and further settings say. Local.

    Parameters
    ----------
    tables : dict of str to dict
        As a TOML file has them.
    settings : dict, optional
        Values by dotted key, which go before those of the tables.

    Raises
    ------
    ProgramError
        A key is not known, or a value is of another type or out of range.
    """
    given = {}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise _unknown(name)
        given |= {f"{name}.{key}": value for key, value in table.items()}
    chosen = {name: {} for name in TABLES}
    for key, value in (given | (settings or {})).items():
        if key not in KNOWN:
            raise _unknown(key)
        name, _, leaf = key.partition(".")
        chosen[name][leaf] = _checked(key, value, getattr(TABLES[name](), leaf))
    return Config(**{name: TABLES[name](**values) for name, values in chosen.items()})


def differing(a, b, free=FREE):
    """Keys of two configurations that differ, less free ones: list. Local."""
    there, here = a.flat(), b.flat()
    if "cosine" in (a.train.schedule, b.train.schedule):  # which goes by the number of all epochs
        free = [key for key in free if key != "train.epochs"]
    return [key for key in KNOWN if key not in free and there[key] != here[key]]


def _unknown(key):
    return ProgramError(f"{_shown(key)} is not a key of the configuration (it has: {', '.join(KNOWN)})")


def _checked(key, value, default):
    """A value of the type of the default, within its range."""
    if isinstance(default, dict):
        return _checked_groups(key, value)
    if isinstance(default, tuple):
        items = tuple(value) if isinstance(value, list | tuple) else (value,)
        if key == "train.class_weights" and items == ("balanced",):
            return items
        if key == "train.metrics":
            return tuple(_checked(key, item, "") for item in items)
        return tuple(_checked_number(key, item, 0.0 if key in SHARES else 0) for item in items)
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ProgramError(f"{key} = {_shown(value)} is neither true nor false")
        return value
    if isinstance(default, str):
        if not isinstance(value, str):
            raise ProgramError(f"{key} = {_shown(value)} is no text")
        if value not in CHOICES.get(key, (value,)):
            raise ProgramError(f"{key} = {_shown(value)} is not one of {', '.join(CHOICES[key])}")
        return value
    return _checked_number(key, value, default)


def _checked_groups(key, value):
    if not isinstance(value, dict) or not all(isinstance(own, dict) for own in value.values()):
        raise ProgramError(
            f"{key} = {_shown(value)} is no table of tables, such as {{'convs.0.*' = {{weight_decay = 0}}}}"
        )
    for pattern, own in value.items():
        for option in own:
            if option not in OF_GROUPS:
                raise ProgramError(
                    f"{key} {_shown(pattern)} has {_shown(option)}; groups may have {', '.join(OF_GROUPS)}"
                )
    return {p: {o: _checked_number(f"train.{o}", v, 0.0) for o, v in own.items()} for p, own in value.items()}


def _checked_number(key, value, default):
    kinds, what = ((int, float), "number") if isinstance(default, float) else ((int,), "whole number")
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise ProgramError(f"{key} = {_shown(value)} is no {what}")
    value = type(default)(value)
    least, may_be = LEAST[key]
    if not (value > least or (may_be and value == least)) or value >= BELOW.get(key, float("inf")):
        bound = (
            f"below {BELOW[key]}" if key in BELOW and value > least else f"{'at least' if may_be else 'above'} {least}"
        )
        raise ProgramError(f"{key} = {_shown(value)} must be {bound}")
    if isinstance(value, int) and value >= 2**62:
        raise ProgramError(f"{key} = {_shown(value)} is too large")
    return value


def _shown(value):
    text = repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def _plain(value):
    return list(value) if isinstance(value, tuple) else value
