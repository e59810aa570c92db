"""Being told to stop: SIGTERM interrupts the evaluation, but never the writing of what came of it.

SIGUSR2, Slurm's warning before a time limit, means the same: whoever handles SIGTERM at the moment is to handle it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


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
