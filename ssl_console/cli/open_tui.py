"""`ssl-console` without a command: opens the terminal app without loading the command tree.

Loading the tree takes as long as the first frame of the app.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ssl_console.cli.output import stdout
from ssl_console.operations.session import Session

PLAN, LIVE = "plan", "live"
SERVED_VARIABLE = "TEXTUAL_DRIVER"
"""Set by the server that runs the app in a browser, over pipes."""


def interactive() -> bool:
    """Whether standard input and output are a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def open_terminal(session: Session, help_text: str) -> int:
    """Open the terminal app on a terminal, otherwise print the help; return the exit code."""
    if interactive() or SERVED_VARIABLE in os.environ:
        return open_app(session)
    stdout.data(f"{help_text}\n")
    return 0


def open_app(session: Session, mode: str = PLAN) -> int:
    """Run the terminal app from its initial screen until it exits; return its exit code."""
    from ssl_console.tui import launch

    return launch(session.workspace, session.card_folders, readonly=session.readonly, slow=session.slow, mode=mode)


FLAGS = ("--readonly", "--slow")
FOLDERS = ("--workspace", "--cards")


def open_bare(arguments: Sequence[str]) -> int | None:
    """Open the app on a terminal without a command and return its exit code; otherwise None."""
    session = bare_session(arguments) if interactive() or SERVED_VARIABLE in os.environ else None
    if session is None:
        return None
    try:
        return open_app(session)
    except Exception as error:  # user errors become messages, anything else is a bug
        from ssl_console.cli.command_group import user_error
        from ssl_console.cli.output.stdout import say

        failure = user_error(error)
        if failure is None:
            raise
        say(f"ssl-console: {failure.message}")
        return failure.exit_code


def bare_session(arguments: Sequence[str]) -> Session | None:
    """Session of plain options; None for a command, or anything else that the command tree has to parse."""
    folders: dict[str, list[Path]] = {name: [] for name in FOLDERS}
    words = iter(arguments)
    for word in words:
        value = next(words, "-") if word in FOLDERS else ""
        if value.startswith("-") or word not in {*FLAGS, *FOLDERS}:
            return None
        folders.get(word, []).append(Path(value))
    last = folders["--workspace"][-1:]
    given = {flag: flag in arguments for flag in FLAGS}
    return Session(
        last[0] if last else None,
        tuple(folders["--cards"]),
        readonly=given["--readonly"],
        slow=given["--slow"],
        notify=stdout.say,
    )
