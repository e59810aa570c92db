"""Text for the screen: spans with a tone, cut and padded by what a terminal shows, never parsed as markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Literal

from rich.cells import cell_len, set_cell_size

from ssl_console.system.safe_text import printable

Align = Literal["left", "right", "center"]

ELLIPSIS = "…"
_SHOWN: Mapping[str, str] = {
    "question_mark": "?",
    "colon": ":",
    "slash": "/",
    "full_stop": ".",
    "plus": "+",
    "minus": "-",
    "equals_sign": "=",
    "escape": "esc",
    "pageup": "pgup",
    "pagedown": "pgdn",
    "shift+tab": "shift-tab",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "f1": "F1",
    "ctrl+p": "ctrl-p",
    "ctrl+c": "ctrl-c",
    "ctrl+l": "ctrl-l",
    "asterisk": "*",
    "dollar_sign": "$",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
}


class Tone(StrEnum):
    """Meaning of a piece of text; the theme defines its appearance."""

    PLAIN = "plain"
    DIM = "dim"
    STRONG = "strong"
    TITLE = "title"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    BUSY = "busy"
    ACCENT = "accent"
    KEY = "key"
    FAINT = "faint"


@dataclass(frozen=True)
class Span:
    """Some text of one tone."""

    text: str
    tone: Tone = Tone.PLAIN
    heat: int | None = None
    """Level of `ssl_console.tui.style.palette`: a background."""


Line = tuple[Span, ...]


def line(*parts: str | Span) -> Line:
    """A line of spans; bare strings are plain."""
    return tuple(part if isinstance(part, Span) else Span(part) for part in parts)


@lru_cache(maxsize=8192)
def clean(text: str) -> str:
    """`text` as one line without control characters: nothing in it moves the cursor, changes colours or reverses the
    writing direction.
    """
    return text if text.isascii() and text.isprintable() else printable(text)


@lru_cache(maxsize=16384)
def fit(text: str, width: int, align: Align = "left", ellipsis: str = ELLIPSIS) -> str:
    """Exactly `width` cells: padded, or cut with a visible ellipsis."""
    text = clean(text)
    length = cell_len(text)
    if length > width:
        return _cut(text, width, ellipsis)
    if align == "left":
        return text + " " * (width - length)
    left = width - length if align == "right" else (width - length) // 2
    return " " * left + text + " " * (width - length - left)


@lru_cache(maxsize=16384)
def fit_middle(text: str, width: int, ellipsis: str = ELLIPSIS) -> str:
    """Exactly `width` cells, cut in the middle, because the ends of names distinguish neighbours."""
    text = clean(text)
    if cell_len(text) <= width or width < 2 + len(ellipsis):
        return fit(text, width, ellipsis=ellipsis)
    end = (width - len(ellipsis)) // 2
    return set_cell_size(text, width - len(ellipsis) - end) + ellipsis + set_cell_size(text[::-1], end)[::-1]


def _cut(text: str, width: int, ellipsis: str) -> str:
    if width <= len(ellipsis):
        return ellipsis[:width]
    return set_cell_size(text, width - len(ellipsis)) + ellipsis


def length(spans: Iterable[Span]) -> int:
    """Width of the spans in cells."""
    return sum(cell_len(clean(span.text)) for span in spans)


def cut(spans: Line, width: int, ellipsis: str = ELLIPSIS) -> Line:
    """The spans within `width` cells; an ellipsis in the last cell marks truncation."""
    if length(spans) <= width:
        return tuple(Span(clean(span.text), span.tone, span.heat) for span in spans)
    return tuple(_until(spans, width, ellipsis))


def _until(spans: Line, width: int, ellipsis: str) -> Iterator[Span]:
    left = width
    for span in spans:
        text = clean(span.text)
        if cell_len(text) >= left:
            yield Span(_cut(text + " ", left, ellipsis), span.tone, span.heat)
            return
        left -= cell_len(text)
        yield Span(text, span.tone, span.heat)


def wrap_line(spans: Line, width: int) -> list[Line]:
    """The spans in lines of at most `width` cells, broken at spaces; further lines are indented by two cells."""
    if length(spans) <= width:
        return [spans]
    lines: list[list[Span]] = [[]]
    for span in spans:
        for word in re.findall(r"\S+\s*|\s+", clean(span.text)):
            if lines[-1] and length(lines[-1]) + cell_len(word.rstrip()) > width:
                lines.append([Span("  ")])
            lines[-1].append(Span(word, span.tone, span.heat))
    return [(*parts[:-1], Span(parts[-1].text.rstrip(), parts[-1].tone, parts[-1].heat)) for parts in lines]


def wrap(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` cells, broken at spaces, else anywhere."""
    lines: list[str] = []
    for paragraph in text.splitlines() or [""]:
        lines.extend(_wrap_paragraph(clean(paragraph), max(1, width)))
    return lines


def _wrap_paragraph(text: str, width: int) -> Iterator[str]:
    current = ""
    for word in re.split(r"(?<=\s)(?=\S)", text):
        if current.strip() and cell_len(current + word.rstrip()) > width:
            yield current.rstrip()
            current = ""
        current += word
        while cell_len(current.rstrip()) > width:
            yield current[:width]
            current = current[width:]
    yield current.rstrip()


@dataclass(frozen=True)
class Cell:
    """One cell."""

    text: str = ""
    tone: Tone = Tone.PLAIN
    heat: int | None = None
    """Level of `ssl_console.tui.style.palette`: a background, and a sign behind the text."""
    bold: bool = False
    underline: bool = False
    picked: bool = False
    """Ticked: on a background of its own."""


EMPTY_CELL = Cell()


def key_text(key: str) -> str:
    """A key as displayed in the footer and the help."""
    return _SHOWN.get(key, key)
