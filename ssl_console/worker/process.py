"""Being told to stop: SIGTERM interrupts the evaluation, but never the writing of what came of it.

SIGUSR2, a cluster's warning before a time limit, means the same: it is passed on to the handler of SIGTERM.
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
    """SIGTERM came. Not an `Exception`, so that nobody's `except Exception` swallows it."""


class Termination:
    """Turns SIGTERM into `Terminated`, in the main thread and only where it may interrupt."""

    def __init__(self) -> None:
        self._asked = False
        self._interruptible = False
        self.warned = False
        """Whether SIGUSR2 came."""

    @property
    def asked(self) -> bool:
        """Whether SIGTERM has come."""
        return self._asked

    def install(self) -> Termination:
        """Handle SIGTERM and SIGUSR2 from now on; SIGINT is for consoles, so a worker ignores it."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGUSR2, self._warn)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return self

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Inside, SIGTERM raises `Terminated`; one that came before raises it at once."""
        self._interruptible = True
        try:
            if self._asked:
                raise Terminated
            yield
        finally:
            self._interruptible = False

    @contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Inside, within an interruptible block, SIGTERM waits."""
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
    """Have the kernel kill forked children when this process dies, however it dies, and give us those whose parents
    have left them, so that `end_children` finds them too (Linux; elsewhere no effect).

    The kernel means the forking *thread's* death, so children of a passing thread are left to `end_children`.
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
    """Kill every descendant and wait a little for their end; how many there were."""
    with suppress(psutil.Error):
        children = psutil.Process().children(recursive=True)
        for child in children:
            with suppress(psutil.Error):
                child.kill()
        psutil.wait_procs(children, timeout=2)
        return len(children)
    return 0


def log_error(text: str) -> None:
    """To standard error. That is the run's log, so on a full disk it cannot be said, which must not end anything."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


@contextmanager
def redirected_to(log: Path) -> Iterator[None]:
    """Descriptors 1 and 2, also those of child processes and of C code, append to `log` inside."""
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
