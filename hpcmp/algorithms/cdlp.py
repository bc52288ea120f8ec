"""Community detection by label propagation, as LDBC Graphalytics defines it (2.3.4).

In every step each vertex takes the label most frequent among its neighbours, of
equally frequent ones the smallest, all at once. In a directed graph neighbours
along and against edges are heard, so a reciprocal one counts twice. A vertex
without neighbours keeps its label. Cost a step: the messages of a row sorted.
"""

import numpy as np

from hpcmp.algorithms.checks import local, refuse
from hpcmp.comm import collective
from hpcmp.engine.program import Program
from hpcmp.engine.run import run as run_program
from hpcmp.graph import both_ways
from hpcmp.kernels.aggregates import INT_MIN


def program():
    """Label propagation as a program. Local."""
    return Program(
        name="cdlp",
        state={"label": "int64"},
        init=lambda vertex, ctx: vertex.id,
        send=lambda vertex, ctx: vertex.label,
        aggregate="mode",
        update=lambda vertex, favourite, ctx: vertex.label if favourite == INT_MIN else favourite,
        neighbours="both",
        steps=10,
    )


@collective
def run(graph, steps=None, **how):
    """Label of every vertex after some steps (default 10). Collective."""
    return run_program(program(), graph, steps, **how)


@collective
def verify(graph, result, **_):
    """Recount the votes of the last step by sorting them all. Collective.

    The labels before the last step come from a shorter run; the winner of
    every row then follows from one sort of all (row, label) pairs.

    Raises
    ------
    VerifyError
        On every rank.
    """
    own, ids = result["label"], graph.id[: graph.n_owned]
    if result.n_steps == 0:
        refuse(graph, own != ids, lambda i: f"vertex {ids[i]} starts with the label {own[i]}, not its own id")
        return
    heard = both_ways(graph)
    label = local(heard, run_program(program(), graph, result.n_steps - 1)["label"])
    winner = _winners(heard.in_rows(), label[heard.in_src], label[: graph.n_owned])
    refuse(
        graph, own != winner, lambda i: f"vertex {ids[i]} has the label {own[i]}, its neighbours vote for {winner[i]}"
    )


def _winners(rows, votes, default):
    """Most frequent vote of each row, of equally frequent ones the smallest."""
    winner = default.copy()
    by_vote = np.lexsort((votes, rows))
    rows, votes = rows[by_vote], votes[by_vote]
    is_start = np.ones(len(rows), np.bool_)
    is_start[1:] = (rows[1:] != rows[:-1]) | (votes[1:] != votes[:-1])
    starts = np.flatnonzero(is_start)
    n_votes = np.diff(np.append(starts, len(rows)))
    best_last = np.lexsort((-votes[starts], n_votes, rows[starts]))
    winner[rows[starts][best_last]] = votes[starts][best_last]  # the last write of a row is its best
    return winner
