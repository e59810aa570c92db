"""Commands that list backbones, tasks and suites, and commands of the three stores: weights, data, feature cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssl_console.cli.command_group import EXIT_CODES, AsJson, CommandGroup

BackboneNames = Annotated[
    list[str] | None, typer.Argument(metavar="BACKBONE", help="Backbones or globs. Default: all.")
]
DatasetNames = Annotated[list[str] | None, typer.Argument(metavar="DATASET", help="Datasets or globs. Default: all.")]

weights = typer.Typer(cls=CommandGroup, rich_markup_mode=None, no_args_is_help=True, help="Weights of the backbones.")
data = typer.Typer(cls=CommandGroup, rich_markup_mode=None, no_args_is_help=True, help="Datasets of the tasks.")
cache = typer.Typer(
    cls=CommandGroup, rich_markup_mode=None, no_args_is_help=True, help="Stored features and decoded images."
)
features_app = typer.Typer(cls=CommandGroup, rich_markup_mode=None)
listings = typer.Typer(cls=CommandGroup, rich_markup_mode=None)
completion_app = typer.Typer(cls=CommandGroup, rich_markup_mode=None)


@weights.command("list")
def weights_list(context: typer.Context, name: BackboneNames = None, as_json: AsJson = False) -> None:
    """List which weights are present, and where."""
    from ssl_console.cli.handlers.backbones import list_weights

    list_weights(context.obj, tuple(name or ()), as_json=as_json)


@weights.command("check")
def weights_check(context: typer.Context, name: BackboneNames = None) -> None:
    """Read all bytes of the present weights and compare them with the recorded digests."""
    from ssl_console.cli.handlers.backbones import check_weights

    raise typer.Exit(check_weights(context.obj, tuple(name or ())))


@weights.command("fetch")
def weights_fetch(
    context: typer.Context,
    name: Annotated[list[str], typer.Argument(metavar="BACKBONE", help="Backbones or globs.")],
) -> None:
    """Download weights; an interrupted download is resumed."""
    from ssl_console.cli.handlers.backbones import fetch_weights

    raise typer.Exit(fetch_weights(context.obj, tuple(name)))


@data.command("list")
def data_list(context: typer.Context, name: DatasetNames = None, as_json: AsJson = False) -> None:
    """List which datasets are present, and where."""
    from ssl_console.cli.handlers.tasks import list_data

    list_data(context.obj, tuple(name or ()), as_json=as_json)


@data.command("check")
def data_check(
    context: typer.Context,
    name: DatasetNames = None,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Read every file again, even if its modification time is unchanged.")
    ] = False,
) -> None:
    """Check all present data: splits, counts, labels."""
    from ssl_console.cli.handlers.tasks import check_data

    raise typer.Exit(check_data(context.obj, tuple(name or ()), thorough=thorough))


@data.command("fetch")
def data_fetch(
    context: typer.Context,
    name: Annotated[list[str], typer.Argument(metavar="DATASET", help="Datasets or globs.")],
) -> None:
    """Download datasets, where their owners allow it."""
    from ssl_console.cli.handlers.tasks import fetch_data

    raise typer.Exit(fetch_data(context.obj, tuple(name)))


@cache.command("list")
def cache_list(context: typer.Context, as_json: AsJson = False) -> None:
    """List the stored features and the shared decoded images, most recently used first."""
    from ssl_console.cli.handlers.cache import list_cache

    list_cache(context.obj, as_json=as_json)


@cache.command("why")
def cache_why(
    context: typer.Context,
    backbone: Annotated[str, typer.Argument(metavar="BACKBONE", help="A backbone.")],
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task, or a dataset.")],
) -> None:
    """Explain why features are, or are not, stored."""
    from ssl_console.cli.handlers.cache import why

    why(context.obj, backbone, task)


@cache.command("prune")
def cache_prune(
    context: typer.Context,
    unused_days: Annotated[
        float | None,
        typer.Option("--unused-days", metavar="N", min=0, help="Remove entries that were not used for N days."),
    ] = None,
    keep_gb: Annotated[
        float | None, typer.Option("--keep-gb", metavar="N", min=0, help="Remove the least recently used above N GB.")
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Remove extractions that were never finished.")] = False,
    decoded: Annotated[bool, typer.Option("--decoded", help="Remove the decoded images that no run is using.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Remove all features and decoded images.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would be removed.")] = False,
) -> None:
    """Remove stored features and decoded images. Without options: damaged features only."""
    from ssl_console.cli.handlers.cache import prune_cache

    prune_cache(
        context.obj,
        unused_days=0 if everything else unused_days,
        keep_gb=keep_gb,
        partial=partial or everything,
        decoded=decoded or everything,
        dry_run=dry_run,
    )


@features_app.command(epilog=EXIT_CODES)
def features(
    context: typer.Context,
    backbone: Annotated[str, typer.Argument(metavar="BACKBONE", help="A backbone.")],
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE|FOLDER|DATASET", help="Image files, folders of images, datasets.")
    ],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="The file to write: .npy, .npz, .safetensors or .parquet."),
    ],
    split: Annotated[
        list[str] | None, typer.Option("--split", metavar="S", help="A split of the datasets; may repeat.")
    ] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option("--layers", metavar="L", help="Blocks: 9,12 or all. Default: those of the tasks."),
    ] = None,
    pooling: Annotated[
        str | None,
        typer.Option(
            "--pooling",
            metavar="P",
            help="avg, cls, cls+avg, map, default; of layers: cls, mean, registers.",
        ),
    ] = None,
    preprocessing: Annotated[
        str, typer.Option("--preprocessing", metavar="P", help="paper, own, squash or resize-256.")
    ] = "paper",
    device: Annotated[str | None, typer.Option("--device", metavar="D", help="The device: cuda:0 or cpu.")] = None,
    precision: Annotated[
        str, typer.Option("--precision", metavar="P", help="float32, bfloat16 or float16 (different features).")
    ] = "float32",
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite an existing file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Write the features of images or datasets to a file, as the tasks compute them."""
    from ssl_console.cli.handlers.cache import features
    from ssl_console.operations.export_features import ExportOptions

    options = ExportOptions(
        output=output,
        preprocessing=preprocessing,
        pooling=pooling,
        layers=tuple(layers or ()),
        splits=tuple(split or ()),
        device=device,
        precision=precision,
        replace=replace,
    )
    features(context.obj, backbone, images, options, as_json=as_json)


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
