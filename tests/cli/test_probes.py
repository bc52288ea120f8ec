"""Short measurements of the machine, and what is said of threads."""

from hpcmp.cli import probes


def test_numbers_are_told_as_ranges():
    assert probes.as_ranges(()) == ""
    assert probes.as_ranges((3,)) == "3"
    assert probes.as_ranges((0, 1, 2, 8, 10, 11)) == "0-2,8,10-11"


def test_network_is_measured_between_ranks(comm):
    found = probes.network(comm, n_rows=100_000)
    assert set(found) == ({"latency_us", "bandwidth_GB_s", "allreduce_us", "exchange_GB_s"} if comm.size > 1 else set())
    assert comm.allgather(found) == [found] * comm.size
    assert all(value > 0 for value in found.values())


def test_threads_beyond_a_rank_s_cores_are_told(comm, monkeypatch):
    monkeypatch.setattr(probes, "cores", lambda: (2 * comm.rank, 2 * comm.rank + 1))
    assert probes.too_many_threads(comm, 2) is None
    assert "more than the 2 cores that rank 0 may use" in probes.too_many_threads(comm, 3)
    monkeypatch.setattr(probes, "cores", lambda: (0, 1))
    text = probes.too_many_threads(comm, 2)  # each may use both, but not all of them at once
    assert (text is None) == (comm.size == 1)
    assert text is None or f"{comm.size} ranks x 2 threads share 2 cores" in text
    assert probes.too_many_threads(comm, 1) is None
