"""Termination of the process: SIGTERM interrupts the evaluation, but never the writing of its outcome.

SIGUSR2, a cluster's warning before a time limit, has the same effect: it is passed on to the handler of SIGTERM.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil

from backbones.io.files import open_own


class Terminated(BaseException):
    """SIGTERM was received. Not an `Exception`, so that no `except Exception` swallows it."""


class Termination:
    """Conversion of SIGTERM into `Terminated`, in the main thread and only where an interruption is allowed."""

    def __init__(self) -> None:
        self._asked = False
        self._interruptible = False
        self.warned = False
        """Whether SIGUSR2 was received."""

    @property
    def asked(self) -> bool:
        """Whether SIGTERM was received."""
        return self._asked

    def install(self) -> Termination:
        """Handle SIGTERM and SIGUSR2 from now on. Ignore SIGINT, which is meant for consoles."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGUSR2, self._warn)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return self

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Raise `Terminated` on SIGTERM inside the block, at once if it was received before."""
        self._interruptible = True
        try:
            if self._asked:
                raise Terminated
            yield
        finally:
            self._interruptible = False

    @contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Defer SIGTERM to the end of the block, within an interruptible block."""
        self._interruptible = False
        yield

    def _warn(self, _number: int, _frame: FrameType | None) -> None:
        self.warned = True
        os.kill(os.getpid(), signal.SIGTERM)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True
        if self._interruptible:
            self._interruptible = False
            raise Terminated


PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def bind_children() -> None:
    """Have the kernel kill forked children when this process dies, and reparent orphaned descendants to this process,
    so that `end_children` finds them too (Linux; elsewhere no effect).

    The kernel reacts to the death of the forking *thread*, so children of a temporary thread are left to
    `end_children`.
    """
    if not sys.platform.startswith("linux"):
        return
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    from_main_thread = False

    def note_the_thread() -> None:
        nonlocal from_main_thread
        from_main_thread = threading.current_thread() is threading.main_thread()

    def bind() -> None:
        if from_main_thread:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    os.register_at_fork(before=note_the_thread, after_in_child=bind)


def end_children() -> int:
    """Kill every descendant and wait briefly for their end; return their number."""
    with suppress(psutil.Error):
        children = psutil.Process().children(recursive=True)
        for child in children:
            with suppress(psutil.Error):
                child.kill()
        psutil.wait_procs(children, timeout=2)
        return len(children)
    return 0


def log_error(text: str) -> None:
    """Write to standard error, which is the run's log. Failures (a full disk) are ignored."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


@contextmanager
def redirected_to(log: Path) -> Iterator[None]:
    """Redirect descriptors 1 and 2, also those of child processes and of C code, to the end of `log`."""
    _flush()
    before = os.dup(1), os.dup(2)
    target = open_own(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
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
