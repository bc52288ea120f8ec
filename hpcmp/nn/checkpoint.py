"""A training in a file, and back: on any number of ranks, with the same bits.

Weights, the optimiser's state and the history are the same on all ranks, or lie in
the file as on one (rows of vertices, by id), so a checkpoint knows nothing of ranks.
It knows the graph, though, and how its rows lie in parts: these fix the order of
dense sums.
"""

import numpy as np

from hpcmp.comm import on_rank_0, together
from hpcmp.dtypes import GID
from hpcmp.errors import FileError, FormatError, ProgramError
from hpcmp.hashing import hash_sum
from hpcmp.io import checkpoint as files
from hpcmp.io.whole_file import DAMAGED, set_aside
from hpcmp.nn import config as configs
from hpcmp.nn.module import Rows
from hpcmp.nn.relations import RelationRows
from hpcmp.nn.sums import alike
from hpcmp.nn.training import History


def save(training, path, config, rows_digest, code=""):
    """Write a checkpoint of a training. Collective.

    ``code`` is the fingerprint of a user's model.

    Raises
    ------
    FileError
        It cannot be written. Raised on every rank; an older one is untouched.
    """
    graph, kept = training.data.view.graph, training.kept
    arrays = {f"{files.WEIGHTS}/{name}": kept[name].whole(w) for name, w in training.weights.items()}
    arrays |= {f"{files.BEST}/{name}": kept[name].whole(w) for name, w in (training.best or {}).items()}
    for name, kinds in training.state.items():
        arrays |= {f"{files.OPTIMIZER}/{kind}/{name}": kept[name].whole(a) for kind, a in kinds.items()}
    for name, rows in kept.items():
        if isinstance(rows, RelationRows):
            arrays[f"{files.PLACES}/{name}"] = rows.all_places()
    attrs = {
        "seed": training.seed,
        "n_epochs": training.n_epochs,
        "n_in": training.data.n_in or 0,
        "n_out": training.data.n_out,
        "n_relations": len(graph.relations),
        "n_vertices": graph.n_vertices,
        "config": config.tables(),
        "graph_digest": training.data.view.digest or "",
        "rows_digest": rows_digest,
        "code": code,
        "digest": training.digest(),
        "mpi_library": mpi_library(),
    }
    files.write_checkpoint(graph.comm, path, attrs, arrays, training.history.columns(), graph.sources)


def read(comm, path, note=None):
    """The checkpoint of a path, or if it is damaged the one before it. Collective.

    Parameters
    ----------
    note : callable (text), optional
        Told on rank 0 that the one before is taken.

    Returns
    -------
    path, found
        Which it was, and what `hpcmp.io.checkpoint.read_checkpoint` gave.

    Raises
    ------
    FileError, FormatError
        Neither can be read. Raised on every rank.
    """
    try:
        return path, files.read_checkpoint(comm, path)
    except (FileError, FormatError) as error:
        try:
            found = files.read_checkpoint(comm, files.before(path))
        except (FileError, FormatError):
            raise error from None
        if note and comm.rank == 0:
            note(f"note: {error}; going on from {files.before(path)}")
        return files.before(path), found


def restore(training, path, config, rows_digest, code=None, note=None):
    """Bring a training to where a checkpoint was written. Collective.

    Parameters
    ----------
    code : str, optional
        Fingerprint of a user's model, which must be that of the checkpoint; None: it need not.
    note : callable (text), optional
        See `read`; also told that neither can be read.

    Returns
    -------
    path or None
        Of which it was: ``path``, or the one before. None: neither can be
        read; both were set aside, and the training is as it was.

    Raises
    ------
    FormatError, ProgramError
        It is of another model, graph or seed. Raised on every rank.
    FileError
        They cannot be set aside. Raised on every rank.
    """
    comm = training.data.view.comm
    try:
        path, (head, arrays, columns) = read(comm, path, note)
    except (FileError, FormatError) as error:
        on_rank_0(comm, lambda: set_aside((files.before(path), path)))
        if note and comm.rank == 0:
            note(f"note: {error}; there is no other to go on from, and what is there is kept as {DAMAGED}*")
        return None
    with together(comm):
        _check_same(training, path, head, config, rows_digest, code)
        weights = weights_in(arrays, files.WEIGHTS, training.kept, path)
        best = weights_in(arrays, files.BEST, training.kept, path) if training.keep_best and head["n_epochs"] else {}
        states = {
            (name, kind): _taken(arrays, f"{files.OPTIMIZER}/{kind}/{name}", training.kept[name].whole_shape, path)
            for name, kinds in training.state.items()
            for kind in kinds
        }
        training.go_on_from(_history(columns, path))
    for name, w in weights.items():
        training.kept[name].data = training.kept[name].mine(w)
    training.best = {name: training.kept[name].mine(w) for name, w in best.items()} or training.best
    for (name, kind), a in states.items():
        training.state[name][kind] = training.kept[name].mine(a)
    return path


