"""Themes, and colours of tones, heat levels and the cursor. All colours are among the 256 of terminals without true
colour: SSH does not forward COLORTERM, so most sessions have 256 colours, and both kinds look the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, cast

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.css.stylesheet import Stylesheet
from textual.strip import Strip
from textual.theme import Theme
from textual.widget import Widget

from ssl_console.tui.style.glyphs import Glyphs
from ssl_console.tui.style.text import Cell, Line, Tone, cut, length
from ssl_console.tui.terminal.colour_depth import ColourDepth, legible

LEVELS = 8
SHARES = (0.06, 0.14, 0.23, 0.33, 0.45, 0.58, 0.74, 0.92)
"""Fraction of the best level's colour in each level's background, if colours can be mixed."""
BEST_ON_DARK, BEST_ON_LIGHT = "#00875f", "#5faf87"
MANY_ON_DARK = ("#121212", "#1c1c1c", "#262626", "#303030", "#3a3a3a", "#444444", "#005f5f", "#00875f")
MANY_ON_LIGHT = ("#ffffff", "#eeeeee", "#e4e4e4", "#dadada", "#87d7d7", "#5fd7af", "#87afaf", "#5faf87")
"""Backgrounds in terminals with 256 colours, in which mixed colours would be rounded to equal ones. The best levels
have a hue.
"""
DARK = Theme(
    name="console-dark",
    primary="#87afd7",
    secondary="#5f87af",
    accent="#d7af87",
    foreground="#d0d0d0",
    background="#121212",
    surface="#1c1c1c",
    panel="#262626",
    success="#87af87",
    warning="#d7af5f",
    error="#d7875f",
    dark=True,
    variables={
        "block-cursor-background": "#005f87",
        "block-cursor-foreground": "#ffffff",
        "input-cursor-background": "#d0d0d0",
        "border": "#444444",
        "border-blurred": "#303030",
        "scrollbar": "#444444",
        "scrollbar-background": "#121212",
        "muted": "#8a8a8a",
        "faint": "#585858",
        "row-background": "#262626",
        "ticked-background": "#3a3a3a",
    },
)
LIGHT = Theme(
    name="console-light",
    primary="#005f87",
    secondary="#0087af",
    accent="#875f00",
    foreground="#262626",
    background="#ffffff",
    surface="#eeeeee",
    panel="#e4e4e4",
    success="#005f00",
    warning="#875f00",
    error="#af0000",
    dark=False,
    variables={
        "block-cursor-background": "#005f87",
        "block-cursor-foreground": "#ffffff",
        "input-cursor-background": "#262626",
        "border": "#b2b2b2",
        "border-blurred": "#d0d0d0",
        "scrollbar": "#b2b2b2",
        "scrollbar-background": "#ffffff",
        "muted": "#6c6c6c",
        "faint": "#a8a8a8",
        "row-background": "#e4e4e4",
        "ticked-background": "#ffffd7",
    },
)


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
"""Whether the cursor is elsewhere, on the row, or on the cell."""

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
    depth: ColourDepth = ColourDepth.TRUE

    @classmethod
    def of(cls, theme: Theme, depth: ColourDepth = ColourDepth.TRUE) -> Palette:
        """The palette of a theme; missing colours are blended from the existing ones."""
        if depth is ColourDepth.SIXTEEN:
            return SIXTEEN_ON_DARK if theme.dark else SIXTEEN_ON_LIGHT
        own = theme.variables
        foreground = Color.parse(theme.foreground or ("#d0d0d0" if theme.dark else "#262626"))
        background = Color.parse(theme.background or ("#121212" if theme.dark else "#ffffff"))
        primary = Color.parse(theme.primary)
        accent = Color.parse(theme.accent or theme.primary)
        cell = own.get("block-cursor-background") or background.blend(primary, 0.55 if theme.dark else 0.85).hex
        surface = (Color.parse(theme.surface) if theme.surface else background).hex

        def ink(colour: str) -> str:
            return legible(colour, surface, depth)

        return cls(
            foreground=ink(foreground.hex),
            background=background.hex,
            muted=ink(own.get("muted") or foreground.blend(background, 0.42).hex),
            faint=ink(own.get("faint") or foreground.blend(background, 0.72).hex),
            primary=ink(primary.hex),
            accent=ink(accent.hex),
            good=ink(theme.success or primary.hex),
            warn=ink(theme.warning or primary.hex),
            bad=ink(theme.error or primary.hex),
            row=own.get("row-background") or background.blend(foreground, 0.13).hex,
            cell=cell,
            on_cell=legible("#ffffff", cell, depth),
            picked=own.get("ticked-background") or background.blend(accent, 0.2).hex,
            series=DARK_SERIES if theme.dark else LIGHT_SERIES,
            dark=theme.dark,
            depth=depth,
        )

    def tone(self, tone: Tone) -> Style:
        """Style of text of this tone."""
        return self._tones[tone]

    def cell_style(self, cell: Cell, under: Under = "") -> Style:
        """Style of a table cell: tone, then heat or tick as background, overridden by the cursor."""
        key = (cell.tone, cell.heat, cell.bold, cell.underline, cell.picked, under)
        style = self._cells.get(key)
        if style is None:
            style = self._cells[key] = _cell_style(self, cell, under)
        return style

    def series_style(self, number: int) -> Style:
        """Colour of a chart's series; with its marker it is distinct even if there are more series than colours."""
        return Style(color=self.series[number % len(self.series)])

    def heat(self, level: int) -> str | None:
        """Background of a heat level, from that of the page to the best level's; None with 16 colours."""
        if self.depth is ColourDepth.SIXTEEN:
            return None
        if self.depth is ColourDepth.MANY:
            return (MANY_ON_DARK if self.dark else MANY_ON_LIGHT)[level]
        best = Color.parse(BEST_ON_DARK if self.dark else BEST_ON_LIGHT)
        return Color.parse(self.background).blend(best, SHARES[level]).hex

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


