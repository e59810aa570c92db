"""A run as screens know it, and how a list of them is kept up to date. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ssl_console.tui.data.filter_query import Filterable, Value
from ssl_console.workspace.events import Progress
from ssl_console.workspace.run import RunState


@dataclass(frozen=True)
class RunView:
    """One run, as far as the newest look at its files told."""

    run_id: str
    backbone: str
    task: str
    seed: int
    created: float
    state: RunState
    variant: str = "default"
    priority: int = 0
    attempt: int = 0
    kind: str = ""
    """Failure kind."""
    reason: str = ""
    """Why it waits, or why it failed."""
    progress: Progress = field(default_factory=Progress)
    finished: float | None = None
    log_tail: tuple[str, ...] = ()
    pid: int | None = None
    device: str = ""
    job: str = ""
    """The cluster's job: its number, node and partition."""

    @property
    def subject(self) -> Filterable:
        """What filters look at."""
        fields: dict[str, Value] = {
            "run": self.run_id,
            "backbone": self.backbone,
            "task": self.task,
            "seed": self.seed,
            "state": self.state.value,
            "kind": self.kind or None,
            "device": self.device or None,
            "job": self.job or None,
            "phase": self.progress.phase or None,
        }
        return Filterable(f"{self.backbone} {self.task} {self.run_id}", fields)


Runs = Mapping[str, RunView]

ORDER: Mapping[RunState, int] = {
    RunState.RUNNING: 0,
    RunState.STARTING: 1,
    RunState.QUEUED: 2,
    RunState.FAILED: 3,
    RunState.CANCELLED: 4,
    RunState.DONE: 5,
}


def changed(runs: Runs, news: Iterable[RunView], gone: Iterable[str] = ()) -> Runs:
    """The runs after a look at the files."""
    lost = set(gone)
    kept = {run_id: run for run_id, run in runs.items() if run_id not in lost}
    return {**kept, **{run.run_id: run for run in news}}


def in_order(runs: Iterable[RunView]) -> list[RunView]:
    """Running first, then what waits (in the order it will start), then the newest of what has ended."""
    return sorted(runs, key=_order)


def _order(run: RunView) -> tuple[int, float, float, str]:
    place = min(ORDER[run.state], 3)
    if run.state.final:
        return place, 0.0, -(run.finished or run.created), run.run_id
    return place, -run.priority if run.state is RunState.QUEUED else 0.0, run.created, run.run_id


@dataclass(frozen=True)
class Tally:
    """How many runs are in which state."""

    running: int = 0
    waiting: int = 0
    failed: int = 0
    cancelled: int = 0
    done: int = 0

    @classmethod
    def of(cls, runs: Iterable[RunView]) -> Tally:
        """Count them."""
        states = [run.state for run in runs]
        return cls(
            running=states.count(RunState.RUNNING) + states.count(RunState.STARTING),
            waiting=states.count(RunState.QUEUED),
            failed=states.count(RunState.FAILED),
            cancelled=states.count(RunState.CANCELLED),
            done=states.count(RunState.DONE),
        )

    @property
    def in_words(self) -> str:
        """`2 running, 5 waiting, 1 failed`; what there is none of is left out."""
        counts = ((self.running, "running"), (self.waiting, "waiting"), (self.failed, "failed"), (self.done, "done"))
        return ", ".join(f"{count} {word}" for count, word in counts if count) or "no runs"
