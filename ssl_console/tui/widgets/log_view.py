"""The log of a run, followed while its end is visible. A thread reads it; drawing is line by line."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ssl_console.system.safe_text import last_state, printable
from ssl_console.tui.host import host
from ssl_console.tui.style.text import Line, Span, Tone, line, wrap
from ssl_console.tui.widgets.styled_text import Lines

BLOCK = 1 << 16
"""Bytes read at a time."""
MOST_LINES = 20_000
"""Maximum number of lines in memory; beyond that, lines at the far end are dropped, and read again on demand."""
LONGEST = 4096
"""Maximum length of a line in characters."""


@dataclass(frozen=True)
class LogWindow:
    """The lines between two positions of a file."""

    path: Path | None = None
    lines: tuple[str, ...] = ()
    offsets: tuple[int, ...] = ()
    """Where each line begins."""
    start: int = 0
    end: int = 0
    """Position after the last line."""
    size: int = 0
    """Size of the file in bytes when it was last read."""
    added_before: int = field(default=0, compare=False)
    """Number of lines that the last step added before the others, by which a view moves down."""

    @property
    def at_end(self) -> bool:
        """Whether the window reaches the end of the file."""
        return self.end >= self.size

    @property
    def at_start(self) -> bool:
        """Whether the window begins at the start of the file."""
        return self.start == 0


def open_end(path: Path) -> LogWindow:
    """The end of the file; empty if it does not exist."""
    size = _size(path)
    start = _line_start(path, max(0, size - BLOCK))
    return _read(LogWindow(path, size=size), start, size)


def open_start(path: Path) -> LogWindow:
    """The beginning of the file."""
    size = _size(path)
    return _read(LogWindow(path, size=size), 0, min(size, BLOCK))


def earlier(window: LogWindow) -> LogWindow:
    """The window extended by a block at its beginning."""
    if window.path is None or window.at_start:
        return replace(window, added_before=0)
    start = _line_start(window.path, max(0, window.start - BLOCK), window.start)
    block = _read(LogWindow(window.path, size=window.size), start, window.start)
    lines, offsets = block.lines + window.lines, block.offsets + window.offsets
    first = slice(0, MOST_LINES)
    end = offsets[MOST_LINES] if len(lines) > MOST_LINES else window.end
    return replace(
        window, lines=lines[first], offsets=offsets[first], start=start, end=end, added_before=len(block.lines)
    )


def later(window: LogWindow) -> LogWindow:
    """The window extended at its end by the next block, or by newly written lines.

    A truncated or replaced file is opened again.
    """
    if window.path is None:
        return window
    size = _size(window.path)
    if size < window.end:
        return open_end(window.path)
    if size == window.end == window.size:
        return replace(window, added_before=0)
    start, held = window.end, len(window.lines)
    if window.lines and window.at_end:
        start, held = window.offsets[-1], held - 1
    block = _read(LogWindow(window.path, size=size), start, min(size, window.end + BLOCK))
    lines, offsets = window.lines[:held] + block.lines, window.offsets[:held] + block.offsets
    dropped = max(0, len(lines) - MOST_LINES)
    return LogWindow(
        window.path, lines[dropped:], offsets[dropped:], offsets[dropped] if offsets else 0, block.end, size, -dropped
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _read(window: LogWindow, start: int, end: int) -> LogWindow:
    """Lines from `start`; an incomplete last line is included at the end of the file."""
    if window.path is None or start >= end:
        return replace(window, start=start, end=start)
    data = _bytes(window.path, start, end - start)
    whole = data.rfind(b"\n") + 1
    if start + len(data) < window.size and whole:
        data = data[:whole]
    lines, offsets, offset = [], [], start
    for raw in data.removesuffix(b"\n").split(b"\n") if data else []:
        lines.append(printable(last_state(raw[: 4 * LONGEST].decode(errors="replace")))[:LONGEST])
        offsets.append(offset)
        offset += len(raw) + 1
    return replace(window, lines=tuple(lines), offsets=tuple(offsets), start=start, end=start + len(data))


def _line_start(path: Path, offset: int, limit: int | None = None) -> int:
    """Start of the first line at or after `offset`; `offset` itself if there is none within a block."""
    if offset == 0:
        return 0
    data = _bytes(path, offset - 1, BLOCK if limit is None else min(BLOCK, limit - offset))
    newline = data.find(b"\n")
    return offset if newline < 0 else offset + newline


def _bytes(path: Path, start: int, count: int) -> bytes:
    try:
        with path.open("rb", buffering=0) as file:
            return os.pread(file.fileno(), max(0, count), start)
    except FileNotFoundError:
        return b""


NO_LOG = [line(Span(" no log yet", Tone.DIM))]


def empty_log(path: Path | None, width: int) -> list[Line]:
    """Text for an empty log: the file to which output would be written."""
    if path is None:
        return NO_LOG
    head = line(Span(" nothing has been printed; output would be in", Tone.DIM))
    return [head, *(line(Span(f"   {part}", Tone.DIM)) for part in wrap(str(path), max(8, width - 3)))]


class LogView(Lines):
    """A log widget. It follows the file while it is scrolled to the end."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.window = LogWindow()
        self.following = True
        self._busy = False
        self._read_once = False
        self.show(NO_LOG)

    def open(self, path: Path | None) -> None:
        """Show the end of another run's log."""
        if path == self.window.path:
            return
        self.window = LogWindow(path)
        self.following, self._busy, self._read_once = True, False, False
        self.show(NO_LOG)
        if path is not None:
            self._read(lambda: open_end(path))

    def follow(self) -> None:
        """Read newly written lines."""
        window = self.window
        if window.path is not None and self.following:
            self._read(lambda: later(window))

    def _read(self, step: Callable[[], LogWindow]) -> None:
        if self._busy:
            return
        self._busy = True
        host(self).in_background(step, self._take, group="log")

    def _take(self, window: LogWindow) -> None:
        self._busy = False
        unchanged = self._read_once and window == self.window
        if window.path != self.window.path or not self.is_mounted or unchanged:
            return
        self.window, self._read_once = window, True
        lines = [line(Span(f" {text}", _tone(text))) for text in window.lines]
        self.show(lines or empty_log(window.path, self.scrollable_content_region.width))
        if self.following:
            self.scroll_to(y=self.max_scroll_y, animate=False, force=True, immediate=True)
        elif window.added_before:
            self.scroll_to(y=self.scroll_y + window.added_before, animate=False, force=True, immediate=True)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Read more near an end of the window."""
        super().watch_scroll_y(old_value, new_value)
        window = self.window
        at_bottom = new_value >= self.max_scroll_y - 1
        self.following = at_bottom and window.at_end
        if new_value < old_value and new_value <= 2 and not window.at_start:
            self._read(lambda: earlier(window))
        elif at_bottom and not window.at_end:
            self._read(lambda: later(window))

    def action_scroll_home(self) -> None:
        """Show the beginning of the file."""
        path = self.window.path
        if path is not None and not self.window.at_start:
            self.following = False
            self._read(lambda: open_start(path))
        self.scroll_to(y=0, animate=False, force=True, immediate=True)

    def action_scroll_end(self) -> None:
        """Show the end of the file."""
        path = self.window.path
        self.following = True
        if path is not None and not self.window.at_end:
            self._read(lambda: open_end(path))
        self.scroll_to(y=self.max_scroll_y, animate=False, force=True, immediate=True)


def _tone(text: str) -> Tone:
    head = text[:200].lower()
    if "error" in head or "traceback" in head:
        return Tone.BAD
    return Tone.WARN if "warn" in head else Tone.PLAIN