def fill(model, head, arrays, path):
    """Give a model the final weights of a checkpoint; rows of vertices whole. Local."""
    kept = model.state()
    for name, w in final_weights(head, arrays, kept, path).items():
        if isinstance(kept[name], Rows):
            kept[name].hold(w, head["n_vertices"], arrays.get(f"{files.PLACES}/{name}"))
        else:
            kept[name].data = w


def spread(model, view, head):
    """Let each rank keep its own rows of a model that `fill` filled. Collective.

    Raises
    ------
    ProgramError
        The model has such rows, and the graph is not the one it was trained on.
        Raised on every rank.
    """
    for rows in model.parameters().values():
        if isinstance(rows, Rows):
            if head["graph_digest"] != (view.digest or ""):
                raise alike(
                    "the model has learned rows of the vertices of the graph it was trained on; this is another"
                )
            whole = rows.data
            rows.settle(view)
            rows.data = rows.mine(whole)


def final_weights(head, arrays, kept, path):
    """The weights that a checkpoint's training would end with now: dict. Local."""
    selects_best = configs.from_tables(head["config"]).train.select == "best" and head["n_epochs"] > 0
    return weights_in(arrays, files.BEST if selects_best else files.WEIGHTS, kept, path)


def weights_in(arrays, holder, kept, path):
    """The arrays of all parameters and buffers from those of a file: dict. Local.

    Raises
    ------
    FormatError
        One is absent, or there are others.
    """
    there = {name.partition("/")[2] for name in arrays if name.startswith(f"{holder}/")}
    if there - set(kept):
        raise FormatError(
            f"{path} is of another model: it has the parameter {min(there - set(kept))}, this one has {', '.join(kept)}"
        )
    return {name: _taken(arrays, f"{holder}/{name}", t.whole_shape, path) for name, t in kept.items()}


def digest_of_rows(graph):
    """Which vertex lies in which row and part, as 64 hex digits. Collective."""
    import hashlib

    gids = np.arange(graph.first_gid, graph.first_gid + graph.n_owned, dtype=GID)
    sums = graph.comm.allgather(int(hash_sum([gids, graph.order], 5)))
    return hashlib.sha256(graph.part_start.tobytes() + repr(sum(sums) % 2**64).encode()).hexdigest()


def mpi_library():
    """The MPI library in a line. Local."""
    from mpi4py import MPI

    return " ".join(MPI.Get_library_version().split("\x00")[0].splitlines()[0].split())


def _check_same(training, path, head, config, rows_digest, code):
    theirs = configs.from_tables(head["config"])
    keys = configs.differing(theirs, config)
    if keys:
        key = keys[0]
        there, here = theirs.flat()[key], config.flat()[key]
        raise ProgramError(
            f"{path} is of another training: {key} is {there!r} there and {here!r} here; "
            "go on with that, or begin anew with --force"
        )
    digest = training.data.view.digest or ""
    if head["graph_digest"] != digest:
        there, here = head["graph_digest"][:12], digest[:12]
        raise ProgramError(
            f"{path} was made with the graph with digest {there}..., this one has {here}...; "
            "go on with that graph, or begin anew with --force"
        )
    if head["rows_digest"] != rows_digest:
        raise ProgramError(
            f"{path} was made with the same graph cut into other parts, which fix the order of sums; "
            "go on with that file, or begin anew with --force"
        )
    if code is not None and head["code"] != code:
        raise ProgramError(
            f"{path} was made with other code of the model {config.model.kind}; go on with that, say that the change "
            "does not matter with --changed-code, or begin anew with --force"
        )
    if head["seed"] != training.seed:
        raise FormatError(f"{path} is of seed {head['seed']}, not {training.seed}; was it renamed?")


def _taken(arrays, name, shape, path):
    if name not in arrays:
        raise FormatError(f"{path} is of another model: it has no {name}")
    there = arrays[name].shape
    if len(there) != len(shape) or any(n not in (None, m) for n, m in zip(shape, there, strict=True)):
        raise FormatError(f"{path} is of another model: {name} is {there} there and {shape} here")
    return arrays[name]


def _history(columns, path):
    try:
        return History.from_columns(columns)
    except KeyError as error:
        raise FormatError(f"{path} has no column {error} of its history; it is damaged") from error
