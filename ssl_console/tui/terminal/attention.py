"""User alerts through the terminal: the bell, or a desktop notification."""

from __future__ import annotations

import os
from typing import Protocol

from ssl_console.system.safe_text import printable

TITLE = "ssl-console"


class Counts(Protocol):
    """Numbers of runs by state."""

    @property
    def running(self) -> int:
        """Under way."""
        ...

    @property
    def waiting(self) -> int:
        """In the queue."""
        ...

    @property
    def failed(self) -> int:
        """Ended without a result."""
        ...


def attention(before: Counts, now: Counts) -> str:
    """Event that requires the user's attention: the queue has ended, or runs have failed; otherwise empty."""
    more = now.failed - before.failed
    failed = [f"{more} run{'s' if more != 1 else ''} failed"] if more > 0 else []
    ended = before.running + before.waiting and not now.running + now.waiting
    return ", ".join([*failed, *(["the queue has ended"] if ended else [])])


def alert(kind: str, text: str) -> str:
    """The control sequence of a notification (`bell`, `osc9` or `osc777`); empty for any other kind.

    tmux passes it on to the terminal if its option allow-passthrough is on, and handles the bell itself.
    """
    text = printable(text).replace(";", ",")
    sequence = {"bell": "\a", "osc9": f"\x1b]9;{TITLE}: {text}\a", "osc777": f"\x1b]777;notify;{TITLE};{text}\a"}
    found = sequence.get(kind, "")
    if found.startswith("\x1b") and os.environ.get("TMUX"):
        return f"\x1bPtmux;{found.replace(chr(27), chr(27) * 2)}\x1b\\"
    return found
