"""A real log from the command line: known answers, the same as networkx, and a page on it."""

import numpy as np
import pytest
import samples
from thorough import IS_LONG

from hpcmp import analysis
from hpcmp.analysis import flow
from hpcmp.cli import trace


def asked(capsys, *args):
    samples.run_verb(trace, *args, "--json")
    return samples.printed_json(capsys)


@pytest.mark.slow
def test_messages_of_a_college(data, tmp_path, capsys):
    networkx = pytest.importorskip("networkx")
    log, out = data / "collegemsg" / "CollegeMsg.txt", tmp_path / "mail"
    found = asked(capsys, "import", log, "--columns", "sender,receiver,time", "-o", out)
    assert (found["records"], found["agents"], found["steps"]) == (59_835, 1899, 58_911)
    found = asked(capsys, "reach", out)
    assert found == {"pairs": 1_792_345, "best": {"agent": 9, "reaches": 1775}, "none": 549}

    pairs = networkx.DiGraph([tuple(map(int, line.split()[:2])) for line in log.read_text().splitlines()])
    trail = analysis.open(out)
    if IS_LONG:  # half a minute for networkx
        found = asked(capsys, "bottlenecks", out, "--top", "0")
        expected = networkx.betweenness_centrality(pairs)
        assert found["sources"] == found["agents"] == len(expected)
        for row in found["top"]:
            assert abs(row["betweenness"] - expected[int(row["agent"])]) < 1e-9
    else:
        some, met = np.arange(0, 1899, 40), flow.edges(trail)
        found = flow.betweenness(1899, met.sender, met.receiver, sources=some)
        expected = networkx.betweenness_centrality_subset(pairs, trail.agents[some].tolist(), list(pairs))
        scale = 1899 / len(some) / (1898 * 1897)
        for agent, value in zip(trail.agents.tolist(), found.tolist(), strict=True):
            assert abs(value - expected[agent] * scale) < 1e-9

    found = asked(capsys, "report", out, "-o", tmp_path / "mail.html")
    assert found["messages"] == 59_835
    assert (tmp_path / "mail.html").stat().st_size < 2 << 20
