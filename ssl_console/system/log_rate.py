"""Lines of a log: a bound on how often one is repeated, and no control characters."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ssl_console.system.safe_text import printable

INTERVAL_S = 60.0
MOST_KEPT = 1000
"""Maximum number of distinct lines that are counted; beyond it the counts are cleared."""


@dataclass(eq=False)
class RateLimit(logging.Filter):
    """Logging filter that passes each line once per interval and then appends the number of suppressed repetitions.

    Lines are equal when their templates and source positions (file and line) are equal; with `by_text`, when their
    texts are.
    """

    interval_s: float = INTERVAL_S
    by_text: bool = False
    clock: Callable[[], float] = time.monotonic
    _seen: dict[object, tuple[float, int]] = field(default_factory=dict)
    """Per line: time at which it was last passed, and the number suppressed since."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written, with the number of suppressed ones appended. Lines below WARNING always are."""
        if record.levelno < logging.WARNING:
            return True
        line = record.getMessage() if self.by_text else (record.pathname, record.lineno, record.msg)
        now = self.clock()
        last, left_out = self._seen.get(line, (None, 0))
        if last is not None and now - last < self.interval_s:
            self._seen[line] = last, left_out + 1
            return False
        if len(self._seen) >= MOST_KEPT:
            self._seen.clear()
        self._seen[line] = now, 0
        if left_out:
            record.msg = f"{record.getMessage()} (and {left_out:,} more like it)"
            record.args = None
        return True


class PrintableFormatter(logging.Formatter):
    """Formatter of single lines without escape sequences: names of runs and output of hooks come from others."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - named by `logging`
        """One line that only draws characters."""
        return printable(super().formatMessage(record))
