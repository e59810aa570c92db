"""Lines to type in whose cursor stands still: one that blinks writes to the terminal all the time."""

from __future__ import annotations

from textual.reactive import reactive
from textual.screen import Screen
from textual.widgets import Input


class SteadyInput(Input):
    """The widget."""

    cursor_blink = reactive(False, init=False)


def stand_still(screen: Screen[object]) -> None:
    """Stop the cursors of a screen that others have made."""
    for line in screen.query(Input):
        line.cursor_blink = False
