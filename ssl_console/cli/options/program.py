"""Options of the program itself, of its terminal app and of its servers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

WorkspaceFolder = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        readable=False,
        metavar="DIR",
        help="Folder of runs and results; also $SSL_CONSOLE_WORKSPACE.",
    ),
]
CardFolders = Annotated[
    list[Path] | None, typer.Option("--cards", metavar="DIR", help="An additional folder of cards; may repeat.")
]
ReadOnly = Annotated[bool, typer.Option("--readonly", help="Open the terminal app read-only.")]
SlowLink = Annotated[bool, typer.Option("--slow", help="Open the terminal app for a slow link.")]
ShowVersion = Annotated[bool, typer.Option("--version", help="Print the version.")]
Headless = Annotated[bool, typer.Option("--headless", help="Without the terminal app.")]
Host = Annotated[str, typer.Option("--host", metavar="H", help="Address to listen on.")]
Port = Annotated[int, typer.Option("--port", metavar="P", min=1, max=65535, help="Port to listen on.")]
Socket = Annotated[
    Path | None,
    typer.Option("--socket", metavar="PATH", help="Unix socket in a private folder, for ssh -L; recommended."),
]
ServeReadOnly = Annotated[bool, typer.Option("--readonly", help="Serve read-only.")]
RequireToken = Annotated[bool, typer.Option("--token/--no-token", help="Require the secret of the printed address.")]
OpenToAllUsers = Annotated[
    bool, typer.Option("--open-to-all-users", help="With --no-token: every user of this machine may act as you.")
]
AllowLaunch = Annotated[
    float | None,
    typer.Option(
        "--allow-launch", metavar="HOURS", min=0.0, help="Also offer run and cancel, up to this expected duration."
    ),
]
ShellName = Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")]
CompletedWords = Annotated[list[str] | None, typer.Argument(metavar="WORD", help="The words after the program's name.")]
