"""Results and graphs on disk, as numpy arrays, pandas and xarray views.

    from hpcmp import analysis

    ranks = analysis.open("ranks.h5")
    ids, values = ranks.top("rank", 10)
    ranks.steps_frame().plot(y="value_change")

Needs neither MPI nor numba. Files are read when something is asked for, and
are closed again at once: an opened file may be replaced or removed.
"""

from pathlib import Path

from hpcmp.analysis.compare import compare
from hpcmp.analysis.graph import GraphFile
from hpcmp.analysis.result import ResultFile
from hpcmp.analysis.trace import Trail
from hpcmp.analysis.training import CheckpointFile, HistoryFile
from hpcmp.io import h5

__all__ = ["ROWS", "CheckpointFile", "GraphFile", "HistoryFile", "ResultFile", "Trail", "compare", "open"]

KINDS = {h5.GRAPH: GraphFile, h5.RESULT: ResultFile, h5.CHECKPOINT: CheckpointFile, h5.HISTORY: HistoryFile}
ROWS = (h5.GRAPH, h5.RESULT)  # files with rows of vertices


def open(path, expect=None):
    """Open a file that hpcmp wrote, or the folder of a trail. Local.

    Parameters
    ----------
    expect : str or tuple of str, optional
        Formats that are wanted; default: any.

    Returns
    -------
    ResultFile, GraphFile, HistoryFile, CheckpointFile or Trail

    Raises
    ------
    FileError
        There is no such file, or it cannot be read.
    FormatError
        It is not a file of ours, or breaks a rule of its format.
    """
    wanted = (expect,) if isinstance(expect, str) else expect or (*KINDS, h5.TRAIL)
    if h5.TRAIL in wanted and (wanted == (h5.TRAIL,) or Path(path).is_dir()):
        return Trail.read_frame(path)
    with h5.opened(path, wanted) as handle:
        kind = h5.attribute(handle, "format", str, path=path)
        return Trail.read_frame(path) if kind == h5.TRAIL else KINDS[kind].read_frame(handle, path)