def _cell_style(palette: Palette, cell: Cell, under: Under) -> Style:
    """The cursor covers heat, heat covers a tick, and a tick covers the row of the cursor."""
    style = palette.tone(cell.tone)
    heat = None if cell.heat is None else palette.heat(cell.heat)
    ground = heat or (palette.picked if cell.picked else palette.row if under == "row" else None)
    if under == "cell":
        style += Style(color=palette.on_cell, bgcolor=palette.cell, bold=True)
    elif ground is not None:
        ink = style.color.name if style.color is not None else palette.foreground
        style += Style(color=legible(ink, ground, palette.depth), bgcolor=ground)
    best = palette.depth is ColourDepth.SIXTEEN and cell.heat == LEVELS - 1
    if cell.bold or cell.underline or best:
        style += Style(bold=cell.bold or best or None, underline=cell.underline or None)
    return style


SIXTEEN_ON_DARK = Palette(
    foreground="#aaaaaa",
    background="#000000",
    muted="#aaaaaa",
    faint="#aaaaaa",
    primary="#55ffff",
    accent="#ffff55",
    good="#55ff55",
    warn="#ffff55",
    bad="#ff5555",
    row="#555555",
    cell="#ffffff",
    on_cell="#000000",
    picked="#0000aa",
    series=("#55ffff", "#ffff55", "#55ff55", "#ff55ff", "#ffffff", "#ff5555"),
    dark=True,
    depth=ColourDepth.SIXTEEN,
)
SIXTEEN_ON_LIGHT = Palette(
    foreground="#000000",
    background="#ffffff",
    muted="#000000",
    faint="#555555",
    primary="#0000aa",
    accent="#aa00aa",
    good="#000000",
    warn="#aa00aa",
    bad="#aa0000",
    row="#aaaaaa",
    cell="#000000",
    on_cell="#ffffff",
    picked="#55ffff",
    series=("#0000aa", "#aa00aa", "#aa0000", "#000000", "#555555", "#0000aa"),
    dark=False,
    depth=ColourDepth.SIXTEEN,
)
"""Tones with 16 colours, which the terminal defines: every tone is also expressed by a word or a sign."""


class ThemedStylesheet(Stylesheet):
    """Style sheet that parses its sources once for each theme; Textual's parses them on the first visit of a screen."""

    def set_variables(self, variables: dict[str, str]) -> None:
        """Set the colours of the theme; without effect if they are set."""
        if variables != self._variables:
            super().set_variables(variables)

    def reparse(self) -> None:
        """Apply new sources and variables; rules that these leave unchanged are not parsed again."""
        self.parse()


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
    kept, palette = cut(spans, width, context.glyphs.ellipsis), context.palette
    segments = []
    for span in kept:
        tone, heat = span.tone, span.heat
        style = palette.tone(tone) if heat is None else palette.cell_style(Cell("", tone, heat))
        segments.append(Segment(span.text, base + style))
    return Strip([*segments, Segment(" " * (width - length(kept)), base)], width)
