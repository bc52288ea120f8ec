"""A training as a command runs it: several seeds, checkpoints, and a history, in one folder."""

import hashlib
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from hpcmp.comm import collective, on_rank_0, raise_together, together
from hpcmp.engine.checkpoints import Wishes, remove_stop_file
from hpcmp.errors import FileError, ProgramError, Suspended
from hpcmp.io import checkpoint as files
from hpcmp.io.h5 import is_damaged, is_ours
from hpcmp.io.whole_file import parts_of, usable_folder, write_errors
from hpcmp.nn import checkpoint, linked, models, room
from hpcmp.nn import data as data_of
from hpcmp.nn.optim import SGD, Adam
from hpcmp.nn.schedules import Cosine, Plateau, StepDecay
from hpcmp.nn.tasks import BALANCED, Vertices
from hpcmp.nn.training import Training, run_epochs


@dataclass
class Trained:
    """What a training of several seeds came to; the same on all ranks."""

    config: object
    histories: dict = field(default_factory=dict)  # seed -> History
    model: object = None  # of the last seed, with its final weights
    write_s: float = 0.0  # checkpoints and history, of this rank

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
                rows.append({"loss": history.loss[t], **history.metrics[t]})
        columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
        return {name: {"mean": float(np.mean(v)), "std": float(np.std(v))} for name, v in columns.items()}

    def columns(self):
        """The histories one below the other: dict of str to array. Local."""
        tables = [{"seed": np.full(h.n_epochs, s)} | h.columns() for s, h in self.histories.items() if h.n_epochs]
        return {name: np.concatenate([t[name] for t in tables]) for name in (tables[0] if tables else ())}


@collective
def train(
    graph,
    config,
    make,
    *,
    checkpoints=None,
    start_from=None,
    threads=1,
    progress=None,
):
    """Train a model from every seed. Collective.

    Parameters
    ----------
    graph : Graph
    config : hpcmp.nn.config.Config
    make : callable (n_in, n_out, n_relations) -> Module
        n_in is None where the configuration names no features. With an
        attribute ``made`` where it gives a user's model, see `models.code_of`.
    checkpoints : hpcmp.Checkpoints, optional
        Its folder, see `prepare`, gets checkpoints and the history; ``every``
        counts epochs, by default as many as the configuration says. By
        ``force`` a training that is in the folder is replaced: its files go
        once nothing is left to refuse.
    start_from : callable (Module), optional
        Gives a model its first weights. Collective.
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
    Suspended
        It was told to leave, and has left a checkpoint. Raised on every rank.
    """
    folder = None if checkpoints is None else checkpoints.folder
    resumes = checkpoints is not None and checkpoints.resume
    comm, settings = graph.comm, config.train
    with together(comm):
        task = task_of(settings)
    data = _load(graph, config, threads)
    monitor = f"val_{task.metrics[0]}" if settings.monitor == "auto" else settings.monitor
    told = {
        "keep_best": settings.select == "best",
        "task": task,
        "monitor": monitor,
        "patience": settings.patience,
    }

    def new_model(data):
        return make(data.n_in, data.n_out, len(graph.relations))

    def begin(data, model=None, seed=0):
        return Training(new_model(data) if model is None else model, data, optimizer_of(settings), seed=seed, **told)

    room.refuse_what_cannot_fit(graph, data, begin, config.model.kind)
    rows_digest = checkpoint.digest_of_rows(graph)
    trained = Trained(config)
    for seed in config.seeds:
        with together(comm):
            model = new_model(data)
            code = models.code_of(make.made, model) if hasattr(make, "made") else ""
        training = begin(data, model, seed)
        path, resumed_from = None if folder is None else files.path_of(folder, seed), None
        if resumes and on_rank_0(comm, lambda at=path: at.is_file() or files.before(at).is_file()):
            known = None if checkpoints.changed_code else code
            resumed_from = checkpoint.restore(training, path, config, rows_digest, known, progress)
            what = (
                f"going on from the checkpoint after {training.n_epochs} epochs" if resumed_from else "it begins anew"
            )
            if progress and comm.rank == 0:
                progress(f"seed {seed}: {what}")
        if resumed_from is None and start_from is not None:
            start_from(model)
        if checkpoints is not None and checkpoints.force and not resumes and seed == config.seeds[0]:
            _clear(comm, folder)
        trained.histories[seed] = training.history
        is_newest = resumed_from in (None, path)
        keep = _Keeper(graph, training, trained, checkpoints, config, (rows_digest, code), is_newest, progress)
        run_epochs(training, settings.epochs, progress=progress, after=keep.after_epoch)
        keep.save()
        training.finish()
        trained.model = model
        if progress and comm.rank == 0:
            progress(f"seed {seed}: {_ended(training.history)}")
    if folder is not None:
        start = time.perf_counter()
        write_history(graph, trained, folder)
        trained.write_s += time.perf_counter() - start
    return trained


def _load(graph, config, threads):
    """What the configuration says to train on. Collective."""
    told, loss = config.data, config.train.loss
    more = {"features": told.features or None, "normalize": told.normalize, "threads": threads}
    more["keep_sums"] = told.keep_sums
    if loss == "links":
        return linked.load(graph, config.model.width, held_out=told.held_out, **more)
    return data_of.load(graph, labels=told.labels, split=told.split, loss=loss, **more)


