"""The face for a terminal: finished runs scroll away above, those going on and the whole are redrawn below.

Everything from outside is put into `Text`, never into markup.
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

from ssl_console.cli.output.progress import ProgressSnapshot
from ssl_console.operations.checkpoints.record import TransferCurve, TransferPoint, WatchedTraining
from ssl_console.operations.progress import RunProgress, activity_text, elapsed_s, outcome_text
from ssl_console.planning.duration import format_duration
from ssl_console.system.safe_text import printable
from ssl_console.tui.style import glyphs
from ssl_console.tui.views.checkpoints import chart_of
from ssl_console.tui.widgets.plot import draw
from ssl_console.workspace.run import RunState

SHOWN = 10
"""Runs that are shown going on; there are as many as there are slots."""
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

    def show(self, look: ProgressSnapshot) -> None:
        """Print what has ended and redraw the rest."""
        assert self._live is not None
        for one in look.changed:
            if one.state.final and (one.result is not None or one.state is not RunState.DONE):
                self.console.print(ended_line(one))
        self._live.update(below(look), refresh=True)


def ended_line(one: RunProgress) -> Text:
    """A finished run, for the scrollback."""
    state = one.state
    line = Text(f"{MARKS[state]} ", style=STYLES[state])
    return line.append(
        printable(f"{one.title}: {outcome_text(one)}"), style="" if state is RunState.DONE else STYLES[state]
    )


def below(look: ProgressSnapshot) -> RenderableType:
    """What is redrawn: the runs going on, why the next ones wait, and all of them together."""
    going = Table.grid(padding=(0, 2))
    for one in look.going[:SHOWN]:
        going.add_row(
            Text(printable(one.title), no_wrap=True),
            ProgressBar(total=1.0, completed=one.progress.share or 0.0, width=BAR_COLUMNS),
            Text(printable(activity_text(one, look.now)), style="dim", no_wrap=True),
            Text(format_duration(elapsed_s(one, look.now)), style="dim", no_wrap=True),
        )
    whole = Table.grid(padding=(0, 2))
    whole.add_row(
        ProgressBar(total=max(1, look.overall.total), completed=look.overall.finished, width=BAR_COLUMNS),
        Text(f"{look.overall.words}  ({format_duration(look.elapsed_s)})"),
    )
    return Group(going, *_waiting(look), whole)


def _waiting(look: ProgressSnapshot) -> list[Text]:
    """Runs that have to wait for something worth saying."""
    waiting = [one for one in look.standings if one.state is RunState.QUEUED and one.reason]
    lines = [printable(f"{one.title} waits: {one.reason}") for one in waiting[:WAITING_SHOWN]]
    return [Text(line, style="dim", no_wrap=True) for line in lines]


CHART_LINES = 16
CURVES_SHOWN = 5
CURVE_STYLES = ("cyan", "magenta", "yellow", "green", "blue", "red")


@dataclass
class LiveCurve:
    """Redraws chart, newest checkpoints and verdict."""

    live: Live
    console: Console

    def show(self, training: WatchedTraining, curve: TransferCurve) -> None:
        """Draw what is known now."""
        width = min(100, self.console.width)
        lines = draw(chart_of(curve), width, CHART_LINES, glyphs.choose(None))
        chart = [Text.assemble(*((text, _style(ink)) for text, ink in line), no_wrap=True) for line in lines]
        waiting = sum(one.status in {"taken", "queued"} for one in training.checkpoints)
        newest = [Text(printable(line_of(point, curve)), no_wrap=True) for point in curve.points[-CURVES_SHOWN:]]
        state = Text(f"{len(curve.points)} measured, {waiting} going on: {curve.verdict}", style="bold")
        self.live.update(Group(*chart, *newest, state), refresh=True)


@contextmanager
def live_face() -> Iterator[LiveCurve]:
    """While watching."""
    console = Console(markup=False, highlight=False, emoji=False)
    with Live(console=console, auto_refresh=False) as live:
        yield LiveCurve(live, console)


def _style(ink: int) -> str:
    return CURVE_STYLES[ink % len(CURVE_STYLES)] if ink >= 0 else "dim"


def line_of(point: TransferPoint, curve: TransferCurve) -> str:
    """`step 1,200: 57.1 (knn/digits 84.2, knn/shapes 30.1), above demo/rotation`."""
    scores = ", ".join(f"{task} {score:.1f}" for task, score in point.scores.items())
    below = [name for name, mean in curve.references.items() if mean < point.mean]
    beaten = f", above {below[0]}" if below else ""
    return f"{curve.unit} {point.step:,}: {point.mean:.1f} ({scores}){beaten}"
