"""Commands that list backbones, tasks and suites."""

from __future__ import annotations

from typing import Annotated

import typer

from ssl_console.cli.command_group import CommandGroup
from ssl_console.cli.commands.shared_options import AsJson

listings = typer.Typer(cls=CommandGroup, rich_markup_mode=None)
completion_app = typer.Typer(cls=CommandGroup, rich_markup_mode=None)


@listings.command()
def backbones(
    context: typer.Context,
    name: Annotated[
        list[str] | None, typer.Argument(metavar="BACKBONE", help="Backbones or globs. Default: all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the backbones and whether their weights are present."""
    from ssl_console.cli.handlers.backbones import backbones

    backbones(context.obj, tuple(name or ()), as_json=as_json)


@listings.command()
def tasks(context: typer.Context, as_json: AsJson = False) -> None:
    """List the tasks and whether their data are present."""
    from ssl_console.cli.handlers.tasks import tasks

    tasks(context.obj, as_json=as_json)


@listings.command()
def suites(context: typer.Context, as_json: AsJson = False) -> None:
    """List the suites."""
    from ssl_console.cli.handlers.tasks import suites

    suites(context.obj, as_json=as_json)


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
