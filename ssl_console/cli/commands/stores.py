"""Commands that list backbones, tasks and suites, and commands of the three stores: weights, data, feature cache."""

from __future__ import annotations

import typer

from ssl_console.cli.command_group import EXIT_CODES, CommandGroup
from ssl_console.cli.options import names, outputs, program, stores

weights = typer.Typer(cls=CommandGroup, rich_markup_mode=None, no_args_is_help=True, help="Weights of the backbones.")
data = typer.Typer(cls=CommandGroup, rich_markup_mode=None, no_args_is_help=True, help="Datasets of the tasks.")
cache = typer.Typer(
    cls=CommandGroup, rich_markup_mode=None, no_args_is_help=True, help="Stored features and decoded images."
)
features_app = typer.Typer(cls=CommandGroup, rich_markup_mode=None)
listings = typer.Typer(cls=CommandGroup, rich_markup_mode=None)
completion_app = typer.Typer(cls=CommandGroup, rich_markup_mode=None)


@weights.command("list")
def weights_list(context: typer.Context, name: names.BackboneNames = None, as_json: outputs.AsJson = False) -> None:
    """List which weights are present, and where."""
    from ssl_console.cli.handlers.backbones import list_weights

    list_weights(context.obj, tuple(name or ()), as_json=as_json)


@weights.command("check")
def weights_check(context: typer.Context, name: names.BackboneNames = None) -> None:
    """Read all bytes of the present weights and compare them with the recorded digests."""
    from ssl_console.cli.handlers.backbones import check_weights

    raise typer.Exit(check_weights(context.obj, tuple(name or ())))


@weights.command("fetch")
def weights_fetch(context: typer.Context, name: names.RequiredBackboneNames) -> None:
    """Download weights; an interrupted download is resumed."""
    from ssl_console.cli.handlers.backbones import fetch_weights

    raise typer.Exit(fetch_weights(context.obj, tuple(name)))


@data.command("list")
def data_list(context: typer.Context, name: names.DatasetNames = None, as_json: outputs.AsJson = False) -> None:
    """List which datasets are present, and where."""
    from ssl_console.cli.handlers.tasks import list_data

    list_data(context.obj, tuple(name or ()), as_json=as_json)


@data.command("check")
def data_check(context: typer.Context, name: names.DatasetNames = None, thorough: stores.Thorough = False) -> None:
    """Check all present data: splits, counts, labels."""
    from ssl_console.cli.handlers.tasks import check_data

    raise typer.Exit(check_data(context.obj, tuple(name or ()), thorough=thorough))


@data.command("fetch")
def data_fetch(context: typer.Context, name: names.RequiredDatasetNames) -> None:
    """Download datasets, where their owners allow it."""
    from ssl_console.cli.handlers.tasks import fetch_data

    raise typer.Exit(fetch_data(context.obj, tuple(name)))


@cache.command("list")
def cache_list(context: typer.Context, as_json: outputs.AsJson = False) -> None:
    """List the stored features and the shared decoded images, most recently used first."""
    from ssl_console.cli.handlers.cache import list_cache

    list_cache(context.obj, as_json=as_json)


@cache.command("why")
def cache_why(context: typer.Context, backbone: names.BackboneName, task: names.TaskOrDataset) -> None:
    """Explain why features are, or are not, stored."""
    from ssl_console.cli.handlers.cache import why

    why(context.obj, backbone, task)


@cache.command("prune")
def cache_prune(
    context: typer.Context,
    unused_days: stores.UnusedDays = None,
    keep_gb: stores.KeepGigabytes = None,
    partial: stores.Partial = False,
    decoded: stores.Decoded = False,
    everything: stores.Everything = False,
    dry_run: stores.RemovalDryRun = False,
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
    backbone: names.BackboneName,
    images: stores.Images,
    output: stores.FeatureFile,
    split: stores.Splits = None,
    layers: stores.Layers = None,
    pooling: stores.FeaturePooling = None,
    preprocessing: stores.Preprocessing = "paper",
    device: stores.FeatureDevice = None,
    precision: stores.FeaturePrecision = "float32",
    replace: stores.OverwriteFile = False,
    as_json: outputs.AsJson = False,
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
def backbones(context: typer.Context, name: names.BackboneNames = None, as_json: outputs.AsJson = False) -> None:
    """List the backbones and whether their weights are present."""
    from ssl_console.cli.handlers.backbones import backbones

    backbones(context.obj, tuple(name or ()), as_json=as_json)


@listings.command()
def tasks(context: typer.Context, as_json: outputs.AsJson = False) -> None:
    """List the tasks and whether their data are present."""
    from ssl_console.cli.handlers.tasks import tasks

    tasks(context.obj, as_json=as_json)


@listings.command()
def suites(context: typer.Context, as_json: outputs.AsJson = False) -> None:
    """List the suites."""
    from ssl_console.cli.handlers.tasks import suites

    suites(context.obj, as_json=as_json)


@completion_app.command()
def completion(shell: program.ShellName) -> None:
    """Print the script that completes commands, backbones, tasks and runs in a shell."""
    from ssl_console.cli.handlers.completion import completion

    completion(shell)


@completion_app.command(hidden=True)
def complete(context: typer.Context, words: program.CompletedWords = None) -> None:
    """Print the candidates for the last word, one per line."""
    from ssl_console.cli.handlers.completion import complete
    from ssl_console.operations.session import Session

    session = Session(context.obj.workspace_option, context.obj.card_folders)
    complete(context.find_root().command, session, tuple(words or ()))
