"""A scrolling text of styled lines, drawn line by line: details, help, dialogs, events; and all keys of a dialog in as
many lines as they need.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import ClassVar

from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from ssl_console.tui.keys import bindings
from ssl_console.tui.style.palette import draw, render_context
from ssl_console.tui.style.text import Line, Span, length
from ssl_console.tui.widgets.header_footer import key_spans, keys_of


class Lines(ScrollView, can_focus=True):
    """A text widget. Lines longer than its width end in an ellipsis."""

    DEFAULT_CSS = """
    Lines { height: 1fr; overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1; }
    """
    BINDINGS: ClassVar = bindings("text")

    def __init__(self, content: Sequence[Line] = (), *, id: str | None = None, classes: str = "") -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self.content: Sequence[Line] = content
        self.shift = 0
        """Number of cells by which long lines are shifted to the left."""
        self.virtual_size = Size(0, len(content))

    def show(self, content: Sequence[Line]) -> None:
        """Show these lines; only those that differ are repainted."""
        before, self.content = self.content, content
        if len(before) != len(content):
            self.virtual_size = Size(0, len(content))
        top = round(self.scroll_y)
        window = slice(top, top + self.size.height)
        for y, (old, new) in enumerate(zip_longest(before[window], content[window])):
            if old != new:
                self.refresh(Region(0, y, self.size.width, 1))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002
        """Number of lines, for `height: auto`."""
        return len(self.content)

    def get_content_width(self, container: Size, viewport: Size) -> int:  # noqa: ARG002
        """Width of the longest line, for `width: auto`."""
        return max((length(line) for line in self.content), default=0)

    def render_line(self, y: int) -> Strip:
        number = y + round(self.scroll_y)
        spans = self.content[number] if number < len(self.content) else ()
        context, base, width = render_context(self), self.rich_style, self.scrollable_content_region.width
        if not self.shift:
            return draw(spans, width, context, base)
        return (
            draw(spans, max(width, length(spans)), context, base)
            .crop(self.shift, self.shift + width)
            .extend_cell_length(width, base)
        )

    def action_shift(self, cells: int) -> None:
        """Shift long lines to the left, or back."""
        longest = max((length(line) for line in self.content), default=0)
        shift = max(0, min(self.shift + cells, longest - self.size.width // 2))
        if shift != self.shift:
            self.shift = shift
            self.refresh()


class Tail(Lines):
    """Lines whose end is followed while it is visible."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.following = True

    def begin(self) -> None:
        """Follow the end again, for new content."""
        self.following = True

    def show(self, content: Sequence[Line]) -> None:
        """Show the last lines, unless the user has scrolled up."""
        following = self.following
        super().show(content)
        if following:
            self._to_end()

    def on_resize(self) -> None:
        """Keep the end visible."""
        if self.following:
            self._to_end()

    def _to_end(self) -> None:
        self.scroll_to(y=self.max_scroll_y, animate=False, force=True, immediate=True)
        self.following = True

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Follow while the end is visible."""
        super().watch_scroll_y(old_value, new_value)
        self.following = new_value >= self.max_scroll_y - 1


class StyledText(Lines, can_focus=False):
    """Lines that never have the focus."""

    def show_all(self, content: Sequence[Line]) -> None:
        """Show these lines; if their number has changed, fit the height to them."""
        before = len(self.content)
        self.show(content)
        if len(content) != before:
            self.refresh(layout=True)


class WrappedKeys(Widget):
    """All keys of a dialog, in as many lines as they need; the footer of a screen omits those without room."""

    DEFAULT_CSS = "WrappedKeys { height: auto; width: 1fr; }"

    def _lines(self, width: int) -> list[Line]:
        here, _ = keys_of(self.screen)
        lines: list[list[Span]] = [[]]
        for binding in here:
            pair = key_spans([binding])
            if lines[-1] and length((*lines[-1], *pair)) > width:
                lines.append([])
            lines[-1] += pair
        return [tuple(line) for line in lines]

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002
        """Number of lines of the keys."""
        return len(self._lines(width))

    def render_line(self, y: int) -> Strip:
        lines = self._lines(self.size.width)
        return draw(lines[y] if y < len(lines) else (), self.size.width, render_context(self), self.rich_style)
