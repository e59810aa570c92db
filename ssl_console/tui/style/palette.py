"""Colours of tones, heat levels and the cursor in a theme."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, cast

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.strip import Strip
from textual.theme import Theme
from textual.widget import Widget

from ssl_console.tui.style.glyphs import Glyphs
from ssl_console.tui.style.text import Cell, Line, Tone, cut, length

LEVELS = 8
RAMP = ("#00224e", "#1f3a6d", "#434e6c", "#5f636e", "#7d7c78", "#9f9675", "#c4b56c", "#ead94c")
FEW_ON_DARK = ("#00005f", "#00005f", "#262626", "#303030", "#3a3a3a", "#444444", "#4e4e4e", "#5f5f00")
FEW_ON_LIGHT = ("#afafd7", "#c6c6c6", "#d0d0d0", "#dadada", "#e4e4e4", "#eeeeee", "#f5f5f5", "#ffffaf")
"""Backgrounds where the terminal has 256 colours: blue, greys, yellow, for a mixed colour would miss its neighbour."""


def level(value: float, low: float, high: float, *, higher_is_better: bool = True) -> int | None:
    """0 (worst of the column) to `LEVELS - 1` (best); None when all values of the column are equal."""
    if not high > low:
        return None
    share = (value - low) / (high - low)
    if not higher_is_better:
        share = 1.0 - share
    return min(LEVELS - 1, max(0, int(share * LEVELS)))


def sign(heat: int | None, steps: Sequence[str]) -> str:
    """The level as a character, readable without colour."""
    return " " if heat is None else steps[heat * (len(steps) - 1) // (LEVELS - 1)]


Under = Literal["", "row", "cell"]
"""Whether the cursor is on it: not, on its row, or on it itself."""

HEAT_SHARE = 0.34
DARK_SERIES = ("#87afd7", "#d7af5f", "#87d7af", "#d787af", "#afafd7", "#d7875f")
LIGHT_SERIES = ("#005f87", "#875f00", "#00875f", "#87005f", "#5f5faf", "#af5f00")


@dataclass(frozen=True)
class Palette:
    """Colours of one theme as rich styles, each computed once."""

    foreground: str
    background: str
    muted: str
    faint: str
    primary: str
    accent: str
    good: str
    warn: str
    bad: str
    row: str
    """Background of the row under the cursor."""
    cell: str
    """Background of the cell under the cursor."""
    on_cell: str
    picked: str
    """Background of ticked cells."""
    series: tuple[str, ...]
    dark: bool
    few_colours: bool = False
    """Whether the terminal has 256 at most."""

    @classmethod
    def of(cls, theme: Theme, *, few_colours: bool = False) -> Palette:
        """The palette of a theme; missing colours are blended from the existing ones."""
        own = theme.variables
        foreground = Color.parse(theme.foreground or ("#d0d0d0" if theme.dark else "#262626"))
        background = Color.parse(theme.background or ("#121212" if theme.dark else "#ffffff"))
        primary = Color.parse(theme.primary)
        accent = Color.parse(theme.accent or theme.primary)
        return cls(
            foreground=foreground.hex,
            background=background.hex,
            muted=own.get("muted") or foreground.blend(background, 0.42).hex,
            faint=own.get("faint") or foreground.blend(background, 0.72).hex,
            primary=primary.hex,
            accent=accent.hex,
            good=Color.parse(theme.success or theme.primary).hex,
            warn=Color.parse(theme.warning or theme.primary).hex,
            bad=Color.parse(theme.error or theme.primary).hex,
            row=own.get("row-background") or background.blend(foreground, 0.13).hex,
            cell=own.get("block-cursor-background") or background.blend(primary, 0.55 if theme.dark else 0.85).hex,
            on_cell="#ffffff",
            picked=own.get("ticked-background") or background.blend(accent, 0.2).hex,
            series=DARK_SERIES if theme.dark else LIGHT_SERIES,
            dark=theme.dark,
            few_colours=few_colours,
        )

    def tone(self, tone: Tone) -> Style:
        """Style of text of this tone."""
        return self._tones[tone]

    def cell_style(self, cell: Cell, under: Under = "") -> Style:
        """A table cell's style: tone, then heat or tick as background, then the cursor over both."""
        key = (cell.tone, cell.heat, cell.bold, cell.underline, cell.picked, under)
        style = self._cells.get(key)
        if style is None:
            style = self._cells[key] = _cell_style(self, cell, under)
        return style

    def series_style(self, number: int) -> Style:
        """Colour of a chart's series; together with its marker it stays distinct beyond the colours there are."""
        return Style(color=self.series[number % len(self.series)])

    def heat_style(self, level: int) -> Style:
        """Background for a heat level: faint enough that every tone stays legible on it."""
        if self.few_colours:
            return Style(bgcolor=(FEW_ON_DARK if self.dark else FEW_ON_LIGHT)[level])
        colour = Color.parse(self.background).blend(Color.parse(RAMP[level]), HEAT_SHARE)
        return Style(bgcolor=colour.rich_color)

    def sign_style(self, level: int) -> Style:
        """Style of the sign for a heat level, in the level's full colour."""
        return self._signs[level]

    @cached_property
    def _tones(self) -> dict[Tone, Style]:
        return {
            Tone.PLAIN: Style(color=self.foreground),
            Tone.DIM: Style(color=self.muted),
            Tone.FAINT: Style(color=self.faint),
            Tone.STRONG: Style(color=self.foreground, bold=True),
            Tone.TITLE: Style(color=self.primary, bold=True),
            Tone.GOOD: Style(color=self.good),
            Tone.WARN: Style(color=self.warn),
            Tone.BAD: Style(color=self.bad),
            Tone.BUSY: Style(color=self.primary),
            Tone.ACCENT: Style(color=self.accent),
            Tone.KEY: Style(color=self.accent, bold=True),
        }

    @cached_property
    def _cells(self) -> dict[tuple[object, ...], Style]:
        """Computed styles by the properties of the cell."""
        return {}

    @cached_property
    def _signs(self) -> list[Style]:
        foreground = Color.parse(self.foreground)
        return [Style(color=foreground.blend(Color.parse(colour), 0.75).rich_color) for colour in RAMP]


def _cell_style(palette: Palette, cell: Cell, under: Under) -> Style:
    style = palette.tone(cell.tone)
    if cell.heat is not None:
        style += palette.heat_style(cell.heat)
    elif cell.picked:
        style += Style(bgcolor=palette.picked)
    elif under == "row":
        style += Style(bgcolor=palette.row)
    if under == "cell":
        style += Style(color=palette.on_cell, bgcolor=palette.cell, bold=True)
    if cell.bold or cell.underline:
        style += Style(bold=cell.bold or None, underline=cell.underline or None)
    return style


@dataclass(frozen=True)
class RenderContext:
    """Palette and glyphs for drawing."""

    palette: Palette
    glyphs: Glyphs


class HasRenderContext(Protocol):
    """An app with a render context."""

    @property
    def render_context(self) -> RenderContext:
        """Palette and glyphs in use."""
        ...


def render_context(widget: Widget) -> RenderContext:
    """The render context of the app that the widget is in."""
    return cast(HasRenderContext, widget.app).render_context


def draw(spans: Line, width: int, context: RenderContext, base: Style) -> Strip:
    """One line of `width` cells; longer text ends in an ellipsis."""
    kept = cut(spans, width, context.glyphs.ellipsis)
    segments = [Segment(span.text, base + context.palette.tone(span.tone)) for span in kept]
    return Strip([*segments, Segment(" " * (width - length(kept)), base)], width)
