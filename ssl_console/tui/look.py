"""How things are drawn right now: the theme's palette and the set of signs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from ssl_console.tui.glyphs import Glyphs
from ssl_console.tui.palette import Palette
from ssl_console.tui.text import Line, cut, length


@dataclass(frozen=True)
class Look:
    """What a widget needs to draw tones and signs."""

    palette: Palette
    glyphs: Glyphs


class Looking(Protocol):
    """An app that knows how things look."""

    @property
    def look(self) -> Look:
        """The look in use."""
        ...


def look_of(widget: Widget) -> Look:
    """The look of the app that the widget is in."""
    return cast(Looking, widget.app).look


def draw(spans: Line, width: int, look: Look, base: Style) -> Strip:
    """One line of `width` cells; what does not fit ends in an ellipsis."""
    kept = cut(spans, width, look.glyphs.ellipsis)
    segments = [Segment(span.text, base + look.palette.tone(span.tone)) for span in kept]
    return Strip([*segments, Segment(" " * (width - length(kept)), base)], width)
