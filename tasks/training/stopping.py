"""SIGTERM in the middle of a step waits until the step is over and the state is kept, then goes its ordinary way."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopping:
    """Whether the process was asked to stop."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self, _number: int, _frame: FrameType | None) -> None:
        """A signal handler: only takes note."""
        self.asked = True


@contextmanager
def termination_deferred() -> Iterator[Stopping]:
    """Inside, SIGTERM is noted; afterwards it is sent again, to whoever handles it outside.

    Signals belong to the main thread: in any other, nothing is deferred.
    """
    stopping = Stopping()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    before = signal.signal(signal.SIGTERM, stopping.ask)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGTERM, before)
        if stopping.asked:
            os.kill(os.getpid(), signal.SIGTERM)
