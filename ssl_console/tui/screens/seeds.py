"""Dialog for typing the seeds of a launch."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from ssl_console.tui.keys import bindings
from ssl_console.tui.screens.base import Dialog
from ssl_console.tui.style.text import Span, Tone, line
from ssl_console.tui.views.launch import parse_seeds
from ssl_console.tui.widgets.filter_bar import StaticInput
from ssl_console.tui.widgets.header_footer import KeyLine
from ssl_console.tui.widgets.styled_text import StyledText


class SeedsDialog(Dialog[tuple[int, ...] | None]):
    """Ends with the seeds, or None."""

    BINDINGS: ClassVar = bindings("seeds")
    DEFAULT_CSS = """
    SeedsDialog Input { background: $background; }
    SeedsDialog StyledText { height: 1; }
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """The input line, and its interpretation."""
        with Vertical(classes="dialog small") as panel:
            panel.border_title = "Seeds"
            yield StaticInput(self._text, placeholder="0-4, or 0,3,7", compact=True, select_on_focus=False)
            yield StyledText(id="meaning")
            yield KeyLine()

    def on_mount(self) -> None:
        """Move the cursor to the end of the text."""
        self.query_one(Input).focus()
        self._show()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self._show()

    def _show(self) -> None:
        try:
            count = len(parse_seeds(self.query_one(Input).value))
        except ValueError as error:
            meaning = Span(str(error), Tone.WARN)
        else:
            meaning = Span(f"{count} seed{'s' if count != 1 else ''} of every pair", Tone.DIM)
        self.query_one("#meaning", StyledText).show([line(meaning)])

    def action_accept(self) -> None:
        """Accept the seeds, if they are valid."""
        try:
            self.dismiss(parse_seeds(self.query_one(Input).value))
        except ValueError:
            self._show()
