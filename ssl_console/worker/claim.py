"""Taking a run: of any number of workers that were given it, one gets it."""

from __future__ import annotations

import os
import time

from ssl_console.files import create_exclusively
from ssl_console.folder_state import RunStatus, read_status
from ssl_console.process import own_start, this_host
from ssl_console.requests import ring
from ssl_console.run import Attempt, State
from ssl_console.workspace import Workspace


def claim(workspace: Workspace, run_id: str, device: str) -> RunStatus | None:
    """The status of the queued run that is ours from now on; None when it is not queued, or another was faster."""
    folder = workspace.run(run_id)
    try:
        status = read_status(folder, time.time())
    except FileNotFoundError:
        return None
    if status.state is not State.QUEUED:
        return None
    attempt = Attempt(
        attempt=status.attempt,
        host=this_host(),
        pid=os.getpid(),
        pid_started=own_start(),
        device=device,
        started=time.time(),
    )
    if not create_exclusively(folder.attempt(attempt.attempt), attempt.model_dump_json().encode()):
        return None
    ring(workspace)
    return status
