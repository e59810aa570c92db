"""Workers as Slurm jobs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import ClassVar, Self

from pydantic import ValidationError

from backbones.io.card_files import CardNameError
from ssl_console.launchers.base import (
    AdoptedWorker,
    Batch,
    Batching,
    Capacity,
    JobEnd,
    Launcher,
    Patience,
    Resources,
    Worker,
)
from ssl_console.launchers.slurm.commands import NAME, TAKEN, ListedJob, is_set_up, slurm_checks
from ssl_console.launchers.slurm.poller import JobEntry, SlurmPoller
from ssl_console.launchers.slurm.submit import LARGEST, JobScript, job_output, output_of, remove_old, unsettled
from ssl_console.system.errors import ConsoleError
from ssl_console.system.machine_checks import Check
from ssl_console.workspace.config import Config, JobRequest, SlurmSettings, load_config
from ssl_console.workspace.paths import RunFolder, Workspace
from ssl_console.workspace.run import Attempt, JobState
from ssl_console.workspace.run_index import RunInfo

UNSEEN = JobState(state="submitting", reason="not submitted yet", waits=True)
UNANSWERED = JobState(state="unknown", reason="Slurm has not responded yet", waits=True)


@dataclass
class SlurmLauncher(Launcher):
    """Collects the jobs that are submitted within a tick into one script per request; a poller submits them.

    Never waits for Slurm.
    """

    name: ClassVar[str] = NAME
    summary: ClassVar[str] = "jobs of a Slurm cluster"
    device_hint: ClassVar[str] = "set gpus in [slurm]"
    workspace: Workspace
    settings: SlurmSettings
    """Settings of config.toml when runs were last grouped."""
    set_up: bool = True
    """Whether config.toml chooses Slurm or has settings for it."""
    poller: SlurmPoller = field(init=False)
    _grouper: JobGrouper = field(init=False)
    _open: dict[JobRequest, JobScript] = field(default_factory=dict)
    _reported: set[str] = field(default_factory=set)
    """Ended jobs that a snapshot has contained."""

    @classmethod
    def open(cls, workspace: Workspace, config: Config) -> Self:
        return cls(workspace, config.slurm, is_set_up(config))

    def __post_init__(self) -> None:
        self.poller = SlurmPoller(self.workspace, self.settings.poll_s)
        self._grouper = JobGrouper(self.workspace)

    # -- for planner, doctor and log viewer ------------------------------------------------------------

    def capacity(self) -> Capacity:
        """As many jobs as the settings allow; Slurm decides when each starts."""
        return Capacity(self.settings.jobs, "the limit [slurm] jobs of submitted jobs is reached")

    def patience(self) -> Patience:
        """Longer than for a process: if a job's node dies, Slurm detects it and restarts the job."""
        return Patience(stall_factor=2.0, cancel_s=20.0, look_every_s=1.0, restarts=self.settings.restarts)

    def checks(self, suites: Collection[str]) -> Iterator[Check]:
        """Whether the cluster would accept the settings; none where Slurm is not set up."""
        if self.set_up:
            yield from slurm_checks(self.workspace, self.settings, suites)

    def output(self, folder: RunFolder) -> Path | None:
        """Output of the job that executed the run's newest attempt, else of the last one that held it."""
        return job_output(self.workspace, folder)

    # -- for the supervisor ----------------------------------------------------------------------------

    @property
    def problem(self) -> str:
        """Why the state of Slurm is unknown at the moment."""
        return self.poller.problem

    def summarise(self, jobs: Sequence[JobState]) -> str:
        """`partition main: 4 jobs run, 10 wait`."""
        by_partition = groupby(sorted(jobs, key=lambda job: job.partition), key=lambda job: job.partition)
        return "; ".join(_count(partition, list(found)) for partition, found in by_partition)

    def batches(self, queued: Sequence[RunInfo]) -> Batching:
        """Runs of one backbone, request and priority share a job, according to the current settings."""
        try:
            self.settings = load_config(self.workspace).slurm
        except ConsoleError as error:
            return Batching((), {entry.run_id: str(error) for entry in queued})
        return self._grouper.batches(queued, self.settings)

    def submit(self, batch: Batch, resources: Resources | None = None) -> str:  # noqa: ARG002 - the job asks for them
        """Add a job to the script of its request and return the job's name."""
        request = batch.request if isinstance(batch.request, JobRequest) else JobRequest()
        script = self._open.get(request) or JobScript(request=request, warning_s=self.settings.warning_s)
        script = script.model_copy(update={"jobs": (*script.jobs, batch.run_ids)})
        self._open[request] = script
        if len(script.jobs) == LARGEST:
            self._hand_in(request)
        return script.names[-1]

    def adopt(self, under_way: Mapping[str, Attempt]) -> Iterator[AdoptedWorker]:  # noqa: ARG002 - of the interface
        """Jobs that an earlier supervisor submitted, or was about to: the poller determines whether each exists.

        They are found by the records of their scripts, not by the attempts that they execute.
        """
        for script in unsettled(self.workspace):
            self.poller.take(script, "unsure")
            yield from map(AdoptedWorker, script.names, script.jobs)

    def stop(self, worker: str, *, force: bool = False) -> None:  # noqa: ARG002 - scancel does both, step by step
        """Have Slurm end the job."""
        self.poller.end(worker)

    def remove_old_files(self, now: float) -> None:
        """Remove records, scripts and output of scripts that were settled a week ago."""
        remove_old(self.workspace, now)

    def snapshot(self) -> dict[str, Worker]:
        """All jobs; an ended one is contained once."""
        for request in list(self._open):
            self._hand_in(request)
        found: dict[str, Worker] = {}
        for entry in self.poller.entries().values():
            for name in entry.batch.names:
                if name not in self._reported:
                    found[name] = self._worker(name, entry)
            if entry.over:
                self._reported.difference_update(entry.batch.names)
            else:
                self._reported.update(name for name, worker in found.items() if worker.gone)
        return found

    def _hand_in(self, request: JobRequest) -> None:
        self.poller.take(self._open.pop(request))

    def _worker(self, name: str, entry: JobEntry) -> Worker:
        job = _state(entry, entry.seen.get(name))
        log = output_of(self.workspace, name)
        if entry.stage == "refused":
            words = f"Slurm rejected its job: {entry.words}"
            advice = f"correct [slurm] in {self.workspace.config}"
            return Worker(name, gone=True, log=log, job=job, fate="refused", words=words, advice=advice)
        if name not in entry.gone:
            return Worker(name, log=log, job=job)
        word = entry.gone[name]
        code, fate, words = 0 if word == "COMPLETED" else None, _fate(word), _words(word, job)
        advice = "raise memory in [slurm]" if fate == "memory" else ""
        return Worker(name, gone=True, exit_code=code, log=log, job=job, fate=fate, words=words, advice=advice)