class _Keeper:
    """Writes checkpoint and history of a training when it is time, and lets it leave."""

    def __init__(self, graph, training, trained, asked, config, digests, is_newest, say):
        self.graph, self.training, self.trained, self.say = graph, training, trained, say
        self.folder, self.wishes = None, None
        if asked is not None:
            self.folder = asked.folder
            self.wishes = Wishes(graph.comm, replace(asked, every=asked.every or config.train.checkpoint_every))
        self.config, self.digests, self.keeps_one_before = config, digests, is_newest
        self.saved = (training.n_epochs or None) if is_newest else None

    def after_epoch(self):
        """Save if it is time; leave if a rank was told to. Collective."""
        if self.wishes is None:
            return
        comm, n_epochs = self.graph.comm, self.training.n_epochs
        writes, leaves = comm.allreduce(np.array(self.wishes.of_step(n_epochs)))
        leaves = leaves and not self.training.is_over(self.config.train.epochs)
        where = f"epoch {n_epochs} of seed {self.training.seed}"
        if writes or leaves:
            start = time.perf_counter()
            try:
                self.save()
            except FileError as error:
                if leaves:
                    raise
                if self.say and comm.rank == 0:
                    self.say(f"no checkpoint of {where}: {error}; the training goes on, with the one before")
            self.wishes.written(time.perf_counter() - start)
        if leaves:
            raise_together(comm, Suspended(f"checkpointed after {where} in {self.folder}; --resume goes on from there"))

    def save(self):
        """Write both files, unless they are as they should be."""
        if self.folder is None or self.saved == self.training.n_epochs:
            return
        start, path = time.perf_counter(), files.path_of(self.folder, self.training.seed)
        if self.keeps_one_before:  # unless the newest is damaged: then the one before stays
            files.keep_one_before(self.graph.comm, path)
        checkpoint.save(self.training, path, self.config, *self.digests)
        self.keeps_one_before = True
        write_history(self.graph, self.trained, self.folder)
        self.saved = self.training.n_epochs
        self.trained.write_s += time.perf_counter() - start


def write_history(graph, trained, folder):
    """Write the history of all seeds so far. Collective."""
    attrs = {
        "config": trained.config.tables(),
        "graph_digest": graph.digest or "",
        "mpi_library": checkpoint.mpi_library(),
    }
    files.write_history(graph.comm, Path(folder) / files.HISTORY, attrs, trained.columns(), graph.sources)


def _ended(history):
    if not history.n_epochs:
        return "no epochs"
    shown = ", ".join(f"{name} {value:.3f}" for name, value in history.metrics[-1].items())
    return f"{history.n_epochs} epochs, {sum(history.seconds):.3g} s, {shown}; digest {history.digest[:12]}"


def optimizer_of(settings):
    """The optimiser that a configuration names. Local."""
    more = {"groups": settings.groups, "clip": settings.clip or None}
    lr = learning_rate(settings)
    if settings.optimizer == "sgd":
        return SGD(lr, settings.weight_decay, settings.momentum, **more)
    return Adam(lr, settings.weight_decay, decoupled=settings.optimizer == "adamw", **more)


def learning_rate(settings):
    """The learning rate of a configuration: a number or a schedule. Local."""
    if settings.schedule == "cosine":
        return Cosine(settings.lr, settings.epochs, settings.warm_up, settings.lowest)
    if settings.schedule == "step":
        return StepDecay(settings.lr, settings.decay_every, settings.decay)
    if settings.schedule == "plateau":
        return Plateau(settings.lr, settings.decay, settings.decay_patience, lowest=settings.lowest)
    return settings.lr


def task_of(settings):
    """The loss and metrics that a configuration names. Local.

    Raises
    ------
    ProgramError
        They do not fit together.
    """
    weights = settings.class_weights or None
    metrics = () if settings.metrics == ("auto",) else settings.metrics
    if settings.loss == "links":
        if weights:
            raise ProgramError("class weights are of the loss cross_entropy, not of links")
        return linked.Links(metrics, settings.negatives)
    return Vertices(settings.loss, metrics, BALANCED if weights == (BALANCED,) else weights)


def prepare(comm, folder, *, resume=False, force=False):
    """Make a folder for a training, or refuse one that must not be used. Collective.

    By ``force`` one with a training is not refused; `train` replaces it.

    Raises
    ------
    FileError
        It cannot be made or written, holds a training already, or under such a
        name a file that hpcmp did not write. Raised on every rank.
    """
    _on_rank_0(comm, folder, lambda: _prepare(Path(folder), resume, force))


def _on_rank_0(comm, folder, change):
    on_rank_0(comm, write_errors(folder)(change))


def _clear(comm, folder):
    """Remove the files of a training. Collective."""
    if folder is not None:
        _on_rank_0(comm, folder, lambda: [path.unlink() for path in files.files_in(folder)])


def _prepare(folder, resume, force):
    usable_folder(folder, "checkpoints and history")
    found = files.files_in(folder)
    whole = {path for path in found if is_ours(path)}
    alien = [path for path in found if not {path, files.before(path)} & whole and not _may_be_ours(path, resume)]
    if alien and not force:
        raise FileError(f"{alien[0]} exists and is no file of hpcmp; use another folder, or replace it with --force")
    if found and not resume and not force:
        raise FileError(f"{folder} holds a training already; go on with it by --resume, or begin anew with --force")
    remove_stop_file(folder)
    for path in parts_of(folder, "*.h5"):
        path.unlink(missing_ok=True)


def _may_be_ours(path, resume):
    """Whether a file that does not say so may be: one that a full disk left empty, or to go on from and damaged."""
    return path.stat().st_size == 0 or (resume and is_damaged(path))


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
    have = files.seeds_in(run)
    if not have:
        raise FileError(f"{run} holds no checkpoint; hpcmp train -o {run} writes them")
    if seed is not None and seed not in have:
        raise FileError(f"{run} has no checkpoint of seed {seed} (it has: {', '.join(map(str, have))})")
    return files.path_of(run, have[0] if seed is None else seed)
