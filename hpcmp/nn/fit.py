"""Training on the whole graph, in one call."""

from hpcmp.comm import collective
from hpcmp.nn import data as data_of
from hpcmp.nn.optim import Adam
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
    seed=0,
    threads=1,
    patience=None,
    select="last",
    progress=None,
):
    """Train a model on a graph; it is left with the final weights. Collective.

    Parameters
    ----------
    model : Module
        Called as ``model(view, x)``; gives logits (n_owned, classes).
    graph : Graph
    features, labels, split, normalize : str
        See `hpcmp.nn.data.load`.
    epochs : int
    optimizer : Adam or SGD
    patience : int, optional
        End after so many epochs without a better validation metric.
    select : "last" or "best"
        Which epoch's weights are the final ones, best by the validation metric.
    progress : callable (text), optional
        Called on rank 0 every few seconds.

    Returns
    -------
    History

    Raises
    ------
    ProgramError
        Fields do not fit, or the loss is no number. Raised on every rank.
    """
    optimizer = optimizer or Adam(lr=0.01, weight_decay=5e-4)
    data = data_of.load(graph, features=features, labels=labels, split=split, normalize=normalize, threads=threads)
    training = Training(model, data, optimizer, seed=seed, keep_best=select == "best")
    run_epochs(training, epochs, patience=patience or 0, progress=progress)
    return training.finish()
