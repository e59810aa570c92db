"""Remaining time of runs and of the queue, over all phases, from the durations of finished runs. Pure."""

from __future__ import annotations

from ssl_console.planning.duration import History, Work, format_duration, makespan
from ssl_console.tui.data.runs import in_order
from ssl_console.tui.data.state import AppState
from ssl_console.tui.views import memoize_by_identity
from ssl_console.workspace.result import Result
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_observer import RunView

MOST_SHARE = 0.99
"""Maximum progress of a run that takes longer than expected."""


@memoize_by_identity
def history_of(results: tuple[Result, ...]) -> History:
    """Durations of the results of this workspace."""
    return History.of(result for result in results if result.source == "mine")


def run_left_s(run: RunView, history: History, now: float) -> float | None:
    """Seconds until the run ends, at least those of its phase; None without comparable finished runs."""
    expected = history.seconds(Work(run.backbone, run.task, run.variant, run.protocol))
    if expected is None:
        return None
    elapsed = 0.0 if run.progress.started is None else max(0.0, now - run.progress.started)
    phase = run.progress.eta_s(now) if run.state is RunState.RUNNING else None
    return max(expected - elapsed, phase or 0.0, 0.0)


def run_share(run: RunView, left: float, now: float) -> float | None:
    """Progress of the whole run; None before its start."""
    if run.progress.started is None:
        return None
    elapsed = max(0.0, now - run.progress.started)
    return min(MOST_SHARE, elapsed / (elapsed + left)) if elapsed + left > 0 else None


def queue_left_s(state: AppState, now: float) -> float | None:
    """Seconds until all runs have ended at the current parallelism; None if one's duration is unknown."""
    history = history_of(state.results)
    left = [run for run in in_order(state.runs.values()) if not run.state.final]
    slots = sum(run.state is not RunState.QUEUED for run in left)
    return makespan([run_left_s(run, history, now) for run in left], slots) if left else None


def queue_text(state: AppState, now: float) -> str:
    """`12 of 40 done, about 25 min left`; empty without queued or running runs."""
    tally = state.tally
    active = tally.running + tally.waiting
    if not active:
        return ""
    ended = tally.done + tally.failed
    left = queue_left_s(state, now)
    time = "" if left is None or state.supervisor.paused else f", about {format_duration(left)} left"
    return f"{ended} of {ended + active} ended{time}"
