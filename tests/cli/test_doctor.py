"""`hpcmp doctor`: facts about the installation, and advice."""

import json

import launch as launching
import pytest

KEYS = {
    *("hpcmp", "python", "mpi_library", "ranks", "ranks_per_machine", "cores_per_rank"),
    *("ping_pong", "packages", "numba_cache", "slurm", "advice"),
}


def facts(launch, ranks, env=None):
    done = launch(ranks, "doctor", "--json", env=env)
    assert done.returncode == 0, done.stderr
    assert not launching.still_running(done)
    return json.loads(done.stdout)


def test_facts_on_several_ranks(launch):
    found = facts(launch, 3)
    assert set(found) >= KEYS
    assert found["ranks"] == 3
    assert list(found["ranks_per_machine"].values()) == [3]
    assert len(found["cores_per_rank"]) == 3
    assert found["ping_pong"]["latency_us"] > 0 and found["ping_pong"]["bandwidth_GB_s"] > 0
    assert found["packages"]["mpi4py"] != "-"
    assert "MPI" in found["mpi_library"] or "MPICH" in found["mpi_library"]


def test_affinity_of_each_rank_and_the_network(launch):
    found = facts(launch, 2)
    assert len(found["affinity"]) == 2 and all(found["affinity"])
    assert found["ping_pong"]["allreduce_us"] > 0 and found["ping_pong"]["exchange_GB_s"] > 0


def test_alone_there_is_nobody_to_ping(launch):
    assert facts(launch, None)["ping_pong"] == {}


def test_more_ranks_than_cores_are_pointed_out(launch):
    found = facts(launch, 8)
    n_cores = max(found["cores_per_rank"])
    if n_cores >= 8:
        pytest.skip(f"{n_cores} cores are enough for 8 ranks")
    assert any("8 ranks share" in line for line in found["advice"])


def test_cache_that_cannot_be_written_is_pointed_out(launch, tmp_path):
    (tmp_path / "file").write_text("")
    found = facts(launch, None, env={"HPCMP_CACHE_DIR": tmp_path / "file" / "cache"})
    assert any("cannot be written" in line and "HPCMP_CACHE_DIR" in line for line in found["advice"])


def test_a_batch_script_s_own_shell_is_pointed_out(launch):
    found = facts(launch, None, env={"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1"})
    assert found["slurm"] == {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1"}
    assert any("batch script" in line and "srun" in line for line in found["advice"])


def test_lines_for_people(launch):
    done = launch(None, "doctor")
    assert done.returncode == 0
    assert "mpi library" in done.stdout and "numba cache" in done.stdout
    last = done.stdout.strip().splitlines()[-1]
    assert last == "all is well" or last.startswith("! ")
