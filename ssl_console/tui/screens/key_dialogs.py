"""List of the keys that are not in the footer, and jump mode, in which a letter moves the focus or cursor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from string import ascii_letters
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import ActiveBinding
from textual.containers import Vertical
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Label

from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.style.text import Cell, Span, Tone, key_text, line, wrap
from ssl_console.tui.widgets.header_footer import KeyLine
from ssl_console.tui.widgets.styled_text import StyledText
from ssl_console.tui.widgets.table_model import Column, TableModel
from ssl_console.tui.widgets.virtual_table import LineTable

KEY_WIDTH, HELP_WIDTH = 10, 56
FRAME = (8, 12)
"""Lines and columns of the terminal besides the list."""
SCOPES = ("app", "table", "text", "chart")
"""Scopes common to all screens, in the order in which they follow the screen's own keys."""
JUMP_ABOUT = " a letter jumps there, esc goes back "


class MoreKeysDialog(Dialog[ActiveBinding]):
    """Ends with the chosen binding, or None."""

    BINDINGS: ClassVar = bindings("more")
    HELP_TEXT = (
        "Keys of this screen that do not fit into its footer. Pressing the key itself, enter or a double click "
        "runs the action."
    )

    def __init__(self, found: Sequence[ActiveBinding]) -> None:
        super().__init__()
        self._by_id = {active.binding.id or "": active for active in reversed(found)}
        self._order = list(dict.fromkeys(active.binding.id or "" for active in found))
        self._by_key = {active.binding.key: active for active in found}

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog list") as panel:
            panel.border_title = "More keys"
            yield LineTable(id="options")
            yield StyledText(id="about")
            yield KeyLine()

    def on_mount(self) -> None:
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
        return Cell(f" {key_text(binding.key)}", Tone.KEY) if column.key == "key" else Cell(binding.tooltip)

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


@dataclass(frozen=True)
class Target:
    """A place on the screen, and the action that moves there."""

    x: int
    y: int
    go: Callable[[], object]


class JumpDialog(Dialog[None]):
    """Letters shown over the screen."""

    BINDINGS: ClassVar = bindings("jump")
    HELP_TEXT = "Every pane and column has a letter: typing it moves the focus or the cursor there."
    DEFAULT_CSS = """
    JumpDialog { background: transparent; }
    JumpDialog Label {
        position: absolute; width: auto; height: 1; background: $warning; color: $background; text-style: bold;
    }
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        super().__init__()
        self._targets = dict(zip(ascii_letters, targets, strict=False))

    def compose(self) -> ComposeResult:
        """One label per letter, and an explanation in the line of keys."""
        for letter, target in self._targets.items():
            yield _placed(Label(letter, markup=False), target.x, target.y)
        yield _placed(Label(JUMP_ABOUT.ljust(self.app.size.width), markup=False), 0, self.app.size.height - 1)

    def on_key(self, event: events.Key) -> None:
        """Move to the place of the pressed letter."""
        target = self._targets.get(event.character or "")
        if target is not None:
            event.stop()
            self.dismiss(None)
            self.app.call_after_refresh(target.go)


def _placed(label: Label, x: int, y: int) -> Label:
    label.styles.offset = (x, y)
    return label


def jump_targets(screen: Screen[None]) -> list[Target]:
    """Focusable panes of a screen, and the columns of its tables."""
    targets: list[Target] = []
    for pane in screen.query("*"):
        if pane.focusable and pane.region.area:
            targets.append(Target(pane.region.x, pane.region.y, _focus(screen, pane)))
            targets += _columns(screen, pane) if isinstance(pane, LineTable) and pane.cursor_kind == "cell" else []
    return targets


def _columns(screen: Screen[None], table: LineTable) -> list[Target]:
    y = table.region.y + table.rows.header_lines - 1
    focus = _focus(screen, table)

    def go(key: str) -> None:
        focus()
        table.move_to(column=key)

    return [
        Target(table.region.x + x, y, partial(go, key)) for x, key in table.heads() if x or table.rows.header_lines > 1
    ]


def _focus(screen: Screen[None], pane: Widget) -> Callable[[], object]:
    return partial(screen.set_focus, pane)
