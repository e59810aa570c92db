"""`ssl-console` without a verb: the terminal app, or the help where no person sits at a terminal."""

from __future__ import annotations

import os
import sys

from ssl_console.cli import output
from ssl_console.cli.session import Session

PLAN, LIVE = "plan", "live"
SERVED_VARIABLE = "TEXTUAL_DRIVER"
"""Set by what serves the app in a browser, over pipes."""


def interactive() -> bool:
    """Whether a person sits at both ends."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def open_terminal(session: Session, help_text: str) -> int:
    """Open the terminal app if there is a person to see it; the exit code."""
    if interactive() or SERVED_VARIABLE in os.environ:
        return open_app(session)
    output.data(f"{help_text}\n")
    return 0


def open_app(session: Session, mode: str = PLAN) -> int:
    """Run the terminal app until it is left, beginning with a screen; its exit code."""
    from ssl_console.tui import launch

    return launch(session.workspace, session.card_folders, readonly=session.readonly, slow=session.slow, mode=mode)
