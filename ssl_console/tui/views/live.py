"""Runs as rows with their remaining time, and details, curve, events and devices as lines and charts. Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from backbones.io.errors import counted
from ssl_console.analysis.filter_query import parse
from ssl_console.planning.duration import History, Work, format_duration, makespan
from ssl_console.tui.data.backend import EventLine
from ssl_console.tui.data.state import AppState, Runs, filterable, in_order
from ssl_console.tui.style.glyphs import Glyphs, bar
from ssl_console.tui.style.text import Cell, Line, Span, Tone, line, wrap
from ssl_console.tui.views import memoize_by_identity
from ssl_console.tui.views.ranking_query import badged_by_run
from ssl_console.tui.widgets.table_model import Column, TableModel
from ssl_console.workspace.badges import marks
from ssl_console.workspace.result import Result
from ssl_console.workspace.run import RunState
from ssl_console.workspace.run_observer import RunView
from ssl_console.workspace.run_status import PAUSED

SILENT_S = 120.0
"""Seconds without an event after which a running run is flagged as silent."""
BAR_WIDTH = 10
SCORE_WIDTH = 13
NARROW_PROGRESS = 13
"""Width of the progress on screens narrower than `WIDE_ENOUGH`."""
WIDE_ENOUGH = 90
"""Width from which long names of tasks get a part of the remaining space; below it, they get all of it."""
GIGABYTE = 1024.0
BEFORE_COMMAND = re.compile(r"[\s:;,(]*(run|see)?\s*$")
"""Words that introduce a command at the end of a text."""

TONES: Mapping[RunState, Tone] = {
    RunState.QUEUED: Tone.DIM,
    RunState.STARTING: Tone.BUSY,
    RunState.RUNNING: Tone.BUSY,
    RunState.DONE: Tone.GOOD,
    RunState.FAILED: Tone.BAD,
    RunState.CANCELLED: Tone.DIM,
}
MOST_SHARE = 0.99
"""Maximum progress of a run that takes longer than expected."""


@dataclass(frozen=True)
class RunList:
    """The runs shown, and the data for their cells."""

    runs: Runs
    results: Mapping[str, Result]
    """By run."""
    now: float
    glyphs: Glyphs
    history: History
    marked: frozenset[str] = frozenset()
    """Runs whose curves are overlaid."""
    note_room: int = 0
    """Visible width of a note while the table is not scrolled."""
    narrow: bool = False
    """Shorter bars and words."""

    @classmethod
    def of(
        cls, state: AppState, text: str, *, finished: bool, now: float, glyphs: Glyphs, marked: Iterable[str] = ()
    ) -> RunList:
        """The runs that match a filter."""
        terms = parse(text)
        shown = (run for run in state.runs.values() if finished or not run.state.final)
        ordered = in_order(run for run in shown if terms.matches(filterable(run)))
        runs, results = {run.run_id: run for run in ordered}, badged_by_run(state.results, state.catalogue)
        return cls(runs, results, now, glyphs, history_of(state.results), frozenset(marked))

    def rows(self, width: int) -> TableModel:
        """As a table for a screen of `width` cells."""
        names = max((len(run.backbone) for run in self.runs.values()), default=8)
        places = max((len(run.places) for run in self.runs.values()), default=7)
        tasks = max((len(run.task) for run in self.runs.values()), default=8)
        seeds = (Column("seed", "seed", 4, "right"),) if any(run.seed for run in self.runs.values()) else ()
        running = any(run.state is RunState.RUNNING for run in self.runs.values())
        narrow = width < WIDE_ENOUGH
        name = Column("run", "  backbone", max(12, min(names + 2, width // 4)), name=True)
        numbers = (
            *seeds,
            Column("progress", "progress", NARROW_PROGRESS if narrow else BAR_WIDTH + 5),
            *((Column("left", "left", 7, "right"),) if running or not narrow else ()),
            Column("score", "score", SCORE_WIDTH, "right"),
        )
        further = (
            Column("speed", "img/s", 6, "right"),
            Column("device", "device", max(7, min(places, 16))),
            Column("note", "", max(20, width)),
        )
        left = width - _cells((name, *numbers)) - 2  # its gap and the scrollbar
        room = left if narrow else width // 5 + (width - WIDE_ENOUGH) // 2
        columns = (name, Column("task", "task", max(8, min(tasks, room)), name=True), *numbers, *further)
        shown = replace(self, note_room=width - _cells(columns[:-1]) - 1, narrow=narrow)
        return TableModel(
            columns, list(self.runs), lambda run_id, column: _CELLS[column.key](shown, shown.runs[run_id])
        )

    def _name(self, run: RunView) -> Cell:
        tone = Tone.PLAIN if run.state is RunState.DONE else TONES[run.state]
        sign, mark = getattr(self.glyphs, run.state.value), self.glyphs.ticked if run.run_id in self.marked else " "
        return Cell(f"{sign}{mark}{run.backbone}", Tone.ACCENT if mark.strip() else tone)

    def _speed(self, run: RunView) -> Cell:
        speed = run.progress.images_per_s if run.state is RunState.RUNNING else None
        return Cell("" if speed is None else f"{speed:,.0f}", Tone.DIM)

    def _note(self, run: RunView) -> Cell:
        note = uncut_note(_note(run, self.now), self.note_room)
        return Cell(note, Tone.WARN if _silent(run, self.now) else Tone.DIM)

    def _progress(self, run: RunView) -> Cell:
        if run.state is RunState.RUNNING:
            left = run_left_s(run, self.history, self.now)
            share = run.progress.share if left is None else run_share(run, left, self.now)
            if share is None:
                return Cell(run.progress.phase or "running", Tone.BUSY)
            cells = NARROW_PROGRESS - 5 if self.narrow else BAR_WIDTH
            return Cell(f"{bar(share, cells, self.glyphs)} {share:>4.0%}", Tone.BUSY)
        if run.state is RunState.FAILED:
            return Cell(f"failed: {run.status.kind}" if run.status.kind else "failed", Tone.BAD)
        result = self.results.get(run.run_id)
        if result is not None:
            done = f"done {'' if self.narrow else 'in '}{_short(result.duration_s)}"
            return Cell("imported" if result.origin else done, Tone.GOOD)
        word = "waiting" if run.state is RunState.QUEUED else run.state.value
        return Cell(word, TONES[run.state])

    def _left(self, run: RunView) -> Cell:
        if run.state is not RunState.RUNNING:
            return Cell("")
        left, at_least = run_left_s(run, self.history, self.now), ""
        if left is None:  # no run like it has finished: that of the phase alone
            left, at_least = run.progress.eta_s(run.progress.last_event or 0.0), "+"
        return Cell("" if left is None else f"{_short(left)}{at_least}", Tone.DIM)

    def _score(self, run: RunView) -> Cell:
        result = self.results.get(run.run_id)
        if result is not None:
            return Cell(f"{result.value:.1f}{marks(result.badges)}", bold=True)
        # the metric that is plotted first, which need not be the headline
        name, curve = next(iter(run.progress.metrics.items()), ("", None))
        latest = curve.latest if curve is not None and run.state is RunState.RUNNING else None
        return Cell("" if latest is None else f"{name} {latest:.4g}", Tone.DIM)


def _cells(columns: Iterable[Column]) -> int:
    """Cells of columns, each with the gap behind it."""
    return sum(column.width + 1 for column in columns)


_CELLS: Mapping[str, Callable[[RunList, RunView], Cell]] = {
    "run": RunList._name,
    "task": lambda _, run: Cell(run.task),
    "seed": lambda _, run: Cell(str(run.seed), Tone.DIM),
    "progress": RunList._progress,
    "left": RunList._left,
    "score": RunList._score,
    "speed": RunList._speed,
    "device": lambda _, run: Cell(run.places, Tone.DIM),
    "note": RunList._note,
}


def summary(state: AppState, now: float, width: int, *, filtered: bool, finished: bool, marked: int = 0) -> Line:
    """The line above the runs; below `WIDE_ENOUGH` cells, active runs are only counted in the line at the top."""
    tally, queue = state.tally, queue_text(state, now)
    shown = tally if width >= WIDE_ENOUGH or not tally.failed + tally.done else replace(tally, running=0, waiting=0)
    spans = [Span(f" {shown.text}", Tone.DIM)]
    if state.problem:
        spans.append(Span(f"  {state.problem}", Tone.BAD))
    if queue:
        spans.append(Span(f"  {queue}", Tone.BUSY))
    if not state.supervisor.alive and (tally.waiting or tally.running):
        spans.append(Span("  no supervisor", Tone.WARN))
    if state.supervisor.paused:
        spans.append(Span("  paused: no further run is started", Tone.WARN))
    if filtered:
        spans.append(Span("  filtered", Tone.ACCENT))
    if not finished:
        spans.append(Span("  finished runs hidden", Tone.ACCENT))
    if marked:
        spans.append(Span(f"  {marked} marked", Tone.ACCENT))
    return tuple(spans)


# -- one run --------------------------------------------------------------------------------------------------------


def details(run: RunView, result: Result | None, now: float, width: int) -> list[Line]:
    """Details of a run: its facts, why it waits or has ended, its warnings, and the end of the log of a failed run."""
    head = line(
        Span(f" {run.state.value}", TONES[run.state]), Span(f" {run.status.kind}" if run.status.kind else "", Tone.BAD)
    )
    lines = [head, *(line(Span(f" {name:<9}", Tone.DIM), value) for name, value in _facts(run, result, now))]
    lines += [line(Span(f" {text}", Tone.WARN)) for text in wrap(run.reason, width - 2) if run.reason]
    if warnings := run.progress.warnings:
        count = run.progress.warning_count
        title = "1 warning:" if count == 1 else f"{count:,} warnings, the last:"
        lines += [(), line(Span(f" {title}", Tone.WARN))]
        lines += [line(f"   {text}") for warning in warnings[-3:] for text in wrap(warning, width - 4)]
    if run.state is RunState.FAILED and run.status.end is not None:
        lines += [line(Span(f"   {text}", Tone.DIM)) for text in run.status.end.log_tail]
    return lines


def _facts(run: RunView, result: Result | None, now: float) -> list[tuple[str, str]]:
    """Names and values of a run's facts, without those that are unknown."""
    progress = run.progress
    pairs: list[tuple[str, str]] = [("run", f"{run.run_id}   seed {run.seed}   attempt {max(1, run.status.attempt)}")]
    pairs.append(("queued", _when(run.created)))
    if progress.started is not None:
        end = run.status.ended or (now if not run.state.final else progress.last_event) or now
        pairs.append(("started", f"{_when(progress.started)}   {format_duration(max(0.0, end - progress.started))}"))
    if run.helpers:
        pairs.append(("devices", f"{run.places} ({counted(len(run.helpers), 'helper')})"))
    if run.job:
        pairs.append(("job", run.job.place))
    if run.priority:
        pairs.append(("priority", f"{run.priority:+d}"))
    if progress.phase and not run.state.final:
        pairs.append(("phase", _phase(run)))
    if progress.memory_mb or progress.device_memory_mb:
        pairs.append(("memory", _memory(run)))
    if result is not None:
        pairs.append(("score", f"{result.value:.2f} [{result.ci_low:.2f}, {result.ci_high:.2f}] {result.metric}"))
        pairs += [("origin", result.origin)] if result.origin else []
    return pairs


