"""Whether the terminal keeps up with what is drawn, or less should be drawn. Pure."""

from __future__ import annotations

from dataclasses import dataclass

CONGESTED = 5
"""Writes waiting for the terminal from which on it counts as slow; the writer holds 30, then the app stands still."""
HELD_UP_S = 1.0
"""A single write that took longer than this says so at once."""
SMOOTH = 120
"""Looks in a row without waiting after which the usual pace is tried again: a minute."""


@dataclass
class Pace:
    """Looks at the line again and again."""

    slow: bool = False
    fixed: bool = False
    """Slow was asked for, so it stays."""
    _congested: int = 0
    _smooth: int = 0

    def look(self, waiting: int, held_up_s: float) -> bool:
        """Whether to go slowly, after so many writes were found waiting and one took so long."""
        if self.fixed:
            return self.slow
        self._congested = self._congested + 1 if waiting >= CONGESTED else 0
        trouble = self._congested > 1 or held_up_s > HELD_UP_S
        self._smooth = 0 if trouble or waiting else self._smooth + 1
        self.slow = trouble or (self.slow and self._smooth < SMOOTH)
        return self.slow
