"""The commands on cards of the user's own: edit, rename, copy, remove."""

from __future__ import annotations

from typing import Annotated

import typer

from ssl_console.cli.command_group import CommandGroup

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
OwnBackbone = Annotated[str, typer.Argument(metavar="NAME", help="A backbone of your own.")]
NewName = Annotated[str, typer.Argument(metavar="NEW", help="The new name.")]


def _group(words: str) -> typer.Typer:
    return typer.Typer(cls=CommandGroup, rich_markup_mode=None, no_args_is_help=True, help=words)


edit = _group("Change a card of your own in $EDITOR.")
rename = _group("Give a card of your own another name; its results follow.")
copy = _group("Make a card of your own from another one.")
remove = _group("Remove a card of your own; weights and results stay.")


@edit.command("backbone")
def edit_backbone(context: typer.Context, name: OwnBackbone) -> None:
    """Open a backbone's card in $EDITOR; what is no valid card does not take its place."""
    from ssl_console.cli.handlers.cards import edit_backbone

    edit_backbone(context.obj, name)


@rename.command("backbone")
def rename_backbone(context: typer.Context, name: OwnBackbone, new: NewName, as_json: AsJson = False) -> None:
    """Give a backbone another name, in its card, its runs and its results."""
    from ssl_console.cli.handlers.cards import rename_backbone

    rename_backbone(context.obj, name, new, as_json=as_json)


@copy.command("backbone")
def copy_backbone(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Any backbone, built-in or own, also timm:...")],
    new: NewName,
    as_json: AsJson = False,
) -> None:
    """Copy a backbone's card under another name, to be edited."""
    from ssl_console.cli.handlers.cards import copy_backbone

    copy_backbone(context.obj, name, new, as_json=as_json)


@remove.command("backbone")
def remove_backbone(context: typer.Context, name: OwnBackbone, as_json: AsJson = False) -> None:
    """Remove a backbone's card."""
    from ssl_console.cli.handlers.cards import remove_backbone

    remove_backbone(context.obj, name, as_json=as_json)
