"""P copies of a one-rank job, started where P ranks were meant, refuse to run."""

import json

import jobs
import pytest

TRAPS = ("SLURM_NTASKS", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE")


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ring")
    path = folder / "ring.h5"
    jobs.run_commands(1, [["generate", "ring", "--vertices", 5, "-o", path]], folder)
    return path


@pytest.mark.parametrize("name", TRAPS)
def test_one_rank_where_several_were_announced_is_refused(launch, graph, tmp_path, name):
    done = launch(None, "run", "wcc", graph, "-o", "out.h5", env={name: "4"})
    assert done.returncode == 2
    (message,) = [line for line in done.stderr.splitlines() if line.startswith("hpcmp: error:")]
    for part in (f"{name}=4", "1 rank", "mpirun -n 4", "srun", "HPCMP_ALLOW_SINGLETON=1", "hpcmp doctor"):
        assert part in message, f"the message lacks {part!r}: {message}"
    assert not (tmp_path / "out.h5").exists()


def test_one_rank_may_be_meant(launch, graph):
    env = {"SLURM_NTASKS": "4", "HPCMP_ALLOW_SINGLETON": "1"}
    done = launch(None, "run", "wcc", graph, env=env)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("announced", ["1", "", "many"])
def test_one_task_is_no_trap(launch, graph, announced):
    assert launch(None, "run", "wcc", graph, env={"SLURM_NTASKS": announced}).returncode == 0


def test_ranks_that_found_each_other_are_no_trap(launch, graph):
    assert launch(2, "run", "wcc", graph, env={"SLURM_NTASKS": "4"}).returncode == 0


def test_doctor_explains_the_trap_and_the_way_out(launch):
    done = launch(None, "doctor", "--json", env={"SLURM_NTASKS": "4", "SLURM_JOB_ID": "7"})
    assert done.returncode == 0, done.stderr
    advice = "\n".join(json.loads(done.stdout)["advice"])
    assert "SLURM_NTASKS=4" in advice and "1 rank" in advice and "srun" in advice


def test_doctor_finds_no_trap_where_there_is_none(launch):
    done = launch(2, "doctor", "--json")
    assert done.returncode == 0, done.stderr
    assert "did not find each other" not in done.stdout
