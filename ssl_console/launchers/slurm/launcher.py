"""Workers as Slurm jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ssl_console.launchers.base import JobEnd, Resources, Worker
from ssl_console.launchers.slurm.jobs import PREFIX, TAKEN, ListedJob
from ssl_console.launchers.slurm.poller import JobEntry, SlurmPoller
from ssl_console.launchers.slurm.submit import LARGEST, JobScript, output_of, unsettled
from ssl_console.workspace.config import JobRequest, SlurmSettings
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.run import Attempt, JobState

UNSEEN = JobState(state="submitting", reason="not submitted yet", waits=True)
UNANSWERED = JobState(state="unknown", reason="Slurm has not answered yet", waits=True)


@dataclass(frozen=True)
class RecoveredJob:
    """A job that an earlier supervisor submitted."""

    worker: str
    run_ids: tuple[str, ...]


@dataclass
class SlurmLauncher:
    """Gathers what is submitted within a round into batches; the rest is its clerk's. Never waits for Slurm."""

    workspace: Workspace
    settings: SlurmSettings
    clerk: SlurmPoller = field(init=False)
    _open: dict[JobRequest, JobScript] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.clerk = SlurmPoller(self.workspace, self.settings.poll_s)

    @property
    def problem(self) -> str:
        """Why nothing is known of Slurm at the moment."""
        return self.clerk.problem

    def submit(self, run_ids: Sequence[str], resources: Resources) -> str:
        """One more job for the batch that is made ready; its name."""
        request = resources.request or JobRequest()
        batch = self._open.get(request) or JobScript(request=request, warning_s=self.settings.warning_s)
        batch = batch.model_copy(update={"jobs": (*batch.jobs, tuple(run_ids))})
        self._open[request] = batch
        if len(batch.jobs) == LARGEST:
            self._hand_in(request)
        return batch.names[-1]

    def recover(self) -> Iterator[RecoveredJob]:
        """The jobs that an earlier supervisor submitted, or was about to: of each, whether it lives is found out."""
        for batch in unsettled(self.workspace):
            self.clerk.take(batch, "unsure")
            yield from map(RecoveredJob, batch.names, batch.jobs)

    def adopt(self, attempt: Attempt) -> str | None:  # noqa: ARG002 - jobs are found again by `recover`
        """None: a job is found again by its batch, not by the attempt that it carries out."""
        return None

    def hand_over(self, worker: str, run_id: str) -> bool:  # noqa: ARG002 - of the interface
        """False: what a job carries out is settled when it is submitted."""
        return False

    def drain(self, worker: str) -> None:
        """A job ends by itself after its runs."""

    def stop(self, worker: str, *, force: bool = False) -> None:  # noqa: ARG002 - scancel does both, step by step
        """Have Slurm end the job."""
        self.clerk.end(worker)

    def show_stacks(self, worker: str) -> None:
        """Of no effect on another machine."""

    def snapshot(self) -> dict[str, Worker]:
        """All jobs; one that is gone is told once."""
        for request in list(self._open):
            self._hand_in(request)
        found: dict[str, Worker] = {}
        for entry in self.clerk.entries().values():
            for name in entry.batch.names:
                if name not in self._told:
                    found[name] = self._worker(name, entry)
            if entry.over:
                self._told.difference_update(entry.batch.names)
            else:
                self._told.update(name for name, worker in found.items() if worker.gone)
        return found

    def _hand_in(self, request: JobRequest) -> None:
        self.clerk.take(self._open.pop(request))

    def _worker(self, name: str, entry: JobEntry) -> Worker:
        job = _state(entry, entry.seen.get(name))
        log = output_of(self.workspace, name)
        if entry.stage == "refused":
            return Worker(name, gone=True, log=log, job=job, fate="refused", words=entry.words)
        if name not in entry.gone:
            return Worker(name, log=log, job=job)
        word = entry.gone[name]
        code = 0 if word == "COMPLETED" else None
        return Worker(name, gone=True, exit_code=code, log=log, job=job, fate=_fate(word), words=_words(word, job))


def is_job(worker: str) -> bool:
    """Whether a worker of that name is a job."""
    return worker.startswith(PREFIX)


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
        return f"Slurm does not know {number} any more"
    return f"Slurm says of {number}{f' on {job.node}' if job.node else ''}: {word}"
