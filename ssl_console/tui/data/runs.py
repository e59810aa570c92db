"""Runs for display: order, filter subjects and counts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ssl_console.analysis.filter_query import Filterable, Value
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_observer import RunView

Runs = Mapping[str, RunView]
"""Runs by id."""

ORDER: Mapping[RunState, int] = {
    RunState.RUNNING: 0,
    RunState.STARTING: 1,
    RunState.QUEUED: 2,
    RunState.FAILED: 3,
    RunState.CANCELLED: 4,
    RunState.DONE: 5,
}


def filterable(run: RunView) -> Filterable:
    """The words and fields that a filter of runs is matched against."""
    fields: dict[str, Value] = {
        "run": run.run_id,
        "backbone": run.backbone,
        "task": run.task,
        "seed": run.seed,
        "state": run.state.value,
        "kind": run.status.kind,
        "device": run.places or None,
        "job": run.job.place if run.job else None,
        "phase": run.progress.phase or None,
    }
    return Filterable(f"{run.backbone} {run.task} {run.run_id}", fields)


def changed(runs: Runs, updates: Iterable[RunView], gone: Iterable[str] = ()) -> Runs:
    """The runs after a poll of the files."""
    lost = set(gone)
    remaining = {run_id: run for run_id, run in runs.items() if run_id not in lost}
    return {**remaining, **{run.run_id: run for run in updates}}


def in_order(runs: Iterable[RunView]) -> list[RunView]:
    """Running ones first, then queued ones in the order of their start, then ended ones, newest first."""
    return sorted(runs, key=_order)


def _order(run: RunView) -> tuple[int, float, float, str]:
    group = min(ORDER[run.state], 3)
    if run.state.final:
        return group, 0.0, -(run.status.ended or run.created), run.run_id
    return group, -run.priority if run.state is RunState.QUEUED else 0.0, run.created, run.run_id


@dataclass(frozen=True)
class Tally:
    """Number of runs in each state."""

    running: int = 0
    waiting: int = 0
    failed: int = 0
    done: int = 0

    @classmethod
    def of(cls, runs: Iterable[RunView]) -> Tally:
        """Counts of these runs."""
        states = [run.state for run in runs]
        return cls(
            running=states.count(RunState.RUNNING) + states.count(RunState.STARTING),
            waiting=states.count(RunState.QUEUED),
            failed=states.count(RunState.FAILED),
            done=states.count(RunState.DONE),
        )

    @property
    def text(self) -> str:
        """`2 running, 5 waiting, 1 failed`, without zero counts."""
        counts = ((self.running, "running"), (self.waiting, "waiting"), (self.failed, "failed"), (self.done, "done"))
        return ", ".join(f"{count} {word}" for count, word in counts if count) or "no runs"
