"""Jump mode: letters on every pane and column header, which move the focus or cursor there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from string import ascii_letters
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Label

from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.widgets.virtual_table import LineTable

ABOUT = " a letter jumps there, esc goes back "


@dataclass(frozen=True)
class Target:
    """A place on the screen, and the action that moves there."""

    x: int
    y: int
    go: Callable[[], object]


class JumpDialog(Dialog[None]):
    """Letters shown over the screen."""

    BINDINGS: ClassVar = bindings("jump")
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
        yield _placed(Label(ABOUT, markup=False), 0, self.app.size.height - 1)

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