def _count(partition: str, jobs: Sequence[JobState]) -> str:
    waits = sum(job.waits for job in jobs)
    runs = len(jobs) - waits
    name = f"partition {partition}" if partition else "not in a partition yet"
    return f"{name}: {runs} {'job runs' if runs == 1 else 'jobs run'}, {waits} wait"


def _state(entry: JobEntry, seen: ListedJob | None) -> JobState:
    if seen is None:
        return UNANSWERED if entry.stage == "unsure" else UNSEEN
    waits = seen.waits or seen.taken
    return JobState(
        job_id=seen.job_id,
        state=seen.state,
        partition=seen.partition,
        node=seen.node,
        reason=seen.reason or ("" if not seen.taken else seen.state),
        waits=waits,
    )


def _fate(word: str) -> JobEnd:
    if word in TAKEN or word in {"TIMEOUT", "DEADLINE"}:
        return "taken"
    fates: dict[str, JobEnd] = {"": "unknown", "CANCELLED": "cancelled", "OUT_OF_MEMORY": "memory"}
    return fates.get(word, "ended")


def _words(word: str, job: JobState) -> str:
    number = f"its job {job.job_id}" if job.job_id else "its job"
    if not word:
        return f"Slurm has no record of {number}"
    return f"Slurm reports {number}{f' on {job.node}' if job.node else ''} as {word}"


@dataclass
class JobGrouper:
    """Groups runs according to the settings; caches the tasks of the suites that the settings name."""

    workspace: Workspace
    _tasks: dict[str, frozenset[str]] = field(default_factory=dict)
    """Names of tasks by suite."""

    def batches(self, queued: Iterable[RunInfo], settings: SlurmSettings) -> Batching:
        """Runs of one backbone, request and priority share a job. A run with invalid settings waits."""
        requests: list[tuple[JobRequest, RunInfo]] = []
        waiting: dict[str, str] = {}
        for entry in queued:
            try:
                requests.append((self._request(entry.task, settings), entry))
            except (ValidationError, CardNameError, ConsoleError) as error:
                waiting[entry.run_id] = f"{self.workspace.config}, [slurm]: {' '.join(str(error).split())}"
        return Batching(tuple(group(requests, settings.runs_per_job)), waiting)

    def _request(self, task: str, settings: SlurmSettings) -> JobRequest:
        suites = [name for name in settings.suites if task in self._tasks_of(name)]
        return settings.request(task, suites)

    def _tasks_of(self, suite: str) -> frozenset[str]:
        if suite not in self._tasks:
            from tasks.catalog.catalog import TaskCatalog  # noqa: PLC0415 - reads every card: only where a suite is named

            catalog = TaskCatalog.load([self.workspace.tasks])
            self._tasks[suite] = frozenset(spec.name for spec in catalog.select(suite=suite))
        return self._tasks[suite]


def group(requests: Iterable[tuple[JobRequest, RunInfo]], size: int) -> Iterator[Batch]:
    """Batches of at most `size` runs of one backbone, request and priority, in the order of their first runs."""
    groups: dict[tuple[JobRequest, str, int], list[RunInfo]] = {}
    for request, entry in requests:
        groups.setdefault((request, entry.backbone, entry.priority), []).append(entry)
    chunks = [
        (request, entries[start : start + size])
        for (request, _, _), entries in groups.items()
        for start in range(0, len(entries), size)
    ]
    for request, entries in sorted(chunks, key=lambda chunk: (-chunk[1][0].priority, chunk[1][0].created)):
        yield Batch(tuple(entry.run_id for entry in entries), request)
