"""The batch scripts on a real Slurm cluster of two nodes, and the singleton trap.

Jobs that wait between two starts are submitted first and looked at last, so that others run meanwhile.
"""

import re
import subprocess
import sys
import tarfile
from pathlib import Path

import jobs
import launch as launching
import learning
import pytest
from slurm_cluster import Cluster, why_not

from hpcmp import analysis

SCRIPTS = launching.ROOT / "slurm"
VENV = Path(sys.prefix)
# One write for a line: the lines of two ranks share a pipe.
HELLO = "from mpi4py import MPI; import os, sys; c = MPI.COMM_WORLD; "
HELLO += "sys.stdout.write(f'{c.rank} {c.size} {os.environ[\"SLURMD_NODENAME\"]}\\n')"
TWO_NODES = ("-N", "2", "--ntasks-per-node=1")
LAUNCHERS = {"mpirun": [launching.mpiexec() or "mpirun", "-n", "2"], "srun": ["srun", "--mpi=pmi2"]}
STEPS = 4  # of the chain: one a start
FOREVER = 10**9


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
def alone(tmp_path_factory):
    """The folder of graph and configuration, and name -> what one rank printed, never interrupted."""
    folder = tmp_path_factory.mktemp("slurm")
    learning.write_inputs(folder)
    commands = {
        "graph": learning.convert(folder),
        "pagerank": ["run", "pagerank", folder / "g.h5", "--steps", STEPS],
        "degrees": ["run", "degrees", folder / "g.h5"],
        "train": [*training(folder), "-o", folder / "alone"],
    }
    return folder, dict(zip(commands, jobs.run_commands(1, list(commands.values()), folder), strict=True))


def training(folder):
    return ["train", folder / "config.toml", folder / "g.h5", "--set", "train.epochs=2"]


def digest(printed):
    return re.findall(r"^digest ([0-9a-f]{64})$", printed, re.M)[-1]


def submit(cluster, cwd, script, *args, nodes=2, options=(), **environ):
    """Submit a script; its job's number."""
    # The kernels of other tests serve here, and two nodes of one machine must not be bound to its first core.
    environ = {"HPCMP_VENV": VENV, "PYTHONPATH": launching.ROOT, "HPCMP_KERNELS": "no", "HPCMP_DOCTOR": "no"} | environ
    exported = ",".join(["--export=ALL", *(f"{name}={value}" for name, value in environ.items())])
    command = ("sbatch", "--parsable", "-N", nodes, "--ntasks-per-node=1", *(options or ("-o", "job.out")), exported)
    return cluster.run(*command, SCRIPTS / f"{script}.sbatch", *args, cwd=cwd).strip()


def end_of(cluster, job, out, code=0, **then):
    """What a job printed to its end, which must be with this exit code."""
    found = cluster.wait_for(job, **then)
    printed = out.read_text()
    assert found == code, f"exit code {found}\n{printed}\n{cluster.logs()}"
    return printed


@pytest.fixture(scope="module")
def submitted(cluster, alone, tmp_path_factory):
    """Name -> (job, folder) of the jobs that are started several times."""
    graph, started = alone[0] / "g.h5", {}
    for name, args in {
        "chain": ("run", "pagerank", graph, "-o", "chain.h5", "--steps", STEPS),
        "train": (*training(alone[0])[1:], "-o", "run"),
    }.items():
        folder = tmp_path_factory.mktemp(name)
        # A second is over before the first step is: each start leaves after one.
        started[name] = (
            submit(cluster, folder, name, *args, nodes=2 if name == "chain" else 1, HPCMP_MAX_WALLTIME=1),
            folder,
        )
    return started


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_job_has_one_rank_on_each_node(cluster, submitted, launcher):
    speaks(launcher)
    printed = cluster.run("salloc", "-Q", *TWO_NODES, *LAUNCHERS[launcher], sys.executable, "-c", HELLO)
    assert sorted(printed.splitlines()) == ["0 2 n1", "1 2 n2"]


def test_a_batch_job_gives_the_bits_of_one_rank(cluster, submitted, alone, tmp_path):
    args = ("pagerank", alone[0] / "g.h5", "-o", "job.h5", "--steps", STEPS)
    job = submit(cluster, tmp_path, "run", *args, HPCMP_LAUNCHER="mpirun", HPCMP_DOCTOR="yes")
    printed = end_of(cluster, job, tmp_path / "job.out")
    assert "2 ranks on n[1-2]" in printed and re.search("^ranks per machine .* 2$", printed, re.M)
    assert analysis.open(tmp_path / "job.h5", analysis.ROWS).verify_digest() == digest(alone[1]["pagerank"])


