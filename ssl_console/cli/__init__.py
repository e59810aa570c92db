"""Command line. `main` is the entry point; `commands` declare options and help, `handlers` run them."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command in `sys.argv` and exit with its exit code."""
    try:
        _open_closed_streams()
        _tolerate_any_locale()
        from ssl_console.cli.open_tui import open_bare

        code = open_bare(sys.argv[1:])
        if code is None:
            from ssl_console.cli.entry import run

            code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _open_closed_streams() -> None:
    """Open closed standard streams on the null device; otherwise the next opened file would take their descriptors."""
    for descriptor, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for good


def _tolerate_any_locale() -> None:
    """Have streams escape characters that the terminal's encoding lacks, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
