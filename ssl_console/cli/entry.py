"""Entry of the command tree."""

from __future__ import annotations

from collections.abc import Sequence

from ssl_console.cli.command_group import expand_options
from ssl_console.system.errors import ExitCode


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the exit code."""
    from ssl_console.cli.commands.main import app

    try:
        app(expand_options(arguments), prog_name="ssl-console")
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return ExitCode.DONE
