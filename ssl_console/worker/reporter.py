"""The worker's `tasks.reporter.Reporter`: bounded numbers of events, however often a protocol reports."""

from __future__ import annotations

import math
import os
import threading
import time
from pathlib import Path

from backbones.io.files import open_own
from ssl_console.worker.process import log_error
from ssl_console.workspace.events import Event, encode_event


class EventLog:
    """The writer of one `events.<attempt>.jsonl`.

    A line that cannot be written (disk full) is lost and costs the run nothing: counts are absolute.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = open_own(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
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
                    log_error(f"an event was lost: {error}")
                self._torn = True

    def close(self) -> None:
        """Nothing more will be written."""
        with self._lock:
            os.close(self._descriptor)


ADVANCE_EVERY_S = 0.2
METRIC_EVERY_S = 0.1
"""Per metric: of points that come faster, the newest of each interval is kept."""

MOST_WARNINGS = 1000
LONGEST_WARNING = 4000
MOST_METRICS = 200
"""What a protocol that has gone mad may tell, so that neither events nor readers grow without end."""


class WorkerReporter:
    """Writes what a protocol reports as events; what is held back follows with the next `flush`."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._lock = threading.RLock()
        self._done = 0
        self._told = 0
        self._unit = ""
        self._phase_began = self._advanced = time.monotonic()
        self._metrics_told: dict[str, float] = {}
        self._metrics_held: dict[str, Event] = {}
        self.warnings: list[str] = []

    def phase(self, name: str, total: int | None = None, unit: str = "") -> None:
        """A new phase begins."""
        with self._lock:
            self.flush()
            self._done = self._told = 0
            self._unit = unit
            self._phase_began = self._advanced = time.monotonic()
            self._log.write(Event("phase", time.time(), name=name, total=total, unit=unit))

    def advance(self, count: int = 1) -> None:
        """`count` more units are done."""
        with self._lock:
            self._done += count
            if time.monotonic() - self._advanced >= ADVANCE_EVERY_S:
                self._tell_advance()

    def metric(self, name: str, value: float, step: float | None = None) -> None:
        """A point of a curve; one that is not a number, or of one curve too many, is left out."""
        if not math.isfinite(value):
            return
        event = Event("metric", time.time(), name=name, value=float(value), step=None if step is None else float(step))
        with self._lock:
            if len(self._metrics_told) >= MOST_METRICS and name not in self._metrics_told:
                return
            if time.monotonic() - self._metrics_told.get(name, -math.inf) >= METRIC_EVERY_S:
                self._tell_metric(event)
            else:
                self._metrics_held[name] = event

    def warn(self, message: str) -> None:
        """Kept for the result too, up to `MOST_WARNINGS`."""
        with self._lock:
            if len(self.warnings) > MOST_WARNINGS:
                return
            told = message[:LONGEST_WARNING] if len(self.warnings) < MOST_WARNINGS else "further warnings are left out"
            self.warnings.append(told)
            self._log.write(Event("warning", time.time(), message=told))

    def flush(self) -> None:
        """Write what was held back."""
        with self._lock:
            if self._done != self._told:
                self._tell_advance()
            for event in list(self._metrics_held.values()):
                self._tell_metric(event)

    @property
    def images_per_s(self) -> float | None:
        """Speed of the current phase; None when it does not count images."""
        with self._lock:
            elapsed = self._advanced - self._phase_began
            counts = self._unit == "images" and self._told > 0 and elapsed > 0
            return self._told / elapsed if counts else None

    def _tell_advance(self) -> None:
        self._told, self._advanced = self._done, time.monotonic()
        self._log.write(Event("advance", time.time(), done=self._done))

    def _tell_metric(self, event: Event) -> None:
        self._metrics_told[event.name] = time.monotonic()
        self._metrics_held.pop(event.name, None)
        self._log.write(event)