def event_lines(events: Sequence[EventLine]) -> list[Line]:
    """Formatted events, newest last."""
    tones = {"warning": Tone.WARN, "ended": Tone.STRONG, "phase": Tone.ACCENT, "started": Tone.STRONG}
    lines = []
    for event in events:
        clock = Span(f" {time.strftime('%H:%M:%S', time.localtime(event.time))} ", Tone.DIM)
        lines.append(line(clock, Span(f"{event.kind:<10}", tones.get(event.kind, Tone.DIM)), event.text))
    return lines or [line(Span(" no events yet", Tone.DIM))]


def _silent(run: RunView, now: float) -> bool:
    last = run.progress.last_event
    return run.state is RunState.RUNNING and last is not None and now - last > SILENT_S


def _note(run: RunView, now: float) -> str:
    if _silent(run, now):
        silence = (now - (run.progress.last_event or now)) // 30 * 30
        return f"silent for {format_duration(silence)}: D writes its stacks to the log"
    if run.state is RunState.RUNNING:
        return run.reason or _phase(run)
    return "paused: p resumes" if run.reason == PAUSED else run.reason


def uncut_note(note: str, room: int) -> str:
    """The note; one whose command would be truncated ends before the command, which the details contain."""
    start = note.find("`")
    if start < 0 or len(note) <= room or note.find("`", start + 1) < room:
        return note
    return f"{BEFORE_COMMAND.sub('', note[:start])}: see details"


def _phase(run: RunView) -> str:
    progress = run.progress
    done = f" {progress.done:,}/{progress.total:,} {progress.unit}".rstrip() if progress.total else ""
    return f"{progress.phase}{done}"


def _memory(run: RunView) -> str:
    device, host = run.progress.device_memory_mb, run.progress.memory_mb
    parts = [
        f"{device / GIGABYTE:.1f} GB on the device" if device else None,
        f"{host / GIGABYTE:.1f} GB on the host" if host else None,
    ]
    return ", ".join(part for part in parts if part)


def _short(seconds: float) -> str:
    return format_duration(seconds).replace(" min", "m").replace(" s", "s").replace(" h ", "h").replace(" d ", "d")


def _when(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


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
