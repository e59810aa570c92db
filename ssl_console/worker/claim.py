"""Claims of runs, and reports of helpers. Exactly one of the workers that were assigned a run gets it.

A cluster restarts a job whose node was preempted or lost. The restarted job ends the attempt of its earlier process,
which may still exist (e.g. when only its daemon died) and cannot publish a result from then on, and claims the next
attempt.

A helper computes features that the run's own worker extracts, and writes nothing to the run's folder. Whatever happens
to it, the run continues: the shards that it leaves unfinished are computed by the run's worker.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TextIO

from backbones.io.files import create_exclusively
from ssl_console.system.processes import own_start, this_host, this_machine
from ssl_console.worker.process import Termination
from ssl_console.workspace.paths import RunFolder, Workspace
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
from tasks.reporter import SilentReporter

CHECK_S = 1.0
"""Seconds between two checks of the run's status."""
IDLE_S = 20.0
"""Seconds without anything to compute after which a helper ends."""


def claim(workspace: Workspace, run_id: str, device: str, job: str = "") -> RunStatus | None:
    """Claim a queued run and return its status; None when it is not queued, or was claimed by another worker.

    `job` is the console's name for the cluster job of this process; empty if there is none.
    """
    folder = workspace.run(run_id)
    try:
        status = read_status(folder, time.time())
        begun = status.state in {RunState.STARTING, RunState.RUNNING} or status.kind in {"lost", "interrupted"}
        if begun and job and status.owner is not None and status.owner.job == job:  # an earlier process of this job
            _end_earlier_attempt(workspace, run_id, status)
            status = read_status(folder, time.time())
    except FileNotFoundError:
        return None
    if status.state is not RunState.QUEUED:
        return None
    attempt = Attempt(
        attempt=status.attempt,
        host=(os.environ.get(NODE_VARIABLE) if job else None) or this_host(),
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


class AssistanceOver(Exception):  # noqa: N818 - no error
    """The run needs no further help."""


@dataclass
class Assistance(SilentReporter):
    """Reporter of a helper, which ends it with `AssistanceOver`: when the run's attempt is over, when `left` returns
    True, or after a while without anything to compute."""

    folder: RunFolder
    left: Callable[[], bool]
    attempt: int = field(init=False)
    batch_scale: float = field(init=False)
    encoded: int = 0
    _checked: float = 0.0
    _busy: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        status = self._status()
        self.attempt, self.batch_scale = status.attempt, status.batch_scale

    def advance(self, count: int = 1) -> None:
        """Count encoded images. Raises AssistanceOver."""
        self.encoded += count
        self._busy = time.monotonic()
        self._check()

    def wait(self) -> None:
        """Called while there is nothing to compute. Raises AssistanceOver."""
        self._check()
        if time.monotonic() - self._busy > IDLE_S:
            raise AssistanceOver(f"nothing was left to compute for {IDLE_S:.0f} s")

    def _check(self) -> None:
        now = time.monotonic()
        if now - self._checked < CHECK_S:
            return
        self._checked = now
        if self.left():
            raise AssistanceOver("its supervisor is gone")
        if self._status().attempt != self.attempt:
            raise AssistanceOver("another attempt has begun")

    def _status(self) -> RunStatus:
        try:
            status = read_status(self.folder, time.time())
        except FileNotFoundError:
            raise AssistanceOver("the run was removed") from None
        if status.state.final or status.cancel_requested:
            raise AssistanceOver(f"the run is {status.state}")
        return status
