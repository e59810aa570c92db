"""Claiming a run: exactly one of the workers that were assigned it gets it.

A cluster restarts a job whose node was preempted or lost. The restarted job ends the attempt of its earlier process,
which may still exist (e.g. when only its daemon died) and cannot publish a result from then on, and claims the next
attempt.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TextIO

from backbones.io.files import create_exclusively
from ssl_console.system.processes import own_start, this_host, this_machine
from ssl_console.worker.process import Termination
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.requests import NotPossible, request_retry, touch_runs_folder
from ssl_console.workspace.run import (
    JOB_ID_VARIABLE,
    NODE_VARIABLE,
    PARTITION_VARIABLE,
    Attempt,
    End,
    RunState,
)
from ssl_console.workspace.run_status import RunStatus, read_status


def claim(workspace: Workspace, run_id: str, device: str, job: str = "") -> RunStatus | None:
    """Claim a queued run and return its status; None when it is not queued, or was claimed by another worker.

    `job` is the console's name for the cluster job of this process; empty if there is none.
    """
    folder = workspace.run(run_id)
    try:
        status = read_status(folder, time.time())
        if job and status.owner is not None and status.owner.job == job and _over(status):
            _end_earlier_attempt(workspace, run_id, status)
            status = read_status(folder, time.time())
    except FileNotFoundError:
        return None
    if status.state is not RunState.QUEUED:
        return None
    attempt = Attempt(
        attempt=status.attempt,
        host=_node() if job else this_host(),
        machine="" if job else this_machine(),
        pid=os.getpid(),
        pid_started=own_start(),
        device=device,
        started=time.time(),
        job=job,
        job_id=os.environ.get(JOB_ID_VARIABLE, job) if job else "",
        partition=os.environ.get(PARTITION_VARIABLE, "") if job else "",
    )
    if not create_exclusively(folder.attempt(attempt.attempt), attempt.model_dump_json().encode()):
        return None
    touch_runs_folder(workspace)
    return status


def _over(status: RunStatus) -> bool:
    """Whether an attempt of the same job's earlier process is running, lost, or was interrupted."""
    return status.state in {RunState.STARTING, RunState.RUNNING} or status.kind in {"lost", "interrupted"}


def _end_earlier_attempt(workspace: Workspace, run_id: str, status: RunStatus) -> None:
    """End the attempt of the job's earlier process and queue the run again."""
    if status.cancel_requested:
        return
    folder, owner = workspace.run(run_id), status.owner
    assert owner is not None
    message = f"its job was restarted after running on {owner.host}"
    end = End(attempt=status.attempt, state="failed", kind="interrupted", message=message)
    create_exclusively(folder.end(status.attempt), end.model_dump_json().encode())
    with suppress(NotPossible):  # the supervisor was faster
        request_retry(workspace, run_id, "continues: its job was restarted")


def _node() -> str:
    return os.environ.get(NODE_VARIABLE) or this_host()


def take_standard_input() -> TextIO:
    """Standard input, reserved for assignments; code that reads `sys.stdin` later gets an end of file."""
    own = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return os.fdopen(own, encoding="utf-8")


def assigned(first: Sequence[str], lines: TextIO, termination: Termination) -> Iterator[str]:
    """Run ids as they arrive, until the input is closed. Raises Terminated while waiting."""
    yield from first
    while True:
        with termination.interruptible():
            line = lines.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()
