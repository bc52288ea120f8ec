"""A real log from the command line: known answers, the same as networkx, and a page on it."""

import pytest
import samples

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

    found = asked(capsys, "bottlenecks", out, "--top", "0")
    pairs = [line.split()[:2] for line in log.read_text().splitlines()]
    expected = networkx.betweenness_centrality(networkx.DiGraph(pairs))
    assert found["sources"] == found["agents"] == len(expected)
    for row in found["top"]:
        assert abs(row["betweenness"] - expected[row["agent"]]) < 1e-9

    found = asked(capsys, "report", out, "-o", tmp_path / "mail.html")
    assert found["messages"] == 59_835
    assert (tmp_path / "mail.html").stat().st_size < 2 << 20
