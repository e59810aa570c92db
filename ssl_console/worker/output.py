"""Where a worker's standard output and error go: the log of the run that it carries out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ssl_console.files import FILE_MODE


def complain(text: str) -> None:
    """To standard error. That is the run's log, so on a full disk it cannot be said, which must not end anything."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


@contextmanager
def redirected_to(log: Path) -> Iterator[None]:
    """Descriptors 1 and 2, also those of child processes and of C code, append to `log` inside."""
    _flush()
    before = os.dup(1), os.dup(2)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, FILE_MODE)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
    try:
        yield
    finally:
        _flush()
        for descriptor, old in enumerate(before, start=1):
            os.dup2(old, descriptor)
            os.close(old)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
