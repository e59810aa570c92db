"""The command line. `main` is the entry; `commands` declare options and help, `handlers` run them."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command in `sys.argv` and leave with its exit code."""
    try:
        _tolerate_any_locale()
        from ssl_console.cli.open_tui import open_bare

        code = open_bare(sys.argv[1:])
        if code is None:
            from ssl_console.cli.entry import run

            code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _tolerate_any_locale() -> None:
    """A terminal that cannot show a character gets its code instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
