"""Checks and removal of stored data and runs, and the export of features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Thorough = Annotated[
    bool, typer.Option("--thorough", help="Read every file again, even if its modification time is unchanged.")
]
UnusedDays = Annotated[
    float | None,
    typer.Option("--unused-days", metavar="N", min=0, help="Remove entries that were not used for N days."),
]
KeepGigabytes = Annotated[
    float | None, typer.Option("--keep-gb", metavar="N", min=0, help="Remove the least recently used above N GB.")
]
Partial = Annotated[bool, typer.Option("--partial", help="Remove extractions that were never finished.")]
Decoded = Annotated[bool, typer.Option("--decoded", help="Remove the decoded images that no run is using.")]
Everything = Annotated[bool, typer.Option("--all", help="Remove all features and decoded images.")]
OlderThan = Annotated[
    str, typer.Option("--older", metavar="AGE", help="Minimum time since the end of a run: 90d, 12w or 6h.")
]
KeepBest = Annotated[
    bool, typer.Option("--keep-best", help="Also remove results, except each backbone's best on each task.")
]
RemoveResults = Annotated[bool, typer.Option("--results", help="Also remove all results of that age.")]
RemovalDryRun = Annotated[bool, typer.Option("--dry-run", help="Report what would be removed.")]
Images = Annotated[
    list[str], typer.Argument(metavar="IMAGE|FOLDER|DATASET", help="Image files, folders of images, datasets.")
]
FeatureFile = Annotated[
    Path,
    typer.Option("-o", "--output", metavar="FILE", help="The file to write: .npy, .npz, .safetensors or .parquet."),
]
Splits = Annotated[list[str] | None, typer.Option("--split", metavar="S", help="A split of the datasets; may repeat.")]
Layers = Annotated[
    list[str] | None,
    typer.Option("--layers", metavar="L", help="Blocks: 9,12 or all. Default: those of the tasks."),
]
FeaturePooling = Annotated[
    str | None,
    typer.Option(
        "--pooling",
        metavar="P",
        help="avg, cls, cls+avg, map, default; of layers: cls, mean, registers.",
    ),
]
Preprocessing = Annotated[str, typer.Option("--preprocessing", metavar="P", help="paper, own, squash or resize-256.")]
FeatureDevice = Annotated[str | None, typer.Option("--device", metavar="D", help="The device: cuda:0 or cpu.")]
FeaturePrecision = Annotated[
    str, typer.Option("--precision", metavar="P", help="float32, bfloat16 or float16 (different features).")
]
OverwriteFile = Annotated[bool, typer.Option("--replace", help="Overwrite an existing file.")]
