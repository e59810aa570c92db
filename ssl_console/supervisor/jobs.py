"""Jobs, i.e. workers of launchers with a queue of their own: scheduling and monitoring.

Batches are submitted at once, up to the launcher's capacity, and each worker has a slot for its lifetime. The monitor
follows the present run of a job, and records the outcome of its runs at its end. Sources in order of precedence: a
run's result, recent events of its newest attempt, the living job, the launcher's record of the job; otherwise the run
is lost.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ssl_console.launchers.base import AdoptedWorker, Batch, Launcher, Worker
from ssl_console.supervisor import failures
from ssl_console.supervisor.slots import Cause, Slot, SlotTable, StopProgress
from ssl_console.workspace.events import last_lines
from ssl_console.workspace.paths import RunFolder, Workspace
from ssl_console.workspace.run import ASSIST, End, RunState
from ssl_console.workspace.run_index import RunInfo
from ssl_console.workspace.run_status import PAUSED, RunStatus, read_status
from ssl_console.workspace.supervisor_state import LauncherState

TRY_EVERY_S = 5.0
LOG = logging.getLogger(__name__)
UNCLAIMED_TRIES = 3
"""Number of jobs that may end before they claim a run, because a node may be broken."""
LINGER_S = 30.0
"""Seconds that a job may take to end after its last run."""


@dataclass
class JobScheduler:
    """Assigns queued runs to launchers, and advances each slot from one run of its worker to the next."""

    slots: SlotTable
    waiting: dict[str, str] = field(default_factory=dict)
    """Reasons why runs have not been submitted, by run id."""
    _tried: float = 0.0

    def recover(self, launcher: Launcher, adopted: AdoptedWorker, entries: Mapping[str, RunInfo], now: float) -> None:
        """Open a slot for a worker of an earlier supervisor."""
        slot = self.slots.open_dedicated(launcher, adopted.name, now)
        helped = entries.get(adopted.run_ids[0].removeprefix(ASSIST))
        if adopted.run_ids[0].startswith(ASSIST) and helped is not None:
            slot.assist(helped.run_id, helped.status.attempt, helped.backbone, now)
        slot.then = tuple(run_id for run_id in adopted.run_ids if run_id in entries)
        self.advance(slot, entries, now)

    def advance(self, slot: Slot, entries: Mapping[str, RunInfo], now: float) -> None:
        """Advance to the next unfinished run of the slot's worker, if there is one."""
        while slot.run_id is None and slot.then:
            first, *rest = slot.then
            slot.then = tuple(rest)
            entry = entries.get(first)
            if entry is not None and not entry.status.state.final:
                slot.take(first, entry.status.attempt, entry.backbone, now)

    def begin_assigning(self) -> None:
        """Clear the waiting reasons; `assign_runs` follows for each launcher."""
        self.waiting = {}

    def assign_runs(self, launcher: Launcher, queued: Iterable[RunInfo], now: float, *, paused: bool) -> None:
        """Submit the queued runs of a launcher; runs that cannot be submitted get a waiting reason."""
        line = sorted(queued, key=lambda entry: (-entry.priority, entry.created, entry.run_id))
        if paused:
            self.waiting |= {entry.run_id: PAUSED for entry in line}
            return
        self._tried = now
        entries = {entry.run_id: entry for entry in line}
        batching = launcher.batches(line)
        self.waiting |= batching.waiting
        for batch in batching.batches:
            self._submit(launcher, batch, entries, now)

    def worth_trying(self, now: float) -> bool:
        """Whether runs wait, and were last tried a while ago: the settings may have been corrected."""
        return bool(self.waiting) and now - self._tried > TRY_EVERY_S

    def reasons(self) -> dict[str, str]:
        """Reasons why runs wait, by run id: for submission, or in the queue of their launcher."""
        queued = [slot for slot in self.slots.dedicated if slot.job is not None and slot.job.waits]
        in_line = {
            run_id: slot.job.words for slot in queued if slot.job for run_id in (slot.run_id, *slot.then) if run_id
        }
        return {**self.waiting, **in_line}

    def states(self, launchers: Iterable[Launcher]) -> tuple[LauncherState, ...]:
        """States of launchers with slots of their own that have workers or a problem, for the state file."""
        found = []
        for launcher in launchers:
            jobs = [slot.job for slot in self._slots_of(launcher) if slot.job is not None]
            if launcher.capacity() is not None and (jobs or launcher.problem):
                found.append(
                    LauncherState(name=launcher.name, summary=launcher.summarise(jobs), problem=launcher.problem)
                )
        return tuple(found)

    def _submit(self, launcher: Launcher, batch: Batch, entries: Mapping[str, RunInfo], now: float) -> None:
        capacity = launcher.capacity()
        if capacity is not None and len(self._slots_of(launcher)) >= capacity.workers:
            self.waiting |= dict.fromkeys(batch.run_ids, capacity.full_reason)
            return
        runs = []
        for entry in (entries[run_id] for run_id in batch.run_ids):
            status = _status(entry.folder, now)  # of the folder: the run of a job that was just rejected has ended
            if status is not None and status.state is RunState.QUEUED and status.attempt == entry.status.attempt:
                runs.append(entry)
        if not runs:
            return
        first, *rest = runs
        worker = launcher.submit(Batch(tuple(entry.run_id for entry in runs), batch.request))
        slot = self.slots.open_dedicated(launcher, worker, now)
        slot.take(first.run_id, first.status.attempt, first.backbone, now)
        slot.then = tuple(entry.run_id for entry in rest)

    def _slots_of(self, launcher: Launcher) -> Sequence[Slot]:
        return [slot for slot in self.slots.dedicated if slot.launcher is launcher]


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
            # while the end of the job is unknown, or its node was lost, events of its run count
            if worker.fate not in {"unknown", "taken"} or entry is None or not entry.under_way:
                self._gone(slot, worker, now)
            return
        if slot.job and slot.job.waits:
            slot.since = now
        if slot.assists is not None:
            return
        if slot.run_id is not None:
            self._look_at_run(slot, entry, now)
        elif slot.stopping is None and ((slot.job and slot.job.waits) or now - slot.since > LINGER_S):
            slot.stopping = StopProgress("cancel", now)  # without runs: not started yet, or should have ended by itself

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
            self.record(entry.folder, failures.of_cancelled_in_queue(status))
            self._next(slot, now)
        elif slot.stopping is None and not (slot.job and slot.job.waits):
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
                self.record(folder, failures.of_gone_job(status, worker, last_lines(log), str(log)))
        elif worker.fate == "refused":
            self.record(folder, failures.of_refused_job(status, worker))
        elif worker.fate == "cancelled" and not slot.stopping:
            self.record(folder, failures.of_cancelled_job(status, worker))
        elif worker.fate == "ended" and folder.run_id == slot.run_id:
            self._unclaimed[folder.run_id, status.attempt] += 1
            if self._unclaimed[folder.run_id, status.attempt] >= UNCLAIMED_TRIES:
                self.record(
                    folder,
                    failures.of_stillborn_job(status, worker, last_lines(worker.log) if worker.log else ()),
                )


def _status(folder: RunFolder, now: float) -> RunStatus | None:
    try:
        return read_status(folder, now)
    except FileNotFoundError:
        return None
