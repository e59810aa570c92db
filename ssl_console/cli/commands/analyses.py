"""Commands about many results at once: correlations with a score, and similarity of backbones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssl_console.cli.command_group import CommandGroup
from ssl_console.cli.commands.shared_options import AsJson

analyses = typer.Typer(cls=CommandGroup, rich_markup_mode=None)


@analyses.command()
def correlate(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Option("--source", metavar="S", help="mine (measured here), paper (published), or both side by side."),
    ] = "paper",
    score: Annotated[
        str | None,
        typer.Option(
            "--with", metavar="SCORE", help="Own results with logme, rankme, ... or a protocol (knn) instead."
        ),
    ] = None,
    as_json: AsJson = False,
    figure: Annotated[
        Path | None, typer.Option("--figure", metavar="FILE", help="Write a figure (.svg, .png or .pdf) instead.")
    ] = None,
) -> None:
    """Correlate ImageNet accuracy, or a score that needs no training, with transfer."""
    from ssl_console.cli.handlers.correlate import correlate, correlation_picture
    from ssl_console.cli.handlers.label_free import correlate_score

    if score is not None:
        correlate_score(context.obj, score, as_json=as_json)
    elif figure is not None:
        correlation_picture(context.obj, source, figure)
    else:
        correlate(context.obj, source, as_json=as_json)


@analyses.command()
def similarity(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="A dataset with stored features.")],
    backbone: Annotated[
        list[str] | None, typer.Option("-b", "--backbone", metavar="NAME", help="A backbone; may repeat. Default: all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the stored features of backbones: CKA and mutual nearest neighbours of every pair."""
    from ssl_console.cli.handlers.label_free import similarity

    similarity(context.obj, dataset, tuple(backbone or ()), as_json=as_json)


@analyses.command("patch-maps")
def patch_maps(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="A dataset measured by patch-pca/.")],
    backbone: Annotated[
        list[str] | None, typer.Option("-b", "--backbone", metavar="NAME", help="A backbone; may repeat. Default: all.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The PNG file.")] = Path(
        "patch-maps.png"
    ),
    as_json: AsJson = False,
) -> None:
    """Draw principal components of patch features of several backbones next to each other, in colours of one space."""
    from ssl_console.cli.handlers.label_free import show_patch_maps

    show_patch_maps(context.obj, dataset, tuple(backbone or ()), output, as_json=as_json)


@analyses.command("layer-curve")
def layer_curve(
    context: typer.Context,
    dataset: Annotated[
        list[str] | None, typer.Argument(metavar="[DATASET]...", help="Datasets measured by layers/. Default: all.")
    ] = None,
    backbone: Annotated[
        list[str] | None, typer.Option("-b", "--backbone", metavar="NAME", help="A backbone; may repeat. Default: all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the score by depth and pooling of every backbone measured by layers/."""
    from ssl_console.cli.handlers.label_free import layer_curves

    layer_curves(context.obj, tuple(dataset or ()), tuple(backbone or ()), as_json=as_json)


@analyses.command()
def multiverse(
    context: typer.Context,
    data: Annotated[str, typer.Option("--data", metavar="DATASET", help="A dataset with stored features.")],
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            "-b", "--backbone", metavar="NAME", help="A backbone or a glob; may repeat. Default: all with features."
        ),
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option("--card", metavar="FILE", help="TOML file of poolings, blocks, heads and seeds to combine."),
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option("--seed", metavar="N", min=0, help="A seed; may repeat. Default: 0 to 4.")
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option("--figure", metavar="FILE", help="Also write the specification curve (.svg, .png or .pdf)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate stored features under all reasonable protocols: in how many is a backbone ahead, and where is it not?"""
    from ssl_console.cli.handlers.multiverse import show_multiverse

    show_multiverse(context.obj, tuple(backbone or ()), data, card, tuple(seed or ()), figure, as_json=as_json)
