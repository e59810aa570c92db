"""End records that the supervisor writes for attempts whose worker could not. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from ssl_console.launchers.base import Worker
from ssl_console.system.processes import UNWRITTEN, describe_exit
from ssl_console.workspace.run import End
from ssl_console.workspace.run_status import RunStatus

UNCLAIMED_TRIES = 2
RETRY = "`ssl-console retry` runs it again"


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
