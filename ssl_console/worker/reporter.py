"""Implementation of `tasks.reporter.Reporter`: a bounded number of events, however often a protocol reports.

The heartbeat thread reports that a run is alive as long as the process is working: it writes an event only if this
process used the processor since the last one. A run that computes for an hour without reporting therefore stays alive,
and one whose threads all wait for something that never comes falls silent, which is how the supervisor detects it.
(Waiting for a CUDA kernel keeps a processor busy.)
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from backbones.io.files import open_own
from ssl_console.worker.process import log_error
from ssl_console.worker.provenance import device_peak_mb, host_peak_mb
from ssl_console.workspace.events import Event, encode_event, keep_bounded
from ssl_console.workspace.paths import RunFolder

EVERY_S = 2.0
LIVING_SHARE = 0.02
"""Share of one processor that an idle, waiting process does not reach."""


class EventLog:
    """Writer of one `events.<attempt>.jsonl`.

    A line that cannot be written (disk full) is lost without failing the run: counts are absolute.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = open_own(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._lock = threading.Lock()
        self._torn = False
        self.last = time.monotonic()
        """Time of the last event on the monotonic clock, in seconds."""

    def write(self, event: Event) -> None:
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
        with self._lock:
            os.close(self._descriptor)


ADVANCE_EVERY_S = 0.2
METRIC_EVERY_S = 0.1
"""Interval per metric, in seconds: of the points within one, only the newest is written."""

MOST_WARNINGS = 1000
LONGEST_WARNING = 4000
MOST_METRICS = 200
"""Limit on the metrics of a misbehaving protocol, so that neither events nor readers grow without bound."""


class WorkerReporter:
    """Reporter that writes events; what is held back is written by the next `flush`."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._lock = threading.RLock()
        self._done = 0
        self._reported = 0
        self._unit = ""
        self._phase_began = self._advanced = time.monotonic()
        self._metrics_reported: dict[str, float] = {}
        self._metrics_held: dict[str, Event] = {}
        self.warnings: list[str] = []

    def phase(self, name: str, total: int | None = None, unit: str = "") -> None:
        """Begin a new phase."""
        with self._lock:
            self.flush()
            self._done = self._reported = 0
            self._unit = unit
            self._phase_began = self._advanced = time.monotonic()
            self._log.write(Event("phase", time.time(), name=name, total=total, unit=unit))

    def advance(self, count: int = 1) -> None:
        """Count `count` more units as done."""
        with self._lock:
            self._done += count
            if time.monotonic() - self._advanced >= ADVANCE_EVERY_S:
                self._write_advance()

    def metric(self, name: str, value: float, step: float | None = None) -> None:
        """Add a point to a curve; a value that is not finite, or a curve beyond the limit, is dropped."""
        if not math.isfinite(value):
            return
        event = Event("metric", time.time(), name=name, value=float(value), step=None if step is None else float(step))
        with self._lock:
            if len(self._metrics_reported) >= MOST_METRICS and name not in self._metrics_reported:
                return
            if time.monotonic() - self._metrics_reported.get(name, -math.inf) >= METRIC_EVERY_S:
                self._write_metric(event)
            else:
                self._metrics_held[name] = event

    def warn(self, message: str) -> None:
        """Store a warning for the result, up to `MOST_WARNINGS`."""
        with self._lock:
            if len(self.warnings) > MOST_WARNINGS:
                return
            text = message[:LONGEST_WARNING] if len(self.warnings) < MOST_WARNINGS else "further warnings are left out"
            self.warnings.append(text)
            self._log.write(Event("warning", time.time(), message=text))

    def flush(self) -> None:
        """Write the events that were held back."""
        with self._lock:
            if self._done != self._reported:
                self._write_advance()
            for event in list(self._metrics_held.values()):
                self._write_metric(event)

    @property
    def images_per_s(self) -> float | None:
        """Speed of the current phase in images/s; None when the phase does not count images."""
        with self._lock:
            elapsed = self._advanced - self._phase_began
            counts = self._unit == "images" and self._reported > 0 and elapsed > 0
            return self._reported / elapsed if counts else None

    def _write_advance(self) -> None:
        self._reported, self._advanced = self._done, time.monotonic()
        self._log.write(Event("advance", time.time(), done=self._done))

    def _write_metric(self, event: Event) -> None:
        self._metrics_reported[event.name] = time.monotonic()
        self._metrics_held.pop(event.name, None)
        self._log.write(event)


@contextmanager
def heartbeat(folder: RunFolder, attempt: int, log: EventLog, reporter: WorkerReporter) -> Iterator[None]:
    """Send heartbeats until the block is left, and end the run when it is cancelled, declared ended or removed, with or
    without a supervisor.
    """
    over = threading.Event()
    thread = threading.Thread(target=_beat, args=(folder, attempt, log, reporter, over), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def resources(reporter: WorkerReporter) -> Event:
    """Current speed and peak memory."""
    return Event(
        "resources",
        time.time(),
        images_per_s=reporter.images_per_s,
        memory_mb=host_peak_mb(),
        device_memory_mb=device_peak_mb(),
    )


def _beat(folder: RunFolder, attempt: int, log: EventLog, reporter: WorkerReporter, over: threading.Event) -> None:
    used, sent = time.process_time(), None
    while not over.wait(EVERY_S):
        before, used = used, time.process_time()
        reporter.flush()
        if used - before >= LIVING_SHARE * EVERY_S:
            now = resources(reporter)
            log.write(now if _differs(now, sent) else Event("heartbeat", time.time()))
            sent = now
        with suppress(OSError):
            keep_bounded(folder, attempt)
        if folder.cancel.exists() or folder.end(attempt).exists() or not folder.path.exists():
            os.kill(os.getpid(), signal.SIGTERM)
            return


def _differs(now: Event, sent: Event | None) -> bool:
    """Whether the event contains anything beyond a sign of life."""
    if sent is None or now.images_per_s != sent.images_per_s:
        return True
    return (now.memory_mb, now.device_memory_mb) != (sent.memory_mb, sent.device_memory_mb)
