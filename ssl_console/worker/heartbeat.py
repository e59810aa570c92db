"""Signs of life: a thread that says that the run goes on, as long as there is reason to believe it.

A heartbeat is written only if this process used the processor since the last one. So a run that computes for an hour
without reporting lives, and one whose every thread waits for something that never comes falls silent, which is how
the supervisor finds it. (Waiting for a CUDA kernel keeps a processor busy.)
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
"""Share of one processor that a process which only waits does not reach."""


@contextmanager
def heartbeat(folder: RunFolder, attempt: int, log: EventLog, reporter: WorkerReporter) -> Iterator[None]:
    """Beat until the block is left; and end the run when it is cancelled, declared ended or removed: that works without
    a supervisor too.
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
    """Speed and peak memory now."""
    return Event(
        "resources",
        time.time(),
        images_per_s=reporter.images_per_s,
        memory_mb=host_peak_mb(),
        device_memory_mb=device_peak_mb(),
    )


def _beat(folder: RunFolder, attempt: int, log: EventLog, reporter: WorkerReporter, over: threading.Event) -> None:
    used, told = time.process_time(), None
    while not over.wait(EVERY_S):
        before, used = used, time.process_time()
        reporter.flush()
        if used - before >= LIVING_SHARE * EVERY_S:
            now = resources(reporter)
            log.write(now if _differs(now, told) else Event("heartbeat", time.time()))
            told = now
        with suppress(OSError):
            keep_bounded(folder, attempt)
        if folder.cancel.exists() or folder.end(attempt).exists() or not folder.path.exists():
            os.kill(os.getpid(), signal.SIGTERM)
            return


def _differs(now: Event, told: Event | None) -> bool:
    """Whether there is something to say beyond being alive."""
    if told is None or now.images_per_s != told.images_per_s:
        return True
    return (now.memory_mb, now.device_memory_mb) != (told.memory_mb, told.device_memory_mb)
