"""`ssl-console` with no verb: the terminal app, without the machinery that reads verbs.

To load that takes as long as the first picture, and whoever only opens the app need not wait for it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ssl_console.cli.session import Session
from ssl_console.cli.terminal import SERVED_VARIABLE, interactive, open_app

FLAGS = ("--readonly", "--slow")
FOLDERS = ("--workspace", "--cards")


def open_bare(arguments: Sequence[str]) -> int | None:
    """Open the app, if there is somebody to see it and nothing else was asked for; its exit code, otherwise None."""
    session = bare_session(arguments) if interactive() or SERVED_VARIABLE in os.environ else None
    if session is None:
        return None
    try:
        return open_app(session)
    except Exception as error:
        from ssl_console.cli.complaint import complaint
        from ssl_console.cli.output import say

        found = complaint(error)
        if found is None:
            raise
        say(f"ssl-console: {found.sentence}")
        return found.exit_code


def bare_session(arguments: Sequence[str]) -> Session | None:
    """What plain options say; None when there is a verb, or anything else that the command tree has to look at."""
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
        last[0] if last else None, tuple(folders["--cards"]), readonly=given["--readonly"], slow=given["--slow"]
    )
