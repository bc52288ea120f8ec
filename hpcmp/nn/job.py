"""A training as a command runs it: several seeds, checkpoints, and a history, in one folder.

FOLDER/checkpoint-SEED.h5     of each seed
FOLDER/history.h5             one row an epoch and seed
"""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hpcmp.comm import collective, raise_together, together
from hpcmp.errors import FileError, ProgramError
from hpcmp.io import checkpoint as files
from hpcmp.io.h5 import is_ours
from hpcmp.nn import checkpoint
from hpcmp.nn import data as data_of
from hpcmp.nn.optim import SGD, Adam
from hpcmp.nn.training import Training, run_epochs

HISTORY = "history.h5"


@dataclass
class Trained:
    """What a training of several seeds came to; the same on all ranks."""

    config: object
    histories: dict = field(default_factory=dict)  # seed -> History
    model: object = None  # of the last seed, with its final weights

    @property
    def digests(self):
        return [history.digest for history in self.histories.values()]

    @property
    def digest(self):
        """Of the final weights; of several seeds, of their digests."""
        digests = self.digests
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()

    def metrics(self):
        """Name -> {"mean", "std"} over the seeds, of the epoch that counts: dict. Local."""
        rows = []
        for history in self.histories.values():
            if history.n_epochs:
                t = history.best_epoch if self.config.train.select == "best" else history.n_epochs - 1
                named = {f"{name}_accuracy": value for name, value in history.metrics[t].items()}
                rows.append({"loss": history.loss[t], **named})
        columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
        return {name: {"mean": float(np.mean(v)), "std": float(np.std(v))} for name, v in columns.items()}

    def columns(self):
        """The histories one below the other: dict of str to array. Local."""
        tables = [{"seed": np.full(h.n_epochs, s)} | h.columns() for s, h in self.histories.items() if h.n_epochs]
        return {name: np.concatenate([t[name] for t in tables]) for name in (tables[0] if tables else ())}


@collective
def train(graph, config, make, *, folder=None, resume=False, start_from=None, threads=1, progress=None):
    """Train a model from every seed. Collective.

    Parameters
    ----------
    graph : Graph
    config : hpcmp.nn.config.Config
    make : callable (n_in, n_out, n_relations) -> Module
        n_in is None where the configuration names no features.
    folder : path, optional
        Where checkpoints and the history are written; see `prepare`.
    resume : bool
        Go on from the checkpoints in the folder.
    start_from : callable (Module), optional
        Gives a model its first weights.
    progress : callable (text), optional
        Called on rank 0 every few seconds, and at the end of a seed.

    Returns
    -------
    Trained

    Raises
    ------
    ProgramError
        Fields or a checkpoint do not fit, or the loss is no number. Raised on
        every rank.
    """
    comm, settings = graph.comm, config.train
    fields = {name: getattr(config.data, name) for name in ("features", "labels", "split", "normalize")}
    fields["features"] = fields["features"] or None
    data = data_of.load(graph, **fields, threads=threads)
    with together(comm):
        if "val" not in data.masks and (settings.patience or settings.select == "best"):
            raise ProgramError(f"no vertex is in the split 'val' of {config.data.split!r}; patience and select need it")
    rows_digest = checkpoint.digest_of_rows(graph)
    trained = Trained(config)
    for seed in config.seeds:
        with together(comm):
            model = make(data.n_in, data.n_classes, len(graph.relations))
        training = Training(model, data, optimizer_of(settings), seed=seed, keep_best=settings.select == "best")
        path = None if folder is None else checkpoint_path(folder, seed)
        if resume and comm.bcast(path.is_file() if comm.rank == 0 else None):
            checkpoint.restore(training, path, config, rows_digest)
        elif start_from is not None:
            with together(comm):
                start_from(model)
        trained.histories[seed] = training.history
        keep = _Keeper(graph, training, trained, folder, config, rows_digest)
        run_epochs(training, settings.epochs, patience=settings.patience, progress=progress, after=keep.after_epoch)
        keep.save()
        training.finish()
        trained.model = model
        if progress and comm.rank == 0:
            progress(f"seed {seed}: {_ended(training.history)}")
    if folder is not None:
        write_history(graph, trained, folder)
    return trained


