"""Monitoring of a job, i.e. a worker in its launcher's own queue: its present run, and the outcome of its runs at
its end.

Sources in order of precedence: a run's result, recent events of its newest attempt, the living job, the launcher's
record of the job; otherwise the run is lost.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from ssl_console.launchers.base import Worker
from ssl_console.supervisor import failure_records
from ssl_console.supervisor.slots import Cause, Slot, StopProgress
from ssl_console.workspace.paths import RunFolder, Workspace
from ssl_console.workspace.run import End, RunState
from ssl_console.workspace.run_index import RunInfo
from ssl_console.workspace.run_status import RunStatus, read_status
from ssl_console.workspace.tail import last_lines

LOG = logging.getLogger(__name__)
UNCLAIMED_TRIES = 3
"""Number of jobs that may end before they claim a run, because a node may be broken."""
LINGER_S = 30.0
"""Seconds that a job may take to end after its last run."""


@dataclass
class JobMonitor:
    """Monitor of jobs. `cause` returns why an active run must be ended, `record` writes how an attempt ended."""

    workspace: Workspace
    cause: Callable[[Slot, RunInfo, float], Cause | None]
    record: Callable[[RunFolder, End], None]
    _unclaimed: Counter[tuple[str, int]] = field(default_factory=Counter)

    def look(self, slot: Slot, worker: Worker | None, entry: RunInfo | None, now: float) -> None:
        """Update the slot of a job. `entry` is its run as last read."""
        worker = (
            worker or slot.farewell or Worker(slot.worker or "", gone=True, fate="unknown", words="its job is gone")
        )
        slot.job = worker.job or slot.job
        if worker.gone:
            slot.farewell = worker
            if not _speaks_for_itself(worker, entry):
                self._gone(slot, worker, now)
            return
        if slot.job and slot.job.waits:
            slot.since = now
        if slot.assists is not None:
            return
        if slot.run_id is None:
            self._look_at_idle(slot, now)
        else:
            self._look_at_run(slot, entry, now)

    def _look_at_idle(self, slot: Slot, now: float) -> None:
        """Update a job without runs: one that has not started is stopped, any other is about to end."""
        if slot.stopping is None and ((slot.job and slot.job.waits) or now - slot.since > LINGER_S):
            slot.stopping = StopProgress("cancel", now)

    def _look_at_run(self, slot: Slot, entry: RunInfo | None, now: float) -> None:
        status = entry.status if entry else None
        if entry is None or status is None:
            self._next(slot, now)  # the run's folder was removed
            return
        if status.attempt > slot.attempt and not status.state.final:
            LOG.info("run %s: attempt %d in the same job", entry.run_id, status.attempt)
            slot.attempt = status.attempt
        if status.kind == "interrupted":
            return  # the job is about to end or to restart
        if status.end is not None or status.state is RunState.DONE:
            LOG.info("run %s: attempt %d is over: %s", entry.run_id, slot.attempt, status.state)
            self._next(slot, now)
        elif status.state is RunState.CANCELLED:
            self.record(entry.folder, failure_records.of_cancelled_in_queue(status))
            self._next(slot, now)
        elif slot.stopping is None and not (slot.job and slot.job.waits):
            self._consider(slot, entry, now)

    def _consider(self, slot: Slot, entry: RunInfo, now: float) -> None:
        cause = self.cause(slot, entry, now)
        if cause is not None:
            LOG.info("run %s: ending it: %s", entry.run_id, cause)
            slot.stopping = StopProgress(cause, now)

    def _next(self, slot: Slot, now: float) -> None:
        """Advance the job to its next run, unless it is being stopped because it hangs."""
        slot.finish(now)
        if slot.stopping and slot.stopping.cause == "cancel":
            slot.stopping = None
        elif slot.stopping:
            slot.then = ()

    def _gone(self, slot: Slot, worker: Worker, now: float) -> None:
        for run_id in filter(None, (slot.run_id, *slot.then)):
            folder = self.workspace.run(run_id)
            status = _status(folder, now)
            if status is not None and status.end is None and status.state not in {RunState.DONE, RunState.CANCELLED}:
                self._settle(folder, status, slot, worker)
        slot.clear()

    def _settle(self, folder: RunFolder, status: RunStatus, slot: Slot, worker: Worker) -> None:
        """Record the outcome of a run whose job is gone; a run that was not started stays queued."""
        if status.state is not RunState.QUEUED:
            if status.owner is not None and status.owner.job == worker.name:
                log = folder.log(status.attempt)
                self.record(folder, failure_records.of_gone_job(status, worker, last_lines(log), str(log)))
        elif worker.fate == "refused":
            self.record(folder, failure_records.of_refused_job(status, worker))
        elif worker.fate == "cancelled" and not slot.stopping:
            self.record(folder, failure_records.of_cancelled_job(status, worker))
        elif worker.fate == "ended" and folder.run_id == slot.run_id:
            self._unclaimed[folder.run_id, status.attempt] += 1
            if self._unclaimed[folder.run_id, status.attempt] >= UNCLAIMED_TRIES:
                self.record(
                    folder,
                    failure_records.of_stillborn_job(status, worker, last_lines(worker.log) if worker.log else ()),
                )


def _speaks_for_itself(worker: Worker, entry: RunInfo | None) -> bool:
    """Whether the end of the job is unknown, or its node was lost, and events of its run still arrive."""
    return worker.fate in {"unknown", "taken"} and entry is not None and entry.under_way


def _status(folder: RunFolder, now: float) -> RunStatus | None:
    try:
        return read_status(folder, now)
    except FileNotFoundError:
        return None
