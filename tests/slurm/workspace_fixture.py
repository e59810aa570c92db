"""A workspace whose runs go to a test cluster, extending the workspace of the engine's tests."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssl_console.supervisor.client import SupervisorOptions
from ssl_console.workspace.paths import RunFolder, Workspace
from ssl_console.workspace.result import ResultRecord
from ssl_console.workspace.run import End
from tests.slurm.cluster import TestCluster
from tests.ssl_console.rehearsal_evaluation import journal
from tests.ssl_console.workspace_fixture import Bench, eventually

PATIENCE_S = 90.0
COMMAND_S = 3600.0
"""Timeout of a command that may evaluate a whole suite."""
SETTINGS = {"gpus": "1", "poll_s": "0.5", "runs_per_job": "1"}


@dataclass
class SlurmBench(Bench):
    """Submits rehearsals as jobs."""

    cluster: TestCluster = field(kw_only=True)
    options: SupervisorOptions = field(
        default_factory=lambda: SupervisorOptions(devices=("cpu",), slots_per_device=1, linger_s=0.1, grace_s=1)
    )

    def configure(self, lines: str = "", **settings: str) -> None:
        """`config.toml`: `[slurm]` with these settings; `lines` follow."""
        table = "\n".join(f"{name} = {value}" for name, value in (SETTINGS | settings).items())
        self.workspace.config.write_text(f'launcher = "slurm"\n[slurm]\n{table}\n{lines}\n')

    def submit(self, run_id: str, fate: str = "finish", **others: Any) -> RunFolder:
        """Queue a rehearsal for the cluster."""
        return super().submit(run_id, fate, **{"launcher": "slurm", **others})

    def until(self, run_id: str, *states: Any, patience_s: float = PATIENCE_S) -> Any:
        """Wait longer, since a cluster decides when a job starts."""
        return super().until(run_id, *states, patience_s=patience_s)

    def until_at_work(self, run_id: str, attempt: int = 1) -> int:
        """Wait until this many evaluations of the run have begun; return the pid of the last one's worker."""
        eventually(lambda: self.noted("begin", run_id) >= attempt, f"{run_id} has begun", PATIENCE_S)
        owner = self.status(run_id).owner
        assert owner is not None
        return owner.pid

    def job(self, run_id: str) -> dict[str, str]:
        """Slurm's record of the job of the run's newest attempt."""
        owner = self.status(run_id).owner
        assert owner is not None
        return self.cluster.jobs(id=owner.job_id)[0]

    def job_names(self) -> set[str]:
        """Names of this workspace's batches in Slurm."""
        return {path.stem for path in (self.workspace.supervisor / "slurm").glob("sslc-*.sh")}

    def end(self, run_id: str, attempt: int) -> End:
        """End of an attempt."""
        return End.model_validate_json(self.workspace.run(run_id).end(attempt).read_bytes())

    def result_attempt(self, run_id: str) -> int:
        """The attempt that published the run's result."""
        return ResultRecord.model_validate_json(self.workspace.run(run_id).result.read_bytes()).attempt

    def gpus(self) -> list[list[str]]:
        """Start or end, node and GPU of every evaluation, in order of time."""
        return [[note[0], *note[5:]] for note in journal(self.workspace.features)]

    def supervisor_log(self) -> str:
        """Actions of the supervisor."""
        return self.workspace.supervisor_log.read_text()


def console(bench: SlurmBench, *arguments: str, code: int = 0) -> str:
    """Output of a command in this workspace, which must end with this code."""
    command = [sys.executable, "-P", "-m", "ssl_console", "--workspace", str(bench.workspace.root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), timeout=COMMAND_S, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout


def bench_of(folder: Path, cluster: TestCluster) -> SlurmBench:
    """A new workspace with spaces in its path."""
    made = SlurmBench(Workspace(folder / "my workspace").create(), cluster=cluster)
    made.configure()
    return made
