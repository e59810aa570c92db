"""All keys of a dialog, wrapped to several lines if necessary."""

from __future__ import annotations

from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from ssl_console.tui.style.palette import draw, render_context
from ssl_console.tui.style.text import Line, Span, length
from ssl_console.tui.widgets.header_footer import key_spans, keys_of


class WrappedKeys(Widget):
    """The widget. Unlike in the footer of a screen, all keys are shown."""

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
        """One line of the screen."""
        lines = self._lines(self.size.width)
        return draw(lines[y] if y < len(lines) else (), self.size.width, render_context(self), self.rich_style)
