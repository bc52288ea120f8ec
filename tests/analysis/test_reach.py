"""Reach in time: against a plain search."""

import pytest
import trails

from hpcmp import analysis
from hpcmp.analysis.reach import reach
from hpcmp.io.log import import_log


def naive_reach(records):
    """Agents that each agent's news reaches, by passing it on message by message."""
    agents = sorted({r[name] for r in records for name in ("sender", "receiver")})
    delivered = sorted((r for r in records if r["status"] == 0), key=lambda r: r["step_sent"])
    found = {}
    for start in agents:
        has = {start: -1}  # agent -> step since which it knows
        for r in delivered:
            if has.get(r["sender"], 10**9) <= r["step_sent"]:
                has[r["receiver"]] = min(has.get(r["receiver"], 10**9), r["step_delivered"])
        found[start] = len(has) - 1
    return found


@pytest.mark.parametrize("delays", [(1,), (1, 2, 5)])
@pytest.mark.parametrize("seed", range(3))
def test_reach_is_what_a_plain_search_finds(tmp_path, delays, seed):
    records = trails.simulate(n_agents=70, n_steps=10, seed=seed, chance=0.05, delays=delays)
    trail = analysis.open(trails.write(tmp_path / "t", records, 10, n_ranks=2))
    for row_bytes in (1 << 28, 8):  # all targets at once, and 64 at a time
        found = reach(trail, row_bytes)
        assert dict(zip(found.agents.tolist(), found.counts.tolist(), strict=True)) == naive_reach(records)


def test_late_messages_that_are_alone_in_their_step(tmp_path):
    for seed in range(6):
        records = trails.simulate(n_agents=5, n_steps=40, seed=seed, chance=0.06, delays=(1, 4, 9))
        found = reach(analysis.open(trails.write(tmp_path / str(seed), records, 40)))
        assert dict(zip(found.agents.tolist(), found.counts.tolist(), strict=True)) == naive_reach(records)


def test_messages_of_the_same_time_do_not_chain(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("1 2 5\n2 3 5\n3 4 6\n4 3 7\n")
    import_log(log, tmp_path / "t", "sender,receiver,time")
    found = reach(analysis.open(tmp_path / "t"))
    assert found.counts.tolist() == [1, 2, 1, 1]  # 2 reaches 3 and 4; 3 hears its own news again: not counted
    assert (found.pairs, found.best, found.none) == (5, (2, 2), 0)
