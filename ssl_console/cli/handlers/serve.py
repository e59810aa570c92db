"""`serve`: the terminal app in a browser."""

from __future__ import annotations

import sys

from ssl_console.cli.output import stdout
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError

INSTALL = "pip install 'ssl-console[serve]'"


def serve(session: Session, host: str, port: int, *, readonly: bool) -> None:
    """Serve the app until interrupted; whoever opens the page has a console of their own on the workspace.

    Raises ConsoleError when the part that serves is not installed, OperationFailed when the address cannot be had.
    """
    try:
        from ssl_console.tui.web_server import ConsoleServer, is_loopback
    except ImportError as error:
        raise ConsoleError(f"serving needs {error.name}, which is not installed: {INSTALL}") from error
    readonly = readonly or session.readonly
    if not is_loopback(host):
        _warn(host, readonly=readonly)
    ConsoleServer(_command(session, readonly=readonly), host, port, lambda url: _ready(url, port)).serve()


def _command(session: Session, *, readonly: bool) -> list[str]:
    words = [sys.executable, "-P", "-m", "ssl_console", "--workspace", str(session.workspace.root)]
    words += [word for folder in session.card_folders for word in ("--cards", str(folder.absolute()))]
    return [*words, *(["--readonly"] if readonly else []), *(["--slow"] if session.slow else [])]


def _ready(url: str, port: int) -> None:
    stdout.say(f"{url} shows the console; Ctrl-C ends this, not the runs")
    stdout.say(f"from another machine: ssh -L {port}:127.0.0.1:{port} THIS-MACHINE, then http://127.0.0.1:{port} there")


def _warn(host: str, *, readonly: bool) -> None:
    can = "see everything here" if readonly else "start and cancel runs here as you"
    stdout.say(f"WARNING: {host} can be reached from other machines, without a password and without encryption:")
    stdout.say(f"WARNING: whoever can connect to it can {can}. 127.0.0.1 and `ssh -L` are safe.")
