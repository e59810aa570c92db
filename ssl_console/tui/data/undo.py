"""What can be undone: the last marks, hidden columns and cancellations of this console, newest first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

KEPT = 100
"""Changes that can be undone one after another."""


@dataclass(frozen=True)
class UndoableChange:
    """One change, and what takes it back."""

    text: str
    """Noun phrase, e.g. `mark of demo/mae`."""
    undo: Callable[[], object]


@dataclass
class UndoHistory:
    """The last changes."""

    _changes: deque[UndoableChange] = field(default_factory=lambda: deque(maxlen=KEPT))

    def add(self, text: str, undo: Callable[[], object]) -> None:
        """Remember a change that has just been made."""
        self._changes.append(UndoableChange(text, undo))

    def undo(self) -> str:
        """Take the last change back; its text, empty when there is none."""
        if not self._changes:
            return ""
        change = self._changes.pop()
        change.undo()
        return change.text
