"""Logs that stay small however much a run prints: one that has grown too long is cut to its end.

The writer never notices: it appends, so it goes on at the new end. Both the supervisor and the worker look, since
either may be without the other.
"""

from __future__ import annotations

import fcntl
import os

from ssl_console.workspace import RunFolder

LONGEST = 16 << 20
"""Bytes that a log may have before it is cut; between two looks it can grow beyond that."""
KEPT = 1 << 20
"""Bytes of its end that are kept each time."""


def keep_bounded(folder: RunFolder, attempt: int) -> bool:
    """Cut the log if it is too long; whether it was. Raises OSError when it cannot be written."""
    log = folder.log(attempt)
    try:
        if log.stat().st_size <= LONGEST:
            return False
        descriptor = os.open(log, os.O_RDWR | os.O_APPEND)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _cut(descriptor)
    except BlockingIOError:  # the other one is at it
        return False
    finally:
        os.close(descriptor)


def _cut(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    if size <= LONGEST:
        return False
    end = os.pread(descriptor, KEPT, size - KEPT)
    os.truncate(descriptor, 0)
    os.write(descriptor, f"-- {size - len(end):,} bytes were cut here: a log may have {LONGEST:,} --\n".encode() + end)
    return True
