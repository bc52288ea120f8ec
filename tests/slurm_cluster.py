"""A real Slurm cluster of two nodes on one machine, for as long as a test session.

Two ``slurmd`` share the host under the names n1 and n2 (Debian's build allows
several), with munge, configuration, state and logs in a folder of their own.
Nothing of the machine's own Slurm or munge is touched, and ``stop`` ends all
that ``start`` began.
"""

import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import launch as launching

NEEDED = ("slurmctld", "slurmd", "munged", "srun", "sbatch", "sinfo", "scontrol", "setpriv")
START_S = 120  # for the nodes to become idle

CONFIG = """\
ClusterName=hpcmp-test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={munge_socket}
CryptoType=crypto/munge
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerParameters=sched_interval=1,batch_sched_delay=0
KillWait=2
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={port_1} CPUs=2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={port_2} CPUs=2
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


def why_not():
    """Reason why no cluster can be started here, or None. Local."""
    missing = [program for program in NEEDED if _which(program) is None]
    if missing:
        return f"{', '.join(missing)} not installed (on Debian: apt-get install slurm-wlm munge)"
    if os.geteuid() != 0:
        return "a Slurm cluster is started as root, this is another user"
    if "munge" not in {user.pw_name for user in pwd.getpwall()}:
        return "there is no user munge, which the package munge makes"
    return None


class Cluster:
    """A running cluster: ``run`` starts one of Slurm's commands in it."""

    def __init__(self):
        # Not below pytest's folder, which only root may enter: munged runs as another user.
        self.folder = Path(tempfile.mkdtemp(prefix="hpcmp-slurm-"))
        self.folder.chmod(0o755)
        self.daemons = []
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        self.environ["SLURM_CONF"] = str(self.folder / "slurm.conf")

    def start(self):
        """Start munge, the controller and both nodes, and wait until they are idle. Local."""
        munge_socket = self._start_munge()
        host = socket.gethostname().partition(".")[0]
        ports = dict(zip(("ctld_port", "port_1", "port_2"), _free_ports(3)))
        config = CONFIG.format(host=host, folder=self.folder, munge_socket=munge_socket, **ports)
        (self.folder / "slurm.conf").write_text(config)
        (self.folder / "state").mkdir()
        self._start("slurmctld", "-D")
        for node in ("n1", "n2"):
            (self.folder / f"spool.{node}").mkdir()
            self._start("slurmd", "-D", "-N", node)
        self.wait_until(
            "both nodes are idle", lambda: self.run("sinfo", "-h", "-N", "-o", "%T").split() == ["idle"] * 2
        )
        return self

    def _start_munge(self):
        """munged under a user and with a key of its own; its folders must be closed to others."""
        user = pwd.getpwnam("munge")
        folder = self.folder / "munge"
        folder.mkdir(mode=0o755)
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        for path in (folder, key):
            os.chown(path, user.pw_uid, user.pw_gid)
        names = {name: str(folder / f"munge.{name}") for name in ("socket", "pid", "log", "seed")}
        self._start(
            "setpriv",
            f"--reuid={user.pw_uid}",
            f"--regid={user.pw_gid}",
            "--clear-groups",
            _which("munged"),
            "--foreground",
            f"--key-file={key}",
            f"--socket={names['socket']}",
            f"--pid-file={names['pid']}",
            f"--log-file={names['log']}",
            f"--seed-file={names['seed']}",
        )
        self.wait_until("munge has its socket", lambda: Path(names["socket"]).exists())
        return names["socket"]

    def run(self, *command, timeout=60, **options):
        """Output of a command of Slurm; its failure is an error with its words. Local."""
        done = subprocess.run(
            list(map(str, command)), env=self.environ, capture_output=True, text=True, timeout=timeout, **options
        )
        assert done.returncode == 0, (
            f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def wait_for(self, job, timeout=launching.HANG_S, then=None):
        """Exit code of a batch job, once it has ended. Local.

        A requeued job, which Slurm lets wait for two minutes, is started after
        two seconds: its nodes refuse what they ended a second ago. ``then`` is
        what else `scontrol update` is told at that, by the count of restarts.
        """
        end, hurried = time.monotonic() + timeout, 0
        while True:  # `sbatch --wait` looks every 10 s only
            shown = self.run("scontrol", "show", "job", job, "--oneliner")
            state, code = re.search(r"JobState=(\S+)", shown)[1], re.search(r"ExitCode=(\d+):", shown)[1]
            restarts = int(re.search(r"Restarts=(\d+)", shown)[1])
            if state == "PENDING" and restarts > hurried:
                hurried = restarts
                self.run("scontrol", "update", f"JobId={job}", "StartTime=now+2", *(then or {}).get(restarts, ()))
            if state not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"):
                return int(code)
            assert time.monotonic() < end, f"job {job} is {state} after {timeout} s\n{shown}\n{self.logs()}"
            time.sleep(0.2)

    def wait_until(self, what, is_true):
        """Wait for a condition; its absence after `START_S` stops the cluster. Local."""
        end = time.monotonic() + START_S
        while True:
            with suppress(AssertionError):
                if is_true():
                    return
            dead = [daemon.args[0] for daemon in self.daemons if daemon.poll() is not None]
            if dead or time.monotonic() > end:
                outs = "\n".join(file.read_text(errors="replace")[-1500:] for file in sorted(self.folder.glob("*.out")))
                logs = self.logs()
                self.stop()
                raise RuntimeError(f"not so after {START_S} s: {what}; ended: {dead}\n{outs}\n{logs}")
            time.sleep(0.2)

    def logs(self):
        """The last lines of every daemon's log. Local."""
        files = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')[-1500:]}" for file in files)

    def stop(self):
        """End all jobs, then all daemons that ``start`` began. Local."""
        with suppress(Exception):
            self.run("scancel", "--user=root", "--signal=KILL", timeout=10)
            self.run("scancel", "--user=root", timeout=10)
        for daemon in reversed(self.daemons):  # each in a session of its own
            with suppress(ProcessLookupError):
                os.killpg(daemon.pid, signal.SIGTERM)
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(daemon.pid, signal.SIGKILL)
                daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, *command):
        with open(self.folder / f"{len(self.daemons)}.{Path(command[0]).name}.out", "w") as out:
            argv = [_which(command[0]), *command[1:]]
            daemon = subprocess.Popen(
                argv, env=self.environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        self.daemons.append(daemon)


def _which(program):
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")


def _free_ports(n):
    """Ports below those that the system gives to others who ask for any."""
    found = []
    while len(found) < n:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError):
            socket.create_server(("127.0.0.1", port)).close()
            found = list(dict.fromkeys([*found, port]))
    return found