def test_a_run_that_was_requeued_three_times_ends_with_the_digest_of_one_that_was_not(cluster, submitted, alone):
    job, folder = submitted["chain"]
    printed = end_of(cluster, job, folder / "job.out", then={2: ("NumNodes=1-1", "NumTasks=1")})
    starts = re.findall(rf"job {job}, start (\d): (\d) ranks", printed)
    assert starts == [("1", "2"), ("2", "2"), ("3", "1"), ("4", "1")]
    assert re.findall("checkpointed after step (.)", printed) == ["1", "2", "3"]
    assert analysis.open(folder / "chain.h5", analysis.ROWS).verify_digest() == digest(alone[1]["pagerank"])
    assert not list(folder.glob("*.checkpoints")), "a run that is done needs none"


def test_nodes_share_kernels_that_are_kept_for_the_next_job(cluster, submitted, alone, launch, tmp_path):
    speaks("srun")
    told = {"HPCMP_PROGRAM": "degrees", "HPCMP_GRAPH": alone[0] / "g.h5", "HPCMP_OUTPUT": "job.h5"}
    told |= {"HPCMP_LAUNCHER": "srun", "HPCMP_KERNELS": tmp_path / "kernels.tar", "HPCMP_NODE_FOLDER": tmp_path}
    job = submit(cluster, tmp_path, "run", **told)
    printed = end_of(cluster, job, tmp_path / "job.out")
    assert digest(printed) == digest(alone[1]["degrees"])
    assert not list(tmp_path.glob("hpcmp-*")), "left on the nodes"
    with tarfile.open(tmp_path / "kernels.tar") as kept:
        kept.extractall(tmp_path / "cache", **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("cache/*/*/*.nb?")}
    assert before
    assert (
        launch(None, "run", "degrees", alone[0] / "g.h5", env={"HPCMP_CACHE_DIR": tmp_path / "cache"}).returncode == 0
    )
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("cache/*/*/*.nb?")} == before


def test_each_task_of_an_array_has_its_line_of_options_and_its_exit_code(cluster, submitted, alone, tmp_path):
    (tmp_path / "options").write_text(f"# steps\n--steps {STEPS}\n\n--steps 'a few'\n")
    args = ("options", "run", "pagerank", alone[0] / "g.h5", "-o", "task-%a.h5")
    job = submit(cluster, tmp_path, "array", *args, nodes=1, options=("--array=1-2", "-o", "%a.out"))
    printed = end_of(cluster, f"{job}_1", tmp_path / "1.out")
    assert digest(printed) == digest(alone[1]["pagerank"])
    assert (tmp_path / "task-1.h5").exists()
    assert "'a few'" in end_of(cluster, f"{job}_2", tmp_path / "2.out", code=2)


def test_a_run_leaves_with_a_checkpoint_when_its_batch_shell_is_told(cluster, submitted, alone, tmp_path):
    args = ("run", "pagerank", alone[0] / "g.h5", "--steps", FOREVER, "--checkpoint", "ck")
    job = submit(cluster, tmp_path, "chain", *args, nodes=1, HPCMP_MAX_RESTARTS=0)
    out = tmp_path / "job.out"
    cluster.wait_until("the job has begun", lambda: out.exists() and "start 1" in out.read_text())
    cluster.run("scancel", "--batch", "--signal=USR1", job)
    printed = end_of(cluster, job, out, code=85)
    assert re.search(r"checkpointed after step \d+ in ck", printed)
    assert "requeued 0 times" in printed and "submit again to go on from ck" in printed


def test_a_training_that_was_requeued_ends_with_the_digest_of_one_that_was_not(cluster, submitted, alone):
    job, folder = submitted["train"]
    printed = end_of(cluster, job, folder / "job.out")
    assert re.findall("checkpointed after epoch (.)", printed) == ["1"]
    assert "going on from the checkpoint after 1 epochs" in printed
    assert digest(printed) == digest(alone[1]["train"])


def test_copies_of_a_job_of_one_rank_are_refused(launch, alone, tmp_path):
    done = launch(None, "run", "pagerank", alone[0] / "g.h5", "-o", "out.h5", env={"SLURM_NTASKS": 4})
    assert done.returncode == 2
    assert "SLURM_NTASKS=4" in done.stderr and "1 rank" in done.stderr
    assert not (tmp_path / "out.h5").exists()
