"""From a plan to queued runs: each run's folder appears once, whoever submits the same work at the same time."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ssl_console.planning.plan import PlannedRun
from ssl_console.workspace.paths import Workspace
from ssl_console.workspace.requests import NotPossible, request_retry, set_priority, submit
from ssl_console.workspace.run import Placement, RunSpec

ANYWHERE = Placement()

How = Literal["queued", "queued again", "queued already"]


@dataclass(frozen=True)
class Submitted:
    """What a submission did."""

    hows: dict[str, How]
    """By run id, in the order of submission."""

    @property
    def run_ids(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(self.hows)

    @property
    def counts(self) -> Counter[How]:
        """How many of each."""
        return Counter(self.hows.values())


def submit_runs(
    workspace: Workspace, runs: Iterable[PlannedRun], placement: Placement = ANYWHERE, *, in_order: bool = False
) -> Submitted:
    """Queue every planned run; one that is queued, or was queued by another console meanwhile, stays one run.

    With `in_order` they start in this order, by their priorities. Raises OSError when the workspace cannot be written;
    what was queued before that stays queued.
    """
    workspace.create()
    known = [run for run in runs if run.run_id is not None]
    priorities = range(len(known) - 1, -1, -1) if in_order else [0] * len(known)
    hows = {
        run.run_id: _submit(workspace, run, placement, priority)
        for run, priority in zip(known, priorities, strict=True)
        if run.run_id is not None
    }
    return Submitted(hows)


def spec_of(run: PlannedRun, placement: Placement = ANYWHERE, priority: int = 0) -> RunSpec:
    """The specification that travels to the worker."""
    assert run.run_id is not None
    candidate = run.candidate
    return RunSpec(
        run_id=run.run_id,
        key=candidate.key,
        backbone=candidate.backbone,
        task=candidate.task,
        dataset=candidate.dataset,
        seed=candidate.seed,
        precision=candidate.precision,
        priority=priority,
        launcher=placement.launcher,
        devices=placement.devices,
        concerns=candidate.concerns,
    )


def _submit(workspace: Workspace, run: PlannedRun, placement: Placement, priority: int) -> How:
    assert run.run_id is not None
    if not workspace.run(run.run_id).path.exists():
        try:
            submit(workspace, run.run_id, spec_of(run, placement, priority).model_dump_json(indent=2).encode())
        except OSError as error:
            if error.errno not in {None, errno.EEXIST, errno.ENOTEMPTY}:
                raise
        else:
            return "queued"
    try:
        request_retry(workspace, run.run_id, placement=placement)
        if priority:
            set_priority(workspace, run.run_id, priority)
    except NotPossible:
        return "queued already"
    return "queued again"
