"""Commands for completion in a shell."""

from __future__ import annotations

from typing import Annotated

import typer

from ssl_console.cli.command_group import CommandGroup

completion_app = typer.Typer(cls=CommandGroup, rich_markup_mode=None)


@completion_app.command()
def completion(shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")]) -> None:
    """Print the script that completes commands, backbones, tasks and runs in a shell."""
    from ssl_console.cli.handlers.completion import completion

    completion(shell)


@completion_app.command(hidden=True)
def complete(
    context: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="WORD", help="The words after the program's name.")
    ] = None,
) -> None:
    """Print the candidates for the last word, one per line."""
    from ssl_console.cli.handlers.completion import complete
    from ssl_console.operations.session import Session

    session = Session(context.obj.workspace_option, context.obj.card_folders)
    complete(context.find_root().command, session, tuple(words or ()))
