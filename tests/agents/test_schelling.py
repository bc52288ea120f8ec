"""The example of segregation: nobody is lost, cells know who is around them, and it ends happier; the same on any ranks."""

import importlib.util

import launch as launching
import numpy as np
from mpi4py import MPI

SIDE, AGENTS = 16, 200


def test_who_moves_is_not_lost_and_all_around_hear_of_it(comm):
    spec = importlib.util.spec_from_file_location("schelling", launching.ROOT / "examples" / "schelling.py")
    schelling = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(schelling)

    def on(comm):
        graph = schelling.town(comm, SIDE, AGENTS, 2, seed=3)
        return graph, schelling.run(graph, 4, check=True)

    graph, found = on(comm)
    assert comm.size == 1 or found.digest == on(MPI.COMM_SELF)[1].digest
    own = graph.id[: graph.n_owned]
    states = comm.allgather((own, *(found[name] for name in ("group", "ones", "twos"))))
    ids, group, ones, twos = (np.concatenate(column) for column in zip(*states, strict=True))
    group, ones, twos = (column[np.argsort(ids)] for column in (group, ones, twos))
    assert np.bincount(group).tolist() == [SIDE * SIDE - AGENTS, AGENTS // 2, AGENTS // 2]
    edges = comm.allgather((graph.id[graph.in_src], graph.id[graph.in_rows()]))
    src, dst = (np.concatenate(column) for column in zip(*edges, strict=True))
    degree = np.bincount(dst)
    assert degree.min() == 8 and degree.max() == 24  # of a corner, and within
    around = [np.bincount(dst, group[src] == kind, minlength=SIDE * SIDE) for kind in (1, 2)]
    assert np.array_equal(ones, around[0]) and np.array_equal(twos, around[1])
    same = np.where(group == 1, ones, twos)
    happy = (group > 0) & (ones + twos > 0) & (same >= 0.4 * (ones + twos))
    measured = found.measures["happy"][schelling.ASK :: 4]
    assert happy.sum() == measured[-1] > measured[0]
