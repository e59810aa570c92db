"""The terminal, which may vanish at any moment: then what is written goes nowhere, and the app is told to end.

Textual's own driver stands still then: its writer dies on the first write, and the event loop waits for it for ever.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO, TypeVar, cast

from textual.drivers.linux_driver import LinuxDriver

if TYPE_CHECKING:
    from textual.app import App

Answer = TypeVar("Answer")
LOST = 128 + signal.SIGHUP
"""Exit code of an app whose terminal has gone, as a shell would say it."""


class TerminalDriver(LinuxDriver):
    """Textual's driver, for a terminal that may vanish."""

    def __init__(
        self, app: App[Any], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._file = cast("Any", Outlet(cast("TextIO", self._file), self._lost))

    def run_input_thread(self) -> None:
        """Read keys until the end, which may be the terminal's."""
        try:
            super().run_input_thread()
        except OSError:
            self._lost()

    def _lost(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._app.exit, LOST)


class Outlet:
    """A stream to the terminal that outlives it."""

    def __init__(self, stream: TextIO, lost: Callable[[], object]) -> None:
        self._stream, self._lost = stream, lost

    def write(self, text: str) -> int:
        """Write, or lose what is written."""
        return self._attempt(lambda: self._stream.write(text), len(text))

    def flush(self) -> None:
        """Send what has been written, or lose it."""
        self._attempt(self._stream.flush, None)

    def fileno(self) -> int:
        """The descriptor of the terminal."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream.isatty()

    def _attempt(self, write: Callable[[], Answer], otherwise: Answer) -> Answer:
        try:
            return write()
        except OSError:
            discard(self._stream)
            self._lost()
            return otherwise


def discard(stream: TextIO) -> None:
    """Let everything that is written to the stream from now on, and what it still holds, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
