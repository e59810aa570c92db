"""The first picture: where one is and which keys there will be, while cards and runs are read."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.screen import Screen

from ssl_console.tui.style.text import Span, Tone, line
from ssl_console.tui.widgets.header_footer import KeyLine, TopBar
from ssl_console.tui.widgets.styled_text import StyledText


class StartScreen(Screen[object]):
    """Shown for a moment."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self._first = mode

    def compose(self) -> ComposeResult:
        """The bars, and a word between them."""
        yield TopBar(self._first)
        yield StyledText([line(Span(" Reading the cards ...", Tone.DIM))], id="body")
        yield KeyLine()
