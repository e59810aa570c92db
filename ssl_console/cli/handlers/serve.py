"""`serve`: the terminal app in a browser."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_console.cli.output import stdout
from ssl_console.operations.session import Session
from ssl_console.system.errors import ConsoleError
from ssl_console.workspace.ownership import other_users

if TYPE_CHECKING:
    from ssl_console.tui.web_server import Address, Entrance

INSTALL = "pip install 'ssl-console[serve]'"
MOST_NAMED = 8
"""Number of users of this machine that a warning names."""


@dataclass(frozen=True)
class ServeOptions:
    """Address and access of the served app."""

    host: str = "127.0.0.1"
    port: int = 8000
    socket: Path | None = None
    readonly: bool = False
    token: bool = True
    """Whether a secret is required."""
    open_to_all_users: bool = False
    """Confirmation that serving without a secret requires."""


def serve(session: Session, options: ServeOptions) -> None:
    """Serve the app until interrupted; each page with the secret is a separate console on the workspace.

    Raises ConsoleError when the optional dependency is not installed or the options contradict each other,
    OperationFailed when the address is not available.
    """
    try:
        from ssl_console.tui.web_server import Address, ConsoleServer, Entrance
    except ImportError as error:
        raise ConsoleError(f"serving requires {error.name}, which is not installed: {INSTALL}") from error
    _check(options)
    address = Address(options.host, options.port, options.socket.absolute() if options.socket else None)
    readonly = options.readonly or session.readonly
    commands = [_command(session, readonly=only_reads) for only_reads in ((True,) if readonly else (False, True))]
    with_secrets = tuple(Entrance(command) for command in commands)
    entrances = with_secrets if options.token else (Entrance(commands[0], secret=""),)
    _warn(address, options, readonly=readonly)
    ConsoleServer(entrances, address, lambda: _ready(address, entrances)).serve()


def _check(options: ServeOptions) -> None:
    if not options.token and not options.open_to_all_users:
        raise ConsoleError(
            "with --no-token, every user that reaches the port can start and cancel runs as you; "
            f"users of this machine: {_named(other_users())}. Add --open-to-all-users if intended, or omit --no-token"
        )
    if options.token and options.open_to_all_users:
        raise ConsoleError("--open-to-all-users requires --no-token: with a secret, only you have access")


def _command(session: Session, *, readonly: bool) -> tuple[str, ...]:
    words = [sys.executable, "-P", "-m", "ssl_console", "--workspace", str(session.workspace.root)]
    words += [word for folder in session.card_folders for word in ("--cards", str(folder.absolute()))]
    return (*words, *(["--readonly"] if readonly else []), *(["--slow"] if session.slow else []))


def _ready(address: Address, entrances: tuple[Entrance, ...]) -> None:
    first, last = entrances[0], entrances[-1]
    start = f"http://127.0.0.1:{address.port}" if address.socket else f"http://{address}"
    if address.socket:
        stdout.say(f"{address.socket} serves the console; Ctrl-C stops serving, not the runs")
        tunnel = f"{address.port}:{shlex.quote(str(address.socket))}"
        stdout.say(f"on your machine: ssh -N -L {tunnel} THIS-MACHINE, then {start}{first.path} there")
    else:
        stdout.say(f"{start}{first.path} shows the console; Ctrl-C stops serving, not the runs")
        stdout.say(f"from another machine: ssh -L {address.port}:127.0.0.1:{address.port} THIS-MACHINE, then the same")
    if len(entrances) > 1:
        stdout.say(f"{start}{last.path} is read-only")
    if first.secret:
        stdout.say("treat these addresses as passwords while this command runs: they give access to the console")


def _warn(address: Address, options: ServeOptions, *, readonly: bool) -> None:
    can = "see everything here" if readonly else "start and cancel runs here as you"
    if not options.token:
        stdout.say(f"WARNING: no secret is required: every user that reaches {address} can {can}, including")
        stdout.say(f"WARNING: all users of this machine: {_named(other_users())}.")
    if not address.local:
        secret = "unencrypted, so the secret can be intercepted:" if options.token else "too:"
        stdout.say(f"WARNING: {address.host} can be reached from other machines, {secret}")
        stdout.say(f"WARNING: an eavesdropper can {can}. --socket and `ssh -L` are safe.")


def _named(users: list[str]) -> str:
    if not users:
        return "no others at the moment"
    more = f" and {len(users) - MOST_NAMED} more" if len(users) > MOST_NAMED else ""
    return f"{', '.join(users[:MOST_NAMED])}{more}"
