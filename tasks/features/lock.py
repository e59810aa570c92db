"""One process at a time per entry, by a file lock that the kernel releases when its holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_S = 0.25


@contextmanager
def exclusive(path: Path, while_waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file `path`; `while_waiting` is called several times a second until it is ours.

    The file is removed at the end, so locks do not pile up; whoever waited on the removed one starts over.
    """
    descriptor = _try(path)
    while descriptor is None:
        while_waiting()
        time.sleep(POLL_S)
        descriptor = _try(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


@contextmanager
def exclusive_now(path: Path) -> Iterator[bool]:
    """Hold the lock file `path` if nobody else does; the value says whether it is held."""
    descriptor = _try(path)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            path.unlink(missing_ok=True)
            os.close(descriptor)


def _try(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _still_there(path, descriptor):
            return descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None


def _still_there(path: Path, descriptor: int) -> bool:
    """Whether the locked file is the one that others would open now, not one that its last holder removed."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
