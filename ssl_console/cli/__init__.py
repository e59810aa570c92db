"""Command line. `main` is the entry point; `commands` declare options and help, `handlers` run them."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

OBJECTS_BETWEEN_COLLECTIONS = 50_000
"""A command creates many long-lived objects: collecting after every 700 took a third of the time of `runs`."""


def main() -> None:
    """Run the command in `sys.argv` and exit with its exit code."""
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    try:
        _prepare_streams()
        from ssl_console.cli.open_tui import open_bare

        code = open_bare(sys.argv[1:])
        if code is None:
            code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return the exit code."""
    from ssl_console.cli.command_group import expand_options
    from ssl_console.cli.commands.main import app

    try:
        app(expand_options(arguments), prog_name="ssl-console")
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 0


def _prepare_streams() -> None:
    """Open closed standard streams on the null device, as the next opened file would take their descriptors; have the
    streams escape characters that the terminal's encoding lacks, instead of raising.
    """
    for descriptor, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for good
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
