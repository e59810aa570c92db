"""Entry point of the command tree."""

from __future__ import annotations

import gc
from collections.abc import Sequence

from ssl_console.cli.command_group import expand_options
from ssl_console.system.errors import ExitCode

OBJECTS_BETWEEN_COLLECTIONS = 50_000
"""A command creates many long-lived objects: collecting after every 700 took a third of the time of `runs`."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return the exit code."""
    from ssl_console.cli.commands.main import app

    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    try:
        app(expand_options(arguments), prog_name="ssl-console")
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return ExitCode.DONE
