"""The log of a run, followed while one looks at its end. Reading happens in a thread, drawing line by line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ssl_console.tui import logwindow
from ssl_console.tui.lines import Lines
from ssl_console.tui.logwindow import Window
from ssl_console.tui.text import Line, Span, Tone, line

if TYPE_CHECKING:
    from ssl_console.tui.app import ConsoleApp


NO_LOG = [line(Span(" no log yet", Tone.DIM))]


class LogView(Lines):
    """The widget. Scrolled to the end it follows; anywhere else it stays where it is."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.window = Window()
        self.following = True
        self._busy = False
        self._read_once = False
        self.show(NO_LOG)

    def open(self, path: Path | None) -> None:
        """The log of another run, from its end."""
        if path == self.window.path:
            return
        self.window = Window(path)
        self.following, self._busy, self._read_once = True, False, False
        self.show(NO_LOG)
        if path is not None:
            self._read(lambda: logwindow.open_end(path))

    def follow(self) -> None:
        """Take in what was written meanwhile."""
        window = self.window
        if window.path is not None and self.following:
            self._read(lambda: logwindow.later(window))

    def _read(self, step: Callable[[], Window]) -> None:
        if self._busy:
            return
        self._busy = True
        cast("ConsoleApp", self.app).in_background(step, self._take, group="log")

    def _take(self, window: Window) -> None:
        self._busy = False
        known = self._read_once and window == self.window
        if window.path != self.window.path or not self.is_mounted or known:
            return
        self.window, self._read_once = window, True
        self.show(
            [_line(text) for text in window.lines]
            or [line(Span(" nothing has been printed: the log is empty", Tone.DIM))]
        )
        if self.following:
            self.scroll_to(y=self.max_scroll_y, animate=False, force=True, immediate=True)
        elif window.added_before:
            self.scroll_to(y=self.scroll_y + window.added_before, animate=False, force=True, immediate=True)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Near an end of what has been read, read on."""
        super().watch_scroll_y(old_value, new_value)
        window = self.window
        at_bottom = new_value >= self.max_scroll_y - 1
        self.following = at_bottom and window.at_end
        if new_value < old_value and new_value <= 2 and not window.at_start:
            self._read(lambda: logwindow.earlier(window))
        elif at_bottom and not window.at_end:
            self._read(lambda: logwindow.later(window))

    def action_scroll_home(self) -> None:
        """The beginning of the file."""
        path = self.window.path
        if path is not None and not self.window.at_start:
            self.following = False
            self._read(lambda: logwindow.open_start(path))
        self.scroll_to(y=0, animate=False, force=True, immediate=True)

    def action_scroll_end(self) -> None:
        """The end of the file."""
        path = self.window.path
        self.following = True
        if path is not None and not self.window.at_end:
            self._read(lambda: logwindow.open_end(path))
        self.scroll_to(y=self.max_scroll_y, animate=False, force=True, immediate=True)


def _line(text: str) -> Line:
    return (Span(f" {text}", _tone(text)),)


def _tone(text: str) -> Tone:
    head = text[:200].lower()
    if "error" in head or "traceback" in head:
        return Tone.BAD
    return Tone.WARN if "warn" in head else Tone.PLAIN
