"""List of the keys that are not in the footer: pressing the key, enter or a double click runs its action."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import ActiveBinding
from textual.containers import Vertical
from textual.screen import Screen

from ssl_console.tui.keys import bindings, shown
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.style.text import Cell, Span, Tone, line, wrap
from ssl_console.tui.widgets.header_footer import KeyLine
from ssl_console.tui.widgets.styled_text import StyledText
from ssl_console.tui.widgets.table_model import Column, TableModel
from ssl_console.tui.widgets.virtual_table import LineTable

KEY_WIDTH, HELP_WIDTH = 10, 56
FRAME = (8, 12)
"""Lines and columns of the terminal besides the list."""
SCOPES = ("app", "table", "text", "chart")
"""Scopes common to all screens, in the order in which they follow the screen's own keys."""


class MoreKeysDialog(Dialog[ActiveBinding]):
    """Ends with the chosen binding, or None."""

    BINDINGS: ClassVar = bindings("more")

    def __init__(self, found: Sequence[ActiveBinding]) -> None:
        super().__init__()
        self._by_id = {active.binding.id or "": active for active in reversed(found)}
        self._order = list(dict.fromkeys(active.binding.id or "" for active in found))
        self._by_key = {active.binding.key: active for active in found}

    def compose(self) -> ComposeResult:
        """The panel."""
        with Vertical(classes="dialog list") as panel:
            panel.border_title = "More keys"
            yield LineTable(id="options")
            yield StyledText(id="about")
            yield KeyLine()

    def on_mount(self) -> None:
        """Fill the list."""
        table = self.query_one(LineTable)
        table.shows_cursor, table.can_focus = True, False
        table.styles.height = min(len(self._order) + 1, max(4, self.app.size.height - FRAME[0]))
        columns = (Column("key", " key", KEY_WIDTH), Column("help", "", self._room))
        table.show(TableModel(columns, self._order, self._cell))
        self._moved()

    @property
    def _room(self) -> int:
        return min(HELP_WIDTH, self.app.size.width - KEY_WIDTH - FRAME[1])

    def _cell(self, name: str, column: Column) -> Cell:
        binding = self._by_id[name].binding
        return Cell(f" {shown(binding.key)}", Tone.KEY) if column.key == "key" else Cell(binding.tooltip)

    @on(LineTable.Moved)
    def _moved(self) -> None:
        """Show the full help of the key under the cursor if the list truncates it."""
        name = self.query_one(LineTable).row
        text = self._by_id[name].binding.tooltip if name in self._by_id else ""
        parts = wrap(text, self._room + KEY_WIDTH) if len(text) > self._room else []
        self.query_one("#about", StyledText).show([line(Span(f" {part}", Tone.DIM)) for part in parts])

    @on(LineTable.Opened)
    def _opened(self, message: LineTable.Opened) -> None:
        message.stop()
        self.action_run()

    def on_key(self, event: events.Key) -> None:
        """Run the action of a listed key."""
        active = self._by_key.get(event.key)
        if active is not None:
            event.stop()
            self.dismiss(active)

    def action_move(self, where: str) -> None:
        """Move in the list."""
        getattr(self.query_one(LineTable), f"action_{where}")()

    def action_run(self) -> None:
        """Run the highlighted action."""
        self.dismiss(self._by_id.get(self.query_one(LineTable).row or ""))


def further_keys(screen: Screen[None]) -> list[ActiveBinding]:
    """Enabled keys of a screen that are not in its footer: its own first, then those common to all screens."""
    visible = {binding.id for footer in screen.query(KeyLine) for binding in footer.visible_keys}
    ours = (active for active in screen.active_bindings.values() if active.enabled and active.binding.id)
    return sorted((active for active in ours if active.binding.id not in {*visible, "app.more"}), key=_place)


def _place(active: ActiveBinding) -> int:
    scope = (active.binding.id or "").partition(".")[0]
    return SCOPES.index(scope) if scope in SCOPES else -1
