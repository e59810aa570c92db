"""Failed attempts: the end records that the supervisor writes where the worker could not, and automatic retries after
running out of memory or an interruption.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import log2

from ssl_console.launchers.base import Launcher, Worker
from ssl_console.system.device import gigabytes, holders_text
from ssl_console.system.processes import UNWRITTEN, describe_exit
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.requests import NotPossible, request_retry
from ssl_console.workspace.run import Backoff, End, MemoryShortage
from ssl_console.workspace.run_index import RunInfo
from ssl_console.workspace.run_status import RunStatus

UNCLAIMED_TRIES = 2
RETRY = "`ssl-console retry` runs it again"
LOG = logging.getLogger(__name__)
RECENT_S = 3600.0
"""Maximum age in seconds of an out-of-memory failure that is retried automatically: no run starts unexpectedly."""
INTERRUPTED_S = 24 * 3600.0
"""The same limit for a run that was interrupted while no supervisor was running."""
REASONS = {True: "continues from its checkpoint: its node was lost", False: "starts over: its node was lost"}
SMALLER = "ran out of memory: retried with half the batch size"
WHOLE_CARD = 0.95
"""Fraction of a device's memory that one process can use."""
FIRST_WAIT_S, LONGEST_WAIT_S, MOST_WAITS = 60.0, 900.0, 6
"""Wait in seconds after other processes left too little memory, doubled each time; and the number of such attempts."""


def of_gone_worker(status: RunStatus, worker: Worker, log_tail: Sequence[str], where: str) -> End:
    """The worker vanished during the attempt; `where` is the log."""
    if status.cancel_requested:
        return End(attempt=status.attempt, state="cancelled", message="cancelled while it ran")
    if worker.exit_code is None:
        message = f"its worker (process {worker.pid}) is gone, and so is the supervisor that started it; {RETRY}"
        return _failed(status, "lost", message, log_tail)
    if worker.exit_code == UNWRITTEN:
        message = f"the disk was full or could not be written, so its outcome is not recorded; {RETRY}"
        return _failed(status, "crash", message, log_tail)
    message = f"its worker {describe_exit(worker.exit_code)} without a result; the log is {where}"
    return _failed(status, "crash", message, log_tail)


def of_stillborn_worker(status: RunStatus, worker: Worker, log_tail: Sequence[str]) -> End:
    """The worker exited before it claimed the run."""
    why = f": {log_tail[-1]}" if log_tail else ""
    code = worker.exit_code
    how = "is gone" if code is None else describe_exit(code)
    message = f"its worker {how} before it started{why}; the log is {worker.log}"
    return _failed(status, "crash", message, log_tail)


def of_refused_job(status: RunStatus, worker: Worker) -> End:
    """The job was rejected."""
    return _failed(status, "crash", f"{worker.words}; {_way_out(worker)}", ())


def of_cancelled_job(status: RunStatus, worker: Worker) -> End:
    """The job was cancelled with the cluster's own commands."""
    return End(attempt=status.attempt, state="cancelled", message=f"{worker.words}; {RETRY}")


def of_gone_job(status: RunStatus, worker: Worker, log_tail: Sequence[str], where: str) -> End:
    """The job has ended without an end of its run; `where` is the log."""
    if status.cancel_requested:
        return End(attempt=status.attempt, state="cancelled", message="cancelled while it ran")
    match worker.fate:
        case "cancelled":
            return of_cancelled_job(status, worker)
        case "taken":
            return _failed(status, "interrupted", f"{worker.words}; {RETRY}", log_tail)
        case "memory":
            message = f"{worker.words}: it exceeded its memory limit; {_way_out(worker)}"
            return _failed(status, "oom", message, log_tail)
        case "unknown":
            return _failed(status, "lost", f"{worker.words}, and its worker is silent; {RETRY}", log_tail)
    return _failed(status, "crash", f"{worker.words}, and there is no result; the log is {where}", log_tail)


def of_stillborn_job(status: RunStatus, worker: Worker, log_tail: Sequence[str]) -> End:
    """Several jobs ended before they claimed the run."""
    why = f": {log_tail[-1]}" if log_tail else ""
    message = f"its job ended before it started{why}; {worker.words}; the log is {worker.log}"
    return _failed(status, "crash", message, log_tail)


def of_stalled(status: RunStatus, silent_s: float, log_tail: Sequence[str], where: str) -> End:
    """The attempt sent no sign of life for too long."""
    message = (
        f"no sign of life for {silent_s:.0f} s (setting stall_s), so it was ended; the log has its stacks: {where}"
    )
    return _failed(status, "stalled", message, log_tail)


def of_timeout(status: RunStatus, limit_s: float, log_tail: Sequence[str]) -> End:
    """The attempt exceeded the time limit."""
    message = f"it took longer than {limit_s:.0f} s (setting timeout_s), so it was ended; raise the setting and retry"
    return _failed(status, "timeout", message, log_tail)


