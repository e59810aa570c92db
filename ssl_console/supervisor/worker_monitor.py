"""Monitoring of the worker of one slot: the outcome of its run, reasons to stop it, and stopping it in steps."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from backbones.io.files import create_exclusively
from ssl_console.launchers.base import Worker
from ssl_console.supervisor import failures
from ssl_console.supervisor.client import SupervisorOptions
from ssl_console.supervisor.jobs import JobMonitor
from ssl_console.supervisor.memory import ProcessMemory, machine_limit_mb
from ssl_console.supervisor.slots import Cause, Slot, StopProgress
from ssl_console.system.processes import UNWRITTEN, is_suspended
from ssl_console.workspace.events import keep_bounded, last_lines
from ssl_console.workspace.paths import RunFolder, Workspace
from ssl_console.workspace.requests import touch_runs_folder
from ssl_console.workspace.run import End, RunState
from ssl_console.workspace.run_index import RunInfo
from ssl_console.workspace.run_status import RunStatus, last_event_time, read_status

LOG = logging.getLogger(__name__)
STACKS_S = 1.0
"""Seconds that a stuck worker has to write the stacks of its threads before it is stopped."""
BEGIN_S = 120.0
"""Seconds that a worker may take from its start to claiming its run."""


@dataclass
class WatchClock:
    """Seconds for which this process has been monitoring.

    Not the system's clock, which can be set and jump. A long gap between two checks counts as `longest_s`: this process
    was suspended, probably with its workers, or the machine was.
    """

    longest_s: float
    read: Callable[[], float] = time.monotonic
    _watched: float = 0.0
    _last: float | None = None

    def now(self) -> float:
        current = self.read()
        self._watched += min(current - self._last, self.longest_s) if self._last is not None else 0.0
        self._last = current
        return self._watched


SHORTEST_LOOK_S, LONGEST_LOOK_S = 1.0, 5.0
"""Bounds in seconds of the time that one check accounts for; between them, a quarter of the silence that ends a run."""


@dataclass
class WorkerMonitor:
    """Monitor that judges and stops workers. All it observes is written to the run folder and the slot."""

    workspace: Workspace
    options: SupervisorOptions
    jobs: JobMonitor = field(init=False)
    clock: WatchClock = field(init=False)
    footprints: ProcessMemory = field(default_factory=ProcessMemory)
    _unclaimed: Counter[str] = field(default_factory=Counter)
    _limit_mb: float = 0.0

    def __post_init__(self) -> None:
        self._limit_mb = self.options.worker_memory_mb or machine_limit_mb()
        self.clock = WatchClock(min(LONGEST_LOOK_S, max(SHORTEST_LOOK_S, self.options.stall_s / 4)))
        self.jobs = JobMonitor(self.workspace, self._cause, self.record)

    def look(self, slot: Slot, worker: Worker | None, entry: RunInfo | None, now: float) -> None:
        """Update one slot, and execute the steps of stopping its worker that are due. `entry` is the slot's run as last
        read, None when it has none.
        """
        if slot.worker is None:
            return
        if slot.dedicated:
            self.jobs.look(slot, worker, entry, now)
        elif slot.gone or worker is None or worker.gone:
            slot.gone = slot.gone or worker or Worker(slot.worker, slot.pid, gone=True)
            self._gone(slot, slot.gone, now)
        else:
            self._look_at_process(slot, worker, entry, now)
        if slot.worker and (stopping := slot.stopping):
            stopping.began = min(stopping.began, now)
            for number, (due, step) in enumerate(self._steps(slot, stopping)):
                if number >= stopping.stage and now - stopping.began >= due:
                    stopping.stage = number + 1
                    step()

    def _look_at_process(self, slot: Slot, worker: Worker, entry: RunInfo | None, now: float) -> None:
        slot.pid, slot.since = worker.pid, min(slot.since, now)
        if slot.run_id is not None:
            self._look_at_run(slot, entry, now)
        elif slot.assists is not None:
            if not slot.stopping and self.footprints.mb(slot.pid) > self._limit_mb:
                self._begin(slot, "memory", now)
        elif not slot.stopping and now - slot.since > self.options.idle_s:
            self.leave(slot, now)

    def leave(self, slot: Slot, now: float) -> None:
        """Release a worker that is no longer needed."""
        if slot.worker is not None and slot.launcher is not None and slot.stopping is None:
            slot.launcher.drain(slot.worker)
            slot.stopping = StopProgress("leave", now)

    def _look_at_run(self, slot: Slot, entry: RunInfo | None, now: float) -> None:
        status = entry.status if entry else None
        if entry is None or status is None:
            if slot.stopping is None:
                self._begin(slot, "leave", now)  # the run's folder was removed
        elif status.end is not None or status.state is RunState.DONE or status.attempt > slot.attempt:
            LOG.info("run %s: attempt %d is over: %s", entry.run_id, slot.attempt, status.state)
            slot.finish(now)
            if status.state is not RunState.DONE:
                self.leave(slot, now)
        elif slot.stopping is None:
            keep_bounded(entry.folder, status.attempt)
            cause = self._cause(slot, entry, now)
            if cause is not None:
                self._begin(slot, cause, now)

    def _cause(self, slot: Slot, entry: RunInfo, now: float) -> Cause | None:
        status, stall_s = entry.status, self.options.stall_s * slot.patience.stall_factor
        if status.cancel_requested:
            return "cancel"
        if status.owner is None or status.state is RunState.QUEUED:
            waited = self._elapsed_s(slot, ("begin", slot.run_id, slot.attempt), 0.0)
            return "stalled" if waited > max(BEGIN_S, stall_s) else None
        if self.footprints.mb(slot.pid) > self._limit_mb:
            return "memory"
        taken = self._elapsed_s(slot, ("run", slot.run_id, status.attempt), max(0.0, now - status.owner.started))
        if self.options.timeout_s is not None and taken > self.options.timeout_s:
            return "timeout"
        return "stalled" if self._silent_s(slot, entry) > stall_s else None

    def _silent_s(self, slot: Slot, entry: RunInfo) -> float:
        """Monitored seconds since the last new event; a suspended worker is not silent."""
        last, now = last_event_time(entry.folder.events(entry.status.attempt)), self.clock.now()
        if slot.heard is None or slot.heard[0] != last:
            slot.heard = last, now
        silent_s = now - slot.heard[1]
        if silent_s > self.options.stall_s / 2 and slot.pid and not slot.dedicated and is_suspended(slot.pid):
            slot.heard = last, now
        return now - slot.heard[1]

    def _elapsed_s(self, slot: Slot, what: object, before: float) -> float:
        """Monitored seconds since `what` was first timed, plus those of `before`."""
        if slot.timed is None or slot.timed[0] != what:
            slot.timed = what, self.clock.now() - before
        return self.clock.now() - slot.timed[1]

    def _begin(self, slot: Slot, cause: Cause, now: float) -> None:
        LOG.info("run %s: ending its worker: %s", slot.run_id or slot.assists, cause)
        slot.stopping = StopProgress(cause, now)

    def _steps(self, slot: Slot, stopping: StopProgress) -> list[tuple[float, Callable[[], None]]]:
        """Steps of stopping a worker, e.g. stacks, verdict, SIGTERM and SIGKILL, with the seconds after which each is
        due.
        """
        assert slot.launcher is not None
        launcher, worker, grace = slot.launcher, slot.worker or "", self.options.grace_s
        patience_s = slot.patience.cancel_s
        politely = lambda: launcher.stop(worker)  # noqa: E731
        by_force = lambda: launcher.stop(worker, force=True)  # noqa: E731
        match stopping.cause:
            case "cancel" if slot.run_id is not None and patience_s:  # its worker reacts to the request itself
                return [(patience_s, politely), (2 * patience_s, by_force)]
            case "cancel":
                return [(0.0, politely), (grace, by_force)]
            case "leave":
                return [(grace, politely), (2 * grace, by_force)]
            case "memory":
                return [(0.0, lambda: self._judge(slot, stopping)), (0.0, by_force)]
            case _:
                verdict = lambda: self._judge(slot, stopping)  # noqa: E731
                stacks = lambda: launcher.show_stacks(worker)  # noqa: E731
                return [(0.0, stacks), (STACKS_S, verdict), (STACKS_S, politely), (STACKS_S + grace, by_force)]

    def _judge(self, slot: Slot, stopping: StopProgress) -> None:
        """Record why the run is ended, before its worker can. The end of a helper ends no run."""
        if slot.run_id is None:
            return
        folder = self.workspace.run(slot.run_id)
        status = self._status(folder, stopping.began)
        if status is None or status.end is not None or status.state is RunState.DONE:
            return
        log = folder.log(status.attempt)
        if stopping.cause == "timeout":
            end = failures.of_timeout(status, self.options.timeout_s or 0.0, last_lines(log))
        elif stopping.cause == "memory":
            end = failures.of_memory(status, self.footprints.mb(slot.pid), self._limit_mb, last_lines(log))
        else:
            end = failures.of_stalled(status, self.options.stall_s, last_lines(log, 40), str(log))
        self.record(folder, end)

    def _gone(self, slot: Slot, worker: Worker, now: float) -> None:
        """Settle its run and free the slot. Raises OSError when that cannot be written; the next check tries again."""
        if slot.run_id is not None:
            self._settle(self.workspace.run(slot.run_id), slot.attempt, worker, now)
        slot.clear()

    def _settle(self, folder: RunFolder, attempt: int, worker: Worker, now: float) -> None:
        """Record the outcome of the run of a vanished worker; a run that was never started stays queued."""
        status = self._status(folder, now)
        if status is None or status.end is not None or status.attempt > attempt:
            return
        if status.state in {RunState.DONE, RunState.CANCELLED}:
            return
        if status.state is RunState.QUEUED:
            self._unclaimed[folder.run_id] += 1
            if worker.exit_code in {0, UNWRITTEN} and self._unclaimed[folder.run_id] < failures.UNCLAIMED_TRIES:
                return
            words = last_lines(worker.log) if worker.log else ()
            self.record(folder, failures.of_stillborn_worker(status, worker, words))
            return
        log = folder.log(status.attempt)
        self.record(folder, failures.of_gone_worker(status, worker, last_lines(log), str(log)))

    def record(self, folder: RunFolder, end: End) -> None:
        """Write how an attempt ended, unless it is already recorded."""
        if create_exclusively(folder.end(end.attempt), end.model_dump_json().encode()):
            touch_runs_folder(self.workspace)
            LOG.info("run %s: %s%s: %s", folder.run_id, end.state, f"({end.kind})" if end.kind else "", end.message)

    def _status(self, folder: RunFolder, now: float) -> RunStatus | None:
        try:
            return read_status(folder, now)
        except FileNotFoundError:
            return None
