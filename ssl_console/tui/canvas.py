"""A grid of character cells to draw curves on: dots of braille, two by four in a cell, or plain characters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

Ink = int
"""A series by its number, or one of the negative inks."""
GHOST: Ink = -1
AXIS: Ink = -2
LABEL: Ink = -3
NOTHING: Ink = -4

_BRAILLE = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a braille character by row and column of the dot."""


@dataclass
class Canvas:
    """`width` x `height` cells; dots count from the upper left."""

    width: int
    height: int
    braille: bool
    dot: str = "*"
    _masks: dict[tuple[int, int], int] = field(default_factory=dict)
    _signs: dict[tuple[int, int], str] = field(default_factory=dict)
    _inks: dict[tuple[int, int], Ink] = field(default_factory=dict)

    @property
    def dots_x(self) -> int:
        """Dots across."""
        return self.width * 2 if self.braille else self.width

    @property
    def dots_y(self) -> int:
        """Dots down."""
        return self.height * 4 if self.braille else self.height

    def point(self, x: int, y: int, ink: Ink) -> None:
        """One dot; outside the canvas nothing happens."""
        if not (0 <= x < self.dots_x and 0 <= y < self.dots_y):
            return
        cell = (x // 2, y // 4) if self.braille else (x, y)
        if ink != GHOST or self._inks.get(cell, GHOST) == GHOST:
            self._inks[cell] = ink
        if self.braille:
            self._masks[cell] = self._masks.get(cell, 0) | _DOTS[y % 4][x % 2]
        else:
            self._signs.setdefault(cell, self.dot)

    def segment(self, start: tuple[int, int], end: tuple[int, int], ink: Ink) -> None:
        """A straight line of dots; a ghost's is dotted."""
        (x0, y0), (x1, y1) = start, end
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        for step in range(steps + 1):
            if ink == GHOST and (x0 + step) % 3 == 2:
                continue
            self.point(round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps), ink)

    def sign(self, column: int, row: int, text: str, ink: Ink) -> None:
        """Characters over whatever is there."""
        for offset, character in enumerate(text):
            if 0 <= column + offset < self.width and 0 <= row < self.height:
                self._signs[column + offset, row] = character
                self._inks[column + offset, row] = ink

    def free(self, column: int, row: int, length: int) -> bool:
        """Whether nothing has been drawn there, and it is on the canvas."""
        if column < 0 or column + length > self.width or not 0 <= row < self.height:
            return False
        cells = ((column + offset, row) for offset in range(length))
        return not any(cell in self._signs or cell in self._masks for cell in cells)

    def row(self, row: int) -> Iterator[tuple[str, Ink]]:
        """One line as runs of equal ink."""
        text, ink = "", NOTHING
        for column in range(self.width):
            character, next_ink = self._cell(column, row)
            if next_ink != ink and text:
                yield text, ink
                text = ""
            text, ink = text + character, next_ink
        yield text, ink

    def _cell(self, column: int, row: int) -> tuple[str, Ink]:
        cell = (column, row)
        if cell in self._signs:
            return self._signs[cell], self._inks[cell]
        if cell in self._masks:
            return chr(_BRAILLE | self._masks[cell]), self._inks[cell]
        return " ", NOTHING
