"""Commands that list backbones, tasks and suites."""

from __future__ import annotations

from typing import Annotated

import typer

from ssl_console.cli.command_group import CommandGroup

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]

listings = typer.Typer(cls=CommandGroup, rich_markup_mode=None)


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
