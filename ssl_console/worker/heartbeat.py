"""Heartbeat thread: reports that a run is alive as long as the process is working.

A heartbeat is written only if this process used the processor since the last one. A run that computes for an hour
without reporting therefore stays alive, and one whose threads all wait for something that never comes falls silent,
which is how the supervisor detects it. (Waiting for a CUDA kernel keeps a processor busy.)
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ssl_console.worker.provenance import device_peak_mb, host_peak_mb
from ssl_console.worker.reporter import EventLog, WorkerReporter
from ssl_console.workspace.events import Event
from ssl_console.workspace.paths import RunFolder
from ssl_console.workspace.tail import keep_bounded

EVERY_S = 2.0
LIVING_SHARE = 0.02
"""Share of one processor that an idle, waiting process does not reach."""


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
