"""Grouping of queued runs into jobs, and each job's request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from backbones.io.card_files import CardNameError
from ssl_console.launchers.base import Batch, Batching
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.config import JobRequest, SlurmSettings
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.run_index import RunInfo


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
    for request, entries in sorted(chunks, key=lambda chunk: _order(chunk[1])):
        yield Batch(tuple(entry.run_id for entry in entries), request)


def _order(entries: Sequence[RunInfo]) -> tuple[int, float]:
    return -entries[0].priority, entries[0].created
