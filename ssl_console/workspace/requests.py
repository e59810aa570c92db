"""Requests to the supervisor as small files, so that they work from any host and survive a crash.

Every request also touches the folder of runs: readers only read single run folders again when that has changed.
"""

from __future__ import annotations

import os
import shutil
import time

from backbones.io.files import MODES, create_exclusively, make_private_folder, touch_own, write_atomically
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.ownership import check_owner
from ssl_console.workspace.paths import RunFolder, Workspace
from ssl_console.workspace.run import Backoff, End, Placement, Retry, RunState
from ssl_console.workspace.run_status import RunStatus, read_status


class NotPossible(ConsoleError):  # noqa: N818 - an answer to a request, not a fault
    """The run's state does not allow the request; the message names both."""


def submit(workspace: Workspace, run_id: str, spec: bytes) -> RunFolder:
    """Queue a run: its complete folder appears by one rename. Raises FileExistsError if the run already exists."""
    hidden = RunFolder(workspace.runs, f".{run_id}.{os.getpid()}")
    check_owner(workspace)
    hidden.path.mkdir(mode=MODES.folder)
    folder = workspace.run(run_id)
    try:
        write_atomically(hidden.spec, spec)
        if folder.path.exists():
            raise FileExistsError(f"run {run_id} already exists: {folder.path}")
        hidden.path.rename(folder.path)
    except OSError:
        shutil.rmtree(hidden.path, ignore_errors=True)
        raise
    touch_runs_folder(workspace)
    return folder


def request_cancel(workspace: Workspace, run_id: str) -> None:
    """Request the end of a queued or running run. Raises NotPossible when it has already ended."""
    check_owner(workspace)
    folder = workspace.run(run_id)
    status = _status(folder)
    if status.state.final:
        raise NotPossible(f"run {run_id} cannot be cancelled: it is already {status.state}")
    touch_own(folder.cancel)
    touch_runs_folder(workspace)


def request_retry(
    workspace: Workspace,
    run_id: str,
    reason: str = "requested",
    batch_scale: float = 1.0,
    placement: Placement | None = None,
    backoff: Backoff | None = None,
) -> int:
    """Queue a failed or cancelled run again, elsewhere if a `placement` is given; return the number of the next
    attempt.

    Raises NotPossible when the run is done, queued or running, or when the same was just requested by another process.
    """
    check_owner(workspace)
    folder = workspace.run(run_id)
    status = _status(folder)
    if not status.state.final or status.state is RunState.DONE:
        raise NotPossible(f"run {run_id} cannot be retried: it is {status.state}")
    ended = status.attempt
    create_exclusively(folder.end(ended), _missing_end(status).model_dump_json().encode())
    folder.cancel.unlink(missing_ok=True)
    where = placement or status.placement
    request = Retry(
        reason=reason,
        batch_scale=batch_scale,
        launcher=where.launcher if where else None,
        devices=where.devices if where else None,
        share=where.share if where else None,
        devices_per_run=where.devices_per_run if where else None,
        backoff=backoff,
    )
    if not create_exclusively(folder.retry(ended + 1), request.model_dump_json().encode()):
        raise NotPossible(f"run {run_id} is already being retried")
    touch_runs_folder(workspace)
    return ended + 1


def set_priority(workspace: Workspace, run_id: str, priority: int) -> None:
    """Move a queued run earlier (higher) or later in the queue. Raises NotPossible when it is not queued."""
    check_owner(workspace)
    folder = workspace.run(run_id)
    status = _status(folder)
    if status.state is not RunState.QUEUED:
        raise NotPossible(f"run {run_id} cannot be moved in the queue: it is {status.state}")
    write_atomically(folder.priority, f"{priority}\n".encode())
    touch_runs_folder(workspace)


def pause(workspace: Workspace) -> None:
    """Start no more runs; active ones continue."""
    check_owner(workspace)
    make_private_folder(workspace.supervisor)
    touch_own(workspace.paused)


def resume(workspace: Workspace) -> None:
    """Resume starting runs. Callers also have to call `ensure_supervisor`."""
    check_owner(workspace)
    workspace.paused.unlink(missing_ok=True)


def is_paused(workspace: Workspace) -> bool:
    """Whether no new runs are started."""
    return workspace.paused.exists()


def touch_runs_folder(workspace: Workspace) -> None:
    """Make readers read every run folder again."""
    os.utime(workspace.runs)


def _status(folder: RunFolder) -> RunStatus:
    try:
        return read_status(folder, time.time())
    except FileNotFoundError:
        raise NotPossible(f"no run {folder.run_id}: {folder.path} does not exist") from None


def _missing_end(status: RunStatus) -> End:
    """Missing end record of a cancelled or lost attempt; no effect if it has one."""
    if status.state is RunState.CANCELLED:
        return End(attempt=status.attempt, state="cancelled", message=status.reason)
    return End(attempt=status.attempt, state="failed", kind="lost", message=status.reason)