def of_memory(status: RunStatus, taken_mb: float, limit_mb: float, log_tail: Sequence[str]) -> End:
    """The worker exceeded the limit of host memory."""
    message = (
        f"it took {taken_mb:,.0f} MB of the host's memory, more than the {limit_mb:,.0f} that a worker may (setting "
        "worker_memory_mb), so it was ended; raise the setting, or lower batch_size, and retry"
    )
    return _failed(status, "memory", message, log_tail)


def of_cancelled_in_queue(status: RunStatus) -> End:
    """Cancelled before any worker started it."""
    return End(attempt=status.attempt, state="cancelled", message=status.reason)


def of_moved(attempt: int, reason: str) -> End:
    """The workspace was moved during the attempt."""
    message = f"{reason} while it ran; {RETRY}"
    return End.model_validate({"attempt": attempt, "state": "failed", "kind": "lost", "message": message})


def of_lost(status: RunStatus) -> End:
    """The outcome of the attempt is unknown."""
    return _failed(status, "lost", status.reason, ())


def _way_out(worker: Worker) -> str:
    return f"{worker.advice}, then {RETRY}" if worker.advice else RETRY


def _failed(status: RunStatus, kind: str, message: str, log_tail: Sequence[str]) -> End:
    return End.model_validate(
        {"attempt": status.attempt, "state": "failed", "kind": kind, "message": message, "log_tail": tuple(log_tail)}
    )


@dataclass(frozen=True)
class AutomaticRetries:
    """Retry requests as a user would make them. `limit` is the number of retries after running out of memory."""

    workspace: Workspace
    launchers: Mapping[str, Launcher]
    limit: int

    def consider(self, entry: RunInfo, now: float, own_pids: Collection[int] = ()) -> None:
        """Queue a failed run again, if the kind of failure, its age and the settings allow it. An interrupted run with
        a checkpoint is always retried, one without as often as its launcher allows.

        `own_pids` are the processes of this workspace's other workers.
        """
        if entry.status.kind not in {"oom", "interrupted"} or entry.folder.cancel.exists():
            return
        age_s = now - (entry.status.ended or 0.0)
        if entry.status.kind == "oom" and age_s < RECENT_S:
            self._after_out_of_memory(entry, now, own_pids)
        elif entry.status.kind == "interrupted" and age_s < INTERRUPTED_S:
            kept = entry.folder.checkpoint.is_dir() and any(entry.folder.checkpoint.iterdir())
            launcher = self.launchers.get(entry.placement.launcher)
            restarts = launcher.patience().restarts if launcher else 0
            if kept or entry.status.attempt <= restarts:
                self._request(entry, REASONS[kept])

    def _after_out_of_memory(self, entry: RunInfo, now: float, own_pids: Collection[int]) -> None:
        """Retry later where others used the memory of a device of this machine, else with half the batch size."""
        launcher = self.launchers.get(entry.placement.launcher)
        on_this_machine = launcher is not None and launcher.capacity() is None
        shortage = entry.status.end.shortage if entry.status.end else None
        if shortage is not None and on_this_machine and is_of_others(shortage, own_pids):
            self._when_others_leave(entry, shortage, now)
            return
        tried = round(-log2(entry.status.batch_scale))
        if tried < self.limit:
            self._request(entry, SMALLER, 0.5 ** (tried + 1))

    def _when_others_leave(self, entry: RunInfo, shortage: MemoryShortage, now: float) -> None:
        """Retry unchanged, later, and when the memory that was too little is free."""
        number = (entry.status.backoff.number if entry.status.backoff else 0) + 1
        if not self.limit or number > MOST_WAITS:
            return
        until = now + min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (number - 1))
        whose = holders_text(process for process in shortage.reading.processes if not process.ours)
        reason = (
            f"memory of {shortage.device} ran out because of {whose or 'other processes'}: tried again after "
            f"{time.strftime('%H:%M', time.localtime(until))}, when {gigabytes(shortage.need_mb)} GB are free"
        )
        backoff = Backoff(number=number, until=until, need_mb=shortage.need_mb)
        self._request(entry, reason, entry.status.batch_scale, backoff)

    def _request(self, entry: RunInfo, reason: str, batch_scale: float = 1.0, backoff: Backoff | None = None) -> None:
        try:
            request_retry(self.workspace, entry.run_id, reason, batch_scale, backoff=backoff)
        except NotPossible as error:
            LOG.info("%s", error)


def is_of_others(shortage: MemoryShortage, own_pids: Collection[int]) -> bool:
    """Whether the attempt would have fitted without the processes of other users and workspaces.

    Memory that no listed process holds belongs to others: in a container the driver lists none of its processes.
    """
    reading = shortage.reading
    ours = [process for process in reading.processes if not process.ours and process.pid in own_pids]
    ours_mb = sum(process.memory_mb or 0.0 for process in ours)
    return shortage.need_mb + ours_mb <= WHOLE_CARD * reading.memory_total_mb
