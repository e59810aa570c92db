"""`ssl-console` without a verb: the terminal app, or the help where no person sits at a terminal."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from ssl_console.cli import output
from ssl_console.cli.session import Session

PLAN, LIVE = "plan", "live"


@dataclass(frozen=True)
class Window:
    """How the terminal app is opened."""

    readonly: bool = False
    slow: bool = False
    """For a slow link: fewer and smaller changes."""
    mode: str = PLAN
    """The first screen."""


def interactive() -> bool:
    """Whether a person sits at both ends."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def open_terminal(session: Session, window: Window, help_text: str) -> int:
    """Open the terminal app if there is a person to see it; the exit code."""
    if interactive():
        return open_app(session, window)
    output.data(f"{help_text}\n")
    return 0


def open_app(session: Session, window: Window) -> int:
    """Run the terminal app until it is left; its exit code."""
    from ssl_console.tui import launch

    return launch(session.workspace, session.card_folders, readonly=window.readonly, slow=window.slow, mode=window.mode)
