"""Commands that add the user's own backbones and datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from backbones.io.files import expand_user
from ssl_console.cli.command_group import EXIT_CODES, AsJson, CommandGroup

add = typer.Typer(
    cls=CommandGroup,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Add a checkpoint or a dataset of your own.",
)
OwnBackbone = Annotated[str, typer.Argument(metavar="NAME", help="A backbone of your own.")]
NewName = Annotated[str, typer.Argument(metavar="NEW", help="The new name.")]


@add.command("backbone", epilog=EXIT_CODES)
def backbone(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(metavar="PATH", help="A checkpoint, its folder, or hf:ORG/MODEL. Its code is never run."),
    ],
    arch: Annotated[
        str | None,
        typer.Option("--arch", metavar="A", help="A timm architecture, or MODULE:FUNCTION or FILE.py:FUNCTION."),
    ] = None,
    argument: Annotated[
        list[str] | None, typer.Option("--arg", metavar="K=V", help="An argument of the architecture; may repeat.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="N", help="Name of the card. Default: own/<file>.")
    ] = None,
    container: Annotated[
        str | None,
        typer.Option("--container", metavar="C", help="Nested dictionary of the weights: state_dict, teacher."),
    ] = None,
    prefix: Annotated[str | None, typer.Option("--prefix", metavar="P", help="Prefix of its keys.")] = None,
    norm: Annotated[
        str | None, typer.Option("--norm", metavar="N", help="How images were normalised: imagenet, half or none.")
    ] = None,
    size: Annotated[int | None, typer.Option("--size", metavar="PX", help="Input side in pixels.")] = None,
    mean: Annotated[
        str | None, typer.Option("--mean", metavar="R,G,B", help="Mean of the pixels, in 0 to 1; one number for all.")
    ] = None,
    std: Annotated[str | None, typer.Option("--std", metavar="R,G,B", help="Standard deviation of the pixels.")] = None,
    resize: Annotated[
        int | None,
        typer.Option("--resize", metavar="PX", help="Shorter side before the crop, for its own preprocessing."),
    ] = None,
    crop: Annotated[
        float | None,
        typer.Option("--crop", metavar="F", help="Fraction of the image in the crop, instead of --resize."),
    ] = None,
    interpolation: Annotated[
        str | None, typer.Option("--interpolation", metavar="I", help="bicubic or bilinear, for its own preprocessing.")
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option("--drop", metavar="P", help="Prefix of keys that do not belong to the backbone; may repeat."),
    ] = None,
    pooling: Annotated[
        str, typer.Option("--pooling", metavar="P", help="default, avg, cls, cls+avg or map.")
    ] = "default",
    method: Annotated[str | None, typer.Option("--method", metavar="M", help="The pretraining method.")] = None,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Let workers run the code that --arch names.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a card of the same name.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what was detected, write nothing.")] = False,
    as_json: AsJson = False,
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
        interpolation=(
            None
            if interpolation is None
            else cast("Interpolation", one_of("--interpolation", interpolation, Interpolation))
        ),
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
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A folder, a CSV, a COCO JSON, a tar or parquet file.")],
    name: Annotated[
        str | None, typer.Option("--name", metavar="N", help="Name of the card. Default: the folder's name.")
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            "--layout", metavar="L", help="class-folders, split-files, csv, voc, coco, webdataset or parquet."
        ),
    ] = None,
    file_column: Annotated[
        str | None, typer.Option("--file-column", metavar="C", help="Column of paths (CSV, parquet).")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option("--label-column", metavar="C", help="Column of labels (CSV, parquet).")
    ] = None,
    split_column: Annotated[
        str | None, typer.Option("--split-column", metavar="C", help="Column of splits (CSV, parquet).")
    ] = None,
    split_word: Annotated[
        list[str] | None,
        typer.Option(
            "--split", metavar="W=S", help="Meaning of a value of that column: train, val, test or none; may repeat."
        ),
    ] = None,
    several: Annotated[
        bool | None,
        typer.Option(
            "--several/--single", help="Whether label cells contain several labels (separated by | ; or ,) or one."
        ),
    ] = None,
    background: Annotated[
        str,
        typer.Option("--background", metavar="C", help="Background colour of transparent images: white or #rrggbb."),
    ] = "white",
    as_stored: Annotated[bool, typer.Option("--as-stored", help="Ignore the EXIF orientation of images.")] = False,
    leave_out: Annotated[
        bool, typer.Option("--leave-out", help="Skip classes, folders and shards without usable images.")
    ] = False,
    test_share: Annotated[
        float,
        typer.Option(
            "--test-share", metavar="S", min=0.01, max=0.9, help="Test fraction per class, for data without splits."
        ),
    ] = 0.2,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of the random split.")] = 0,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Skip images that cannot be decoded.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a card of the same name.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what was detected, write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Recognise a dataset's layout, store its splits, and write a card for it."""
    from ssl_console.cli.command_group import one_of
    from ssl_console.cli.handlers.add import AddDatasetRequest, add_dataset
    from ssl_console.operations.option_texts import split_words
    from tasks.datasets.importing.messages import ImportOptions, Kind

    options = ImportOptions(
        layout=None if layout is None else cast("Kind", one_of("--layout", layout, Kind)),
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
def edit_backbone(context: typer.Context, name: OwnBackbone) -> None:
    """Open a backbone's card in $EDITOR; an invalid card is not stored."""
    from ssl_console.cli.handlers.add import edit_backbone

    edit_backbone(context.obj, name)


@rename.command("backbone")
def rename_backbone(context: typer.Context, name: OwnBackbone, new: NewName, as_json: AsJson = False) -> None:
    """Rename a backbone in its card, its runs and its results."""
    from ssl_console.cli.handlers.add import rename_backbone

    rename_backbone(context.obj, name, new, as_json=as_json)


@copy.command("backbone")
def copy_backbone(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Any backbone, built-in or own, also timm:...")],
    new: NewName,
    as_json: AsJson = False,
) -> None:
    """Copy a backbone's card under another name, for editing."""
    from ssl_console.cli.handlers.add import copy_backbone

    copy_backbone(context.obj, name, new, as_json=as_json)


@remove.command("backbone")
def remove_backbone(context: typer.Context, name: OwnBackbone, as_json: AsJson = False) -> None:
    """Remove a backbone's card."""
    from ssl_console.cli.handlers.add import remove_backbone

    remove_backbone(context.obj, name, as_json=as_json)
