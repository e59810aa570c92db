"""Appending events: whole lines, one write each, from any thread."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from ssl_console.events import Event, encode_event
from ssl_console.files import FILE_MODE
from ssl_console.worker.output import complain


class EventLog:
    """The writer of one `events.<attempt>.jsonl`.

    A line that cannot be written (disk full) is lost and costs the run nothing: counts are absolute.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, FILE_MODE)
        self._lock = threading.Lock()
        self._torn = False
        self.last = time.monotonic()
        """When the last event was written, on the monotonic clock."""

    def write(self, event: Event) -> None:
        """Append one event."""
        line = encode_event(event)
        with self._lock:
            try:
                written = os.write(self._descriptor, b"\n" + line if self._torn else line)
                self._torn = written < len(line)
                self.last = time.monotonic()
            except OSError as error:
                if not self._torn:
                    complain(f"an event was lost: {error}")
                self._torn = True

    def close(self) -> None:
        """Nothing more will be written."""
        with self._lock:
            os.close(self._descriptor)
