"""A chart as a widget, drawn once per content and size."""

from __future__ import annotations

from itertools import zip_longest

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from ssl_console.tui.style.palette import render_context
from ssl_console.tui.style.text import Tone
from ssl_console.tui.widgets.plot import AXIS, GHOST, LABEL, NOTHING, Chart, SeriesIndex, TextRun, draw

_TONES = {GHOST: Tone.DIM, AXIS: Tone.FAINT, LABEL: Tone.DIM, NOTHING: Tone.PLAIN}


class ChartView(Widget):
    """A chart widget. `show` repaints only lines that differ."""

    DEFAULT_CSS = "ChartView { height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.chart = Chart()
        self._lines: list[list[TextRun]] = []
        self._drawn: tuple[Chart, int, int, str] | None = None

    def show(self, chart: Chart) -> None:
        """Draw this chart."""
        if chart == self.chart:
            return
        self.chart = chart
        before = self._lines
        for y, (old, new) in enumerate(zip_longest(before, self._draw())):
            if old != new:
                self.refresh(Region(0, y, self.size.width, 1))

    def _draw(self) -> list[list[TextRun]]:
        glyphs = render_context(self).glyphs
        content = (self.chart, self.size.width, self.size.height, glyphs.name)
        if content != self._drawn:
            self._drawn = content
            self._lines = draw(self.chart, self.size.width, self.size.height, glyphs)
        return self._lines

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        lines = self._draw()
        runs = lines[y] if y < len(lines) else []
        strip = Strip([Segment(text, self.rich_style + self._colour_style(colour)) for text, colour in runs])
        return strip.adjust_cell_length(self.size.width, self.rich_style)

    def _colour_style(self, colour: SeriesIndex) -> Style:
        palette = render_context(self).palette
        return palette.series_style(colour) if colour >= 0 else palette.tone(_TONES[colour])