class _Keeper:
    """Writes checkpoint and history of a training every so many epochs."""

    def __init__(self, graph, training, trained, folder, config, rows_digest):
        self.graph, self.training, self.trained, self.folder = graph, training, trained, folder
        self.config, self.rows_digest, self.saved = config, rows_digest, training.n_epochs or None

    def after_epoch(self):
        if self.training.n_epochs % self.config.train.checkpoint_every == 0:
            self.save()

    def save(self):
        """Write both files, unless they are as they should be."""
        if self.folder is None or self.saved == self.training.n_epochs:
            return
        path = checkpoint_path(self.folder, self.training.seed)
        checkpoint.save(self.training, path, self.config, self.rows_digest)
        write_history(self.graph, self.trained, self.folder)
        self.saved = self.training.n_epochs


def write_history(graph, trained, folder):
    """Write the history of all seeds so far. Collective."""
    attrs = {
        "config": trained.config.tables(),
        "graph_digest": graph.digest or "",
        "mpi_library": checkpoint.mpi_library(),
    }
    files.write_history(graph.comm, Path(folder) / HISTORY, attrs, trained.columns(), graph.sources)


def _ended(history):
    if not history.n_epochs:
        return "no epochs"
    shown = ", ".join(f"{name} {value:.3f}" for name, value in history.metrics[-1].items())
    return f"{history.n_epochs} epochs, {sum(history.seconds):.3g} s, {shown}; digest {history.digest[:12]}"


def optimizer_of(settings):
    """The optimiser that a configuration names. Local."""
    if settings.optimizer == "sgd":
        return SGD(settings.lr, settings.weight_decay, settings.momentum)
    return Adam(settings.lr, settings.weight_decay, decoupled=settings.optimizer == "adamw")


def checkpoint_path(folder, seed):
    """Where the checkpoint of a seed lies. Local."""
    return Path(folder) / f"checkpoint-{seed}.h5"


def prepare(comm, folder, *, resume=False, force=False):
    """Make a folder for a training, or refuse one that must not be used. Collective.

    Raises
    ------
    FileError
        It cannot be made or written, or holds a training already. Raised on
        every rank.
    """
    error = None
    if comm.rank == 0:
        try:
            _prepare(Path(folder), resume, force)
        except FileError as caught:
            error = caught
        except OSError as caught:
            error = FileError(f"{folder} cannot be written: {caught.strerror or caught}")
    raise_together(comm, error)


def _prepare(folder, resume, force):
    if folder.exists() and not folder.is_dir():
        raise FileError(f"{folder} is a file; name a folder for checkpoints and history")
    if not folder.parent.is_dir():
        raise FileError(f"the folder {folder.parent} of {folder} does not exist; make it first")
    folder.mkdir(exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise FileError(f"the folder {folder} cannot be written: permission denied")
    found = [*folder.glob("checkpoint-*.h5"), *folder.glob(HISTORY)]
    alien = [path for path in found if path.stat().st_size and not is_ours(path)]
    if alien and not force:
        raise FileError(f"{alien[0]} exists and is no file of hpcmp; use another folder, or replace it with --force")
    if found and not resume and not force:
        raise FileError(f"{folder} holds a training already; go on with it by --resume, or begin anew with --force")
    for path in found if force and not resume else ():
        path.unlink()
    for path in folder.glob(".*.h5.*.part"):  # what a killed run left
        path.unlink()


def find_checkpoint(run, seed=None):
    """The checkpoint that a folder or file stands for. Local.

    Raises
    ------
    FileError
        There is none.
    """
    run = Path(run)
    if run.is_file() or not run.exists():
        if not run.exists():
            raise FileError(f"{run} does not exist; hpcmp train -o {run} makes it")
        return run
    have = sorted(int(p.stem.partition("-")[2]) for p in run.glob("checkpoint-*.h5") if p.stem[11:].isdigit())
    if not have:
        raise FileError(f"{run} holds no checkpoint; hpcmp train -o {run} writes them")
    if seed is not None and seed not in have:
        raise FileError(f"{run} has no checkpoint of seed {seed} (it has: {', '.join(map(str, have))})")
    return checkpoint_path(run, have[0] if seed is None else seed)
