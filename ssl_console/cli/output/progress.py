"""Progress of followed runs on the command line: plain lines, JSON lines, and the texts shared by all views."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

from ssl_console.cli.output import stdout
from ssl_console.operations.progress import ProgressSnapshot, ProgressSummary
from ssl_console.planning.duration import format_duration
from ssl_console.system.errors import ExitCode
from ssl_console.workspace.badges import half_widths, marks
from ssl_console.workspace.result import Result, RunScore
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_observer import RunView

FIRST_LINE_S = 5.0
"""Initial interval in seconds between two lines of plain progress; it grows with the elapsed time."""
LAST_LINE_S = 60.0
PACE = 1 / 20
JSON_PROGRESS_S = 1.0
OBSTACLES_SHOWN = 3


class ProgressView(AbstractContextManager["ProgressView"], Protocol):
    """Display of followed runs."""

    def show(self, snapshot: ProgressSnapshot) -> None:
        """Update the display."""
        ...


class NoCleanup:
    """Context of a view that needs no cleanup."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass
class PlainProgress(NoCleanup):
    """Plain lines: each run's outcome on standard output, periodic progress on standard error."""

    _next_line_s: float = FIRST_LINE_S

    def __enter__(self) -> PlainProgress:
        return self

    def show(self, snapshot: ProgressSnapshot) -> None:
        """Print ended and retried runs, and periodically the overall progress."""
        for run in snapshot.ended:
            stdout.lines([f"{title(run)}: {outcome_text(run, snapshot.results.get(run.run_id))}"])
        for run in snapshot.changed:
            if run.status.attempt > 1 and run.state is RunState.QUEUED:
                stdout.say(f"{title(run)}: retried ({run.reason})")
        if snapshot.elapsed_s >= self._next_line_s and not snapshot.summary.ended:
            self._next_line_s = snapshot.elapsed_s + min(max(FIRST_LINE_S, snapshot.elapsed_s * PACE), LAST_LINE_S)
            stdout.say(summary_text(snapshot.summary))
            for run in snapshot.active:
                stdout.say(f"  {title(run)}: {activity_text(run, snapshot.now)}")
            for reason in snapshot.obstacles[:OBSTACLES_SHOWN]:
                stdout.say(f"  waiting: {reason}")


@dataclass
class JsonProgress(NoCleanup):
    """JSON lines: one per change of a run, and one per second for its progress."""

    _written: dict[str, tuple[float, str, int]] = field(default_factory=dict)
    """Time, phase and count of each run's last progress line."""

    def __enter__(self) -> JsonProgress:
        return self

    def show(self, snapshot: ProgressSnapshot) -> None:
        for run in snapshot.changed:
            stdout.json_line(run_line(run, snapshot.results.get(run.run_id)))
        for run in snapshot.active:
            self._progress(run, snapshot.now)

    def _progress(self, run: RunView, now: float) -> None:
        progress = run.progress
        written, phase, done = self._written.get(run.run_id, (0.0, "", -1))
        if now - written < JSON_PROGRESS_S or (phase, done) == (progress.phase, progress.done):
            return
        self._written[run.run_id] = (now, progress.phase, progress.done)
        line = {
            "event": "progress",
            "run_id": run.run_id,
            "phase": progress.phase,
            "done": progress.done,
            "total": progress.total,
            "unit": progress.unit,
            "images_per_s": progress.images_per_s,
            "helpers": list(run.helpers),
        }
        stdout.json_line(line)


def end_line(counts: Mapping[RunState, int], exit_code: ExitCode) -> dict[str, object]:
    """Last JSON line of `run`."""
    return {"event": "end", "counts": {state.value: counts.get(state, 0) for state in RunState}, "exit_code": exit_code}


def run_line(run: RunView, result: Result | None) -> dict[str, object]:
    """State of a run as a JSON line."""
    return {
        "event": "run",
        "run_id": run.run_id,
        "backbone": run.backbone,
        "task": run.task,
        "seed": run.seed,
        "state": run.state.value,
        "attempt": run.status.attempt,
        "kind": run.status.kind,
        "reason": run.reason,
        "value": result.value if result else None,
        "ci_low": result.ci_low if result else None,
        "ci_high": result.ci_high if result else None,
        "badges": list(result.badges) if result else [],
    }


def title(run: RunView) -> str:
    """`backbone on task`, with the seed unless it is 0."""
    return f"{run.backbone} on {run.task}" + (f", seed {run.seed}" if run.seed else "")


def summary_text(summary: ProgressSummary) -> str:
    """`12 of 60 finished (1 failed), 2 running, 46 queued, about 3 min left`."""
    counts = summary.counts
    failed = ", ".join(f"{counts[s]} {s}" for s in (RunState.FAILED, RunState.CANCELLED) if counts.get(s))
    words = [f"{summary.finished} of {summary.total} finished" + (f" ({failed})" if failed else "")]
    words += [f"{counts[s]} {s}" for s in (RunState.RUNNING, RunState.STARTING, RunState.QUEUED) if counts.get(s)]
    words += [f"{summary.removed} removed"] if summary.removed else []
    if summary.left_s is not None and not summary.ended:
        words.append(f"about {format_duration(summary.left_s)} left")
    return ", ".join(words)


def activity_text(run: RunView, now: float) -> str:
    """Current activity of a run: `extracting train 512/1,347 images, 118 images/s, 7 s left`."""
    progress = run.progress
    if run.state is not RunState.RUNNING:
        return run.reason or run.state.value
    words = [progress.phase or "running"]
    if progress.total:
        words[0] += f" {progress.done:,}/{progress.total:,} {progress.unit}".rstrip()
    if progress.images_per_s:
        words.append(f"{progress.images_per_s:.0f} images/s")
    left = progress.eta_s(now)
    if left is not None and left >= 1:
        words.append(f"{format_duration(math.ceil(left))} left")
    if run.helpers:
        words.append(f"on {run.places}")
    elif run.job is not None:
        words.append(f"on {run.job.node}, job {run.job.job_id}")
    return ", ".join(words)


def outcome_text(run: RunView, result: Result | RunScore | None) -> str:
    """Outcome of an ended run in one sentence: its score with its interval, or its failure."""
    if run.state is RunState.DONE:
        if result is None:
            return "done"
        origin = f", from {result.origin}" if result.origin else ""
        interval = half_widths(result.value, result.ci_low, result.ci_high)
        return f"{result.value:.1f}{marks(result.badges)} {interval} ({format_duration(result.duration_s)}){origin}"
    kind = f" ({run.status.kind})" if run.status.kind else ""
    return f"{run.state}{kind}: {run.reason}" if run.reason else f"{run.state}{kind}"
