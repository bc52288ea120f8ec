"""The batch scripts on a real Slurm cluster of two nodes, and the singleton trap."""

import re
import subprocess
import sys
from pathlib import Path

import launch as launching
import pytest
from slurm_cluster import Cluster, why_not

SCRIPT = launching.ROOT / "slurm" / "run.sbatch"
VENV = Path(sys.prefix)
# One write for a line: the lines of two ranks share a pipe.
HELLO = "from mpi4py import MPI; import os, sys; c = MPI.COMM_WORLD; "
HELLO += "sys.stdout.write(f'{c.rank} {c.size} {os.environ[\"SLURMD_NODENAME\"]}\\n')"
TWO_NODES = ("-N", "2", "--ntasks-per-node=1")
LAUNCHERS = {"mpirun": [launching.mpiexec() or "mpirun", "-n", "2"], "srun": ["srun", "--mpi=pmi2"]}


@pytest.fixture(scope="module")
def cluster():
    reason = why_not()
    if reason:
        pytest.skip(reason)
    cluster = Cluster().start()
    yield cluster
    cluster.stop()


def speaks(launcher):
    """srun's pmi2 is MPICH's language; Open MPI wants PMIx."""
    if launcher == "srun":
        version = subprocess.check_output([launching.mpiexec(), "--version"], text=True)
        if "HYDRA" not in version:
            pytest.skip("srun --mpi=pmi2 needs MPICH")


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    path = tmp_path_factory.mktemp("slurm") / "kron8.h5"
    argv = launching.command(None, "-m", "hpcmp", "generate", "kronecker", "--scale", 8, "-o", path)
    done = launching.run(argv, env=launching.environment())
    assert done.returncode == 0, done.stderr
    return path


def digest(launch, path):
    done = launch(None, "digest", path)
    assert done.returncode == 0, done.stderr
    return re.search(r"\b[0-9a-f]{64}\b", done.stdout)[0]


def submit(cluster, *args, cwd, check=True, **environ):
    """Submit the script, wait for its end, and return (exit code, what the job printed)."""
    environ = {"HPCMP_VENV": VENV, "PYTHONPATH": launching.ROOT, **environ}
    exported = f"--export=ALL,{pairs(environ)}"
    job = cluster.run("sbatch", "--parsable", *TWO_NODES, "-o", "job.out", exported, SCRIPT, *args, cwd=cwd).strip()
    code = cluster.wait_for(job)
    printed = (cwd / "job.out").read_text()
    assert code == 0 or not check, f"exit code {code}\n{printed}\n{cluster.logs()}"
    return code, printed


def pairs(environ):
    return ",".join(f"{name}={value}" for name, value in environ.items())


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_job_has_one_rank_on_each_node(cluster, launcher):
    speaks(launcher)
    printed = cluster.run("salloc", "-Q", *TWO_NODES, *LAUNCHERS[launcher], sys.executable, "-c", HELLO)
    assert sorted(printed.splitlines()) == ["0 2 n1", "1 2 n2"]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_batch_job_gives_the_bits_of_one_rank(cluster, launcher, graph, launch, tmp_path):
    speaks(launcher)
    alone = launch(1, "run", "pagerank", graph, "--steps", 5, "-o", "alone.h5")
    assert alone.returncode == 0, alone.stderr
    args = ("pagerank", graph, "-o", "job.h5", "--steps", 5)
    _, printed = submit(cluster, *args, cwd=tmp_path, HPCMP_LAUNCHER=launcher)
    assert "2 ranks on n[1-2]" in printed
    assert digest(launch, tmp_path / "job.h5") == digest(launch, tmp_path / "alone.h5")


def test_a_batch_job_is_told_by_the_environment_what_to_run(cluster, graph, launch, tmp_path):
    told = {"HPCMP_PROGRAM": "pagerank", "HPCMP_GRAPH": graph, "HPCMP_OUTPUT": "job.h5", "HPCMP_OPTIONS": "--steps 5"}
    submit(cluster, cwd=tmp_path, **told)
    assert (tmp_path / "job.h5").exists()


def test_the_exit_code_of_a_batch_job_is_that_of_the_run(cluster, tmp_path):
    code, printed = submit(cluster, "pagerank", "nowhere.h5", "-o", "job.h5", cwd=tmp_path, check=False)
    assert code == 2
    assert "nowhere.h5" in printed


def test_copies_of_a_job_of_one_rank_are_refused(launch, graph, tmp_path):
    done = launch(None, "run", "pagerank", graph, "-o", "out.h5", env={"SLURM_NTASKS": 4})
    assert done.returncode == 2
    assert "SLURM_NTASKS=4" in done.stderr and "1 rank" in done.stderr
    assert not (tmp_path / "out.h5").exists()
