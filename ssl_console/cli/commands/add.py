"""Commands that add the user's own backbones and datasets."""

from __future__ import annotations

from typing import cast

import typer

from backbones.io.files import expand_user
from ssl_console.cli.command_group import EXIT_CODES, CommandGroup
from ssl_console.cli.options import cards, names, outputs

add = typer.Typer(
    cls=CommandGroup,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Add a checkpoint or a dataset of your own.",
)


@add.command("backbone", epilog=EXIT_CODES)
def backbone(
    context: typer.Context,
    source: cards.CheckpointSource,
    arch: cards.Architecture = None,
    argument: cards.ArchitectureArguments = None,
    name: cards.BackboneCardName = None,
    container: cards.Container = None,
    prefix: cards.Prefix = None,
    norm: cards.Normalisation = None,
    size: cards.InputSize = None,
    mean: cards.PixelMean = None,
    std: cards.PixelDeviation = None,
    resize: cards.Resize = None,
    crop: cards.Crop = None,
    interpolation: cards.InterpolationName = None,
    drop: cards.DroppedKeys = None,
    pooling: cards.PoolingName = "default",
    method: cards.PretrainingMethod = None,
    trust_code: cards.TrustCode = False,
    replace: cards.ReplaceCard = False,
    dry_run: cards.ReportOnly = False,
    as_json: outputs.AsJson = False,
) -> None:
    """Recognise a checkpoint's architecture and keys, and write a card for it."""
    from backbones.catalog.card import Interpolation, Pooling
    from backbones.catalog.hub_models import is_hub_name
    from ssl_console.cli.command_group import one_of
    from ssl_console.cli.handlers.add import add_backbone
    from ssl_console.operations.add_backbone import BackboneOptions
    from ssl_console.operations.option_texts import architecture_arguments, three_numbers

    options = BackboneOptions(
        path=expand_user(source).absolute(),
        hub_name=source if is_hub_name(source) else None,
        architecture=arch,
        arguments=architecture_arguments(argument or ()),
        name=name,
        container=container,
        prefix=prefix,
        normalisation=norm,
        size=size,
        mean=None if mean is None else three_numbers("--mean", mean),
        std=None if std is None else three_numbers("--std", std),
        resize=resize,
        crop=crop,
        interpolation=cast("Interpolation | None", one_of("--interpolation", interpolation, Interpolation)),
        drop=tuple(drop or ()),
        pooling=cast("Pooling", one_of("--pooling", pooling, Pooling)),
        method=method,
        trust_code=trust_code,
        replace=replace,
    )
    raise typer.Exit(add_backbone(context.obj, options, dry_run=dry_run, as_json=as_json))


@add.command("dataset", epilog=EXIT_CODES)
def dataset(
    context: typer.Context,
    path: cards.DatasetSource,
    name: cards.DatasetCardName = None,
    layout: cards.Layout = None,
    file_column: cards.FileColumn = None,
    label_column: cards.LabelColumn = None,
    split_column: cards.SplitColumn = None,
    split_word: cards.SplitWords = None,
    several: cards.SeveralLabels = None,
    background: cards.Background = "white",
    as_stored: cards.AsStored = False,
    leave_out: cards.LeaveOut = False,
    test_share: cards.TestFraction = 0.2,
    seed: cards.SplitSeed = 0,
    skip_unreadable: cards.SkipUnreadable = False,
    replace: cards.ReplaceCard = False,
    dry_run: cards.ReportOnly = False,
    as_json: outputs.AsJson = False,
) -> None:
    """Recognise a dataset's layout, store its splits, and write a card for it."""
    from ssl_console.cli.command_group import one_of
    from ssl_console.cli.handlers.add import AddDatasetRequest, add_dataset
    from ssl_console.operations.option_texts import split_words
    from tasks.datasets.importing.messages import ImportOptions, Kind

    options = ImportOptions(
        layout=cast("Kind | None", one_of("--layout", layout, Kind)),
        file_column=file_column,
        label_column=label_column,
        split_column=split_column,
        split_words=tuple(split_words("--split", split_word or ())),
        several=several,
        background=background,
        orientation="stored" if as_stored else "upright",
        leave_out=leave_out,
        test_share=test_share,
        seed=seed,
        skip_unreadable=skip_unreadable,
    )
    request = AddDatasetRequest(expand_user(path).absolute(), name, options, replace, dry_run)
    raise typer.Exit(add_dataset(context.obj, request, as_json=as_json))


def _group(words: str) -> typer.Typer:
    return typer.Typer(cls=CommandGroup, rich_markup_mode=None, no_args_is_help=True, help=words)


edit = _group("Edit a card of your own in $EDITOR.")
rename = _group("Rename a card of your own and its results.")
copy = _group("Copy a card to one of your own.")
remove = _group("Remove a card of your own; weights and results stay.")


@edit.command("backbone")
def edit_backbone(context: typer.Context, name: names.OwnBackbone) -> None:
    """Open a backbone's card in $EDITOR; an invalid card is not stored."""
    from ssl_console.cli.handlers.add import edit_backbone

    edit_backbone(context.obj, name)


@rename.command("backbone")
def rename_backbone(
    context: typer.Context, name: names.OwnBackbone, new: names.NewName, as_json: outputs.AsJson = False
) -> None:
    """Rename a backbone in its card, its runs and its results."""
    from ssl_console.cli.handlers.add import rename_backbone

    rename_backbone(context.obj, name, new, as_json=as_json)


@copy.command("backbone")
def copy_backbone(
    context: typer.Context,
    name: names.AnyBackbone,
    new: names.NewName,
    as_json: outputs.AsJson = False,
) -> None:
    """Copy a backbone's card under another name, for editing."""
    from ssl_console.cli.handlers.add import copy_backbone

    copy_backbone(context.obj, name, new, as_json=as_json)


@remove.command("backbone")
def remove_backbone(context: typer.Context, name: names.OwnBackbone, as_json: outputs.AsJson = False) -> None:
    """Remove a backbone's card."""
    from ssl_console.cli.handlers.add import remove_backbone

    remove_backbone(context.obj, name, as_json=as_json)
