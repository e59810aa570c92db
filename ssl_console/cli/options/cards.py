"""How checkpoints and datasets are read, for the cards of a user and for `watch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CheckpointSource = Annotated[
    str,
    typer.Argument(metavar="PATH", help="A checkpoint, its folder, or hf:ORG/MODEL. Its code is never run."),
]
Architecture = Annotated[
    str | None,
    typer.Option("--arch", metavar="A", help="A timm architecture, or MODULE:FUNCTION or FILE.py:FUNCTION."),
]
ArchitectureArguments = Annotated[
    list[str] | None, typer.Option("--arg", metavar="K=V", help="An argument of the architecture; may repeat.")
]
BackboneCardName = Annotated[
    str | None, typer.Option("--name", metavar="N", help="Name of the card. Default: own/<file>.")
]
Container = Annotated[
    str | None,
    typer.Option("--container", metavar="C", help="Nested dictionary of the weights: state_dict, teacher."),
]
Prefix = Annotated[str | None, typer.Option("--prefix", metavar="P", help="Prefix of its keys.")]
Normalisation = Annotated[
    str | None, typer.Option("--norm", metavar="N", help="How images were normalised: imagenet, half or none.")
]
InputSize = Annotated[int | None, typer.Option("--size", metavar="PX", help="Input side in pixels.")]
PixelMean = Annotated[
    str | None, typer.Option("--mean", metavar="R,G,B", help="Mean of the pixels, in 0 to 1; one number for all.")
]
PixelDeviation = Annotated[str | None, typer.Option("--std", metavar="R,G,B", help="Standard deviation of the pixels.")]
Resize = Annotated[
    int | None,
    typer.Option("--resize", metavar="PX", help="Shorter side before the crop, for its own preprocessing."),
]
Crop = Annotated[
    float | None,
    typer.Option("--crop", metavar="F", help="Fraction of the image in the crop, instead of --resize."),
]
InterpolationName = Annotated[
    str | None, typer.Option("--interpolation", metavar="I", help="bicubic or bilinear, for its own preprocessing.")
]
DroppedKeys = Annotated[
    list[str] | None,
    typer.Option("--drop", metavar="P", help="Prefix of keys that do not belong to the backbone; may repeat."),
]
PoolingName = Annotated[str, typer.Option("--pooling", metavar="P", help="default, avg, cls, cls+avg or map.")]
PretrainingMethod = Annotated[str | None, typer.Option("--method", metavar="M", help="The pretraining method.")]
TrustCode = Annotated[bool, typer.Option("--trust-code", help="Let workers run the code that --arch names.")]
ReplaceCard = Annotated[bool, typer.Option("--replace", help="Replace a card of the same name.")]
ReportOnly = Annotated[bool, typer.Option("--dry-run", help="Report what was detected, write nothing.")]
CheckpointFolder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the training's checkpoints.")]
EveryNth = Annotated[int, typer.Option("--every", metavar="N", min=1, help="Only every N-th checkpoint.")]
WatchLike = Annotated[
    str | None,
    typer.Option("--like", metavar="BACKBONE", help="Load checkpoints in the same way as this backbone."),
]
WatchArchitecture = Annotated[
    str | None, typer.Option("--arch", metavar="A", help="As for `add backbone`. Default: detected.")
]
WatchName = Annotated[str | None, typer.Option("--name", metavar="N", help="Default: the folder's name.")]
WatchContainer = Annotated[str | None, typer.Option("--container", metavar="C", help="As for `add backbone`.")]
WatchPrefix = Annotated[str | None, typer.Option("--prefix", metavar="P", help="As for `add backbone`.")]
WatchNormalisation = Annotated[str | None, typer.Option("--norm", metavar="N", help="imagenet, half or none.")]
WatchTrustCode = Annotated[bool, typer.Option("--trust-code", help="Let workers run the code in --arch.")]
PollInterval = Annotated[float, typer.Option("--poll", metavar="S", min=0.05, help="Polling interval in seconds.")]
IdleStop = Annotated[
    float | None, typer.Option("--idle-stop", metavar="S", min=0, help="Stop after S seconds without changes.")
]
WatchAnyway = Annotated[bool, typer.Option("--force", help="Watch even if the first checkpoint fails its checks.")]
DatasetSource = Annotated[
    Path, typer.Argument(metavar="PATH", help="A folder, a CSV, a COCO JSON, a tar or parquet file.")
]
DatasetCardName = Annotated[
    str | None, typer.Option("--name", metavar="N", help="Name of the card. Default: the folder's name.")
]
Layout = Annotated[
    str | None,
    typer.Option("--layout", metavar="L", help="class-folders, split-files, csv, voc, coco, webdataset or parquet."),
]
FileColumn = Annotated[str | None, typer.Option("--file-column", metavar="C", help="Column of paths (CSV, parquet).")]
LabelColumn = Annotated[
    str | None, typer.Option("--label-column", metavar="C", help="Column of labels (CSV, parquet).")
]
SplitColumn = Annotated[
    str | None, typer.Option("--split-column", metavar="C", help="Column of splits (CSV, parquet).")
]
SplitWords = Annotated[
    list[str] | None,
    typer.Option(
        "--split", metavar="W=S", help="Meaning of a value of that column: train, val, test or none; may repeat."
    ),
]
SeveralLabels = Annotated[
    bool | None,
    typer.Option(
        "--several/--single", help="Whether label cells contain several labels (separated by | ; or ,) or one."
    ),
]
Background = Annotated[
    str,
    typer.Option("--background", metavar="C", help="Background colour of transparent images: white or #rrggbb."),
]
AsStored = Annotated[bool, typer.Option("--as-stored", help="Ignore the EXIF orientation of images.")]
LeaveOut = Annotated[bool, typer.Option("--leave-out", help="Skip classes, folders and shards without usable images.")]
TestFraction = Annotated[
    float,
    typer.Option(
        "--test-share", metavar="S", min=0.01, max=0.9, help="Test fraction per class, for data without splits."
    ),
]
SplitSeed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of the random split.")]
SkipUnreadable = Annotated[bool, typer.Option("--skip-unreadable", help="Skip images that cannot be decoded.")]
