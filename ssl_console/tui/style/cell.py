"""A table cell: text, tone and marks."""

from __future__ import annotations

from dataclasses import dataclass

from ssl_console.tui.style.text import Tone


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
