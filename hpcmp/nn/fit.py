"""Training on the whole graph, in one call."""

from hpcmp.comm import collective, together
from hpcmp.errors import ProgramError
from hpcmp.nn import data as data_of
from hpcmp.nn.config import CHOICES
from hpcmp.nn.optim import Adam
from hpcmp.nn.tasks import Vertices
from hpcmp.nn.training import Training, run_epochs


@collective
def fit(
    model,
    graph,
    *,
    features="x",
    labels="label",
    split="split",
    normalize="none",
    epochs=200,
    optimizer=None,
    loss="cross_entropy",
    metrics=(),
    class_weights=None,
    monitor=None,
    seed=0,
    threads=1,
    keep_sums=True,
    patience=None,
    select="last",
    progress=None,
):
    """Train a model on a graph; it is left with the final weights. Collective.

    Parameters
    ----------
    model : Module
        Called as ``model(view, x)``; gives a logit for each class (n_owned,
        classes), or of other losses as many columns as there are labels.
    graph : Graph
    features, labels, split, normalize, keep_sums
        See `hpcmp.nn.data.load`.
    epochs : int
    optimizer : Adam or SGD
        Learning rates that hear a metric (`Plateau`) hear the monitored one.
    loss, metrics, class_weights
        See `hpcmp.nn.tasks.Vertices`, and for labels `hpcmp.nn.data.load`.
    monitor : str, optional
        Such as "val_f1_macro"; default: the first of the metrics of "val".
    patience : int, optional
        End after so many epochs without a better monitored metric.
    select : "last" or "best"
        Which epoch's weights are the final ones, best by the monitored metric.
    progress : callable (text), optional
        Called on rank 0 every few seconds.

    Returns
    -------
    History

    Raises
    ------
    ProgramError
        Fields do not fit, the monitored metric is of a split without vertices,
        or the loss is no number. Raised on every rank.
    """
    optimizer = optimizer or Adam(lr=0.01, weight_decay=5e-4)
    with together(graph.comm):
        if select not in CHOICES["train.select"]:
            raise ProgramError(f"select {select!r} is not one of {', '.join(CHOICES['train.select'])}")
        task = Vertices(loss, tuple(metrics), class_weights)
    names = {"features": features, "labels": labels, "split": split}
    data = data_of.load(graph, **names, normalize=normalize, loss=loss, threads=threads, keep_sums=keep_sums)
    told = {"task": task, "monitor": monitor, "keep_best": select == "best", "patience": patience or 0}
    training = Training(model, data, optimizer, seed=seed, **told)
    run_epochs(training, epochs, progress=progress)
    return training.finish()
