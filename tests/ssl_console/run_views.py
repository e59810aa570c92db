"""Runs as shown by the front ends, created without files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ssl_console.workspace.paths import RunFolder
from ssl_console.workspace.run import End, FailureKind, Placement, RunState
from ssl_console.workspace.run_observer import RunView
from ssl_console.workspace.run_status import RunStatus

ENDED = {RunState.FAILED: "failed", RunState.CANCELLED: "cancelled"}


def run_view(
    run_id: str,
    state: RunState,
    *,
    kind: FailureKind | None = None,
    reason: str = "",
    attempt: int = 1,
    priority: int = 0,
    **others: Any,
) -> RunView:
    """A run of backbone `a` on `linear/x` with seed 0, with `others` (fields of RunView) replaced."""
    end = (
        End(attempt=attempt, state=ENDED[state], kind=kind, ended=others.get("created", 0.0))
        if state in ENDED
        else None
    )
    task = others.pop("task", "linear/x")
    status = RunStatus(state, reason, attempt, end=end)
    about = {"backbone": "a", "variant": "default", "seed": 0, "created": 0.0, **others}
    return RunView(
        folder=RunFolder(Path("/nowhere/runs"), run_id),
        task=task,
        protocol=task.partition("/")[0],
        submitted_priority=priority,
        submitted_placement=Placement(),
        status=status,
        **about,
    )
