"""Output of only those cells that differ from the terminal's content. Textual rewrites whole widgets, lines and
spans. Over a slow link this determines the response time of a key press, so the last content of every cell is
stored, and unchanged cells are omitted. A key press writes 0.24 (help) to 0.73 (one row down) of the bytes that
Textual would write, in terminals of 80x24 and of 120x40 (`make bench ARGS=tui_privates`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar, cast

from rich.cells import cell_len, get_character_cell_size
from rich.console import Console, RenderableType
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.screen import Screen
from textual.strip import Strip

from ssl_console.tui.terminal.colour_depth import ColourDepth, nearest
from ssl_console.tui.terminal.driver import QueuedKeysApp, TerminalDriver

Result = TypeVar("Result")
StyleCode = tuple[str, str, str]
"""Attributes, foreground and background as parameters of an SGR escape sequence."""
DEFAULT_STYLE: StyleCode = ("", "39", "49")
REACH = 4
"""Number of unchanged cells up to which rewriting them is shorter than a cursor movement."""
MAX_CACHED_STYLES = 4096
ATTRIBUTES = {
    "bold": "1",
    "dim": "2",
    "italic": "3",
    "underline": "4",
    "blink": "5",
    "reverse": "7",
    "strike": "9",
    "underline2": "21",
    "overline": "53",
}
ASCII_SIGNS = {
    **dict.fromkeys("─━╸╴╶═", "-"),
    **dict.fromkeys("│┃┤├║", "|"),
    **dict.fromkeys("╭╮╰╯┌┐└┘┬┴┼┏┓┗┛", "+"),
    **dict.fromkeys("▁▂▃▏▎▍▔", " "),
    **dict.fromkeys("▄▅▆▇█▌▋▊▉▐▀", "#"),
    "↑": "^",
    "↓": "v",
    "←": "<",
    "→": ">",
    "…": "~",
    "—": "-",
    "–": "-",  # noqa: RUF001
    "×": "x",  # noqa: RUF001
    "±": "~",
    "†": "*",
    "‡": "+",
    "°": " ",
}
UNKNOWN_SIGN = "?"


class DiffingApp(QueuedKeysApp[Result]):
    """An app that writes only the cells that have changed."""

    def __init__(self) -> None:
        super().__init__()
        self.screen_buffer = ScreenBuffer()
        self.signal_code: int | None = None
        """Exit code of the signal that ended the app, or of its vanished terminal."""

    def get_driver_class(self) -> type[Driver]:
        """Textual's driver class, made safe against a vanishing terminal."""
        chosen = super().get_driver_class()
        return TerminalDriver if chosen is LinuxDriver else chosen

    def on_resize(self) -> None:
        """Forget the screen content: a terminal may move or clear it when it is resized."""
        self.screen_buffer.forget()

    def action_redraw(self) -> None:
        """Write the whole screen again, e.g. after another program has written to the terminal."""
        self.screen_buffer.forget()
        self.screen.refresh()

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        if not isinstance(renderable, ChopsUpdate | LayoutUpdate) or self._batch_count or self.is_headless:
            super()._display(screen, renderable)
            return
        written = self.screen_buffer.difference(renderable, self.console)
        if written or self.cursor_position != self._previous_cursor_position:
            super()._display(screen, cast(RenderableType, RenderedUpdate(written)))


class RenderedUpdate(CompositorUpdate):
    """An update that has been rendered."""

    def __init__(self, text: str) -> None:
        self.text = text

    def render_segments(self, console: Console) -> str:  # noqa: ARG002
        """The rendered text."""
        return self.text


@dataclass
class ScreenRow:
    """One line of the terminal; None for unknown cells. Cells after the first of a wide character are empty texts."""

    texts: list[str | None] = field(default_factory=list)
    styles: list[StyleCode] = field(default_factory=list)


