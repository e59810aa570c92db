"""Locks on files between processes (flock), released when the process that holds them ends. No other module calls
flock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from backbones.io.files import no_follow_opener, open_own

POLL_S = 0.25


def lock(descriptor: int, path: Path, *, wait: bool = True, shared: bool = False) -> None:
    """Lock an open file until it is closed.

    Raises BlockingIOError if another process holds it and `wait` is off, and OSError that names `path`.
    """
    operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(descriptor, operation)
    except OSError as error:
        error.filename = str(path)
        raise


@contextmanager
def holding(path: Path, *, wait: bool = False) -> Iterator[int]:
    """Hold an exclusive lock on a file, which is created if missing; yields its descriptor. Raises BlockingIOError if
    another process holds it and `wait` is off.
    """
    descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
    try:
        lock(descriptor, path, wait=wait)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def locked_for_appending(path: Path) -> Iterator[IO[bytes]]:
    """A file opened for appending and locked by this process. Raises BlockingIOError if another process holds it, or
    has moved it away in the meantime.
    """
    with open(path, "a+b", opener=no_follow_opener) as file:
        lock(file.fileno(), path, wait=False)
        if not _still_there(path, file.fileno()):
            raise BlockingIOError(errno.EAGAIN, "finished by another process in the meantime")
        yield file


@contextmanager
def exclusive(path: Path, while_waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file `path`; `while_waiting` is called several times a second until it is acquired.

    The file is removed at the end, so that lock files do not accumulate; processes that wait on the removed one start
    over.
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
    """Try to hold the lock file `path`; the value is whether it is held."""
    descriptor = _try(path)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            path.unlink(missing_ok=True)
            os.close(descriptor)


def _try(path: Path) -> int | None:
    descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
    try:
        lock(descriptor, path, wait=False)
        if _still_there(path, descriptor):
            return descriptor
    except BlockingIOError:
        pass
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _still_there(path: Path, descriptor: int) -> bool:
    """Whether the locked file is the one at `path`, not one that its last holder removed."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
