"""Base class of the forms for checkpoints and datasets of the user: fields, a result below them, keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Input, Label

from ssl_console.tui.host import host
from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.style.text import Line, Span, Tone, line, wrap
from ssl_console.tui.widgets.filter_bar import StaticInput
from ssl_console.tui.widgets.header_footer import KeyLine
from ssl_console.tui.widgets.path_input import PathInput
from ssl_console.tui.widgets.styled_text import StyledText

PATH = "path"
"""The field whose text is completed as a path."""


FRAME = 4
"""Lines of the form that are neither fields nor their result: border, gap, keys."""
MOST_LINES, FEWEST_FIELDS = 14, 4
"""Largest height of the result, and the least that it leaves to the fields."""


class AddForm(Dialog[str | None]):
    """Ends with the name of the new card, or None."""

    TITLE_TEXT: ClassVar[str]
    FIELDS: ClassVar[Sequence[tuple[str, str, str]]]
    """Name of each field, its label, and its placeholder; one of them is `PATH`."""
    BINDINGS: ClassVar = bindings("adding")
    DEFAULT_CSS = """
    AddForm #fields { height: auto; scrollbar-size-vertical: 1; }
    AddForm Horizontal { height: 1; }
    AddForm Label { width: 16; color: $text-muted; }
    AddForm Input { width: 1fr; background: $background; }
    AddForm #found { height: auto; margin-top: 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines = 0
        """Height of the result."""

    def compose(self) -> ComposeResult:
        """The fields, the result, the keys."""
        with Vertical(classes="dialog adding") as panel:
            panel.border_title = self.TITLE_TEXT
            with VerticalScroll(id="fields", can_focus=False):
                for name, label, hint in self.FIELDS:
                    with Horizontal():
                        yield Label(label, markup=False)
                        kind = PathInput if name == PATH else StaticInput
                        yield kind(id=name, placeholder=hint, compact=True, select_on_focus=False)
            yield StyledText(id="found")
            yield KeyLine()

    def on_mount(self) -> None:
        """Focus the path."""
        self.query_one(f"#{PATH}", Input).focus()

    def close_with(self, name: str) -> None:
        """Close with a new card; if the form was closed while the card was written, only list the card."""
        if self.is_open:
            self.dismiss(name)
        else:
            host(self).reload_catalogue()

    def value(self, name: str) -> str:
        """Text of a field."""
        return self.query_one(f"#{name}", Input).value.strip()

    @property
    def values(self) -> dict[str, str]:
        """Text of every field by its name."""
        return {name: self.value(name) for name, _, _ in self.FIELDS}

    def show_text(self, *texts: str, tone: Tone = Tone.PLAIN) -> None:
        """Show wrapped paragraphs below the fields."""
        self.show_lines([part for text in texts for part in self.wrapped(text, tone)])

    def wrapped(self, text: str, tone: Tone = Tone.PLAIN) -> list[Line]:
        """Lines of a paragraph in the width of the form."""
        return [line(Span(part, tone)) for part in wrap(text, min(78, self.app.size.width - 6))]

    def show_lines(self, lines: list[Line]) -> None:
        """Show lines below the fields."""
        self.query_one("#found", StyledText).show(lines)
        self._lines = len(lines)
        self._divide_height()
        self.refresh(layout=True)

    def on_resize(self) -> None:
        """Fit the form to the terminal."""
        self._divide_height()

    def _divide_height(self) -> None:
        """Scroll the fields if they and the result are higher than the terminal, so that the keys remain visible."""
        room = self.app.size.height - FRAME
        found = min(self._lines, MOST_LINES, max(2, room - FEWEST_FIELDS))
        self.query_one("#found").styles.max_height = max(1, found)
        self.query_one("#fields").styles.max_height = max(FEWEST_FIELDS, room - max(1, found))

    @on(PathInput.Listed)
    def _listed(self, message: PathInput.Listed) -> None:
        self.show_text("  ".join(message.names), tone=Tone.DIM)
