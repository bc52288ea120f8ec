"""Results and graphs on disk, as numpy arrays, pandas and xarray views.

    from hpcmp import analysis

    ranks = analysis.open("ranks.h5")
    ids, values = ranks.top("rank", 10)
    ranks.steps_frame().plot(y="value_change")

Needs neither MPI nor numba. Files are read when something is asked for, and
are closed again at once: an opened file may be replaced or removed.
"""

from hpcmp.analysis.compare import compare
from hpcmp.analysis.graph import GraphFile
from hpcmp.analysis.result import ResultFile
from hpcmp.io import h5

__all__ = ["GraphFile", "ResultFile", "compare", "open"]


def open(path):
    """Open a result or graph file. Local.

    Returns
    -------
    ResultFile or GraphFile

    Raises
    ------
    FileError
        There is no such file, or it cannot be read.
    FormatError
        It is not a file of ours, or breaks a rule of its format.
    """
    with h5.opened(path) as handle:
        kind = GraphFile if h5.attributes(handle)["format"] == h5.GRAPH else ResultFile
        return kind.read_frame(handle, path)
