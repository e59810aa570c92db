"""An input for a path, which Tab completes."""

from __future__ import annotations

from typing import ClassVar

from textual.message import Message

from ssl_console.system.file_system import PathCompletion, complete_path
from ssl_console.tui.host import host
from ssl_console.tui.keys import bindings
from ssl_console.tui.widgets.filter_bar import StaticInput


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
