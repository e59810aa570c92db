"""What a job asks of Slurm: `[slurm]` in config.toml, with other values for some suites and tasks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Time = Annotated[str, Field(pattern=r"^\d+(-\d+(:\d+){0,2}|(:\d+){1,2})?$")]
Gpus = Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^[\w.-]+:\d+$")]
WARNING_S = 120
"""Seconds before its time limit at which a job is warned, so that it can keep its state."""


class JobRequest(BaseModel):
    """One job's resources. What is None is left to the cluster."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    time: Time | None = None
    """As Slurm writes it: minutes, `HH:MM:SS` or `D-HH:MM:SS`."""
    gpus: Gpus = 1
    """Per job: a number, or type and number, `a100:1`; 0 for the CPU."""
    cpus: int | None = Field(None, ge=1)
    memory: str | None = Field(None, pattern=r"^\d+[KMGT]?$")
    """As Slurm writes it: `32G`."""
    constraint: str | None = None
    extra: tuple[str, ...] = ()
    """Further arguments of sbatch."""
    setup: tuple[str, ...] = ()
    """Lines of shell that a job begins with: `module load cuda`."""

    @property
    def device(self) -> str:
        """What the worker computes on."""
        return "cpu" if self.gpus == 0 else "cuda:0"

    def arguments(self) -> list[str]:
        """For sbatch."""
        given = {
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "time": self.time,
            "gres": f"gpu:{self.gpus}" if self.gpus != 0 else None,
            "cpus-per-task": self.cpus,
            "mem": self.memory,
            "constraint": self.constraint,
        }
        return [*(f"--{name}={value}" for name, value in given.items() if value is not None), *self.extra]


class SlurmSettings(JobRequest):
    """`[slurm]`: every job's resources, and how many jobs there are."""

    jobs: int = Field(100, ge=1)
    """Jobs that are in Slurm's queue, or running, at a time."""
    runs_per_job: int = Field(4, ge=1)
    """Runs of one backbone that share a job, one after another, and so load it once."""
    warning_s: int = Field(WARNING_S, ge=1)
    """Seconds before its time limit at which a job is told to keep its state and end."""
    restarts: int = Field(3, ge=0)
    """How often a run goes on by itself after Slurm took its node away, as long as it has kept nothing; one that has a
    checkpoint always goes on."""
    poll_s: float = Field(5.0, ge=0.2)
    """Seconds between two looks at Slurm's queue; longer while Slurm is slow or does not answer."""
    suites: Mapping[str, Mapping[str, object]] = Field(default_factory=dict)
    """Other values for the tasks of a suite."""
    tasks: Mapping[str, Mapping[str, object]] = Field(default_factory=dict)
    """Other values for tasks by name or glob; they win over those of suites."""

    def request(self, task: str, suites: Collection[str] = ()) -> JobRequest:
        """What a job of this task asks for; `suites` are those that the task belongs to. Raises ValidationError."""
        values = {name: getattr(self, name) for name in JobRequest.model_fields}
        for other in self._overrides(task, suites):
            values |= other
        return JobRequest.model_validate(values)

    def variants(self) -> Iterator[tuple[str, JobRequest]]:
        """The plain request and every override alone, each with the place in config.toml. Raises ValidationError."""
        plain = {name: getattr(self, name) for name in JobRequest.model_fields}
        yield "[slurm]", JobRequest.model_validate(plain)
        for kind, tables in (("suites", self.suites), ("tasks", self.tasks)):
            for name, table in tables.items():
                yield f'[slurm.{kind}."{name}"]', JobRequest.model_validate(plain | dict(table))

    def _overrides(self, task: str, suites: Collection[str]) -> Iterator[Mapping[str, object]]:
        yield from (table for name, table in self.suites.items() if name in suites)
        yield from (table for pattern, table in self.tasks.items() if fnmatchcase(task, pattern))
