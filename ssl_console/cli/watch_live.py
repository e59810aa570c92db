"""The face of `watch` for a terminal: the curve beside the references, redrawn in place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from ssl_console.cli.watch import line_of
from ssl_console.plain_text import printable
from ssl_console.training.curve import Curve
from ssl_console.training.record import Training
from ssl_console.tui import glyphs
from ssl_console.tui.plot import draw
from ssl_console.tui.trainingview import chart_of

CHART_LINES = 16
SHOWN = 5
STYLES = ("cyan", "magenta", "yellow", "green", "blue", "red")


@dataclass
class LiveFace:
    """Redraws chart, newest checkpoints and verdict."""

    live: Live
    console: Console

    def show(self, training: Training, curve: Curve) -> None:
        """Draw what is known now."""
        width = min(100, self.console.width)
        lines = draw(chart_of(curve), width, CHART_LINES, glyphs.choose(None))
        chart = [Text.assemble(*((text, _style(ink)) for text, ink in line), no_wrap=True) for line in lines]
        waiting = sum(one.status in {"taken", "queued"} for one in training.checkpoints)
        newest = [Text(printable(line_of(point, curve)), no_wrap=True) for point in curve.points[-SHOWN:]]
        state = Text(f"{len(curve.points)} measured, {waiting} going on: {curve.verdict}", style="bold")
        self.live.update(Group(*chart, *newest, state), refresh=True)


@contextmanager
def live_face() -> Iterator[LiveFace]:
    """While watching."""
    console = Console(markup=False, highlight=False, emoji=False)
    with Live(console=console, auto_refresh=False) as live:
        yield LiveFace(live, console)


def _style(ink: int) -> str:
    return STYLES[ink % len(STYLES)] if ink >= 0 else "dim"
