"""Undo history: the last marks, hidden columns and cancellations of this console, newest first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

KEPT = 100
"""Maximum number of changes that can be undone."""


@dataclass(frozen=True)
class UndoableChange:
    """One change and its reversal."""

    text: str
    """Noun phrase, e.g. `mark of demo/mae`."""
    undo: Callable[[], object]


@dataclass
class UndoHistory:
    """The last changes."""

    _changes: deque[UndoableChange] = field(default_factory=lambda: deque(maxlen=KEPT))

    def add(self, text: str, undo: Callable[[], object]) -> None:
        """Add a change that was just made."""
        self._changes.append(UndoableChange(text, undo))

    def undo(self) -> str:
        """Revert the last change; returns its text, empty if there is none."""
        if not self._changes:
            return ""
        change = self._changes.pop()
        change.undo()
        return change.text
