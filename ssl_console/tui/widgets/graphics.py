"""Widgets for charts and for the images of a result."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from rich.color import Color as RichColor
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from ssl_console.tui.style.palette import RenderContext, draw, render_context
from ssl_console.tui.style.text import Span, Tone, line, wrap
from ssl_console.tui.terminal.colour_depth import ColourDepth, nearest
from ssl_console.tui.widgets.plot import AXIS, GHOST, LABEL, NOTHING, Chart, TextRun
from ssl_console.tui.widgets.plot import draw as draw_chart
from ssl_console.workspace.pictures import ASCII_SHADES, SHADES, Picture, PictureCell, Row, colour_cells, shaded

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
            self._lines = draw_chart(self.chart, self.size.width, self.size.height, glyphs)
        return self._lines

    def render_line(self, y: int) -> Strip:
        lines, base, palette = self._draw(), self.rich_style, render_context(self).palette
        segments = []
        for text, colour in lines[y] if y < len(lines) else []:
            ink = palette.series_style(colour) if colour >= 0 else palette.tone(_TONES[colour])
            segments.append(Segment(text, base + ink))
        return Strip(segments).adjust_cell_length(self.size.width, base)


class ImageView(Widget):
    """An image widget. The first of several images is drawn, and all are listed."""

    DEFAULT_CSS = "ImageView { height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.pictures: Sequence[Picture] = ()
        self._rows: list[Row] = []
        self._drawn: tuple[object, ...] = ()

    def show(self, pictures: Sequence[Picture]) -> None:
        """Show these images."""
        if [picture.path for picture in pictures] != [picture.path for picture in self.pictures]:
            self.pictures = pictures
            self.refresh()

    def render_line(self, y: int) -> Strip:
        context, base, width = render_context(self), self.rich_style, self.size.width
        texts = [text for picture in self.pictures for text in wrap(str(picture.path), max(1, width - 1))]
        names = [line(Span(text, Tone.DIM)) for text in texts]
        rows = self._cells(self.size.height - len(names), context)
        if y < len(rows):
            strip = Strip([Segment(cell.sign, base + style_of(cell)) for cell in rows[y]])
            return strip.adjust_cell_length(width, base)
        under = y - len(rows)
        return draw(names[under] if under < len(names) else (), width, context, base)

    def _cells(self, height: int, context: RenderContext) -> list[Row]:
        if not self.pictures or height < 1 or self.size.width < 2:
            return []
        first, width = self.pictures[0], self.size.width - 1
        depth, unicode = context.palette.depth, context.glyphs.braille
        content = (first.path, width, height, depth, unicode)
        if content != self._drawn:
            self._drawn = content
            if unicode and depth is not ColourDepth.SIXTEEN:
                self._rows = colour_cells(first, width, height, few_colours=depth is ColourDepth.MANY)
            else:
                self._rows = shaded(first, width, height, SHADES if unicode else ASCII_SHADES)
        return self._rows


def style_of(cell: PictureCell, depth: ColourDepth = ColourDepth.TRUE) -> Style:
    """Foreground and background colour of a cell, the nearest that the terminal has."""
    ink, ground = (
        None if colour is None else nearest(RichColor.from_rgb(*colour), depth) for colour in (cell.ink, cell.ground)
    )
    return Style(color=ink, bgcolor=ground)
