"""Progress in a terminal: finished runs scroll up, active ones and the summary are redrawn below.

Untrusted text is wrapped in `Text`, never parsed as markup.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ssl_console.cli.output.progress import activity_text, outcome_text, summary_text, title
from ssl_console.operations.checkpoints.record import TransferCurve, TransferPoint, WatchedTraining
from ssl_console.operations.progress import ProgressSnapshot, elapsed_s
from ssl_console.planning.duration import format_duration
from ssl_console.system.safe_text import printable
from ssl_console.tui.style import glyphs
from ssl_console.tui.views.training import chart_of
from ssl_console.tui.widgets.plot import draw
from ssl_console.workspace.run import RunState

SHOWN = 10
"""Maximum number of active runs shown."""
WAITING_SHOWN = 3
BAR_COLUMNS = 18
STYLES = {RunState.DONE: "green", RunState.FAILED: "red", RunState.CANCELLED: "yellow"}
MARKS = {RunState.DONE: "✓", RunState.FAILED: "✗", RunState.CANCELLED: "⊘"}


@dataclass
class LiveProgress:
    """Redraws a few lines at the bottom of the terminal, on standard error."""

    console: Console = field(default_factory=lambda: Console(stderr=True, markup=False, highlight=False, emoji=False))
    _live: Live | None = None

    def __enter__(self) -> LiveProgress:
        self._live = Live(console=self.console, auto_refresh=False, transient=True, redirect_stdout=False)
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def show(self, snapshot: ProgressSnapshot) -> None:
        """Print the runs that have ended and redraw the others."""
        assert self._live is not None
        for run in snapshot.ended:
            mark = Text(f"{MARKS[run.state]} ", style=STYLES[run.state])
            words = printable(f"{title(run)}: {outcome_text(run, snapshot.results.get(run.run_id))}")
            self.console.print(mark.append(words, style="" if run.state is RunState.DONE else STYLES[run.state]))
        self._live.update(redrawn_part(snapshot), refresh=True)


def redrawn_part(snapshot: ProgressSnapshot) -> RenderableType:
    """Active runs, waiting reasons of the next ones, and the summary."""
    active = Table.grid(padding=(0, 2))
    for run in snapshot.active[:SHOWN]:
        active.add_row(
            Text(printable(title(run)), no_wrap=True),
            ProgressBar(total=1.0, completed=run.progress.share or 0.0, width=BAR_COLUMNS),
            Text(printable(activity_text(run, snapshot.now)), style="dim", no_wrap=True),
            Text(format_duration(elapsed_s(run, snapshot.now)), style="dim", no_wrap=True),
        )
    summary, whole = snapshot.summary, Table.grid(padding=(0, 2))
    whole.add_row(
        ProgressBar(total=max(1, summary.total), completed=summary.finished, width=BAR_COLUMNS),
        Text(f"{summary_text(summary)}  ({format_duration(snapshot.elapsed_s)})"),
    )
    return Group(active, *_waiting(snapshot), whole)


def _waiting(snapshot: ProgressSnapshot) -> list[Text]:
    """The first queued runs with a waiting reason."""
    lines = [printable(f"{title(run)} waits: {run.reason}") for run in snapshot.queued[:WAITING_SHOWN]]
    return [Text(line, style="dim", no_wrap=True) for line in lines]


CHART_LINES = 16
CURVES_SHOWN = 5
CURVE_STYLES = ("cyan", "magenta", "yellow", "green", "blue", "red")


@dataclass
class LiveCurve:
    """Redraws the chart, the newest checkpoints and the verdict."""

    live: Live
    console: Console

    def show(self, training: WatchedTraining, curve: TransferCurve) -> None:
        width = min(100, self.console.width)
        lines = draw(chart_of(curve), width, CHART_LINES, glyphs.choose(None))
        chart = [Text.assemble(*((text, _style(ink)) for text, ink in line), no_wrap=True) for line in lines]
        waiting = sum(one.status in {"taken", "queued"} for one in training.checkpoints)
        newest = [Text(printable(point_line(point, curve)), no_wrap=True) for point in curve.points[-CURVES_SHOWN:]]
        state = Text(f"{len(curve.points)} measured, {waiting} active: {curve.verdict}", style="bold")
        improvement = [Text(curve.improvement)] if curve.improvement else []
        self.live.update(Group(*chart, *newest, state, *improvement), refresh=True)


@contextmanager
def live_curve() -> Iterator[LiveCurve]:
    """Live display during a watch."""
    console = Console(markup=False, highlight=False, emoji=False)
    with Live(console=console, auto_refresh=False) as live:
        yield LiveCurve(live, console)


def _style(ink: int) -> str:
    return CURVE_STYLES[ink % len(CURVE_STYLES)] if ink >= 0 else "dim"


def point_line(point: TransferPoint, curve: TransferCurve) -> str:
    """`step 1,200: 57.1 (knn/digits 84.2, knn/shapes 30.1), above demo/rotation`."""
    scores = ", ".join(f"{task} {score:.1f}" for task, score in point.scores.items())
    below = [name for name, mean in curve.references.items() if mean < point.mean]
    beaten = f", above {below[0]}" if below else ""
    return f"{curve.unit} {point.step:,}: {point.mean:.1f} ({scores}){beaten}"
