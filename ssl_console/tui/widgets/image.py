"""Widget for images of a result: half blocks in colour, or ASCII shades, and the path of the file."""

from __future__ import annotations

from collections.abc import Sequence

from rich.color import Color as RichColor
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from ssl_console.tui.style.palette import RenderContext, draw, render_context
from ssl_console.tui.style.text import Line, Span, Tone, line, wrap
from ssl_console.tui.terminal.colour_depth import ColourDepth, nearest
from ssl_console.workspace.pictures import ASCII_SHADES, SHADES, Picture, PictureCell, Row, colour_cells, shaded


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
        """One line of the screen."""
        context, base, width = render_context(self), self.rich_style, self.size.width
        names = self._names()
        rows = self._cells(self.size.height - len(names), context)
        if y < len(rows):
            strip = Strip([Segment(cell.sign, base + style_of(cell)) for cell in rows[y]])
            return strip.adjust_cell_length(width, base)
        under = y - len(rows)
        return draw(names[under] if under < len(names) else (), width, context, base)

    def _names(self) -> list[Line]:
        texts = [text for picture in self.pictures for text in wrap(str(picture.path), max(1, self.size.width - 1))]
        return [line(Span(text, Tone.DIM)) for text in texts]

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
