"""Runs of a stage as lines: progress, time left and missing inputs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backbones.io.errors import counted
from ssl_console.operations.stages import PlannedStage
from ssl_console.planning.duration import format_duration, makespan
from ssl_console.tui.data.state import AppState
from ssl_console.tui.style.glyphs import Glyphs, bar
from ssl_console.tui.style.text import Line, Span, Tone, cut, fit, fit_middle, length, line, wrap
from ssl_console.tui.views.live import history_of, run_left_s, run_share
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_observer import RunView

BAR_WIDTH = 12
NAME_WIDTH = 28
MOST_RUNS, FEWEST_RUNS = 6, 1
"""Active runs that get a line each, with and without much room; the others are counted."""
LOW = 24
"""Lines below which there is not much room."""


@dataclass(frozen=True)
class Surroundings:
    """The app's state, the time and the glyphs with which lines are made."""

    state: AppState
    now: float
    glyphs: Glyphs
    width: int
    height: int = 40


def stage_lines(stage: PlannedStage, around: Surroundings, *, going: bool, later: Sequence[PlannedStage]) -> list[Line]:
    """The stage that is running or comes next, its runs, and those after it."""
    runs = [run for run_id in stage.active if (run := around.state.runs.get(run_id))]
    head = Span(f" {_head(stage, runs, around)}", Tone.BUSY if runs else Tone.PLAIN)
    key = Span("" if runs or stage.blockers else "  enter runs it, a runs all", Tone.KEY)
    if going:
        key = Span("  the next ones follow; a stops after this one", Tone.ACCENT)
    lines = [line(head, key)] if length((head, key)) <= around.width else [line(head), line(key)]
    most = MOST_RUNS if around.height >= LOW else FEWEST_RUNS
    lines += [_run_line(run, around) for run in runs[:most]]
    if len(runs) > most:
        lines.append(line(Span(f"   {len(runs) - most} more", Tone.DIM)))
    for item in stage.blockers:
        lines += [line(Span(f" {text}", Tone.WARN)) for text in wrap(item.advice, around.width - 2)]
    if later:
        known = [one.seconds for one in later if one.seconds is not None]
        total = f" (about {format_duration(sum(known))})" if len(known) == len(later) else ""
        text = f"later: {', '.join(one.name for one in later)}{total}"
        lines += [line(Span(f" {part}", Tone.DIM)) for part in wrap(text, around.width - 2)]
    return lines


def _head(stage: PlannedStage, runs: Sequence[RunView], around: Surroundings) -> str:
    done = sum(run.status == "done" for run in stage.runs)
    if runs:
        left = time_left(runs, around)
        time = "" if left is None else f", about {format_duration(left)} left"
        return f"now: {stage.name}, {done} of {counted(len(stage.runs), 'run')} done{time}"
    duration = "unknown duration" if stage.seconds is None else f"about {format_duration(stage.seconds)}"
    return f"next: {stage.name}, {counted(len(stage.runs) - done, 'run')}, {duration}"


def time_left(runs: Sequence[RunView], around: Surroundings) -> float | None:
    """Seconds until all of these runs have ended; None while one's duration is unknown, or the queue is paused."""
    if around.state.supervisor.paused:
        return None
    history = history_of(around.state.results)
    slots = sum(run.state is not RunState.QUEUED for run in runs)
    return makespan([run_left_s(run, history, around.now) for run in runs], slots)


def _run_line(run: RunView, around: Surroundings) -> Line:
    left = run_left_s(run, history_of(around.state.results), around.now)
    share = None if left is None else run_share(run, left, around.now)
    name = fit_middle(run.backbone, NAME_WIDTH)
    if run.state is RunState.QUEUED:
        return line(Span(f"   {name} ", Tone.DIM), Span(run.reason or "waiting", Tone.DIM))
    share = run.progress.share if share is None else share
    drawn = " " * (BAR_WIDTH + 5) if share is None else f"{bar(share, BAR_WIDTH, around.glyphs)} {share:>4.0%}"
    time = fit("" if left is None else format_duration(left), 8, "right")
    what = Span(f" {time}  {run.progress.phase or run.state.value}", Tone.DIM)
    return cut(line(f"   {name} ", Span(drawn, Tone.BUSY), what), around.width)


def failed_runs(run_ids: Sequence[str], runs: Mapping[str, RunView]) -> list[RunView]:
    """Those of the runs that ended without a result."""
    found = [runs[run_id] for run_id in run_ids if run_id in runs]
    return [run for run in found if run.state in {RunState.FAILED, RunState.CANCELLED}]
