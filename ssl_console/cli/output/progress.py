"""How followed runs are shown outside the terminal app: plain lines or JSON lines. `live` has the third face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

from ssl_console.cli.output import stdout
from ssl_console.operations.progress import ProgressSummary, RunProgress, activity_text, outcome_text
from ssl_console.system.errors import ExitCode
from ssl_console.workspace.run import RunState

FIRST_LINE_S = 5.0
"""Seconds between two lines of plain progress at first; the longer it takes, the rarer they become."""
LAST_LINE_S = 60.0
PACE = 1 / 20
JSON_PROGRESS_S = 1.0
OBSTACLES_SHOWN = 3


@dataclass(frozen=True)
class ProgressSnapshot:
    """What a face is shown, a few times a second."""

    now: float
    elapsed_s: float
    """Since following began."""
    changed: Sequence[RunProgress]
    standings: Sequence[RunProgress]
    overall: ProgressSummary

    @property
    def going(self) -> list[RunProgress]:
        """The runs that a worker has at the moment."""
        return [one for one in self.standings if one.state in {RunState.RUNNING, RunState.STARTING}]

    @property
    def obstacles(self) -> list[str]:
        """While nothing is going: why not, each reason once."""
        waiting = [one.reason for one in self.standings if one.state is RunState.QUEUED and one.reason]
        return [] if self.going else list(dict.fromkeys(waiting))


class ProgressView(AbstractContextManager["ProgressView"], Protocol):
    """Shows runs while they are followed."""

    def show(self, look: ProgressSnapshot) -> None:
        """Bring what is shown up to date."""
        ...


class NoProgress:
    """The part of a face that needs no preparation and leaves nothing behind."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to put away."""


@dataclass
class PlainProgress(NoProgress):
    """Lines: each run's outcome on standard output, progress now and then on standard error."""

    _next_line_s: float = FIRST_LINE_S

    def __enter__(self) -> PlainProgress:
        return self

    def show(self, look: ProgressSnapshot) -> None:
        """Print what has ended, what is tried again, and from time to time how far everything is."""
        for one in look.changed:
            if one.state.final and (one.result is not None or one.state is not RunState.DONE):
                stdout.lines([f"{one.title}: {outcome_text(one)}"])
            elif one.attempt > 1 and one.state is RunState.QUEUED:
                stdout.say(f"{one.title}: tried again ({one.reason})")
        if look.elapsed_s >= self._next_line_s and not look.overall.ended:
            pause = min(max(FIRST_LINE_S, look.elapsed_s * PACE), LAST_LINE_S)
            self._next_line_s = look.elapsed_s + pause
            stdout.say(look.overall.words)
            for one in look.going:
                stdout.say(f"  {one.title}: {activity_text(one, look.now)}")
            for reason in look.obstacles[:OBSTACLES_SHOWN]:
                stdout.say(f"  waits: {reason}")


@dataclass
class JsonProgress(NoProgress):
    """JSON lines: one for every change of a run, one a second for its progress."""

    _told: dict[str, tuple[float, str, int]] = field(default_factory=dict)

    def __enter__(self) -> JsonProgress:
        return self

    def show(self, look: ProgressSnapshot) -> None:
        """Print changes and progress."""
        for one in look.changed:
            stdout.json_line(run_line(one))
        for one in look.going:
            self._progress(one, look.now)

    def _progress(self, one: RunProgress, now: float) -> None:
        progress = one.progress
        told, phase, done = self._told.get(one.run_id, (0.0, "", -1))
        if now - told < JSON_PROGRESS_S or (phase, done) == (progress.phase, progress.done):
            return
        self._told[one.run_id] = (now, progress.phase, progress.done)
        line = {
            "event": "progress",
            "run_id": one.run_id,
            "phase": progress.phase,
            "done": progress.done,
            "total": progress.total,
            "unit": progress.unit,
            "images_per_s": progress.images_per_s,
        }
        stdout.json_line(line)


def end_line(counts: Mapping[RunState, int], exit_code: ExitCode) -> dict[str, object]:
    """The last JSON line of `run`."""
    return {"event": "end", "counts": {state.value: counts.get(state, 0) for state in RunState}, "exit_code": exit_code}


def run_line(one: RunProgress) -> dict[str, object]:
    """A run's state as a JSON line."""
    result = one.result
    return {
        "event": "run",
        "run_id": one.run_id,
        "backbone": one.work.backbone,
        "task": one.work.task,
        "seed": one.seed,
        "state": one.state.value,
        "attempt": one.attempt,
        "kind": one.kind,
        "reason": one.reason,
        "value": result.value if result else None,
        "ci_low": result.ci_low if result else None,
        "ci_high": result.ci_high if result else None,
    }
