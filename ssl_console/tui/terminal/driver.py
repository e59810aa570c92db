"""A terminal driver for terminals that may vanish at any moment: output is then discarded, and the app exits.

Textual's own driver blocks in this case: its writer thread fails on the first write, and the event loop waits for it
forever.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Queue
from typing import TYPE_CHECKING, Any, TextIO, TypeVar, cast

from textual.drivers.linux_driver import LinuxDriver

from ssl_console.tui.terminal.shutdown import HasSignalCode, exit_within_timeout

if TYPE_CHECKING:
    from textual.app import App
    from textual.driver import Driver


Answer = TypeVar("Answer")
LOST = 128 + signal.SIGHUP
"""Exit code of an app whose terminal has vanished, by the convention of shells."""


class TerminalDriver(LinuxDriver):
    """Textual's driver, made safe against a vanishing terminal."""

    def __init__(
        self, app: App[Any], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self.stream = TerminalStream(cast("TextIO", self._file), self._lost)
        self._file = cast("Any", self.stream)

    def run_input_thread(self) -> None:
        """Read keys until the end of the input, which may be that of the terminal."""
        try:
            super().run_input_thread()
        except OSError:
            self._lost()

    def _lost(self) -> None:
        cast("HasSignalCode", self._app).signal_code = LOST
        exit_within_timeout(LOST)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._app.exit, LOST)


class TerminalStream:
    """A stream to the terminal that remains usable after the terminal is gone."""

    def __init__(self, stream: TextIO, lost: Callable[[], object]) -> None:
        self._stream, self._lost = stream, lost
        self.longest_write_s = 0.0
        """Longest duration of a write since the value was last read and reset, in seconds."""

    def write(self, text: str) -> int:
        """Write; without effect if the terminal is gone."""
        return self._attempt(lambda: self._stream.write(text), len(text))

    def flush(self) -> None:
        """Flush; without effect if the terminal is gone."""
        self._attempt(self._stream.flush, None)

    def fileno(self) -> int:
        """The descriptor of the terminal."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream.isatty()

    def _attempt(self, write: Callable[[], Answer], otherwise: Answer) -> Answer:
        started = time.monotonic()
        try:
            return write()
        except OSError:
            discard(self._stream)
            self._lost()
            return otherwise
        finally:
            self.longest_write_s = max(self.longest_write_s, time.monotonic() - started)


def discard(stream: TextIO) -> None:
    """Discard the buffered and all further output of the stream."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def pending_writes(driver: Driver | None) -> int:
    """Number of writes that the terminal has not accepted yet; 0 where it is unknown."""
    queue = getattr(getattr(driver, "_writer_thread", None), "_queue", None)
    return queue.qsize() if isinstance(queue, Queue) else 0


def longest_write_s(driver: Driver | None) -> float:
    """Longest duration of a write since the last call, in seconds."""
    if not isinstance(driver, TerminalDriver):
        return 0.0
    longest, driver.stream.longest_write_s = driver.stream.longest_write_s, 0.0
    return longest


CONGESTED = 5
"""Number of waiting writes from which a terminal counts as slow; the queue holds 30, then the app blocks."""
HELD_UP_S = 1.0
"""Duration of a single write above which the terminal counts as slow at once, in seconds."""
SMOOTH = 120
"""Number of consecutive observations without a delay after which the usual rate is restored: a minute."""


@dataclass
class LinkSpeed:
    """Estimate of whether the connection is slow, from repeated observations of the terminal."""

    slow: bool = False
    fixed: bool = False
    """Whether it was set by the user, and is never changed."""
    _congested: int = 0
    _smooth: int = 0

    def observe(self, waiting: int, longest_write_s: float) -> bool:
        """Add an observation, and return whether the connection is slow."""
        if self.fixed:
            return self.slow
        self._congested = self._congested + 1 if waiting >= CONGESTED else 0
        trouble = self._congested > 1 or longest_write_s > HELD_UP_S
        self._smooth = 0 if trouble or waiting else self._smooth + 1
        self.slow = trouble or (self.slow and self._smooth < SMOOTH)
        return self.slow
