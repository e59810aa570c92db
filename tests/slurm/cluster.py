"""A Slurm cluster of this machine alone: real controller, real nodes with fake GPUs, in one folder, without root.

Every daemon is a child in a session of its own and ends with the cluster. Nodes share the machine and its name; only
Slurm's own name (`gpu1`) tells them apart.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, Popen

import psutil

SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
DAEMONS = ("slurmctld", "slurmd", "munged", "sbatch")
START_S = 60.0
NODES, GPUS = 3, 2
CALM_S = 12.0


def missing_daemons() -> list[str]:
    """Components of Slurm that are not installed."""
    return [name for name in DAEMONS if shutil.which(name, path=SYSTEM_PATH) is None]


@dataclass
class TestCluster:
    """A cluster below `folder`, whose path must be short: socket names have at most 107 characters."""

    __test__ = False
    folder: Path
    port: int
    grace_s: int = 5
    """Time between the warning of a preempted job and its end."""
    _daemons: dict[str, Popen[bytes]] = field(default_factory=dict)
    _requeued: dict[str, float] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        """`$SLURM_CONF`."""
        return self.folder / "slurm.conf"

    @property
    def nodes(self) -> list[str]:
        """Their names."""
        return [f"gpu{number}" for number in range(1, NODES + 1)]

    def start(self) -> None:
        """Start everything and wait until all nodes are idle."""
        for name in ("state", "spool", "munge", "dev", "log"):
            (self.folder / name).mkdir(parents=True)
        self._write_configuration()
        self._start_munge()
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        self.wait_until_idle()

    def stop(self) -> None:
        """End all jobs and daemons."""
        with suppress(subprocess.SubprocessError):
            self.ask("scancel", f"--user={os.getuid()}")
        for name in (*(f"slurmd.{node}" for node in self.nodes), "slurmctld", "munged"):
            self._end(name, signal.SIGTERM)
        for node in self.nodes:
            for process in self.processes_of(node):
                with suppress(psutil.Error):
                    process.kill()

    def end_all_jobs(self) -> None:
        """Remove all jobs and wait until all nodes are idle."""
        self.ask("scancel", f"--user={os.getuid()}")
        self.wait_for(lambda: not self.ask("squeue", "-h", "-o", "%i").strip())

    def wait_until_idle(self) -> None:
        """Whether all nodes are up and idle."""
        self.wait_for(
            lambda: self.ask("sinfo", "-h", "-N", "-t", "idle", "-p", "main", "-o", "%N").count("gpu") == NODES, 120
        )

    def occupy(self, partition: str) -> str:
        """A job that takes all GPUs, with priority over all others; returns its number."""
        options = [f"--partition={partition}", f"--nodes={NODES}", f"--gres=gpu:{GPUS}", "--output=/dev/null"]
        return self.ask("sbatch", "--parsable", *options, "--wrap=sleep 600").strip()

    def start_now(self) -> bool:
        """Let jobs that Slurm is to start again begin without its wait of two minutes; False, for a test does this
        while it waits. Not at once: their old node would still be at it, and revoke what the job was given.
        """
        for line in self.ask("squeue", "-h", "-r", "-t", "PENDING", "-o", "%i|%r").splitlines():
            job_id, reason = line.split("|")
            since = self._requeued.setdefault(job_id, time.monotonic())
            if reason == "BeginTime" and time.monotonic() - since > CALM_S:
                self.ask("scontrol", "update", f"jobid={job_id}", "StartTime=now")
        time.sleep(0.2)
        return False

    # -- what goes wrong ----------------------------------------------------------------------------------------

    def kill_controller(self) -> None:
        """`kill -9`."""
        self._end("slurmctld", signal.SIGKILL)

    def start_controller(self) -> None:
        """Start the controller, which reads its saved state if there is one."""
        self._start("slurmctld", "slurmctld", "-D", "-f", str(self.config))
        self.wait_for(lambda: "UP" in self.ask("scontrol", "ping"))

    def kill_node(self, node: str, *, with_jobs: bool = False) -> None:
        """`kill -9` of the node's daemon; with its jobs, a power failure."""
        jobs = self.processes_of(node) if with_jobs else []
        self._end(f"slurmd.{node}", signal.SIGKILL)
        for process in jobs:
            with suppress(psutil.Error):
                process.kill()

    def start_node(self, node: str) -> None:
        """Start a node's daemon."""
        (self.folder / "spool" / node).mkdir(exist_ok=True)
        self._start(f"slurmd.{node}", "slurmd", "-D", "-N", node, "-f", str(self.config))

    def kill_step_daemon(self, worker: int) -> None:
        """`kill -9` of the processes between a job and its node; the worker survives."""
        step = psutil.Process(worker).parent()
        assert step is not None
        assert step.name() == "slurmstepd"
        step.kill()

    def processes_of(self, node: str) -> list[psutil.Process]:
        """Workers on a node, and their step daemons."""
        found = []
        for process in self._workers():
            with suppress(psutil.Error):
                if process.environ()["SLURMD_NODENAME"] == node:
                    step = process.parent()
                    found += [process, *([step] if step is not None and step.name() == "slurmstepd" else [])]
        return found

    # -- queries -------------------------------------------------------------------------------------------------

    def ask(self, *command: str) -> str:
        """Output of a Slurm command."""
        return subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=60, check=False
        ).stdout

    def jobs(self, **wanted: str) -> list[dict[str, str]]:
        """All jobs known to the controller, with `job_id`, `state`, `node` and `name`."""
        lines = self.ask("squeue", "-h", "-r", "-t", "all", "-o", "%A|%T|%N|%j|%i").splitlines()
        jobs = [dict(zip(("job_id", "state", "node", "name", "id"), line.split("|"), strict=True)) for line in lines]
        return [job for job in jobs if all(job[key] == value for key, value in wanted.items())]

    def wait_for(self, fact: Callable[[], object], patience_s: float = START_S) -> None:
        """Poll until `fact()` is true."""
        until = time.monotonic() + patience_s
        while not fact():
            assert time.monotonic() < until, f"not so after {patience_s:.0f} s:\n{self._last_words()}"
            time.sleep(0.1)

    # -- starting -----------------------------------------------------------------------------------------------

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "SLURM_CONF": str(self.config), "PATH": SYSTEM_PATH, "LC_ALL": "C"}

    def _start(self, name: str, *command: str) -> None:
        with (self.folder / "log" / f"{name}.out").open("ab") as log:
            self._daemons[name] = Popen(
                command, stdin=DEVNULL, stdout=log, stderr=log, env=self._environment, start_new_session=True
            )

    def _end(self, name: str, number: signal.Signals) -> None:
        process = self._daemons.pop(name, None)
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start_munge(self) -> None:
        munge = self.folder / "munge"
        munge.chmod(0o711)
        key = munge / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        places = {"key-file": key, "log-file": munge / "log", "pid-file": munge / "pid", "seed-file": munge / "seed"}
        options = [f"--{name}={path}" for name, path in places.items()]
        self._start("munged", "munged", "--foreground", "--force", f"--socket={munge / 'socket'}", *options)
        self.wait_for(
            lambda: (
                subprocess.run(["munge", "-n", "-S", munge / "socket"], capture_output=True, check=False).returncode
                == 0
            )
        )

    def _write_configuration(self) -> None:
        for number in range(GPUS):  # a real device file, otherwise Slurm does not set the GPUs of jobs
            (self.folder / "dev" / f"nvidia{number}").symlink_to("/dev/null")
        self.config.write_text(self._slurm_conf())
        (self.folder / "gres.conf").write_text(
            f"AutoDetect=off\nNodeName=gpu[1-{NODES}] Name=gpu File={self.folder}/dev/nvidia[0-{GPUS - 1}]\n"
        )
        plugin = "cgroup/v1" if self._version() < (23, 0) else "disabled"  # both: none is used
        (self.folder / "cgroup.conf").write_text(f"CgroupPlugin={plugin}\n")

    def _version(self) -> tuple[int, int]:
        said = self.ask("slurmd", "-V")
        found = re.search(r"(\d+)\.(\d+)", said)
        assert found is not None, said
        return int(found[1]), int(found[2])

    def _slurm_conf(self) -> str:
        host, user = socket.gethostname().partition(".")[0], psutil.Process().username()
        return f"""\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={self.port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={self.folder}/munge/socket
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/spool/%n
SlurmctldPidFile={self.folder}/slurmctld.pid
SlurmdPidFile={self.folder}/slurmd.%n.pid
SlurmctldLogFile={self.folder}/log/slurmctld.log
SlurmdLogFile={self.folder}/log/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=2,batch_sched_delay=0
GresTypes=gpu
DebugFlags=NO_CONF_HASH
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SlurmdTimeout=10
SlurmctldTimeout=10
KillWait=5
MinJobAge=600
RebootProgram=/bin/false
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
NodeName=gpu[1-{NODES}] NodeHostname={host} NodeAddr=127.0.0.1 Port={self.port + 1}-{self.port + NODES} CPUs=4 \
CoresPerSocket=4 RealMemory=2000 Gres=gpu:{GPUS} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE \
GraceTime={self.grace_s}
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""

    def _workers(self) -> Iterator[psutil.Process]:
        """Processes started by the jobs of this cluster."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                environment = process.environ()
                if environment.get("SLURM_CONF") == str(self.config) and "SLURMD_NODENAME" in environment:
                    yield process

    def _last_words(self) -> str:
        logs = sorted((self.folder / "log").glob("*"))
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1000:]}" for log in logs)


@contextmanager
def a_cluster(folder: Path) -> Iterator[TestCluster]:
    """A cluster on free ports, removed completely afterwards."""
    made = TestCluster(folder, free_ports(NODES + 1))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def free_ports(count: int) -> int:
    """First of a number of consecutive unused ports; concurrent processes start searching at different ports."""
    for first in range(20_000 + os.getpid() % 750 * 16, 60_000, count):
        with suppress(OSError):
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first
    raise OSError("no ports are free")
