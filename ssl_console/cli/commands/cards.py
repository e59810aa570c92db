"""Commands on the user's own cards: edit, rename, copy, remove."""

from __future__ import annotations

from typing import Annotated

import typer

from ssl_console.cli.command_group import CommandGroup

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
OwnBackbone = Annotated[str, typer.Argument(metavar="NAME", help="A backbone of your own.")]
NewName = Annotated[str, typer.Argument(metavar="NEW", help="The new name.")]


def _group(words: str) -> typer.Typer:
    return typer.Typer(cls=CommandGroup, rich_markup_mode=None, no_args_is_help=True, help=words)


edit = _group("Edit a card of your own in $EDITOR.")
rename = _group("Rename a card of your own and its results.")
copy = _group("Copy a card to one of your own.")
remove = _group("Remove a card of your own; weights and results stay.")


@edit.command("backbone")
def edit_backbone(context: typer.Context, name: OwnBackbone) -> None:
    """Open a backbone's card in $EDITOR; an invalid card is not stored."""
    from ssl_console.cli.handlers.cards import edit_backbone

    edit_backbone(context.obj, name)


@rename.command("backbone")
def rename_backbone(context: typer.Context, name: OwnBackbone, new: NewName, as_json: AsJson = False) -> None:
    """Rename a backbone in its card, its runs and its results."""
    from ssl_console.cli.handlers.cards import rename_backbone

    rename_backbone(context.obj, name, new, as_json=as_json)


@copy.command("backbone")
def copy_backbone(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Any backbone, built-in or own, also timm:...")],
    new: NewName,
    as_json: AsJson = False,
) -> None:
    """Copy a backbone's card under another name, for editing."""
    from ssl_console.cli.handlers.cards import copy_backbone

    copy_backbone(context.obj, name, new, as_json=as_json)


@remove.command("backbone")
def remove_backbone(context: typer.Context, name: OwnBackbone, as_json: AsJson = False) -> None:
    """Remove a backbone's card."""
    from ssl_console.cli.handlers.cards import remove_backbone

    remove_backbone(context.obj, name, as_json=as_json)
