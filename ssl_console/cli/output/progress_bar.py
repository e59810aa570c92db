"""Progress of the command's own work: one rewritten line in a terminal, a few lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from ssl_console.cli.output.stdout import say
from ssl_console.planning.duration import format_duration, megabytes
from ssl_console.system.safe_text import printable, shorten

REWRITE_S = 0.1
LINE_S = 5.0
COLUMNS = 78


def stderr_is_terminal() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr.isatty()


@dataclass
class Meter:
    """Progress with the remaining time on standard error, in bytes or in `unit`.

    Use as a context manager so that its line is ended.
    """

    title: str
    unit: str = ""
    terminal: bool = field(default_factory=stderr_is_terminal)
    clock: Callable[[], float] = time.monotonic
    _shown: float = -1e9
    _started: float | None = None
    _first: int = 0
    _open: bool = False

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def update(self, done: int, total: int | None) -> None:
        """Show the progress if it is due; the last update is always shown."""
        now = self.clock()
        if self._started is None or done < self._first:
            self._started, self._first = now, done
        last = total is not None and done >= total
        if now - self._shown < (REWRITE_S if self.terminal else LINE_S) and not last:
            return
        self._shown = now
        self._show(f"{self.title}: {self._words(done, total, now)}")

    def rename(self, title: str) -> None:
        """Begin another part of the work under a new title."""
        if title != self.title:
            self.end()
            self.title, self._started, self._shown = title, None, -1e9

    def end(self) -> None:
        """End the rewritten line, so that later output starts on its own line."""
        if self._open:
            with suppress(OSError):
                sys.stderr.write("\n")
                sys.stderr.flush()
        self._open = False

    def _words(self, done: int, total: int | None, now: float) -> str:
        elapsed = 0.0 if self._started is None else now - self._started
        speed = (done - self._first) / elapsed if elapsed > 0 else 0.0
        words = [self._amount(done, total)]
        if total:
            words.append(f"{100 * done // total} %")
        if speed > 0 and total is not None and done < total:
            words.append(f"{format_duration((total - done) / speed)} left")
        return ", ".join(words)

    def _amount(self, done: int, total: int | None) -> str:
        if self.unit:
            return f"{done:,} {self.unit}" if total is None else f"{done:,} of {total:,} {self.unit}"
        return megabytes(done) if total is None else f"{megabytes(done)} of {megabytes(total)}"

    def _show(self, text: str) -> None:
        if not self.terminal:
            say(text)
            return
        with suppress(OSError):
            sys.stderr.write(f"\r{shorten(printable(text), COLUMNS):<{COLUMNS}}")
            sys.stderr.flush()
        self._open = True