class ScreenBuffer:
    """Present content of the terminal, cell by cell."""

    def __init__(self) -> None:
        self.ascii_only = False
        """Whether the terminal is limited to ASCII."""
        self._rows: dict[int, ScreenRow] = {}
        self._style_codes: dict[Style, StyleCode] = {}

    def forget(self) -> None:
        """Forget the content: the next update is written completely."""
        self._rows.clear()

    def difference(self, update: ChopsUpdate | LayoutUpdate, console: Console) -> str:
        """The shortest text that updates the terminal; empty if it is up to date."""
        depth = ColourDepth.of(console.color_system)
        writer = AnsiWriter()
        for x, y, strip in changed_strips(update):
            texts, styles = self._cells(strip, depth)
            row = self._rows.setdefault(y, ScreenRow())
            lacking = max(0, x + len(texts) - len(row.texts))
            row.texts += [None] * lacking
            row.styles += [DEFAULT_STYLE] * lacking
            span = slice(x, x + len(texts))
            old_texts, row.texts[span] = row.texts[span], texts
            old_styles, row.styles[span] = row.styles[span], styles
            if old_texts != texts or old_styles != styles:
                changed = [n for n, text in enumerate(texts) if old_texts[n] != text or old_styles[n] != styles[n]]
                for begin, end in runs(changed, texts):
                    writer.write(x + begin, y, texts[begin:end], styles[begin:end])
        return writer.text

    def _cells(self, strip: Strip, depth: ColourDepth) -> tuple[list[str], list[StyleCode]]:
        """Text and style of every cell. In ASCII, the empty cells behind a wide character become cells of their own."""
        texts: list[str] = []
        styles: list[StyleCode] = []
        for text, style, control in strip:
            if not control and text:
                characters = cells(text)
                texts += characters
                styles += [self._style_code(style, depth)] * len(characters)
        if self.ascii_only:
            texts = [text if text.isascii() and text else nearest_ascii(text) for text in texts]
        return texts, styles

    def _style_code(self, style: Style | None, depth: ColourDepth) -> StyleCode:
        """A style as SGR parameters for a terminal with these colours, cached."""
        style = style or Style.null()
        code = self._style_codes.get(style)
        if code is None:
            if len(self._style_codes) > MAX_CACHED_STYLES:
                self._style_codes.clear()
            attributes = ";".join(number for name, number in ATTRIBUTES.items() if getattr(style, name))
            foreground = nearest(style.color, depth).get_ansi_codes() if style.color else ("39",)
            background = nearest(style.bgcolor, depth).get_ansi_codes(foreground=False) if style.bgcolor else ("49",)
            code = self._style_codes[style] = attributes, ";".join(foreground), ";".join(background)
        return code


@dataclass
class AnsiWriter:
    """Text with the shortest cursor movements and style changes."""

    parts: list[str] = field(default_factory=list)
    _x: int = -1
    _y: int = -1
    _style_code: StyleCode = DEFAULT_STYLE

    @property
    def text(self) -> str:
        """Everything written, followed by a reset of the style."""
        return "".join([*self.parts, "" if self._style_code == DEFAULT_STYLE else "\x1b[0m"])

    def write(self, x: int, y: int, texts: Sequence[str], styles: Sequence[StyleCode]) -> None:
        """Write cells of one line, from column `x` on."""
        forward = x - self._x
        if y != self._y or forward < 0:
            self.parts.append(f"\x1b[{y + 1};{x + 1}H")
        elif forward:
            self.parts.append(f"\x1b[{forward}C")
        for text, code in zip(texts, styles, strict=True):
            if code is not self._style_code:
                self._set_style(code)
            self.parts.append(text)
        self._x, self._y = x + len(texts), y

    def _set_style(self, code: StyleCode) -> None:
        attributes, *colours = code
        if attributes == self._style_code[0]:
            codes = [new for new, old in zip(colours, self._style_code[1:], strict=True) if new != old]
        else:
            codes = [
                "0",
                attributes,
                *(new for new, default in zip(colours, DEFAULT_STYLE[1:], strict=True) if new != default),
            ]
        parameters = ";".join(filter(None, codes))
        if parameters:
            self.parts.append(f"\x1b[{parameters}m")
        self._style_code = code


def changed_strips(update: ChopsUpdate | LayoutUpdate) -> Iterator[tuple[int, int, Strip]]:
    """Column, line and content of everything in an update."""
    if isinstance(update, LayoutUpdate):
        for y, strips in enumerate(update.strips, update.region.y):
            x = update.region.x
            for strip in strips:
                yield x, y, strip
                x += strip.cell_length
        return
    for y in dict.fromkeys(y for y, _, _ in update.spans):
        spans = [(left, right) for line, left, right in update.spans if line == y]
        for end, (x, piece) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
            if piece is not None and any(x < right and end > left for left, right in spans):
                yield x, y, piece


def cells(text: str) -> list[str]:
    """The text cell by cell. A character of several cells, or a combination of characters, stays in the first."""
    if text.isascii():
        return list(text)
    texts: list[str] = []
    for character in text:
        width = get_character_cell_size(character)
        if not width and texts:
            texts[-1] += character
        elif width:
            texts += [character] + [""] * (width - 1)
    if len(texts) != cell_len(text):
        return [text] + [""] * (cell_len(text) - 1)
    return texts


def runs(changed: Sequence[int], texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Begin and end of every segment to write: changed cells, and short gaps of unchanged ones between them."""
    begin = end = -1
    for number in changed:
        if begin < 0:
            begin = number
        elif number - end > REACH:
            yield _whole(begin, end, texts)
            begin = number
        end = number + 1
    if begin >= 0:
        yield _whole(begin, end, texts)


def _whole(begin: int, end: int, texts: Sequence[str]) -> tuple[int, int]:
    """The segment, extended to whole characters."""
    while begin and not texts[begin]:
        begin -= 1
    while end < len(texts) and not texts[end]:
        end += 1
    return begin, end


@lru_cache(maxsize=4096)
def nearest_ascii(cell: str) -> str:
    """An ASCII character for a cell: the letter without its accent, a similar sign, otherwise a question mark."""
    if cell in ASCII_SIGNS:
        return ASCII_SIGNS[cell]
    first = unicodedata.normalize("NFKD", cell)[:1]
    return first if first.isascii() and first.isprintable() and first else UNKNOWN_SIGN
