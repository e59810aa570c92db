"""Batches: jobs that are submitted together because they have the same request. The record is written before the
submission.

Job number `index` of a batch is named `token.index` by the console and `sslc-<token>` by Slurm, where several form an
array.
"""

from __future__ import annotations

import secrets
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import Field, ValidationError

from backbones.cpu.free_cores import CORES_VARIABLE
from backbones.io.files import make_private_folder, write_atomically
from ssl_console.launchers.slurm.commands import PREFIX
from ssl_console.workspace.config import WARNING_S, JobRequest
from ssl_console.workspace.paths import RunFolder, Workspace
from ssl_console.workspace.records import Record
from ssl_console.workspace.run import JOB_ID_VARIABLE, NODE_VARIABLE, PARTITION_VARIABLE
from ssl_console.workspace.run_status import read_status

LARGEST = 500
"""Jobs of one array; Slurm's own limit is 1001 unless the site sets another."""
OLD_S = 7 * 24 * 3600.0


class JobScript(Record):
    """`supervisor/slurm/<token>.json`."""

    token: str = Field(default_factory=lambda: secrets.token_hex(6))
    request: JobRequest
    jobs: tuple[tuple[str, ...], ...] = ()
    """Runs of each job, in the order of execution."""
    warning_s: int = WARNING_S
    created: float = Field(default_factory=time.time)

    @property
    def slurm_name(self) -> str:
        """Slurm's name for the batch."""
        return f"{PREFIX}{self.token}"

    @property
    def names(self) -> list[str]:
        """The console's names for its jobs."""
        return [f"{self.slurm_name}.{index}" for index in range(len(self.jobs))]

    def command(self, folder: Path) -> list[str]:
        """The sbatch command line; the script must exist."""
        several = len(self.jobs) > 1
        number = "%a" if several else "0"
        output = f"{str(folder).replace('%', '%%')}/{self.slurm_name}.{number}.log"
        return [
            "sbatch",
            "--parsable",
            f"--job-name={self.slurm_name}",
            f"--output={output}",
            "--open-mode=append",
            "--requeue",
            "--export=ALL",
            "--ntasks=1",
            f"--signal=B:USR2@{self.warning_s}",
            *([f"--array=0-{len(self.jobs) - 1}"] if several else []),
            *self.request.arguments(),
            str(folder / f"{self.slurm_name}.sh"),
        ]

    def script(self, workspace: Workspace) -> str:
        """Script of the job: the worker replaces the shell, so that it receives Slurm's signals."""
        cases = [f"  {index}) runs=({shlex.join(runs)}) ;;" for index, runs in enumerate(self.jobs)]
        worker = [sys.executable, "-P", "-u", "-m", "ssl_console.worker", "--workspace", str(workspace.root)]
        return "\n".join(
            [
                "#!/bin/bash",
                *self.request.setup,
                "export PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}",
                "export OPENBLAS_THREAD_TIMEOUT=${OPENBLAS_THREAD_TIMEOUT:-4}",
                "index=${SLURM_ARRAY_TASK_ID:-0}",
                f"export {NODE_VARIABLE}=${{SLURMD_NODENAME:-}} {PARTITION_VARIABLE}=${{SLURM_JOB_PARTITION:-}}",
                f"export {JOB_ID_VARIABLE}=${{SLURM_JOB_ID:-}}",
                f'[ -z "${{SLURM_ARRAY_JOB_ID:-}}" ] || export {JOB_ID_VARIABLE}=${{SLURM_ARRAY_JOB_ID}}_$index',
                "cores=${SLURM_CPUS_PER_TASK:-${SLURM_CPUS_ON_NODE:-1}}",
                f"export {CORES_VARIABLE}=$cores",
                "export OMP_NUM_THREADS=$cores MKL_NUM_THREADS=$cores OPENBLAS_NUM_THREADS=$cores",
                "case $index in",
                *cases,
                "esac",
                f"exec {shlex.join(worker)} --device {self.request.device} \\",
                f'  --job "{self.slurm_name}.$index" "${{runs[@]}}"',
                "",
            ]
        )

    def write(self, workspace: Workspace) -> Path:
        """Write record and script and return their folder. Raises OSError."""
        folder = folder_of(workspace)
        write_atomically(folder / f"{self.slurm_name}.sh", self.script(workspace).encode())
        write_atomically(folder / f"{self.slurm_name}.json", self.model_dump_json(indent=1).encode())
        return folder


def folder_of(workspace: Workspace) -> Path:
    """Folder of batches and of the output of their jobs."""
    return make_private_folder(workspace.supervisor / "slurm")


def output_of(workspace: Workspace, name: str) -> Path:
    """Output outside of runs of the job `token.index`."""
    return workspace.supervisor / "slurm" / f"{name}.log"


def job_output(workspace: Workspace, folder: RunFolder) -> Path | None:
    """Output of the job that executed the run's newest attempt, else of the last one that held it; None when
    there is none.
    """
    with suppress(FileNotFoundError):
        owner = read_status(folder, time.time()).owner
        name = owner.job if owner and owner.job else _last_holder(workspace, folder.run_id)
        return output_of(workspace, name) if name else None
    return None


def _last_holder(workspace: Workspace, run_id: str) -> str:
    batches = sorted([*_read(_settled(workspace)), *unsettled(workspace)], key=lambda batch: -batch.created)
    holding = (
        name
        for batch in batches
        for name, runs in zip(batch.names, batch.jobs, strict=True)
        if run_id in runs and output_of(workspace, name).exists()
    )
    return next(holding, "")


def unsettled(workspace: Workspace) -> Iterator[JobScript]:
    """Batches of which some job may be alive. One with an unreadable record is skipped."""
    yield from _read(workspace.supervisor / "slurm")


def settle(workspace: Workspace, batch: JobScript) -> None:
    """Archive the record of a batch without living jobs; it is stored for a while, like its output."""
    record = workspace.supervisor / "slurm" / f"{batch.slurm_name}.json"
    with suppress(FileNotFoundError):
        record.replace(make_private_folder(_settled(workspace)) / record.name)


def remove_old(workspace: Workspace, now: float) -> None:
    """Remove records, scripts and output of batches that were settled a week ago."""
    folder = workspace.supervisor / "slurm"
    alive = {batch.slurm_name for batch in unsettled(workspace)}
    settled = _settled(workspace).glob(f"{PREFIX}*.json")
    for path in [*folder.glob(f"{PREFIX}*.log"), *folder.glob(f"{PREFIX}*.sh"), *settled]:
        with suppress(FileNotFoundError):
            if path.name.partition(".")[0] not in alive and path.stat().st_mtime < now - OLD_S:
                path.unlink()


def _settled(workspace: Workspace) -> Path:
    return workspace.supervisor / "slurm" / "settled"


def _read(folder: Path) -> Iterator[JobScript]:
    for path in sorted(folder.glob(f"{PREFIX}*.json")):
        with suppress(OSError, ValidationError):
            yield JobScript.model_validate_json(path.read_bytes())


def chunks(jobs: Sequence[tuple[str, ...]], size: int = LARGEST) -> Iterator[tuple[tuple[str, ...], ...]]:
    """Arrays of a size that every site allows."""
    for start in range(0, len(jobs), size):
        yield tuple(jobs[start : start + size])
