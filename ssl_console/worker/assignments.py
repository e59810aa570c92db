"""The runs that a worker is given: first those of its command line, then one a line on standard input."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TextIO

from ssl_console.worker.termination import Termination


def take_standard_input() -> TextIO:
    """Standard input for the assignments alone; code that reads `sys.stdin` later meets its end instead."""
    own = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return os.fdopen(own, encoding="utf-8")


def assigned(first: Sequence[str], lines: TextIO, termination: Termination) -> Iterator[str]:
    """Run ids as they come, until the other side closes. Raises Terminated while it waits."""
    yield from first
    while True:
        with termination.interruptible():
            line = lines.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()
