"""Stages of a sequential evaluation: groups of runs that are executed one group after another, and their results."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ssl_console.operations.session import Session
from ssl_console.planning.duration import History, makespan
from ssl_console.planning.plan import Blocker, PlannedRun
from ssl_console.workspace.predictions import Arrays
from ssl_console.workspace.result import Result


@dataclass(frozen=True)
class PlannedStage:
    """Runs that are executed together."""

    name: str
    runs: tuple[PlannedRun, ...]
    seconds: float | None
    """Expected duration of the runs that are not done; None while it is unknown."""

    @property
    def done(self) -> bool:
        """Whether all results exist."""
        return all(run.status == "done" for run in self.runs)

    @property
    def to_run(self) -> tuple[PlannedRun, ...]:
        return tuple(run for run in self.runs if run.to_run)

    @property
    def active(self) -> tuple[str, ...]:
        """Ids of its queued or running runs."""
        return tuple(run.run_id for run in self.runs if run.status == "active" and run.run_id)

    @property
    def blockers(self) -> tuple[Blocker, ...]:
        """Reasons why runs cannot be started, each once."""
        return tuple(dict.fromkeys(item for run in self.runs for item in run.candidate.missing))

    def is_stored(self, stored: Mapping[str, Result]) -> bool:
        """Whether the database has all results: a finished run is collected a moment later."""
        return all(run.run_id in stored for run in self.runs)

    def results(self, stored: Mapping[str, Result]) -> list[Result]:
        """Results of the runs, in their order, under the planned names: equal content may be listed under others."""
        found = []
        for run in self.runs:
            candidate = run.candidate
            names = {
                "backbone": candidate.backbone.name,
                "task": candidate.task.name,
                "variant": candidate.task.variant,
            }
            found.append(stored[run.run_id or ""].model_copy(update=names))
        return found


Stage = TypeVar("Stage", bound=PlannedStage)


def next_stage(stages: Sequence[Stage]) -> Stage | None:
    """The cheapest stage without results; the first one while a duration is unknown. None when all are done."""
    left = [stage for stage in stages if not stage.done]
    known = [(stage.seconds, place) for place, stage in enumerate(left) if stage.seconds is not None]
    if left and len(known) == len(left):
        return left[min(known)[1]]
    return left[0] if left else None


def seconds_left(runs: Sequence[PlannedRun], history: History, slots: int) -> float | None:
    """Expected duration of the runs that are not done; None while nothing comparable was measured."""
    return makespan([history.seconds(run.candidate.work) for run in runs if run.status != "done"], slots)


def predictions_of(session: Session, results: Sequence[Result]) -> list[Arrays]:
    """Predictions of several runs; empty when any is missing."""
    found = [session.outputs.predictions(result.run_id) for result in results]
    return [] if any(one is None for one in found) else [one for one in found if one is not None]


def images_digest(arrays: Arrays) -> str:
    """Digest of the test images and their labels; empty for predictions without them."""
    if not {"index", "label"} <= set(arrays):
        return ""
    order = arrays["index"].argsort(kind="stable")
    ordered = (arrays["index"][order].astype("int64"), arrays["label"][order].astype("int64"))
    return hashlib.sha256(b"".join(one.tobytes() for one in ordered)).hexdigest()
