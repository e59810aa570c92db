"""The command that writes features to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssl_console.cli.command_group import EXIT_CODES, CommandGroup

features_app = typer.Typer(cls=CommandGroup, rich_markup_mode=None)


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
        typer.Option("--layers", metavar="L", help="Blocks: 9,12 or all. Default: as the tasks use."),
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
        str, typer.Option("--precision", metavar="P", help="float32, or bfloat16 (other features).")
    ] = "float32",
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite an existing file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Write the features of images or datasets to a file, as the tasks compute them."""
    from ssl_console.cli.handlers.features import features
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
