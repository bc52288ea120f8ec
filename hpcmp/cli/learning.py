"""What `train`, `infer` and `export` share: configurations and models by name."""

from dataclasses import replace


def read_config(path, settings=()):
    """The configuration of a TOML file and of ``--set KEY=VALUE``. Local.

    Raises
    ------
    FileError, ProgramError
        It cannot be read, is no TOML, or has a key or value that is refused.
    """
    from hpcmp.cli.common import parse_settings
    from hpcmp.errors import ProgramError
    from hpcmp.io.h5 import check_is_file
    from hpcmp.io.nested import parse_toml
    from hpcmp.nn import config

    check_is_file(path)
    with open(path, "rb") as file:
        try:
            tables = parse_toml(file.read())
        except ValueError as error:  # its syntax, or bytes that are no UTF-8
            raise ProgramError(f"{path} is no TOML: {error}") from error
    try:
        config.from_tables(tables)
    except ProgramError as error:
        raise ProgramError(f"{path}: {error}") from error
    return config.from_tables(tables, parse_settings(settings, _toml_value, "train.epochs=100"))


def _toml_value(text):
    """A value as TOML has it, else as text."""
    from hpcmp.io.nested import parse_toml

    try:
        return parse_toml(f"value = {text}")["value"]
    except ValueError:
        return text


def model_maker(config):
    """How to make the model of a configuration. Local.

    Returns
    -------
    callable (n_in, n_out, n_relations) -> Module
        n_in is None where there are no features.

    Of a user's model, its attribute ``made`` is the class or function.

    Raises
    ------
    FileError, ProgramError
        There is no such model.
    """
    from hpcmp.cli.common import is_file_spec, load_object
    from hpcmp.errors import ProgramError
    from hpcmp.nn import Module, models

    if config.train.loss == "links":
        return _of_links(model_maker(replace(config, train=replace(config.train, loss="cross_entropy"))))
    kind = config.model.kind
    if not is_file_spec(kind):
        models.check_kind(kind, bool(config.data.features))
        return lambda n_in, n_out, n_relations: models.make(config.model, n_in, n_out, n_relations)
    made = load_object(kind, "models", lambda value: isinstance(value, type) and issubclass(value, Module))
    if not callable(made) or isinstance(made, Module):
        raise ProgramError(
            f"{kind} is a {type(made).__name__}; a Module class, or a function that gives a Module, is needed"
        )

    def make(n_in, n_out, n_relations):
        return models.make_own(made, kind, n_in, n_out)

    make.made = made  # whose code checkpoints know
    return make


def _of_links(make):
    """How to make a model of links from how to make what gives rows. Local."""
    from hpcmp.nn.linked import LinkModel

    def with_decoder(n_in, width, n_relations):
        return LinkModel(make(n_in, width, n_relations), width, n_relations)

    with_decoder.__dict__.update(vars(make))
    return with_decoder


def add_model(parser):
    """Declare the option that names a model of the user's own. Local."""
    parser.add_argument(
        "--model",
        metavar="FILE.py:NAME",
        help="the model, where it is one of your own: a checkpoint alone runs no Python file",
    )


def model_with_weights(path, found=None, model=None):
    """(model with its final weights, head) of a checkpoint. Local.

    Rows of vertices it has whole, as one rank would, until `hpcmp.nn.checkpoint.spread`.

    Parameters
    ----------
    found : optional
        What `hpcmp.io.checkpoint.load_checkpoint` gave, if it was read already.
    model : str, optional
        ``path/to/file.py:name`` of a model of the user's own: to name a file in a checkpoint is not enough to run it.

    Raises
    ------
    FileError, FormatError, ProgramError
    """
    from hpcmp.io import checkpoint as files
    from hpcmp.nn import checkpoint, config

    head, arrays, _ = found or files.load_checkpoint(path)
    told = config.from_tables(head["config"])
    told = replace(told, model=replace(told.model, kind=trusted(path, told.model.kind, model)))
    n_in = head["n_in"] if told.data.features else None
    model = model_maker(told)(n_in, head["n_out"], head["n_relations"])
    checkpoint.fill(model, head, arrays, path)
    return model, head


def trusted(path, kind, model):
    """The model of a checkpoint, unless it is Python that may not be run. Local.

    Raises
    ------
    ProgramError
        It is of a Python file, and ``model`` names none; or the other way round.
    """
    from hpcmp.cli.common import is_file_spec
    from hpcmp.errors import ProgramError

    if is_file_spec(kind) and model is None:
        raise ProgramError(
            f"{path} is of the model {kind[:200]}, a Python file that would be run; if it is yours, say so: --model {kind[:200]}"
        )
    if model is not None and not (is_file_spec(kind) and is_file_spec(model)):
        raise ProgramError(
            f"--model {model}: {path} is of the model {kind[:200]}; the option names the file of a model of your own"
        )
    return model or kind


def check_threads(threads):
    """Refuse a number of threads below 1. Local."""
    from hpcmp.errors import ProgramError

    if threads < 1:
        raise ProgramError(f"--threads {threads} must be at least 1")


def open_for(comm, path, names, config):
    """Open a graph with the named vertex fields: (graph, seconds). Collective.

    For a model of the user's own with all fields, which it may ask for.
    """
    import time

    from hpcmp.cli.common import is_file_spec
    from hpcmp.io.graph_file import open_graph

    start = time.perf_counter()
    vertex_fields, edge_fields = (None, None) if is_file_spec(config.model.kind) else ({n for n in names if n}, ())
    graph = open_graph(comm, path, vertex_fields=vertex_fields, edge_fields=edge_fields)
    return graph, time.perf_counter() - start
