"""Input lines: the filter of a screen, and a path that Tab completes."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.reactive import reactive
from textual.screen import Screen
from textual.widgets import Input, Label

from ssl_console.system.file_system import PathCompletion, complete_path
from ssl_console.tui.host import Refreshable, host
from ssl_console.tui.keys import bindings


class StaticInput(Input):
    """An input whose cursor does not blink, and whose text is always valid."""

    cursor_blink = reactive(False, init=False)

    def validate(self, value: str) -> None:
        """Skip validation: Textual would compute the styles of the line again after the first letter."""


def stop_cursor_blink(screen: Screen[object]) -> None:
    """Stop the cursor blink in the inputs of a screen."""
    for line in screen.query(Input):
        line.cursor_blink = False


ABOUT = (
    "Filter: all terms must match, or one of those joined by or; parentheses group, not or a leading minus negates. "
    "A word is searched for in names; field:value in one field, where value may be several values separated by commas, "
    "a pattern with *, or a number after <, <=, > or >=; score:linear/dtd>70 compares a score."
)


class FilterLine(StaticInput):
    """The input line of a filter."""

    BINDINGS: ClassVar = bindings("filter")

    def __init__(self, fields: str) -> None:
        super().__init__(placeholder="words and field:value, e.g. dino params:<30", compact=True, select_on_focus=False)
        self.HELP_TEXT = f"{ABOUT} Fields: {fields}."
        """Text for the help."""

    def action_clear(self) -> None:
        screen = self.screen
        if isinstance(screen, Refreshable):
            screen.go_back()

    async def action_submit(self) -> None:
        """Accept the filter, before any other key is handled."""
        bar = self.parent
        assert isinstance(bar, FilterBar)
        bar.keep()


class FilterBar(Horizontal):
    """The filter: `/` opens it, enter keeps it, escape clears it."""

    DEFAULT_CSS = """
    FilterBar { height: 1; display: none; }
    FilterBar Label { width: 3; color: $accent; padding: 0 1; }
    FilterBar Input { width: 1fr; background: $background; }
    """

    class Changed(Message):
        """Message: the filter has changed."""

        def __init__(self, text: str) -> None:
            self.text = text
            super().__init__()

    def __init__(self, fields: str) -> None:
        super().__init__()
        self._fields = fields
        self.last = ""
        """The last typed filter, also after it was cleared."""

    def compose(self) -> ComposeResult:
        """A slash and the line."""
        yield Label("/", markup=False)
        yield FilterLine(self._fields)

    @property
    def text(self) -> str:
        """The typed filter."""
        return self.query_one(Input).value

    def show_text(self, text: str) -> None:
        """Show a filter typed on another screen, without a message."""
        line = self.query_one(Input)
        if line.value != text:
            self.display = bool(text)
            self.last = text.strip() or self.last
            with line.prevent(Input.Changed):
                line.value = text

    def edit(self) -> None:
        """Show and focus the line at once, for the next key."""
        self.display = True
        self.screen.set_focus(self.query_one(Input))

    def clear(self) -> bool:
        """Clear the filter; False if there was none."""
        was_open = self.display
        self.query_one(Input).value = ""
        self.display = False
        return was_open

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while typing."""
        event.stop()
        self.last = event.value.strip() or self.last
        self.post_message(self.Changed(event.value))

    def keep(self) -> None:
        """Accept the filter, and focus the table."""
        if not self.text:
            self.display = False
        screen = self.screen
        if isinstance(screen, Refreshable):
            screen.refresh_view()
        screen.focus_next("LineTable")


class PathInput(StaticInput):
    """A path input. Tab moves to the next field if nothing remains to be completed."""

    BINDINGS: ClassVar = bindings("path")

    class Listed(Message):
        """Message: several entries match."""

        def __init__(self, names: tuple[str, ...]) -> None:
            self.names = names
            super().__init__()

    def action_complete(self) -> None:
        """Complete the path, in a thread: folders may be slow."""
        text, session = self.value, host(self).backend.session

        def complete() -> PathCompletion:
            # a page in a browser lists nothing but data
            return complete_path(text, session.data_root if self.app.is_web else None)

        host(self).in_background(complete, lambda found: self._take(text, found), group="complete")

    def _take(self, text: str, found: PathCompletion) -> None:
        if not self.is_mounted or self.value != text:
            return
        if found.text != text:
            self.value = found.text
            self.cursor_position = len(found.text)
        elif len(found.names) < 2:
            self.screen.focus_next()
        if len(found.names) > 1:
            self.post_message(self.Listed(found.names))
